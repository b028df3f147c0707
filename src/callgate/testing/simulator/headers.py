"""Quota headers and Retry-After headers in each provider family's format."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import format_datetime

from callgate.testing.simulator.options import HeaderFamily
from callgate.testing.simulator.quota import Account, Window

__all__ = ["go_duration", "quota_headers", "retry_after_headers"]

Headers = list[tuple[str, str]]


def go_duration(seconds: float) -> str:
    """Seconds in the format of a Go duration.

    >>> go_duration(0.012), go_duration(6.5), go_duration(360), go_duration(3661)
    ('12ms', '6.5s', '6m0s', '1h1m1s')
    """
    if seconds <= 0:
        return "0s"
    if seconds < 1:
        return f"{max(1, round(seconds * 1000))}ms"
    minutes, rest = divmod(round(seconds, 3), 60)
    text = f"{rest:.3f}".rstrip("0").rstrip(".") + "s"
    if minutes:
        hours, minutes = divmod(int(minutes), 60)
        text = (f"{hours}h" if hours else "") + f"{minutes}m{text}"
    return text


def quota_headers(family: HeaderFamily, account: Account, now: float, wall: float) -> Headers:
    """The quota headers of this family: limits, remaining amounts and resets.

    `now` is the time of the quotas' clock, `wall` the same time in seconds since 1970. Quotas that the
    account does not have get no header.
    """
    if family == "none" or not account.windows:
        return []
    if family == "anthropic":
        return _anthropic(account, now, wall)
    requests, tokens = account.windows.get("requests"), account.windows.get("tokens")
    if family == "mistral":
        return _mistral(requests, tokens, now)
    headers: Headers = []
    for name, window in (("requests", requests), ("tokens", tokens)):
        if window is None:
            continue
        limit, remaining, reset = window.limit, window.remaining(now), window.reset(now)
        if family == "groq" and name == "requests":
            # Groq's request headers count a day, also when the quota is per minute.
            limit, remaining, reset = limit * 1440, limit * 1440 - limit + remaining, reset + 60
        headers += [
            (f"x-ratelimit-limit-{name}", str(int(limit))),
            (f"x-ratelimit-remaining-{name}", str(int(remaining))),
        ]
        if family == "azure":
            headers.append((f"x-ratelimit-reset-{name}", str(math.ceil(reset))))
            headers.append((f"x-ratelimit-renewalperiod-{name}", str(math.ceil(window.period))))
        else:
            headers.append((f"x-ratelimit-reset-{name}", go_duration(reset)))
    return headers


def _anthropic(account: Account, now: float, wall: float) -> Headers:
    headers: Headers = []
    for name, window in account.windows.items():
        remaining = window.remaining(now)
        if name != "requests":
            remaining = round(remaining / 1000) * 1000
        full = datetime.fromtimestamp(math.ceil(wall + window.reset(now)), UTC)
        prefix = f"anthropic-ratelimit-{name.replace('_', '-')}-"
        headers += [
            (prefix + "limit", str(int(window.limit))),
            (prefix + "remaining", str(int(remaining))),
            (prefix + "reset", full.strftime("%Y-%m-%dT%H:%M:%SZ")),
        ]
    return headers


def _mistral(requests: Window | None, tokens: Window | None, now: float) -> Headers:
    headers: Headers = []
    if requests is not None:
        headers += [
            ("x-ratelimit-limit-req-10-second", str(int(requests.limit))),
            ("x-ratelimit-remaining-req-10-second", str(int(requests.remaining(now)))),
        ]
    if tokens is not None:
        month = tokens.limit * 43_200
        headers += [
            ("x-ratelimit-limit-tokens-minute", str(int(tokens.limit))),
            ("x-ratelimit-remaining-tokens-minute", str(int(tokens.remaining(now)))),
            ("x-ratelimit-limit-tokens-month", str(int(month))),
            ("x-ratelimit-remaining-tokens-month", str(int(month - tokens.limit + tokens.remaining(now)))),
        ]
    return headers


def retry_after_headers(forms: Iterable[str], wait: float, wall: float) -> Headers:
    """Headers for a wait of `wait` seconds; the dialect writes the form `body` itself.

    >>> retry_after_headers(["seconds", "ms"], 1.25, 0.0)
    [('retry-after', '2'), ('retry-after-ms', '1250')]
    """
    if not math.isfinite(wait):
        return []
    headers: Headers = []
    for form in forms:
        if form == "seconds":
            headers.append(("retry-after", str(max(1, math.ceil(wait - 1e-6)))))
        elif form == "fraction":
            headers.append(("retry-after", f"{math.ceil(wait * 1000 - 1e-6) / 1000:.3f}"))
        elif form == "ms":
            headers.append(("retry-after-ms", str(max(1, math.ceil(wait * 1000 - 1e-6)))))
        elif form == "date":
            when = datetime.fromtimestamp(math.ceil(wall + wait), UTC)
            headers.append(("retry-after", format_datetime(when, usegmt=True)))
    return headers
