"""One resource's rate: how long a cost must wait so that no window ever holds more than was promised.

Two constraints hold at once. A *bucket* paces: it keeps bursts short, because some providers split their
minute into seconds. A *sliding log* keeps the promise exactly: a bucket alone lets nearly twice the rate
through the first window (its capacity, and what is refilled meanwhile).
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

from callgate.control.quota import Quota

__all__ = ["RateWindow", "Slot"]

# Between our admission and the provider's own count lies a network whose delay varies. The log looks back a
# little longer than the period, and the refill is slowed alike: 99.6 % of the quota can be used.
GUARD: Final = 1.004
# The log forgets in steps of 1/2048 of a period, so its memory is bounded whatever the rate; the latest
# admission of a step stands for all of it, which errs by at most 0.05 %, on the safe side.
SLOTS_PER_PERIOD: Final = 2048
# Periods longer than a second are paced: the bucket holds this many seconds' worth.
PACED_BURST_SECONDS: Final = 5.0
# Windows longer than this are stocks to be spent, by the day or the month, and pacing would only waste time.
LONGEST_PACED_PERIOD: Final = 3600.0
# A wait shorter than this is rounded up: adding less to a monotonic clock may not move it at all.
SHORTEST_WAIT: Final = 1e-6
# Of the capacity; what adding and subtracting floats may have lost.
TOLERANCE: Final = 1e-9


class Slot:
    """A step of the log: what was admitted in it, stamped with its latest admission."""

    __slots__ = ("amount", "first", "live", "stamp")

    def __init__(self, amount: float, now: float) -> None:
        self.amount = amount
        self.first = now
        self.stamp = now
        self.live = True


class RateWindow:
    """The rate of one resource. It does no I/O and has no clock: `now`, in seconds, is passed in.

    Times must not run backwards; an earlier `now` is read as the latest one seen. It is not thread-safe.

    Args:
        quota: What is granted.
        now: The present moment.
        level: Units in the bucket at the start; None: full.

    >>> window = RateWindow(Quota(rate=2, period=1.0), now=0.0)
    >>> window.wait(2, now=0.0)
    0.0
    >>> slot = window.take(2, now=0.0)
    >>> round(window.wait(1, now=0.0), 3)
    1.004
    """

    __slots__ = (
        "_at",
        "_bucket_floor",
        "_burst",
        "_ceiling",
        "_charged",
        "_full",
        "_level",
        "_quota",
        "_refill",
        "_slots",
        "_span",
        "_step",
        "_tail",
        "_used",
        "_withheld",
        "_withheld_until",
    )

    def __init__(self, quota: Quota, now: float, *, level: float | None = None) -> None:
        self._slots: deque[Slot] = deque()
        self._tail: Slot | None = None
        self._used = 0.0  # the sum of the log
        self._charged = 0.0  # everything ever taken, less what came back
        self._withheld = 0.0  # taken out of the bucket by news, until `_withheld_until`
        self._withheld_until = math.inf
        self._at = now
        self._set(quota)
        self._level = self._burst if level is None else min(level, self._burst)

    def _set(self, quota: Quota) -> None:
        rate, period = float(quota.rate), float(quota.period)
        if rate < 1.0:  # no whole unit would ever fit into one period
            rate, period = 1.0, period / rate
        self._quota = quota
        self._span = period * GUARD
        self._refill = rate / self._span
        self._step = period / SLOTS_PER_PERIOD
        if quota.capacity is not None:
            self._burst = float(quota.capacity)
        elif period <= 1.0 or period > LONGEST_PACED_PERIOD:
            self._burst = rate
        else:
            self._burst = max(1.0, rate * min(1.0, PACED_BURST_SECONDS / period))
        self._ceiling = max(rate, self._burst)
        self._full = self._ceiling * (1.0 + TOLERANCE)
        self._bucket_floor = -self._ceiling

    @property
    def quota(self) -> Quota:
        """What is granted at present."""
        return self._quota

    @property
    def ceiling(self) -> float:
        """The most that one window may hold; a larger cost can never be admitted."""
        return self._ceiling

    @property
    def charged(self) -> float:
        """Everything taken since the start less everything given back, in units."""
        return self._charged

    def level(self, now: float) -> float:
        """Units that could be taken at once; negative when settling has run into debt."""
        self._advance(now)
        return min(self._level, self._ceiling - self._used)

    def used(self, now: float) -> float:
        """Units that the window ending now holds."""
        self._advance(now)
        return self._used

    def wait(self, cost: float, now: float) -> float:
        """Seconds until `cost` can be taken: 0.0 for now, infinity for never.

        It is exact as long as nothing else is taken, settled or learned meanwhile; look again then. A cost
        that is not positive waits for nothing.
        """
        if cost <= 0.0:
            return 0.0
        self._advance(now)
        burst = self._burst
        need = cost if cost < burst else burst
        if self._level >= need - need * TOLERANCE and self._used + cost <= self._full:
            return 0.0
        if not cost <= self._full:  # too large, or not a number
            return math.inf
        return max(self._bucket_wait(need), self._log_wait(cost), SHORTEST_WAIT)

    def take(self, cost: float, now: float) -> Slot | None:
        """Debit `cost`, which `wait` has found admissible, and give the place in the log to settle it by.

        A cost between the burst and the ceiling leaves the bucket in debt: it was full, and so a large call
        is neither starved nor does it buy more than its share.
        """
        if not cost > 0.0:
            return None
        if now > self._at:
            self._advance(now)
        self._level -= cost
        self._charged += cost
        self._used += cost
        return self._record(cost)

    def reserve(self, cost: float, now: float) -> float:
        """Debit `cost` at the earliest moment it fits behind all earlier reservations.

        Returns:
            Seconds from `now` to that moment; infinity when it can never be, and then nothing is debited.
        """
        at = max(now, self._at)
        while (wait := self.wait(cost, at)) > 0.0:
            if wait == math.inf:
                return wait
            at += wait
        self.take(cost, at)
        return at - now

    def eta(self, ahead: float, cost: float, now: float) -> float:
        """A lower bound of the seconds until `cost` fits, with `ahead` units to be admitted before it."""
        if cost <= 0.0:
            return 0.0
        self._advance(now)
        bucket = self._bucket_wait(ahead + min(cost, self._burst))
        # Whatever comes, each window back from that moment holds at most the ceiling.
        windows = max(0, math.ceil((ahead + cost) / self._full) - 1)
        log = self._log_wait(ahead + cost - windows * self._ceiling) + windows * self._span
        return max(bucket, log, 0.0)

    def settle(self, slot: Slot | None, estimate: float, actual: float, now: float) -> float:
        """Put the actual cost in the estimate's place; more than estimated makes a debt.

        Args:
            slot: What `take` gave.
            estimate: What is charged for the call at present.
            actual: What it has cost. A value that is no cost (negative, infinite, not a number) is ignored.
            now: The present moment.

        Returns:
            What is charged for the call from now on: the estimate of the next settlement.
        """
        if not 0.0 <= actual < math.inf:
            return estimate
        change = actual - estimate
        if change == 0.0:
            return actual
        self._advance(now)
        if slot is None and change < 0.0:
            return actual  # nothing was taken for it here
        # One window pays for any debt: the log remembers the rest of it for exactly as long.
        self._level = max(min(self._level - change, self._burst), self._bucket_floor)
        self._charged += change
        if slot is not None and slot.live:
            slot.amount += change
            self._used += change
        elif change > 0.0:  # its window has passed, what came on top is news of this one
            self._used += change
            self._record(change)
        return actual

    def refund(self, slot: Slot | None, charged: float, now: float) -> None:
        """Give all of it back: the call was surely never sent."""
        self.settle(slot, charged, 0.0, now)

    def tighten(
        self,
        remaining: float,
        reset_after: float | None,
        now: float,
        reserved_since: float = 0.0,
        sent_at: float | None = None,
    ) -> None:
        """Take the provider's word that only `remaining` units were left. It never loosens.

        Args:
            remaining: Units left when the provider looked at the call in question.
            reset_after: Seconds until its count is back at the limit; what these news take out of the bucket
                comes back then.
            now: The present moment.
            reserved_since: Units debited here since that call was sent: the provider had not seen them.
            sent_at: When it was sent. The provider's count has recovered since then as ours has; without
                this, slow answers under full load would look like a quota that is used up.
        """
        if not remaining < math.inf:
            return
        self._advance(now)
        recovered = 0.0 if sent_at is None else max(0.0, now - sent_at) * self._refill
        left = max(max(remaining, 0.0) + recovered - reserved_since, self._bucket_floor)
        taken = max(0.0, self._level - left)
        self._level -= taken
        if reset_after is not None and 0.0 <= reset_after < math.inf:
            self._withheld += taken
            self._withheld_until = self._at + reset_after

    def configure(self, quota: Quota, now: float) -> None:
        """Change the quota. What was admitted before stays in the log and counts against the new one."""
        if quota == self._quota:
            return
        self._advance(now)
        idle = self._level >= self._burst
        self._set(quota)
        self._level = self._burst if idle else min(self._level, self._burst)
        self._tail = None  # the step may be another one now
        self._advance(now)

    def retire(self) -> None:
        """Forget the log: calls admitted under it must not be settled against another one."""
        for slot in self._slots:
            slot.live = False
        self._slots.clear()
        self._tail = None
        self._used = 0.0

    def _advance(self, now: float) -> None:
        at = self._at
        if now > at:
            self._at = now
            if now >= self._withheld_until:
                self._level += self._withheld
                self._withheld = 0.0
                self._withheld_until = math.inf
            level = self._level + (now - at) * self._refill
            self._level = level if level < self._burst else self._burst
        slots = self._slots
        if slots:
            horizon = self._at - self._span
            while slots and slots[0].stamp <= horizon:
                slot = slots.popleft()
                slot.live = False
                self._used -= slot.amount
            if not slots:
                self._used = 0.0  # and with it whatever floats have lost

    def _record(self, amount: float) -> Slot:
        now = self._at
        slot = self._tail
        if slot is not None and slot.live and now - slot.first < self._step:
            slot.stamp = now
            slot.amount += amount
        else:
            slot = self._tail = Slot(amount, now)
            self._slots.append(slot)
        return slot

    def _bucket_wait(self, need: float) -> float:
        missing = need - self._level
        if missing <= 0.0:
            return 0.0
        wait = missing / self._refill
        if self._withheld > 0.0:
            return min(wait, max(0.0, self._withheld_until - self._at))
        return wait

    def _log_wait(self, cost: float) -> float:
        excess = self._used + cost - self._full
        if excess <= 0.0:
            return 0.0
        stamp = self._at
        for slot in self._slots:
            excess -= slot.amount
            if excess <= 0.0:
                stamp = slot.stamp
                break
        else:
            stamp = self._slots[-1].stamp if self._slots else stamp - self._span
        return stamp + self._span - self._at
