"""An independent judge of rate limiting: a window slid over what was admitted. It shares no code.

It knows nothing of buckets, logs or guards: it is given moments and amounts, and says what the fullest window
held. Any limiter of the project may be judged by it::

    worst = fullest_window(admissions, period=60.0)
    assert worst.amount <= 600, worst
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple


class Admission(NamedTuple):
    """So many units at one moment, in seconds."""

    at: float
    amount: float


class Window(NamedTuple):
    """What was admitted from `start` to `end`, both moments included."""

    start: float
    end: float
    amount: float


class Settled(NamedTuple):
    """A call that was admitted with an estimate; its real cost became known later (None: never)."""

    at: float
    estimate: float
    known_at: float | None
    actual: float


def fullest_window(admissions: Iterable[Admission], period: float, since: float = -math.inf) -> Window:
    """The window of `period` seconds, both its ends included, holding most, of those ending from `since` on.

    A fullest window can always be moved until it ends at an admission, so only these need to be looked at.
    """
    ordered = sorted(admissions)
    times = [admission.at for admission in ordered]
    sums = [0.0, *accumulate(admission.amount for admission in ordered)]
    worst = Window(0.0, 0.0, 0.0)
    for index in range(bisect_left(times, since), len(times)):
        end = times[index]
        first = bisect_left(times, end - period)
        amount = sums[index + 1] - sums[first]
        if amount > worst.amount:
            worst = Window(times[first], end, amount)
    return worst


def fullest_known_window(calls: Iterable[Settled], period: float) -> Window:
    """The fullest window as it looked when it was added to: actual costs where they were known then."""
    enter, learn, leave = 1, 0, 2  # at one moment: what is known first; a window includes both of its ends
    events: list[tuple[float, int, int, float]] = []
    for number, call in enumerate(calls):
        events.append((call.at, enter, number, call.estimate))
        known = call.known_at is not None and call.known_at <= call.at + period
        if known:
            assert call.known_at is not None
            events.append((call.known_at, learn, number, call.actual - call.estimate))
        events.append((call.at + period, leave, number, -(call.actual if known else call.estimate)))
    # A cost that is known at the very moment of admission must not be learned before it.
    events.sort(key=lambda event: (event[0], event[1]))
    worst = Window(0.0, 0.0, 0.0)
    held = 0.0
    for at, kind, _, change in events:
        held += change
        if kind == enter and held > worst.amount:
            worst = Window(at - period, at, held)
    return worst


def utilisation(admissions: Sequence[Admission], per_second: float, start: float, end: float) -> float:
    """The share of the quota that was used from `start` to `end`."""
    used = sum(admission.amount for admission in admissions if start <= admission.at < end)
    return used / (per_second * (end - start))


def inversions(order_of_coming: Iterable[int]) -> int:
    """How often somebody was served after one who had come later, given the numbers in order of service."""
    latest, count = -1, 0
    for number in order_of_coming:
        if number < latest:
            count += 1
        latest = max(latest, number)
    return count
