"""JSON with integers of any size. orjson reads integers over 64 bits as floats, and does not write them.

Amounts in wei, snowflake ids and hashes are such integers. For these, the standard library is used instead.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NoReturn

import orjson

__all__ = ["dumps", "loads", "read_integer"]

_DIGITS_AS_ZERO = bytes.maketrans(b"123456789", b"000000000")
_LONG_RUN = b"0" * 19  # 2**63 - 1 has 19 digits
_MOST_DIGITS = 4000  # Python itself refuses to read more than 4,300


def loads(data: bytes | str) -> Any:
    """Parse strict JSON, every integer exactly.

    Raises:
        json.JSONDecodeError: (a ValueError) The data is not JSON, or an integer has more than 4,000 digits.

    >>> loads(b'{"wei": 1234567890123456789012}')
    {'wei': 1234567890123456789012}
    """
    raw = data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass")
    # An integer over 64 bits has at least 19 digits. Such a run contains two of every ninth byte, so that
    # most data need not be searched as a whole.
    if b"00" not in raw[:: len(_LONG_RUN) // 2].translate(_DIGITS_AS_ZERO) or _LONG_RUN not in raw.translate(
        _DIGITS_AS_ZERO
    ):
        return orjson.loads(data)
    text = ""
    try:
        text = data if isinstance(data, str) else data.decode()
        return json.loads(text, parse_int=read_integer, parse_constant=_refuse_constant)
    except json.JSONDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        raise json.JSONDecodeError(str(error), text, 0) from None


def dumps(value: Any, default: Callable[[Any], Any] | None = None, option: int | None = None) -> bytes:
    """Write JSON as `orjson.dumps` does, every integer exactly.

    For a value with an integer over 64 bits, only `OPT_SORT_KEYS`, `OPT_NON_STR_KEYS` and
    `OPT_APPEND_NEWLINE` apply.

    Raises:
        TypeError: A value has no JSON form.

    >>> dumps({"wei": 1234567890123456789012})
    b'{"wei":1234567890123456789012}'
    """
    try:
        return orjson.dumps(value, default, option)
    except TypeError as error:
        if "64-bit" not in str(error):
            raise
    option = option or 0
    try:
        text = json.dumps(
            value,
            default=default,
            ensure_ascii=False,
            allow_nan=False,
            separators=(",", ":"),
            sort_keys=bool(option & orjson.OPT_SORT_KEYS),
        )
        return text.encode() + (b"\n" if option & orjson.OPT_APPEND_NEWLINE else b"")
    except (ValueError, RecursionError) as error:
        raise TypeError(str(error)) from None


def read_integer(digits: str) -> int:
    """The integer, of at most 4,000 digits.

    Raises:
        ValueError: The text has more digits.
    """
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"an integer of {len(digits)} digits")
    return int(digits)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
