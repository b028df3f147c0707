"""The files of one batch: what stands beside OUTPUT, and where its answers are read from."""

from __future__ import annotations

import os
import stat
from itertools import count
from typing import BinaryIO

from callgate.batch.input.files import format_of, open_bytes
from callgate.errors import InputError

__all__ = [
    "errors_path",
    "free_name_beside",
    "has_answers",
    "is_compressed_lines",
    "is_held_compressed",
    "is_own_journal",
    "journal_path",
    "keep_beside",
    "ledger_path",
    "lost_journal",
    "open_answers",
    "output_file",
    "rescued_path",
    "runs_path",
]

_PLAIN = ("jsonl", None)


def output_file(output: str) -> str:
    """The path of the file that an output is: of a symbolic link, the file it points to.

    All paths below start from it, so that an output has one journal, one errors file and one ledger under all
    its names. A link to something else than a file (`/dev/stdout`) stays as it is.

    >>> output_file("out.jsonl"), output_file("/dev/null")
    ('out.jsonl', '/dev/null')
    """
    if not os.path.islink(output):
        return output
    try:
        regular = stat.S_ISREG(os.stat(output).st_mode)
    except FileNotFoundError:
        regular = True  # the file is made at the link's target
    except OSError:
        return output  # a loop of links; opening it reports that
    return os.path.realpath(output) if regular else output


def is_own_journal(output: str) -> bool:
    """Whether answers are appended to the output itself: it is plain JSON lines.

    >>> is_own_journal("out.jsonl"), is_own_journal("-"), is_own_journal("out.jsonl.gz")
    (True, True, False)
    """
    return format_of(output_file(output)) == _PLAIN


def journal_path(output: str) -> str:
    """Where the answers are appended: the output itself when it is plain JSON lines, else a file beside it.

    >>> journal_path("out.jsonl"), journal_path("-")
    ('out.jsonl', '-')
    >>> journal_path("out.csv"), journal_path("out.jsonl.gz")
    ('out.csv.journal.jsonl', 'out.jsonl.gz.journal.jsonl')
    """
    file = output_file(output)
    return file if is_own_journal(output) else file + ".journal.jsonl"


def errors_path(output: str) -> str:
    """Where failed rows are appended.

    >>> errors_path("out.jsonl")
    'out.jsonl.errors.jsonl'
    """
    return output_file(output) + ".errors.jsonl"


def ledger_path(output: str) -> str:
    """Where the US dollars are kept that no line of the output or of the errors file accounts for.

    >>> ledger_path("out.jsonl")
    'out.jsonl.ledger.jsonl'
    """
    return output_file(output) + ".ledger.jsonl"


def rescued_path(path: str) -> str:
    """Where a file goes on whose place another program has taken.

    >>> rescued_path("out.jsonl")
    'out.jsonl.rescued'
    """
    return path + ".rescued"


def runs_path(output: str) -> str:
    """Where the runs on an output are logged.

    >>> runs_path("out.jsonl")
    'out.jsonl.runs.jsonl'
    """
    return output_file(output) + ".runs.jsonl"


def keep_beside(output: str) -> str | None:
    """Rename an output and all that belongs to it, so that a new one can be started in its place.

    Returns:
        The name under which it can be used from now on, with its journal and errors beside it; None: nothing
        was there.

    Raises:
        OSError: when a file cannot be renamed.

    Example::

        keep_beside("out.csv")  # 'out.old-1.csv'; its journal is out.old-1.csv.journal.jsonl
    """
    file = output_file(output)
    there = [path for path in _belonging(output) if os.path.lexists(path) and not os.path.isdir(path)]
    if not any(os.lstat(path).st_size for path in there):
        for path in there:
            os.unlink(path)
        return None
    free = free_name_beside(output)
    for path in there:
        os.rename(path, free + path.removeprefix(file))
    return free


def free_name_beside(output: str) -> str:
    """A name beside an output that no file has, nor any that would belong to an output of that name.

    >>> free_name_beside("out.csv")
    'out.old-1.csv'
    """
    folder, name = os.path.split(output_file(output))
    stem, dot, ending = name.partition(".")
    for number in count(1):  # pragma: no branch
        free = os.path.join(folder, f"{stem}.old-{number}{dot}{ending}")
        if not any(map(os.path.lexists, _belonging(free))):
            break
    return free


def _belonging(output: str) -> list[str]:
    """The paths of an output and of all files that may stand beside it."""
    paths = dict.fromkeys(
        [
            output_file(output),
            journal_path(output),
            errors_path(output),
            ledger_path(output),
            runs_path(output),
        ]
    )
    return [*paths, *map(rescued_path, paths)]


def is_compressed_lines(output: str) -> bool:
    """Whether an output holds all that its journal does, only compressed.

    >>> is_compressed_lines("out.jsonl.gz"), is_compressed_lines("out.csv.gz")
    (True, False)
    """
    form, compression = format_of(output_file(output))
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
    """The error for a table without its journal: which rows are answered cannot be read from a table."""
    return InputError(
        f"is there, but not the journal it was written from ({journal_path(output)}), so which rows are"
        " answered is not known; bring that back, or choose another output",
        source=output,
        setting="overwrite",
        remedy="or start anew with",
    )


def open_answers(output: str) -> tuple[BinaryIO, str]:
    """All answers of a batch as plain JSON lines, whatever the format of its output.

    Returns:
        The open file, to be closed by the caller, and its name for messages.

    Raises:
        InputError: when it is not there, cannot be opened, or has no journal beside it.

    Example::

        stream, name = open_answers("out.csv")
        with stream:
            answers = [orjson.loads(line) for line in stream]
    """
    if is_held_compressed(output):
        return open_bytes(output, format_of(output_file(output))[1]), output
    journal = journal_path(output)
    try:
        return open(journal, "rb"), journal
    except FileNotFoundError:
        wrong = "there is no such file"
        if os.path.exists(output):
            wrong = f"was not written by `callgate run`, or its journal is gone ({journal})"
        raise InputError(f"{wrong}; give the output of a `callgate run`", source=output) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", source=journal) from None
