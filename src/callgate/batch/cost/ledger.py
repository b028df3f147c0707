"""`Ledger`: the US dollars that an output has taken of a budget, over all runs on it.

The lines of the output and of its errors file have the charges of their rows. The ledger, a file beside them,
has all other charges: of rows that failed and were tried again, of cancelled calls, and, written before they
are sent, the most that attempts in flight may cost. Each line of the ledger is the whole account, and the
last one is valid. A kill between two steps counts an amount twice, but never leaves it out.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import BinaryIO

import orjson

from callgate.batch.input.files import READ_ERRORS
from callgate.batch.output.line_file import LineFile, open_lines
from callgate.batch.output.paths import errors_path, has_answers, ledger_path, open_answers, output_file
from callgate.errors import InputError

__all__ = ["Account", "Ledger", "charged_of", "read_account", "read_spent"]

_STEP = 1.125  # a run raises the reserved amount only some dozens of times, for any number of rows
_START = b'{"charged_usd":'


@dataclass(frozen=True, slots=True)
class Account:
    """One line of a ledger.

    Attributes:
        charged_usd: US dollars charged that are in no line of the output or its errors file.
        reserved_usd: The most US dollars that attempts without a recorded end may cost.
        answers: The offset in bytes at which the answers of the current run begin in the journal.
        failures: The offset in bytes at which its failures begin in the errors file. 0: at its start, or
            there is no current run.

    >>> Account(charged_usd=1.5).reserved_usd
    0.0
    """

    charged_usd: float = 0.0
    reserved_usd: float = 0.0
    answers: int = 0
    failures: int = 0


class Ledger:
    """The account of an output, kept by the run that has the output's lock.

    Args:
        output: The output's path.

    Attributes:
        account: The account in the last line.
        assumed: The most US dollars that attempts of a killed run may have cost, which count as charged.

    Raises:
        InputError: the file exists and cannot be used.

    Example::

        ledger = Ledger("out.jsonl")
        ledger.begin(answers=0, failures=0)
        ledger.sent("call-1", 0.002)  # the attempt may go out now
        ledger.written("call-1")  # a line of the output states what it was charged
        ledger.settle()
        ledger.close()
    """

    __slots__ = ("_calls", "_file", "_output", "_reserved", "account", "assumed")

    def __init__(self, output: str) -> None:
        self.account = read_account(output)
        self.assumed = 0.0
        self._output = output
        self._file: LineFile | None = None
        self._calls: dict[str, float] = {}
        self._reserved = 0.0

    @property
    def harm(self) -> InputError | None:
        """The damage that another program did to the file, or None."""
        file = self._file
        return None if file is None or file.harm is None else InputError(file.harm, source=file.name)

    # -- the account -------------------------------------------------------------------------------------

    def begin(self, *, answers: int, failures: int) -> None:
        """Begin a run: charge the reservations of a killed run, and record where this run begins.

        Args:
            answers: The size of the journal, in bytes.
            failures: The size of the errors file, in bytes.

        Raises:
            InputError: the ledger cannot be written.
        """
        account = self.account
        self.assumed = account.reserved_usd
        charged = account.charged_usd + account.reserved_usd + _former_charges(self._output)
        self._write(Account(charged, answers=answers if failures else 0, failures=failures), sync=True)
        with suppress(FileNotFoundError):
            os.unlink(_former_path(self._output))

    def move(self, answers: int) -> None:
        """Record where the answers of the current run begin, after the journal was rewritten.

        Args:
            answers: The offset in bytes.

        Raises:
            InputError: the ledger cannot be written.
        """
        self._write(replace(self.account, answers=answers if self.account.failures else 0), sync=True)

    def charge(self, amount: float) -> None:
        """Charge US dollars whose line is removed.

        Raises:
            InputError: the ledger cannot be written.
        """
        if amount:
            self._write(replace(self.account, charged_usd=self.account.charged_usd + amount), sync=True)

    def end(self) -> None:
        """End a run; an empty account removes the file.

        Raises:
            InputError: the ledger cannot be written.
        """
        self._write(Account(self.account.charged_usd), sync=True)
        if self.account == Account():
            self.close()
            with suppress(FileNotFoundError):
                os.unlink(ledger_path(self._output))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    # -- reservations -----------------------------------------------------------------------------------

    def sent(self, call: str, worst: float) -> None:
        """Record that one more attempt of a call is about to be sent.

        When this returns, the operating system has the amount. It is not synced to disk, which would delay
        every call, and matter only in a power cut.

        Args:
            call: The call's `request_id`.
            worst: The most that the attempt can cost, in US dollars.

        Raises:
            InputError: the ledger cannot be written. The attempt must not be sent.
        """
        self._calls[call] = self._calls.get(call, 0.0) + worst
        self._reserved += worst
        if self._reserved > self.account.reserved_usd:
            self._write(replace(self.account, reserved_usd=self._reserved * _STEP))

    def settled(self, call: str, worst: float, charged: float) -> None:
        """Record that an attempt of a call has ended and was charged `charged` US dollars instead of `worst`.

        They stay reserved until `written`, or until the end of the run.
        """
        self._calls[call] += charged - worst
        self._reserved += charged - worst

    def written(self, call: str) -> None:
        """Record that a line with the charge of a call was written."""
        self._reserved -= self._calls.pop(call, 0.0)
        if not self._calls:
            self._reserved = 0.0  # sums of floats drift

    def settle(self) -> None:
        """Charge calls without a line, after all calls have ended, and release all reservations.

        Raises:
            InputError: the ledger cannot be written. All reservations then count as charged.
        """
        left = sum(self._calls.values())
        if left or self.account.reserved_usd:
            charged = self.account.charged_usd + left
            self._write(replace(self.account, charged_usd=charged, reserved_usd=0.0), sync=True)
        self._calls.clear()
        self._reserved = 0.0

    def _write(self, account: Account, *, sync: bool = False) -> None:
        if account == self.account:
            return
        if self._file is None:
            self._file = open_lines(ledger_path(self._output))
            self._file.cut_torn()
        self._file.pending[:] = [orjson.dumps(asdict(account), option=orjson.OPT_APPEND_NEWLINE)]
        self._file.flush()
        if sync:
            self._file.sync()
        self.account = account


def read_account(output: str) -> Account:
    """The account of an output; empty without a ledger.

    Raises:
        InputError: the ledger cannot be read, or is damaged.
    """
    path = ledger_path(output)
    account = Account()
    try:
        with open(path, "rb") as file:
            content = file.read()
    except FileNotFoundError:
        content = b""
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", source=path) from None
    *lines, torn = content.split(b"\n")
    if lines:
        account = _account_of(lines[-1], path)
    elif not _START.startswith(torn.rstrip(b"\0")[: len(_START)]):
        raise _unusable(path)
    return account


def _account_of(line: bytes, path: str) -> Account:
    try:
        record = orjson.loads(line)
        account = Account(
            float(record["charged_usd"]),
            float(record.get("reserved_usd", 0.0)),
            int(record.get("answers", 0)),
            int(record.get("failures", 0)),
        )
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError):
        raise _unusable(path) from None
    if min(account.charged_usd, account.reserved_usd, account.answers, account.failures) < 0:
        raise _unusable(path)
    return account


def _former_path(output: str) -> str:
    return output_file(output) + ".charged.json"


def _former_charges(output: str) -> float:
    """The charges in a file of an older version, which the next run moves to the ledger."""
    path = _former_path(output)
    try:
        with open(path, "rb") as file:
            record = orjson.loads(file.read())
        return float(record["charged_usd"]) + float(record.get("open_usd", 0.0))
    except FileNotFoundError:
        return 0.0
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        raise _unusable(path) from None


def _unusable(path: str) -> InputError:
    # Not read as 0, because that amount could then be spent again.
    return InputError(
        'does not state what was spent, as in {"charged_usd":1.5}; correct its last line, or remove the file'
        " to count nothing",
        source=path,
    )


# -- what was spent --------------------------------------------------------------------------------------


def read_spent(output: str) -> float:
    """The US dollars charged for an output's rows, or, without a budget, their known cost.

    0.0 if there is no output. Lines that are not of a batch count 0 (`read_completed_keys` refuses them).
    Attempts in flight when a run was killed count with the most that they can have cost.

    Raises:
        InputError: a file cannot be read.
    """
    account = read_account(output)
    spent = account.charged_usd + account.reserved_usd + _former_charges(output) + _of_failures(output)
    if has_answers(output):
        stream, name = open_answers(output)
        with stream:
            spent += _sum(stream, name)
    return spent


def charged_of(line: bytes) -> float:
    """The US dollars in a line that its row was charged, or, without a budget, is known to have cost."""
    try:
        record = orjson.loads(line)
        return 0.0 + (record.get("charged_usd") or record.get("cost_usd") or 0.0)
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
