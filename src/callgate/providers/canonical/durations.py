"""Lengths of time as providers write them: in headers, in error bodies and in prose.

Nothing here reads a clock. A moment ("2026-01-01T00:00:30Z", a Unix time) becomes a length of time by the
answer's own `date` header, so two clocks that differ do no harm. Proxies send a header twice; the transport
joins the values with ", ", and each reader here takes the more cautious one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import pairwise

__all__ = ["DAY", "HOUR", "LONGEST", "MINUTE", "read_amount", "read_moment", "seconds_of", "wait_in_words"]

MINUTE = 60.0
HOUR = 3600.0
DAY = 86_400.0
LONGEST = 366 * DAY
"""Seconds; the cap on every wait, short enough to be added to any clock."""
_LARGEST = 1e15
_LONGEST_MESSAGE = 2000  # characters

_UNITS = (
    (re.compile("ns"), 1e-9),
    (re.compile("[uµμ]s"), 1e-6),
    (re.compile("ms|msecs?|milliseconds?"), 1e-3),
    (re.compile("s|secs?|seconds?"), 1.0),
    (re.compile("m|mins?|minutes?"), MINUTE),
    (re.compile("h|hrs?|hours?"), HOUR),
    (re.compile("d|days?"), DAY),
)
_UNIT = "|".join(f"(?:{unit.pattern})" for unit, _ in _UNITS)
_PART = rf"(?:\d{{1,15}}(?:\.\d{{1,18}})?\s*|\b(?:an?|one)\s+)(?:{_UNIT})(?![a-zµμ])"
_PARTS = rf"{_PART}(?:(?:\s*,)?\s*(?:and\s+)?{_PART})*"
_NUMBER_AND_UNIT = re.compile(rf"(\d+(?:\.\d+)?|\b(?:an?|one)\b)\s*({_UNIT})(?![a-zµμ])")
_DURATION = re.compile(_PARTS)
# "PT1M30S" of ISO 8601, and "00:01:30".
_AMOUNT = r"\d{1,15}(?:\.\d{1,9})?"
_ISO_DURATION = re.compile(
    rf"p(?:({_AMOUNT})d)?(?:t(?:({_AMOUNT})h)?(?:({_AMOUNT})m)?(?:({_AMOUNT})s)?)?", re.IGNORECASE
)
_CLOCK = r"\d{1,3}:[0-5]\d:[0-5]\d"
_CLOCK_DURATION = re.compile(r"(\d{1,3}):(\d\d):(\d\d)")
# "try again in 2 minutes", "please wait 20 seconds", "quota resets in 1m30s", "Retry after 30."
_CUE = (
    r"\b(?:again|retry(?:ing)?|retry[-_ ]?after|wait|resets?|available|allowed|cool-?down|replenished)\b"
    r"[^.!?\n\d]{0,40}?"
)
_MOMENT = r"\d{4}-\d\d-\d\d[t ]\d\d:\d\d:\d\d(?:\.\d+)?(?:z|[+-]\d\d:?\d\d)?"
_WAIT = re.compile(
    rf"{_CUE}(?:(?<![\w-])({_PARTS}|{_CLOCK})|({_MOMENT})"
    r"|(?:\bin|\bfor|after|[:=])\s*(\d+(?:\.\d+)?)(?![\w.,]*\d)(?=\s*(?:[^\w\s%:/-]|$)))"
)
# A comma within an HTTP date stands before "01 Jan"; any other one parts two values.
_BETWEEN_VALUES = re.compile(r",(?!\s*\d{1,2}[ -][A-Za-z]{3}[ -])\s*")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+")


def seconds_of(text: str, date: str | None = None) -> float | None:
    """Seconds that a text means, from 0 to a year; None when it means no length of time.

    A plain number is seconds, from 10^9 on a Unix time in seconds, from 10^11 on in milliseconds.

    Args:
        text: "6m0s", "12ms", "42", "5 seconds", "1 hour 30 minutes", "PT30S", "00:00:30", an RFC 3339 or
            HTTP date (of UTC where it names no zone), a Unix time.
        date: The answer's `date` header; without it a moment means nothing.

    >>> seconds_of("6m0s"), seconds_of("2 Minutes"), seconds_of("5, 5")
    (360.0, 120.0, 5.0)
    >>> seconds_of("2026-01-01T00:00:30Z", "Thu, 01 Jan 2026 00:00:00 GMT")
    30.0
    """
    if text[-1:] == "s":
        # Read on every answer, so the usual forms take no detour: "12ms", "7.66s".
        number = _finite(text[:-2]) if text[-2:-1] == "m" else _finite(text[:-1])
        if number is not None:
            return min(number / 1000 if text[-2:-1] == "m" else number, LONGEST)
    whole = _sum_of_parts(text)
    if whole is not None:
        return whole
    waits = [_seconds_of_one(value.strip(" \t'\""), date) for value in _values(text)]
    return max((wait for wait in waits if wait is not None), default=None)


def wait_in_words(message: str, date: str | None = None) -> float | None:
    """Seconds that a message asks to wait; None when it names no wait.

    >>> wait_in_words("Slow down. Please try again in 2 minutes."), wait_in_words("Retry after 30 seconds")
    (120.0, 30.0)
    >>> wait_in_words("Too many requests: limit 60 per minute")
    """
    found = _WAIT.search(message[:_LONGEST_MESSAGE].lower())
    if found is None:
        return None
    words, moment, number = found.groups()
    return seconds_of(words or number or moment.upper(), date)


def read_amount(text: str | None) -> float | None:
    """The number from 0 that a header holds, the least of several; None when it holds none.

    >>> read_amount("100, 60;w=60"), read_amount("-1"), read_amount(None)
    (60.0, None, None)
    """
    if text is None:
        return None
    number = _finite(text)
    if number is not None:
        return number
    if _THOUSANDS.fullmatch(text):
        return _finite(text.replace(",", ""))
    numbers = [_finite(value.partition(";")[0].strip(" \t'\"")) for value in text.split(",")]
    return None if None in numbers else min(number for number in numbers if number is not None)


def read_moment(text: str) -> float | None:
    """Seconds since 1970 of an HTTP date or an RFC 3339 moment, in UTC where it names no zone; else None."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text) if text[:1].isdigit() else parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _seconds_of_one(text: str, date: str | None) -> float | None:
    text = text.partition(";")[0].rstrip()
    number = _finite(text)
    if number is not None:
        if number < 1e9:
            return min(number, LONGEST)
        moment: float | None = number / 1000 if number > 1e11 else number
        if moment is not None and moment > 1e11:
            return LONGEST
    else:
        total = _sum_of_parts(text)
        if total is None:
            total = _formal_duration(text)
        if total is not None:
            return total
        moment = read_moment(text)
    now = next((read_moment(value) for value in _values(date or "")), None)
    if moment is None or now is None:
        return None
    return min(max(moment - now, 0.0), LONGEST)


def _sum_of_parts(text: str) -> float | None:
    """Seconds of "1h30m"; None when it is no such text, or one whose units do not fall ("5s, 5s")."""
    lowered = text.lower().strip()
    if not _DURATION.fullmatch(lowered):
        return None
    parts = [(amount, _unit(unit)) for amount, unit in _NUMBER_AND_UNIT.findall(lowered)]
    if any(former <= latter for (_, former), (_, latter) in pairwise(parts)):
        return None
    return min(sum((float(amount) if amount[0].isdigit() else 1.0) * unit for amount, unit in parts), LONGEST)


def _formal_duration(text: str) -> float | None:
    """Seconds of "PT1M30S" or "00:01:30"; None for any other text."""
    found = _CLOCK_DURATION.fullmatch(text)
    units: tuple[float, ...] = (HOUR, MINUTE, 1.0)
    if found is None:
        found = _ISO_DURATION.fullmatch(text)
        units = (DAY, HOUR, MINUTE, 1.0)
    if found is None or not any(found.groups()):
        return None
    amounts = (float(amount or 0) for amount in found.groups())
    return min(sum(amount * unit for amount, unit in zip(amounts, units, strict=True)), LONGEST)


def _values(text: str) -> Iterator[str]:
    """The values of a header that was sent once or several times."""
    if "," not in text:
        yield text
    else:
        yield from _BETWEEN_VALUES.split(text)


def _unit(name: str) -> float:
    return next(seconds for unit, seconds in _UNITS if unit.fullmatch(name))


def _finite(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return (number if number < _LARGEST else _LARGEST) if 0 <= number < math.inf else None
