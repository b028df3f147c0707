"""The errors file over several runs: a failed row stays in it until a run has tried it again.

A run appends its own failures behind those of the runs before it, and the ledger keeps where they begin. When
it has ended, the earlier lines go whose rows it has answered or failed anew; after a kill, the next run does
that first. So no row is lost at any moment, and what is held in memory is keys, not rows.
"""

from __future__ import annotations

import os
import shutil
from array import array
from contextlib import suppress
from typing import BinaryIO

import orjson

from callgate.batch.cost.ledger import Ledger, charged_of
from callgate.batch.output.atomic_file import whole_file
from callgate.batch.output.completed_keys import CompletedKeys, read_completed_keys
from callgate.batch.output.line_file import LineFile, open_lines
from callgate.batch.output.paths import errors_path, journal_path
from callgate.errors import InputError

__all__ = ["leave_failures", "take_up_failures"]


def take_up_failures(output: str, ledger: Ledger) -> LineFile:
    """Begin a run, under the output's lock: tidy up after one that was killed, and begin its ledger.

    Args:
        output: The output's path. Its journal is there, without a torn last line.
        ledger: The output's ledger.

    Returns:
        The errors file, open.

    Raises:
        InputError: when something cannot be read or written. Nothing is lost then.
    """
    errors, answers = errors_path(output), journal_path(output)
    file = open_lines(errors)
    try:
        file.cut_torn()
        if ledger.account.failures and file.size:
            _drop_retried(errors, answers, ledger)
            file.close()
            file = open_lines(errors)
        ledger.begin(answers=os.path.getsize(answers), failures=file.size)
    except OSError as error:
        file.close()
        raise _unusable(errors, error) from None
    except BaseException:
        file.close()
        raise
    return file


def leave_failures(output: str, ledger: Ledger, *, all_tried: bool) -> None:
    """End a run: keep the rows that it did not come to beside those that failed in it.

    Args:
        output: The output's path. An errors file without any line goes.
        ledger: The output's ledger.
        all_tried: Whether the run read its whole input: no other row is one of the batch any more.

    Raises:
        InputError: when something cannot be read or written. The next run does it then.
    """
    errors = errors_path(output)
    try:
        if ledger.account.failures and os.path.exists(errors):
            _drop_retried(errors, journal_path(output), ledger, all_tried=all_tried)
        ledger.end()
        if os.path.exists(errors) and os.path.getsize(errors) == 0:
            os.unlink(errors)
    except OSError as error:
        raise _unusable(errors, error) from None


def _drop_retried(errors: str, answers: str, ledger: Ledger, *, all_tried: bool = False) -> None:
    """Write the file anew without the earlier lines of rows that a run has ended."""
    before = ledger.account.failures
    dropped = 0.0
    with open(errors, "rb") as old, whole_file(errors) as new:
        ended = CompletedKeys() if all_tried else _ended(old, answers, ledger)
        old.seek(0)
        while old.tell() < before and (line := old.readline()):
            key = _key_of(line)
            if all_tried or (key is not None and ended.take(key)):
                dropped += charged_of(line)
            else:
                new.write(line)
        shutil.copyfileobj(old, new)
        # Before they go, not after: a kill between the two counts them twice, never not at all.
        ledger.charge(dropped)


def _ended(errors: BinaryIO, answers: str, ledger: Ledger) -> CompletedKeys:
    """The rows that the run has answered or failed."""
    with open(answers, "rb") as stream:
        stream.seek(ledger.account.answers)
        ended = read_completed_keys(stream, answers)[0]
    errors.seek(ledger.account.failures)
    keys = (_key_of(line) for line in errors)
    ended.extend(array("Q", (key for key in keys if key is not None)))
    return ended


def _key_of(line: bytes) -> int | None:
    """The key of a failed row; None for a line that is not of callgate."""
    with suppress(orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return int(orjson.loads(line)["key"], 16) & 0xFFFF_FFFF_FFFF_FFFF
    return None


def _unusable(path: str, error: OSError) -> InputError:
    return InputError(f"cannot be kept: {error.strerror}", source=error.filename or path)
