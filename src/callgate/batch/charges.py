"""What an output has taken of a budget, over all runs on it.

Each line says what its row was charged. What stands in no line is kept in a small file beside the output:

- what rows were charged that failed in earlier runs: they are tried again, and the file that holds them
  starts afresh with every run;
- while a run is on, as much as its calls in flight have reserved; when it has ended, what those were charged
  that were cut off.

So a kill at any moment makes it too much, never too little.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

import orjson

from callgate.batch.files import READ_ERRORS
from callgate.batch.places import charges_path, errors_path, has_answers, open_answers
from callgate.batch.whole_file import whole_file
from callgate.errors import InputError

if TYPE_CHECKING:
    from callgate.batch.budget import Budget
    from callgate.batch.results import RowResult

__all__ = ["ChargeRecord", "carry_charges", "forget_charges", "read_carried", "read_spent"]

_CHARGED = "charged_usd"
_AHEAD = 1.25  # more than is reserved, to be written less often
_DUST = 1e-9  # what sums of floats are off


class ChargeRecord:
    """Keeps on record, while a run is on, what its budget is charged and no line says.

    Args:
        output: The output. Nobody else writes to it.
        budget: Its budget, before the first call.

    Raises:
        InputError: when it cannot be written.

    Example::

        record = ChargeRecord("out.jsonl", budget)
        ...  # call, write a line of each result, and tell record.note(result)
        record.settle()
        record.close()
    """

    def __init__(self, output: str, budget: Budget) -> None:
        self._path = charges_path(output)
        self._budget = budget
        self._before = budget.spent
        self._carried = read_carried(output)
        self._noted = 0.0
        self._covered = 0.0  # what is on record for calls in flight
        self._said = self._carried
        _write(self._path, self._carried)
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        budget.on_reserve = self._cover

    def note(self, result: RowResult) -> None:
        """A line of this result has been written."""
        self._noted += result.charged or 0.0

    def settle(self) -> None:
        """The lines of all calls that have ended are written; may take long: call it in a thread.

        Raises:
            InputError: when it cannot be written. It then says too much.
        """
        try:
            self._put(self._budget.reserved)
            os.fsync(self._fd)
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", source=self._path) from None

    def close(self) -> None:
        """Leave it as it is; without anything in it, it goes."""
        self._budget.on_reserve = None
        os.close(self._fd)
        if self._said <= _DUST:
            os.unlink(self._path)

    def _cover(self, reserved: float) -> None:
        if reserved > self._covered:
            self._put(reserved * _AHEAD)

    def _put(self, covered: float) -> None:
        self._covered = covered
        self._said = self._carried + self._budget.spent - self._before - self._noted + covered
        # In place: the loop has no time for more, and no kill tears a line so short.
        os.lseek(self._fd, 0, os.SEEK_SET)
        os.write(self._fd, _line(self._said))


def read_spent(output: str) -> float:
    """The US dollars that an output's rows took of a budget, or, without one, are known to have cost.

    An output that is not there took none; a line that is not ours counts nothing (`read_output` refuses it).
    Calls that were in flight when a run was killed count with all that they could have cost.

    Raises:
        InputError: when it cannot be read.
    """
    spent = read_carried(output) + _of_failures(output)
    if has_answers(output):
        stream, name = open_answers(output)
        with stream:
            spent += _sum(stream, name)
    return spent


def carry_charges(output: str) -> None:
    """Keep what the failed rows were charged; to be called before the errors file is emptied.

    Raises:
        InputError: when it cannot be read or written.
    """
    charged = _of_failures(output)
    if charged > 0:
        _write(charges_path(output), charged + read_carried(output))


def forget_charges(output: str) -> None:
    """Start anew."""
    with suppress(FileNotFoundError):
        os.unlink(charges_path(output))


def read_carried(output: str) -> float:
    """Of what was spent, the US dollars that stand in no line: of rows that failed in earlier runs, and of
    calls that were cut off.

    Raises:
        InputError: when it cannot be read.
    """
    path = charges_path(output)
    try:
        with open(path, "rb") as file:
            charged = orjson.loads(file.read())[_CHARGED]
            if isinstance(charged, float | int):
                return float(charged)
    except FileNotFoundError:
        return 0.0
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", source=path) from None
    except (orjson.JSONDecodeError, KeyError, TypeError):
        pass
    # To take it for nothing would spend it again.
    wrong = (
        f'does not say what was spent, as in {{"{_CHARGED}": 1.5}}; correct it, or remove it to count nothing'
    )
    raise InputError(wrong, source=path)


def _line(charged: float) -> bytes:
    """Always as long, so that one takes the place of another."""
    return f'{{"{_CHARGED}": {max(0.0, charged):<24.12f}}}\n'.encode()


def _write(path: str, charged: float) -> None:
    try:
        with whole_file(path) as file:
            file.write(_line(charged))
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", source=path) from None


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
    charges = 0.0
    try:
        for line in stream:
            try:
                record = orjson.loads(line)
                charges += record.get(_CHARGED) or record.get("cost_usd") or 0.0
            except (orjson.JSONDecodeError, AttributeError, TypeError):
                continue
    except READ_ERRORS as error:
        raise InputError(f"cannot be read to its end ({error}); is it damaged?", source=name) from None
    return charges
