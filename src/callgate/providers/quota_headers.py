"""Reads quotas and waits from the headers of a response.

A family of headers is an entry of `FAMILIES`: for each resource the names of the headers with its limit, what
remains and when it resets, and its period. `Host.quota_headers` names the family of a host.

Pure functions of the headers (lower-case names); `canonical.durations` reads the single values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate

from callgate.errors import ConfigurationError
from callgate.policies.limit.quota import QuotaNews, Resource
from callgate.providers.canonical.durations import DAY, HOUR, LONGEST, MINUTE, read_amount, seconds_of

__all__ = [
    "FAMILIES",
    "names_of",
    "read_quota",
    "read_request_id",
    "read_reset",
    "read_retry_after",
    "read_should_retry",
]

MONTH = 30 * DAY


@dataclass(frozen=True, slots=True)
class _Row:
    """The three headers of one resource, and its period in seconds (None: not known)."""

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


# Azure sends a renewal period beside them. It is not what its limits refer to: those stay by the minute where
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


def _plain(start: str, period: float | None = None) -> _Row:
    return _Row("requests", start + "-limit", start + "-remaining", start + "-reset", period)


# OpenRouter sends these with a refusal only, for a limit by the minute and for one by the day.
_PLAIN = (_plain("x-ratelimit"),)
# What services without a family of their own use, the IETF's drafts among them.
_OTHERS = (_plain("ratelimit"), _plain("x-rate-limit"), _plain("x-rl"))
# By the second (docs.together.ai/docs/rate-limits, as of January 2026; today's page no longer explains them).
# It also sends `x-tokenlimit-*`, but one second grants fewer tokens than many a single call needs, and
# Together smooths them itself: as a limit here they would refuse such calls for good.
_TOGETHER = (_plain("x-ratelimit", 1.0),)

FAMILIES: Mapping[str, tuple[_Row, ...]] = {
    "none": (),
    "openai": _OPENAI,
    "groq": (_row("requests", "requests", DAY), _row("tokens", "tokens", MINUTE)),
    "azure": _OPENAI,
    "anthropic": _ANTHROPIC,
    "per_period": _PER_PERIOD,
    "plain": _PLAIN,
    "together": _TOGETHER,
    "any": (*_OPENAI, *_ANTHROPIC, *_PER_PERIOD, *_PLAIN, *_OTHERS),
}
"""Family name -> the headers it uses, the shortest period of a resource first. "any" is for an unknown
host."""

# All three values in one header, in the older draft of the IETF and in the later one:
# `limit=100, remaining=50, reset=5` and `"default";r=50;t=5`.
_COMBINED = "ratelimit"
_COMBINED_VALUES = {
    "ratelimit-limit": re.compile(r"\b(?:limit|q)=(\d+)"),
    "ratelimit-remaining": re.compile(r"\b(?:remaining|r)=(\d+)"),
    "ratelimit-reset": re.compile(r"\b(?:reset|t)=(\d+)"),
}

# Azure sends -1 and 0 where it does not know.
_ZERO_IS_UNKNOWN = frozenset({"azure"})


def names_of(family: str) -> frozenset[str]:
    """The lower-case names of the headers of a family; an answer without them reports no quota.

    Raises:
        ConfigurationError: when there is no such family.

    >>> sorted(names_of("plain"))
    ['x-ratelimit-limit', 'x-ratelimit-remaining']
    """
    names = {name for row in _rows(family) for name in (row.limit, row.remaining)}
    return frozenset(names | {_COMBINED} if family == "any" else names)


def _rows(family: str) -> tuple[_Row, ...]:
    try:
        return FAMILIES[family]
    except KeyError:
        raise ConfigurationError(
            f"unknown family of quota headers {family!r}; use one of {', '.join(FAMILIES)}"
        ) from None


def read_quota(family: str, headers: Mapping[str, str]) -> list[QuotaNews]:
    """The quotas that the headers of one answer report, at most one for each resource.

    Of several periods it is the shortest: the limiter keeps one limit of a provider's at a time, and a
    month's would replace the minute's. When a longer one is used up, a refusal reports that.

    Args:
        family: A name of `FAMILIES`, as the hosts table gives it.
        headers: Of the answer, lower-case names.

    Raises:
        ConfigurationError: when there is no such family.

    >>> read_quota("openai", {"x-ratelimit-limit-requests": "600", "x-ratelimit-reset-requests": "100ms"})
    [QuotaNews(resource='requests', limit=600.0, remaining=None, reset_after=0.1, period=60.0)]
    """
    rows = _rows(family)
    if family == "any":
        headers = _with_combined(headers)
    news: dict[Resource, QuotaNews] = {}
    for row in rows:
        limit_text, remaining_text = headers.get(row.limit), headers.get(row.remaining)
        if (limit_text is None and remaining_text is None) or row.resource in news:
            continue
        limit, remaining = read_amount(limit_text), read_amount(remaining_text)
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


def _with_combined(headers: Mapping[str, str]) -> Mapping[str, str]:
    """The headers, and those that the values of a combined one would be in."""
    if _COMBINED not in headers:
        return headers
    found = ((name, value.search(headers[_COMBINED])) for name, value in _COMBINED_VALUES.items())
    return {**{name: match[1] for name, match in found if match}, **headers}


def read_retry_after(headers: Mapping[str, str], wall_now: float | None = None) -> float | None:
    """Seconds that the provider asks to wait, from 0 to a year; None when no header names a wait.

    Read in this order: `retry-after-ms`, `x-ms-retry-after-ms`, `retry-after` in any form (seconds, "5s",
    "30 seconds", an HTTP date, a Unix time). A header that was sent twice means the longer wait. 0 in the
    first two counts only without a `retry-after`: Azure sends `retry-after-ms: 0` beside `retry-after: 1`.

    Args:
        headers: Of the answer, lower-case names.
        wall_now: Seconds since 1970, for a moment in an answer that has no `date` header itself.

    >>> read_retry_after({"retry-after": "1.5"}), read_retry_after({"retry-after": "nan"})
    (1.5, None)
    """
    fallback: float | None = None
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        value = headers.get(name)
        wait = None if value is None else _seconds_of_milliseconds(value)
        if wait:
            return wait
        fallback = wait if fallback is None else fallback
    later = headers.get("retry-after")
    if later is None:
        return fallback
    date = headers.get("date")
    if date is None and wall_now is not None:
        date = formatdate(wall_now, usegmt=True)
    wait = seconds_of(later, date)
    return fallback if wait is None else wait


def _seconds_of_milliseconds(text: str) -> float | None:
    wait = seconds_of(text)
    if wait is None or any(letter.isalpha() for letter in text):
        return wait
    return min(wait / 1000, LONGEST)


def read_reset(headers: Mapping[str, str]) -> float | None:
    """Seconds until a quota that is used up refills, the longest of several; None when none is used up.

    >>> read_reset({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "30"})
    30.0
    """
    headers = _with_combined(headers)
    resets = [
        seconds_of(headers[row.reset], headers.get("date"))
        for row in FAMILIES["any"]
        if row.reset in headers and read_amount(headers.get(row.remaining)) == 0
    ]
    return max((reset for reset in resets if reset is not None), default=None)


def read_should_retry(headers: Mapping[str, str]) -> bool | None:
    """The value of `x-should-retry`; None when it is absent or neither true nor false."""
    value = headers.get("x-should-retry")
    if value is None:
        return None
    return {"true": True, "false": False}.get(value.strip().lower())


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
    """The provider's id of the request, at most 200 characters; None when no header holds it."""
    for name in _REQUEST_ID_HEADERS:
        value = headers.get(name)
        if value:
            return value[:200]
    return None
