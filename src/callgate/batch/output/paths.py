"""The files of one batch: what stands beside OUTPUT, and where its answers are read from."""

from __future__ import annotations

import os
from typing import BinaryIO

from callgate.batch.input.files import format_of, open_bytes
from callgate.errors import InputError

__all__ = [
    "charges_path",
    "errors_path",
    "has_answers",
    "is_compressed_lines",
    "is_held_compressed",
    "journal_path",
    "lost_journal",
    "open_answers",
]

_PLAIN = ("jsonl", None)


def journal_path(output: str) -> str:
    """Where the answers are appended: the output itself when it is plain JSON lines, else a file beside it.

    >>> journal_path("out.jsonl"), journal_path("-")
    ('out.jsonl', '-')
    >>> journal_path("out.csv"), journal_path("out.jsonl.gz")
    ('out.csv.journal.jsonl', 'out.jsonl.gz.journal.jsonl')
    """
    return output if format_of(output) == _PLAIN else output + ".journal.jsonl"


def errors_path(output: str) -> str:
    """Where the rows go that ended in an error.

    >>> errors_path("out.jsonl")
    'out.jsonl.errors.jsonl'
    """
    return output + ".errors.jsonl"


def charges_path(output: str) -> str:
    """Where it is kept what rows that failed in earlier runs were charged to a budget.

    >>> charges_path("out.jsonl")
    'out.jsonl.charged.json'
    """
    return output + ".charged.json"


def is_compressed_lines(output: str) -> bool:
    """Whether an output holds all that its journal does, only compressed.

    >>> is_compressed_lines("out.jsonl.gz"), is_compressed_lines("out.csv.gz")
    (True, False)
    """
    form, compression = format_of(output)
    return form == "jsonl" and compression is not None


def is_held_compressed(output: str) -> bool:
    """Whether the answers are in a compressed output, and no journal stands in for it.

    An empty journal does not: it is one whose restoring was cut off by a kill.
    """
    if not is_compressed_lines(output) or not os.path.exists(output):
        return False
    journal = journal_path(output)
    return not os.path.exists(journal) or os.path.getsize(journal) == 0


def has_answers(output: str) -> bool:
    """Whether there is anything to read the answers of a batch from."""
    return os.path.exists(journal_path(output)) or is_held_compressed(output)


def lost_journal(output: str) -> InputError:
    """A table is there and its journal is not: it cannot be told what is answered."""
    return InputError(
        f"is there, but not the journal it was written from ({journal_path(output)}), so nobody knows which"
        " rows are answered; bring that back, or choose another -o, or --overwrite to replace it",
        source=output,
    )


def open_answers(output: str) -> tuple[BinaryIO, str]:
    """All answers of a batch as plain JSON lines, whatever the format of its output.

    Returns:
        The open file, to be closed by the caller, and its name for messages.

    Raises:
        InputError: when it is not there, cannot be opened, or is a table whose journal is lost.

    Example::

        stream, name = open_answers("out.csv")
        with stream:
            answers = [orjson.loads(line) for line in stream]
    """
    if is_held_compressed(output):
        return open_bytes(output, format_of(output)[1]), output
    journal = journal_path(output)
    try:
        return open(journal, "rb"), journal
    except FileNotFoundError:
        if os.path.exists(output):
            raise lost_journal(output) from None
        wrong = "there is no such file; give the output of a `callgate run`"
        raise InputError(wrong, source=output) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", source=journal) from None
