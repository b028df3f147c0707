"""What an output has taken of a budget, over all runs on it.

Each line says what its row was charged. But failed rows are tried again, and the file that holds them starts
afresh with every run: their charges are carried over to a small file beside the output first. A kill between
the two counts them twice, never not at all.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import BinaryIO

import orjson

from callgate.batch.files import READ_ERRORS
from callgate.batch.places import charges_path, errors_path, has_answers, open_answers
from callgate.batch.whole_file import whole_file
from callgate.errors import InputError

__all__ = ["carry_charges", "forget_charges", "read_spent"]

_CHARGED = "charged_usd"


def read_spent(output: str) -> float:
    """The US dollars that an output's rows took of a budget, or, without one, are known to have cost.

    An output that is not there took none; a line that is not ours counts nothing (`read_output` refuses it).
    What was in flight when a run was killed is in no line and is not counted.

    Raises:
        InputError: when it cannot be read.
    """
    spent = _carried(output) + _of_failures(output)
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
    if charged <= 0:
        return
    charged += _carried(output)
    path = charges_path(output)
    try:
        with whole_file(path) as file:
            file.write(orjson.dumps({_CHARGED: charged}, option=orjson.OPT_APPEND_NEWLINE))
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", source=path) from None


def forget_charges(output: str) -> None:
    """Start anew."""
    with suppress(FileNotFoundError):
        os.unlink(charges_path(output))


def _carried(output: str) -> float:
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
