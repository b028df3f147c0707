"""The errors file over several runs: a failed row stays in it until a run has tried it again.

A run appends its own failures behind those of the runs before it, and the account remembers where they begin.
When it has ended, the earlier lines go whose rows it has answered or failed anew; after a kill, the next run
does that first. So at no moment a row is lost, and what is in memory is keys, not rows.
"""

from __future__ import annotations

import os
import shutil
from array import array
from contextlib import suppress
from typing import BinaryIO

import orjson

from callgate.batch.cost.ledger import Account, charged_of
from callgate.batch.output.atomic_file import whole_file
from callgate.batch.output.completed_keys import Finished, read_output
from callgate.batch.output.paths import charges_path, errors_path, journal_path
from callgate.errors import InputError

__all__ = ["leave_failures", "take_up_failures"]


def take_up_failures(output: str, *, overwrite: bool = False) -> Account:
    """Begin a run, by whoever has the output's lock: tidy up after one that was killed, count what its calls
    may have cost as spent, and note where the failures of this run begin.

    Args:
        output: The output's path. Its journal is there, without a torn last line.
        overwrite: Start anew.

    Returns:
        The output's account.

    Raises:
        InputError: when something cannot be read or written. Nothing is lost then.
    """
    errors, answers = errors_path(output), journal_path(output)
    try:
        if overwrite:
            for path in (errors, charges_path(output)):
                with suppress(FileNotFoundError):
                    os.unlink(path)
        account = Account(output)
        account.assume_open()
        there = _cut_torn(errors)
        if account.failures_before and there:
            _drop_retried(errors, answers, account)
            there = os.path.getsize(errors)
        account.failures_before = there
        account.answers_before = os.path.getsize(answers) if account.failures_before else 0
        account.save()
    except OSError as error:
        raise _unusable(errors, error) from None
    return account


def leave_failures(output: str, account: Account, *, all_tried: bool) -> None:
    """End a run: keep the rows that it did not come to beside those that failed in it.

    Args:
        output: The output's path. An errors file without any line goes.
        account: As `take_up_failures` gave it.
        all_tried: Whether it read its whole input: what else stands there is no row of the batch any more.

    Raises:
        InputError: when something cannot be read or written. The next run does it then.
    """
    errors = errors_path(output)
    try:
        if account.failures_before:
            if os.path.exists(errors):
                _drop_retried(errors, journal_path(output), account, all_tried=all_tried)
            account.failures_before = account.answers_before = 0
            account.save()
        if os.path.exists(errors) and os.path.getsize(errors) == 0:
            os.unlink(errors)
    except OSError as error:
        raise _unusable(errors, error) from None


def _drop_retried(errors: str, answers: str, account: Account, *, all_tried: bool = False) -> None:
    """Write the file anew without the earlier lines of rows that a run has ended."""
    before = account.failures_before
    dropped = 0.0
    with open(errors, "rb") as old, whole_file(errors) as new:
        ended = Finished() if all_tried else _ended(old, answers, account)
        old.seek(0)
        while old.tell() < before and (line := old.readline()):
            key = _key_of(line)
            if all_tried or (key is not None and ended.take(key)):
                dropped += charged_of(line)
            else:
                new.write(line)
        shutil.copyfileobj(old, new)
        # Before they go, not after: a kill between the two counts them twice, never not at all.
        account.charged += dropped
        account.save()


def _ended(errors: BinaryIO, answers: str, account: Account) -> Finished:
    """The rows that the run has answered or failed."""
    with open(answers, "rb") as stream:
        stream.seek(account.answers_before)
        ended = read_output(stream, answers)[0]
    errors.seek(account.failures_before)
    keys = (_key_of(line) for line in errors)
    ended.extend(array("Q", (key for key in keys if key is not None)))
    ended.seal()
    return ended


def _key_of(line: bytes) -> int | None:
    """The key of a failed row; None of a line that is none of ours."""
    with suppress(orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return int(orjson.loads(line)["key"], 16) & 0xFFFF_FFFF_FFFF_FFFF
    return None


def _cut_torn(path: str) -> int:
    """Cut off a last line that a kill tore.

    Returns:
        How many bytes of whole lines there are.
    """
    try:
        with open(path, "rb") as file:
            size = sum(len(line) for line in file if line.endswith(b"\n"))
            torn = size < file.tell()
    except FileNotFoundError:
        return 0
    if torn:
        os.truncate(path, size)
    return size


def _unusable(path: str, error: OSError) -> InputError:
    return InputError(f"cannot be kept: {error.strerror}", source=error.filename or path)
