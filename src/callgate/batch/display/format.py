"""Numbers as text for people."""

from __future__ import annotations

from collections.abc import Sequence

from callgate.batch.cost.budget import dollars
from callgate.policies.limit.snapshot import RateSnapshot

__all__ = ["amount", "dollars", "duration", "in_columns", "rate_of"]


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


def in_columns(lines: Sequence[tuple[str, str]]) -> list[str]:
    """Names and values in two columns, without blanks at the end of a line.

    >>> in_columns([("rows", "3"), ("tokens", "120")])
    ['rows    3', 'tokens  120']
    """
    width = max(len(name) for name, _ in lines) + 2
    return [f"{name:<{width}}{value}" for name, value in lines]


_PERIODS = {1.0: "s", 60.0: "min", 3600.0: "h", 86400.0: "day"}


def rate_of(per_minute: float, limited: RateSnapshot | None) -> str:
    """The rate per minute, or with a limit how much of it the present window holds.

    The rate of the last moments is not compared with the limit: an allowed burst would look like a violation.

    >>> from callgate.policies.limit.quota import Quota
    >>> rate_of(480, None), rate_of(1167, RateSnapshot(Quota(600), False, 520.0, 80.0))
    ('480/min', '80 of 600/min')
    """
    if limited is None:
        return f"{amount(per_minute)}/min"
    rate, period = limited.quota.rate, limited.quota.period
    if rate < 1.0:  # kept as one in a longer period
        rate, period = 1.0, period / rate
    return f"{amount(limited.used)} of {amount(rate)}/{_PERIODS.get(period, f'{period:g} s')}"
