"""Figures as people read them."""

from __future__ import annotations

from callgate.batch.budget import dollars
from callgate.control.quota import Quota

__all__ = ["amount", "dollars", "duration", "rate_of"]


def amount(number: float) -> str:
    """A count, shortened above ten thousand.

    >>> amount(950), amount(12_300), amount(4_500_000)
    ('950', '12.3k', '4.5M')
    """
    if number < 10_000:
        return f"{number:,.0f}"
    if number < 1_000_000:
        return f"{number / 1000:.1f}k"
    return f"{number / 1_000_000:.1f}M"


def duration(seconds: float) -> str:
    """Seconds as a clock shows them.

    >>> duration(7.4), duration(192), duration(7260)
    ('7s', '3m12s', '2h01m')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    return f"{minutes // 60}h{minutes % 60:02d}m"


def rate_of(per_minute: float, quota: Quota | None) -> str:
    """What goes through in a minute, against the limit where there is one.

    >>> rate_of(480, Quota(600)), rate_of(480, None)
    ('480 of 600/min', '480/min')
    """
    if quota is None:
        return f"{amount(per_minute)}/min"
    return f"{amount(per_minute)} of {amount(quota.rate * 60 / quota.period)}/min"
