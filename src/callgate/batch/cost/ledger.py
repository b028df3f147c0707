"""What an output has taken of a budget, over all runs on it.

Each line says what its row was charged. What stands in no line is kept in a small file beside the output: the
charges of rows that failed and were tried again, of calls that were cut off, and, written before they go out,
what calls on the wire may cost. A kill between two steps counts an amount twice, never not at all.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any, BinaryIO

import orjson

from callgate.batch.input.files import READ_ERRORS
from callgate.batch.output.atomic_file import whole_file
from callgate.batch.output.paths import charges_path, errors_path, has_answers, open_answers
from callgate.errors import InputError

__all__ = ["Account", "charged_of", "read_spent"]

_CHARGED = "charged_usd"
_OPEN = "open_usd"
_FAILURES, _ANSWERS = "failures_before", "answers_before"


class Account:
    """What the runs on an output have to remember of each other, beside its lines. One run has it at a time.

    Args:
        output: The output's path.

    Attributes:
        charged: US dollars that were charged and stand in no line any more.
        open: US dollars that the calls of a run may cost whose end nobody has written down.
        failures_before: Where the failures of the run that has it begin in the errors file, in bytes; what
            stands before was written by earlier runs. 0: nothing stands before, or no run has it.
        answers_before: Where its answers begin, in bytes of the journal.
        assumed: What of `charged` the calls of a killed run may have cost, and nobody knows whether they did.

    Raises:
        InputError: when the file is there and cannot be used.

    Example::

        account = Account("out.jsonl")
        account.charged += 0.25
        account.save()
    """

    __slots__ = ("answers_before", "assumed", "charged", "failures_before", "open", "path")

    def __init__(self, output: str) -> None:
        self.path = charges_path(output)
        said = self._read()
        self.charged = self._amount(said, _CHARGED)
        self.open = self._amount(said, _OPEN)
        self.assumed = 0.0
        self.failures_before = int(self._amount(said, _FAILURES))
        self.answers_before = int(self._amount(said, _ANSWERS))

    def save(self) -> None:
        """Write it down, to the disk; the file goes when it says nothing.

        Raises:
            InputError: when it cannot be written.
        """
        try:
            if self._says_nothing:
                with suppress(FileNotFoundError):
                    os.unlink(self.path)
                return
            with whole_file(self.path) as file:
                file.write(self._content)
        except OSError as error:
            raise self._unwritten(error) from None

    def raise_open(self, amount: float) -> None:
        """Write down that so many US dollars may be outstanding. The operating system has it then; to wait
        for the disk as well would hold up the calls, and is for a power cut alone.

        Raises:
            InputError: when it cannot be written; what was there before stands.
        """
        before, self.open = self.open, amount
        beside = self.path + ".open"
        try:
            with open(beside, "wb", buffering=0) as file:
                file.write(self._content)
            os.replace(beside, self.path)
        except OSError as error:
            self.open = before
            raise self._unwritten(error) from None

    def assume_open(self) -> None:
        """Count as spent what a run left open that was killed; to be saved."""
        self.assumed, self.open = self.open, 0.0
        self.charged += self.assumed

    def settle_open(self, charged: float) -> None:
        """Nothing is outstanding any more: it came to this many US dollars.

        Raises:
            InputError: when it cannot be written.
        """
        before = self.charged, self.open
        self.charged, self.open = self.charged + charged, 0.0
        try:
            self.save()
        except InputError:
            self.charged, self.open = before
            raise

    @property
    def _says_nothing(self) -> bool:
        return not (self.charged or self.open or self.failures_before)

    @property
    def _content(self) -> bytes:
        said: dict[str, Any] = {_CHARGED: self.charged}
        if self.open:
            said[_OPEN] = self.open
        if self.failures_before:
            said |= {_FAILURES: self.failures_before, _ANSWERS: self.answers_before}
        return orjson.dumps(said, option=orjson.OPT_APPEND_NEWLINE)

    def _read(self) -> dict[str, Any]:
        try:
            with open(self.path, "rb") as file:
                said = orjson.loads(file.read())
        except FileNotFoundError:
            return {_CHARGED: 0.0}
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", source=self.path) from None
        except orjson.JSONDecodeError:
            said = None
        if not isinstance(said, dict) or _CHARGED not in said:
            raise self._unusable()
        return said

    def _amount(self, said: dict[str, Any], name: str) -> float:
        amount = said.get(name, 0.0)
        if type(amount) not in (int, float) or amount < 0:
            raise self._unusable()
        return float(amount)

    def _unusable(self) -> InputError:
        # To take it for nothing would spend it again.
        return InputError(
            f'does not say what was spent, as in {{"{_CHARGED}": 1.5}}; correct it, or remove it to count'
            " nothing",
            source=self.path,
        )

    def _unwritten(self, error: OSError) -> InputError:
        return InputError(f"cannot be written: {error.strerror}", source=self.path)


def read_spent(output: str) -> float:
    """The US dollars that an output's rows took of a budget, or, without one, are known to have cost.

    An output that is not there took none; a line that is not ours counts nothing (`read_output` refuses it).
    What was in flight when a run was killed counts with the most that it can have cost.

    Raises:
        InputError: when it cannot be read.
    """
    account = Account(output)
    spent = account.charged + account.open + _of_failures(output)
    if has_answers(output):
        stream, name = open_answers(output)
        with stream:
            spent += _sum(stream, name)
    return spent


def charged_of(line: bytes) -> float:
    """What a line says that its row was charged, or, without a budget, is known to have cost."""
    try:
        record = orjson.loads(line)
        return 0.0 + (record.get(_CHARGED) or record.get("cost_usd") or 0.0)
    except (orjson.JSONDecodeError, AttributeError, TypeError):
        return 0.0


def _of_failures(output: str) -> float:
    path = errors_path(output)
    try:
        with open(path, "rb") as failures:
            return _sum(failures, path)
    except FileNotFoundError:
        return 0.0
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", source=path) from None


def _sum(stream: BinaryIO, name: str) -> float:
    try:
        return sum(map(charged_of, stream))
    except READ_ERRORS as error:
        raise InputError(f"cannot be read to its end ({error}); is it damaged?", source=name) from None
