"""`Pace`: the parameters by which a quota is kept: windows, and a bucket that spreads calls within them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from callgate.policies.limit.quota import Quota

__all__ = ["BURST_CALLS", "Pace", "pace_of"]

# The network delay between a send and the provider's count varies. Windows are this share longer than the
# period, and the refill is slower by it, so that 99.6 % of a quota can be used. For a short period it is up
# to 10 ms, but at most 1 % of the period.
GUARD: Final = 0.004
GUARD_SECONDS: Final = 0.010
SHORT_GUARD: Final = 0.01
# The guard after 429s that came although the quota was kept.
WIDE_GUARD: Final = 0.05
# Bursts, in seconds of the rate and in calls. An empty window may begin with the larger of both.
BURST_SECONDS: Final = 5.0
BURST_CALLS: Final = 10.0
# Periods up to this (seconds) may begin with the whole rate at once, and then have steps of this share of it:
# a second whole burst could overlap the first in a provider's window.
SHORT_PERIOD: Final = 1.0
SHORT_STEP: Final = 0.05
# Seconds of the rate that a bucket holds beyond a step, so that a late timer loses no units to a full bucket.
LATE_SECONDS: Final = 0.05
# Longer periods (a day, a month) are not paced, because pacing would only waste time.
LONGEST_PACED_PERIOD: Final = 3600.0
# A fractional rate is also counted over several periods, at most this many.
MOST_PERIODS: Final = 100


@dataclass(frozen=True, slots=True)
class Pace:
    """The parameters of a `RateWindow`.

    Attributes:
        spans: The windows that are counted, the shortest first: seconds, and the most units they may hold.
        refill: Units per second added to the bucket.
        burst: Units in the bucket when a window begins empty.
        capacity: Units up to which the bucket refills.
        enough: Units in the bucket that suffice for a larger call, which leaves it negative.
        sized: True if an empty window may begin with ten calls of the size of its first one.
    """

    spans: tuple[tuple[float, float], ...]
    refill: float
    burst: float
    capacity: float
    enough: float
    sized: bool

    @property
    def ceiling(self) -> float:
        """The most units of one call."""
        return self.spans[0][1]


def pace_of(quota: Quota, caution: float = 0.0) -> Pace:
    """The pace of a quota.

    Args:
        quota: The quota.
        caution: From 0.0, the default, to 1.0: the widest guard, and no burst beyond pacing.

    >>> pace_of(Quota(600, 60.0)).burst, pace_of(Quota(50, 60.0)).burst
    (50.0, 10.0)
    >>> [most for _, most in pace_of(Quota(1.5, 1.0)).spans]
    [2.0, 3.0]
    """
    rate, period = float(quota.rate), float(quota.period)
    if rate < 1.0:  # no whole unit would ever fit into one period
        rate, period = 1.0, period / rate
    guard = GUARD
    burst = capacity = enough = rate
    sized = False
    if quota.capacity is not None:
        burst = capacity = enough = float(quota.capacity)
    elif period <= LONGEST_PACED_PERIOD:
        guard = min(SHORT_GUARD, max(GUARD, GUARD_SECONDS / period))
        guard += (WIDE_GUARD - guard) * caution
        if period <= SHORT_PERIOD:
            enough = min(rate, max(1.0, SHORT_STEP * rate))
            capacity = min(rate, enough + rate * LATE_SECONDS / period)
        else:
            capacity = enough = max(1.0, rate * min(1.0, BURST_SECONDS / period))
            burst = max(capacity, min(BURST_CALLS, rate))
            sized = caution == 0.0
        burst -= (burst - capacity) * caution
    seconds = period * (1.0 + guard)
    return Pace(_spans(rate, seconds, burst), rate / seconds, burst, capacity, enough, sized)


def _spans(rate: float, seconds: float, burst: float) -> tuple[tuple[float, float], ...]:
    """The windows of a rate. 1.5 per second is at most 2 in one second, and 3 in two."""
    whole = math.ceil(rate)
    if rate == whole or burst >= whole:
        return ((seconds, max(rate, burst)),)
    several = Fraction(rate).limit_denominator(MOST_PERIODS)
    long = several.numerator / rate * seconds, max(rate, float(several.numerator))
    return (long,) if several.denominator == 1 else ((seconds, float(whole)), long)
