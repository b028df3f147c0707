"""How a quota is kept: the windows that are counted, and the bucket that spreads calls within them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from callgate.policies.limit.quota import Quota

__all__ = ["BURST_CALLS", "Pace", "pace_of"]

# Between a send and the provider's count lies a network whose delay varies. Windows are counted this much
# longer than the period, and the refill is slowed alike, so 99.6 % of a quota can be used. A short period
# needs up to 10 ms, but never more than 1 % of it.
GUARD: Final = 0.004
GUARD_SECONDS: Final = 0.010
SHORT_GUARD: Final = 0.01
# The guard after 429s that came although the quota was kept.
WIDE_GUARD: Final = 0.05
# Bursts, in seconds of the rate and in calls; a window that is empty may begin with the larger of them.
BURST_SECONDS: Final = 5.0
BURST_CALLS: Final = 10.0
# Periods up to this (seconds) may begin with all of the rate at once, and are then paced by steps of this
# share of it. A provider that counts them to the millisecond would see a second burst overlap the first.
SHORT_PERIOD: Final = 1.0
SHORT_STEP: Final = 0.05
# A bucket that is full refills no more, so it holds this much (seconds of the rate) for late timers.
LATE_SECONDS: Final = 0.05
# Periods longer than this are stocks to be spent, by the day or the month; pacing would only waste time.
LONGEST_PACED_PERIOD: Final = 3600.0
# A rate that is no whole number is also counted over this many periods at most.
MOST_PERIODS: Final = 100


@dataclass(frozen=True, slots=True)
class Pace:
    """The parameters of a `RateWindow`.

    Attributes:
        spans: The windows that are counted, the shortest first: seconds, and the most units they may hold.
        refill: Units a second that the bucket gets.
        burst: Units in the bucket when a window begins empty.
        capacity: Units up to which it refills.
        enough: A call that costs more needs no more than this in the bucket, and leaves a debt.
        sized: Whether a window that begins empty may start with ten calls like its first one.
    """

    spans: tuple[tuple[float, float], ...]
    refill: float
    burst: float
    capacity: float
    enough: float
    sized: bool

    @property
    def ceiling(self) -> float:
        """The most that one call may cost."""
        return self.spans[0][1]


def pace_of(quota: Quota, caution: float = 0.0) -> Pace:
    """How a quota is kept.

    Args:
        quota: The quota.
        caution: From 0, the usual, to 1: with the widest guard, and no burst beyond pacing.

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
    """The windows of a rate. 1.5 a second is at most 2 in one second, and 3 in two."""
    whole = math.ceil(rate)
    if rate == whole or burst >= whole:
        return ((seconds, max(rate, burst)),)
    several = Fraction(rate).limit_denominator(MOST_PERIODS)
    long = several.numerator / rate * seconds, max(rate, float(several.numerator))
    return (long,) if several.denominator == 1 else ((seconds, float(whole)), long)
