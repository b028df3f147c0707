"""The log of a `RateWindow`: units admitted recently (`Slot`), and windows that slide over it (`Span`)."""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["GONE", "Slot", "Span"]

GONE: Final = 1000


class Slot:
    """An interval of the log. All its units count as admitted at its latest admission.

    Attributes:
        amount: Units.
        first, stamp: The times of its first and its latest admission, in seconds.
        age: The number of spans, from the shortest, that no longer contain it; `GONE` for all.
    """

    __slots__ = ("age", "amount", "first", "stamp")

    def __init__(self, amount: float, now: float) -> None:
        self.amount = amount
        self.first = now
        self.stamp = now
        self.age = 0


class Span:
    """A window that slides over the log.

    Args:
        seconds: Its length.
        ceiling: The most units that it may hold.
        tolerance: Share of the ceiling for rounding errors of floats.
        age: The age of slots that it no longer contains.

    Attributes:
        seconds: Its length.
        ceiling: The most units that it may hold.
        full: The ceiling with the tolerance.
        used: Units that it holds now.
        slots: The slots that it contains, the oldest first.
    """

    __slots__ = ("_age", "ceiling", "full", "seconds", "slots", "used")

    def __init__(self, seconds: float, ceiling: float, tolerance: float, age: int) -> None:
        self.seconds = seconds
        self.ceiling = ceiling
        self.full = ceiling * (1.0 + tolerance)
        self.used = 0.0
        self._age = age
        self.slots: deque[Slot] = deque()

    @property
    def next_forgotten(self) -> float:
        """When its oldest slot leaves it. It must have a slot."""
        return self.slots[0].stamp + self.seconds

    def forget(self, now: float) -> None:
        """Remove slots that are older than the span."""
        slots, horizon = self.slots, now - self.seconds
        while slots and slots[0].stamp <= horizon:
            slot = slots.popleft()
            slot.age = self._age
            self.used -= slot.amount

    def wait(self, cost: float, now: float) -> float:
        """Seconds until it has room for `cost`, which is at most its ceiling."""
        excess = self.used + cost - self.full
        if excess <= 0.0:
            return 0.0
        for slot in self.slots:
            excess -= slot.amount
            if excess <= 0.0:
                return slot.stamp + self.seconds - now
        # The rest was not sent yet, and counts for a whole span once it is.
        return self.seconds if self.used > 0.0 else 0.0
