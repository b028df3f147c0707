"""One resource's rate: how long a cost must wait so that no window ever holds more than was promised.

Two constraints hold at once. A *bucket* paces: it keeps bursts short, because some providers split their
minute into seconds. A *sliding log* keeps the promise exactly: a bucket alone lets nearly twice the rate
through the first window (its capacity, and what is refilled meanwhile).
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final, TypeAlias

from callgate.policies.limit.quota import Quota

__all__ = ["Charge", "RateWindow", "Slot"]

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
ENOUGH: Final = 1.0 - TOLERANCE


class Slot:
    """A step of the log: what was admitted in it, stamped with its latest admission."""

    __slots__ = ("amount", "first", "live", "stamp")

    def __init__(self, amount: float, now: float) -> None:
        self.amount = amount
        self.first = now
        self.stamp = now
        self.live = True


# Where a cost was debited: the window, the place in its log, and just after it the window's running charges
# and what the log held.
Charge: TypeAlias = "tuple[RateWindow, Slot | None, float, float]"


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
    >>> charge = window.take(2, now=0.0)
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
        "_next",
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
        self._next = math.inf  # when something besides the refill is due
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
        if now > self._at:
            self._advance(now)
        need = cost if cost < self._burst else self._burst
        if self._level >= need * ENOUGH and self._used + cost <= self._full:
            return 0.0
        if not cost <= self._full:  # too large, or not a number
            return math.inf
        return max(self._bucket_wait(need), self._log_wait(cost), SHORTEST_WAIT)

    def take(self, cost: float, now: float) -> Charge:
        """Debit `cost`, which `wait` has found admissible, and give what it can be settled by.

        A cost between the burst and the ceiling leaves the bucket in debt: it was full, and so a large call
        is neither starved nor does it buy more than its share.
        """
        if not cost > 0.0:
            return self, None, self._charged, self._used
        if now > self._at:
            self._advance(now)
        self._level -= cost
        self._used += cost
        self._charged += cost
        return self, self._record(cost), self._charged, self._used

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
        self._advance(now)
        total = ahead + max(cost, 0.0)
        if total <= self._level and total + self._used <= self._full:
            return 0.0
        # Nothing costs nothing, but the last of those ahead may be a large one that leaves a debt.
        last = min(cost, self._burst) if cost > 0.0 else self._burst - self._ceiling
        bucket = self._bucket_wait(ahead + last)
        # Whatever comes, each window back from that moment holds at most the ceiling.
        windows = max(0, math.ceil(total / self._full) - 1)
        log = self._log_wait(total - windows * self._ceiling) + windows * self._span
        return max(bucket, log, 0.0)

    def settle(self, slot: Slot | None, charged: float, actual: float, now: float) -> None:
        """Put the actual cost in the place of what is charged; more than that makes a debt.

        Args:
            slot: What `take` gave.
            charged: What is charged for the call at present: its estimate, or what it was last settled with.
            actual: What it has cost; 0.0 gives all of it back, for a call that was surely never sent.
            now: The present moment.
        """
        change = actual - charged
        if change == 0.0:
            return
        self._advance(now)
        # One window pays for any debt: the log remembers the rest of it for exactly as long.
        self._level = max(min(self._level - change, self._burst), self._bucket_floor)
        self._charged += change
        if slot is not None and slot.live:
            slot.amount += change
            self._used += change
        elif change > 0.0:  # its window has passed, what came on top is news of this one
            self._used += change
            self._record(change)

    def tighten(
        self,
        remaining: float,
        reset_after: float | None,
        now: float,
        reserved_since: float = 0.0,
        *,
        sent_at: float | None = None,
        used_since: float | None = None,
    ) -> None:
        """Take the provider's word that only `remaining` units were left. It never loosens.

        What was left then is reckoned on to the present, as a bucket would have gone on (refilled, less what
        was reserved since) and as a sliding window would have (less what the log has grown); providers are of
        either kind, and the kinder reading rules. Without this, slow answers under full load would look like
        a quota that is used up.

        Args:
            remaining: Units left when the provider looked at the call in question.
            reset_after: Seconds until its count is back at the limit; what these news take out of the bucket
                comes back then.
            now: The present moment.
            reserved_since: Units debited here since that call was sent: the provider had not seen them.
            sent_at: When it was sent; None: just now.
            used_since: By how much the log has grown since; None: by what was reserved.
        """
        if not remaining < math.inf:
            return
        self._advance(now)
        refilled = 0.0 if sent_at is None else max(0.0, now - sent_at) * self._refill
        grown = reserved_since if used_since is None else used_since
        left = max(remaining, 0.0) - min(reserved_since - refilled, grown)
        allowed = min(self._level, self._ceiling - self._used)
        taken = min(max(0.0, allowed - left), self._level - self._bucket_floor)
        self._level -= taken
        if reset_after is not None and 0.0 <= reset_after < math.inf:
            self._withheld += taken
            self._withheld_until = self._at + reset_after
            self._next = min(self._next, self._withheld_until)

    def configure(self, quota: Quota, now: float) -> None:
        """Change the quota. What was admitted before stays in the log and counts against the new one."""
        if quota == self._quota:
            return
        self._advance(now)
        idle = self._level >= self._burst
        self._set(quota)
        self._level = self._burst if idle else min(self._level, self._burst)
        self._turn(self._at)

    def _advance(self, now: float) -> None:
        at = self._at
        if now > at:
            self._at = now
            level = self._level + (now - at) * self._refill
            self._level = level if level < self._burst else self._burst
            if now >= self._next:
                self._turn(now)

    def _turn(self, now: float) -> None:
        """Do what is due besides the refill: the log forgets, the bucket gets back what news withheld."""
        if now >= self._withheld_until:
            self._level = min(self._level + self._withheld, self._burst)
            self._withheld = 0.0
            self._withheld_until = math.inf
        slots = self._slots
        horizon = now - self._span
        while slots and slots[0].stamp <= horizon:
            slot = slots.popleft()
            slot.live = False
            self._used -= slot.amount
        if slots:
            self._next = min(slots[0].stamp + self._span, self._withheld_until)
        else:
            self._used = 0.0  # and with it whatever floats have lost
            self._next = self._withheld_until

    def _record(self, amount: float) -> Slot:
        now = self._at
        slot = self._tail
        if slot is not None and slot.live and now - slot.first < self._step:
            slot.stamp = now
            slot.amount += amount
        else:
            slot = self._tail = Slot(amount, now)
            self._slots.append(slot)
            self._next = min(self._next, now + self._span)
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
        stamp = self._at - self._span
        for slot in self._slots:
            stamp = slot.stamp
            excess -= slot.amount
            if excess <= 0.0:
                break
        return stamp + self._span - self._at
