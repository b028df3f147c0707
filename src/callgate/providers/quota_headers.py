"""What an answer's headers tell about quotas and about when to come back.

Pure functions of the headers (lower-case names). Where a header holds a moment and not a length of time, the
answer's own `date` header says what time it was there: no clock of ours is read, and two clocks that differ
do no harm.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime

from callgate.errors import ConfigurationError
from callgate.policies.limit.quota import QuotaNews, Resource

__all__ = ["FAMILIES", "read_quota", "read_request_id", "read_retry_after", "read_should_retry", "seconds_of"]

MINUTE = 60.0
HOUR = 3600.0
DAY = 86_400.0
MONTH = 30 * DAY
_LONGEST = 366 * DAY
"""Seconds; longer than anybody waits, and short enough to be added to any clock."""
_LARGEST = 1e15


@dataclass(frozen=True, slots=True)
class _Row:
    """The three headers that tell of one resource."""

    resource: Resource
    limit: str
    remaining: str
    reset: str
    period: float | None


def _row(resource: Resource, name: str, period: float | None) -> _Row:
    return _Row(
        resource,
        f"x-ratelimit-limit-{name}",
        f"x-ratelimit-remaining-{name}",
        f"x-ratelimit-reset-{name}",
        period,
    )


def _anthropic(resource: Resource, name: str) -> _Row:
    start = f"anthropic-ratelimit-{name}-"
    return _Row(resource, start + "limit", start + "remaining", start + "reset", MINUTE)


# Azure tells a renewal period beside them. It is not what its limits refer to: those stay by the minute where
# it is 10 seconds.
_OPENAI = (_row("requests", "requests", MINUTE), _row("tokens", "tokens", MINUTE))
_PER_PERIOD = (
    _row("requests", "req-second", 1.0),
    _row("requests", "req-10-second", 10.0),
    _row("requests", "req-minute", MINUTE),
    _row("requests", "requests-minute", MINUTE),
    _row("requests", "requests-hour", HOUR),
    _row("requests", "requests-day", DAY),
    _row("tokens", "tokens-minute", MINUTE),
    _row("tokens", "tokens-hour", HOUR),
    _row("tokens", "tokens-day", DAY),
    _row("tokens", "tokens-month", MONTH),
)
_ANTHROPIC = (_anthropic("requests", "requests"), _anthropic("tokens", "tokens"))
_PLAIN_NAMES = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
# OpenRouter sends these with a refusal only, for a limit by the minute and for one by the day.
_PLAIN = (_Row("requests", *_PLAIN_NAMES, None),)
# By the second (docs.together.ai/docs/rate-limits, as of January 2026; today's page no longer explains them).
# It tells of tokens too (`x-tokenlimit-*`), but one second grants fewer of them than many a single call
# needs, and it evens them out by itself: as a limit of ours they would refuse such calls for good.
_TOGETHER = (_Row("requests", *_PLAIN_NAMES, 1.0),)

FAMILIES: Mapping[str, tuple[_Row, ...]] = {
    "none": (),
    "openai": _OPENAI,
    "groq": (_row("requests", "requests", DAY), _row("tokens", "tokens", MINUTE)),
    "azure": _OPENAI,
    "anthropic": _ANTHROPIC,
    "per_period": _PER_PERIOD,
    "plain": _PLAIN,
    "together": _TOGETHER,
    "any": (*_OPENAI, *_ANTHROPIC, *_PER_PERIOD, *_PLAIN),
}
"""Family name -> the headers it uses, the shortest period of a resource first. "any" is for a host that
nothing is known of."""

# Azure sends -1 and 0 where it does not know.
_ZERO_IS_UNKNOWN = frozenset({"azure"})


def read_quota(family: str, headers: Mapping[str, str]) -> list[QuotaNews]:
    """What the headers of one answer tell of the quota, at most one item per resource.

    Where they tell of several periods it is the shortest: the limiter keeps to one limit of a provider's at a
    time, and a month's would have it forget the minute's. Of the end of the longer ones a refusal tells.

    Args:
        family: A name of `FAMILIES`, as the hosts table gives it.
        headers: Of the answer, lower-case names.

    Raises:
        ConfigurationError: when there is no such family.

    >>> read_quota("openai", {"x-ratelimit-limit-requests": "600", "x-ratelimit-reset-requests": "100ms"})
    [QuotaNews(resource='requests', limit=600.0, remaining=None, reset_after=0.1, period=60.0)]
    """
    try:
        rows = FAMILIES[family]
    except KeyError:
        raise ConfigurationError(
            f"unknown family of quota headers {family!r}; use one of {', '.join(FAMILIES)}"
        ) from None
    news: dict[Resource, QuotaNews] = {}
    for row in rows:
        limit_text, remaining_text = headers.get(row.limit), headers.get(row.remaining)
        if (limit_text is None and remaining_text is None) or row.resource in news:
            continue
        limit, remaining = _amount(limit_text), _amount(remaining_text)
        if limit == 0:
            limit = None
        if remaining == 0 and (limit is None or family in _ZERO_IS_UNKNOWN):
            remaining = None
        if limit is None and remaining is None:
            continue
        reset = headers.get(row.reset)
        reset_after = None if reset is None else seconds_of(reset, headers.get("date"))
        news[row.resource] = QuotaNews(row.resource, limit, remaining, reset_after, row.period)
    return list(news.values())


def read_retry_after(headers: Mapping[str, str], wall_now: float | None = None) -> float | None:
    """Seconds the provider asks to wait, or None when it does not say or says nothing that can be meant.

    Read in this order: `retry-after-ms`, `x-ms-retry-after-ms`, `retry-after` as a number, as an HTTP date.
    Never negative, and at most a year. No milliseconds at all count only where nothing else is told: Azure
    sends `retry-after-ms: 0` beside `retry-after: 1`.

    Args:
        headers: Of the answer, lower-case names.
        wall_now: Seconds since 1970, for an HTTP date in an answer that has no `date` header itself.

    >>> read_retry_after({"retry-after": "1.5"}), read_retry_after({"retry-after": "nan"})
    (1.5, None)
    """
    told: float | None = None
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        wait = _amount(headers.get(name))
        if wait:
            return min(wait / 1000, _LONGEST)
        told = wait if told is None else told
    later = headers.get("retry-after")
    if later is None:
        return told
    wait = _amount(later)
    if wait is not None:
        return min(wait, _LONGEST)
    moment, now = _moment(later), _moment(headers.get("date", ""))
    if now is None:
        now = wall_now
    if moment is None or now is None:
        return told
    return min(max(moment - now, 0.0), _LONGEST)


def read_should_retry(headers: Mapping[str, str]) -> bool | None:
    """What `x-should-retry` orders; None when it is absent or neither true nor false."""
    told = headers.get("x-should-retry")
    if told is None:
        return None
    return {"true": True, "false": False}.get(told.strip().lower())


_REQUEST_ID_HEADERS = (
    "x-request-id",
    "request-id",
    "x-amzn-requestid",
    "apim-request-id",
    "x-ms-request-id",
    "x-generation-id",
    "cf-ray",
)


def read_request_id(headers: Mapping[str, str]) -> str | None:
    """The provider's id of the request, for its support."""
    for name in _REQUEST_ID_HEADERS:
        told = headers.get(name)
        if told:
            return told[:200]
    return None


_DURATION_PART = re.compile(r"(\d{1,15}(?:\.\d{1,18})?)(ns|us|µs|ms|s|m|h|d)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": HOUR, "d": DAY}


def seconds_of(text: str, date: str | None = None) -> float | None:
    """Seconds that a reset header tells: "6m0s", "12ms", "42", "17.4", an RFC 3339 moment or a Unix time.

    Args:
        text: The header's value.
        date: The answer's `date` header; without it a moment cannot be told from.

    >>> seconds_of("6m0s"), seconds_of("2026-01-01T00:00:30Z", "Thu, 01 Jan 2026 00:00:00 GMT")
    (360.0, 30.0)
    """
    if text[-1:] == "s":
        # Read on every answer, so the usual forms take no detour: "12ms", "7.66s".
        number = _amount(text[:-2]) if text[-2:-1] == "m" else _amount(text[:-1])
        if number is not None:
            return min(number / 1000 if text[-2:-1] == "m" else number, _LONGEST)
    text = text.strip()
    number = _amount(text)
    if number is not None:
        if number < 1e9:
            return min(number, _LONGEST)
        moment: float | None = number / 1000 if number > 1e11 else number
    else:
        parts = _DURATION_PART.findall(text)
        if parts and "".join(amount + unit for amount, unit in parts) == text:
            return min(sum(float(amount) * _UNITS[unit] for amount, unit in parts), _LONGEST)
        moment = _moment(text)
    now = _moment(date or "")
    if moment is None or now is None:
        return None
    return min(max(moment - now, 0.0), _LONGEST)


def _amount(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return (number if number < _LARGEST else _LARGEST) if 0 <= number < math.inf else None


def _moment(text: str) -> float | None:
    """Seconds since 1970 of an HTTP date or an RFC 3339 moment."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text) if text[:1].isdigit() else parsedate_to_datetime(text)
        if moment.tzinfo is None:
            return None
        return moment.timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
