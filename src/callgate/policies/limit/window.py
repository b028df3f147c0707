"""One resource's rate: how long a cost must wait so that no window ever holds more than was promised.

Two constraints hold at once. A *bucket* paces: it keeps bursts short, because some providers split their
minute into seconds. A *sliding log* keeps the promise exactly: a bucket alone lets nearly twice the rate
through the first window (its capacity, and what is refilled meanwhile).
"""

from __future__ import annotations

import math
from typing import Final, TypeAlias

from callgate.policies.limit.log import GONE, Slot, Span
from callgate.policies.limit.pace import BURST_CALLS, pace_of
from callgate.policies.limit.quota import Quota

__all__ = ["Charge", "RateWindow"]

# The log forgets in steps of 1/2048 of a period, so its memory is bounded whatever the rate; the latest
# admission of a step stands for all of it, which errs by at most 0.05 %, on the safe side.
SLOTS_PER_PERIOD: Final = 2048
# A wait shorter than this (seconds) is rounded up: adding less to a monotonic clock may not move it at all.
SHORTEST_WAIT: Final = 1e-6
# Of the capacity; what adding and subtracting floats may have lost.
TOLERANCE: Final = 1e-9
ENOUGH: Final = 1.0 - TOLERANCE
# What a 429 adds to the caution at least, and what each clean window takes off it.
LEAST_CAUTION: Final = 0.25
RELIEF: Final = 0.05

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

    >>> window = RateWindow(Quota(rate=2, period=60.0), now=0.0)
    >>> window.wait(2, now=0.0)
    0.0
    >>> charge = window.take(2, now=0.0)
    >>> round(window.wait(1, now=0.0), 2)
    60.24
    """

    __slots__ = (
        "_at", "_burst", "_capacity", "_caution", "_charged", "_empty", "_enough", "_full", "_level",
        "_next", "_quiet_since", "_quota", "_raised_at", "_refill", "_sized", "_spans", "_step", "_tail",
        "_unsent", "_withheld", "_withheld_until", "ceiling",
    )  # fmt: skip

    def __init__(self, quota: Quota, now: float, *, level: float | None = None) -> None:
        self._spans: tuple[Span, ...] = ()
        self._tail: Slot | None = None
        self._empty = True  # nothing is in the log
        self._unsent = Slot(0.0, math.inf)  # admitted, and not on its way yet: in all spans, however long
        self._charged = 0.0  # everything ever taken, less what came back
        self._withheld = 0.0  # taken out of the bucket by news, until `_withheld_until`
        self._withheld_until = math.inf
        self._caution = 0.0
        self._raised_at = -math.inf  # when a 429 raised the caution last
        self._quiet_since = -math.inf  # since when there was no 429, and no relief for that
        self._at = now
        self._next = math.inf  # when something besides the refill is due
        self._set(quota)
        self._level = self._burst if level is None else min(level, self._burst)

    def _set(self, quota: Quota) -> None:
        pace = pace_of(quota, self._caution)
        self._quota = quota
        self._refill = pace.refill
        self._step = pace.spans[0][0] / SLOTS_PER_PERIOD
        self._burst = pace.burst
        self._capacity = pace.capacity
        self._enough = pace.enough
        self._sized = pace.sized
        self.ceiling = pace.ceiling
        former, last = self._spans, len(pace.spans)
        self._spans = tuple(
            Span(seconds, most, TOLERANCE, GONE if age == last else age)
            for age, (seconds, most) in enumerate(pace.spans, 1)
        )
        self._full = self._spans[0].full
        if former:
            for slot in former[-1].slots:
                slot.age = 0
            for span in self._spans:
                span.slots.extend(former[-1].slots)
                span.used = self._unsent.amount + sum(slot.amount for slot in span.slots)

    @property
    def quota(self) -> Quota:
        """What is granted at present."""
        return self._quota

    @property
    def charged(self) -> float:
        """Everything taken since the start less everything given back, in units."""
        return self._charged

    def level(self, now: float) -> float:
        """Units that could be taken at once; negative when settling has run into debt."""
        self._advance(now)
        return min(self._level, *(span.ceiling - span.used for span in self._spans))

    def used(self, now: float) -> float:
        """Units that the window ending now holds."""
        self._advance(now)
        return self._spans[0].used

    def wait(self, cost: float, now: float) -> float:
        """Seconds until `cost` can be taken: 0.0 for now, infinity for never.

        It is exact as long as nothing else is taken, settled or learned meanwhile; look again then. A cost
        that is not positive waits for nothing.
        """
        if cost <= 0.0:
            return 0.0
        if now > self._at:
            self._advance(now)
        need = cost if cost < self._enough else self._enough
        if self._level >= need * ENOUGH:
            for span in self._spans:
                if not span.used + cost <= span.full:
                    break
            else:
                return 0.0
        if not cost <= self._full:  # too large, or not a number
            return math.inf
        at = self._at
        return max(self._bucket_wait(need), SHORTEST_WAIT, *(span.wait(cost, at) for span in self._spans))

    def take(self, cost: float, now: float) -> Charge:
        """Debit `cost`, which `wait` has found admissible, and return what it can be settled by.

        A cost above what a paced call needs leaves the bucket in debt: a large call is not starved, and does
        not buy more than its share.
        """
        spans = self._spans
        if not cost > 0.0:
            return self, None, self._charged, spans[0].used
        if now > self._at:
            self._advance(now)
        if self._empty:
            self._empty = False
            if self._sized and self._level >= self._burst * ENOUGH:
                self._level = max(self._level, min(BURST_CALLS * cost, self.ceiling))
        self._level -= cost
        self._charged += cost
        for span in spans:
            span.used += cost
        return self, self._record(cost), self._charged, spans[0].used

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
        bucket = 0.0
        if total > self._level and not self._empty:
            # Nothing costs nothing, but the last of those ahead may be a large one that leaves a debt.
            last = min(cost, self._enough) if cost > 0.0 else self._enough - self.ceiling
            bucket = self._bucket_wait(ahead + last)
            span = self._spans[0]
            room = span.ceiling - span.used
            if total > room and span.slots:
                # Until the log forgets something the bucket gets no further than its capacity.
                beyond = ahead + last - room - max(self._capacity, self._level)
                bucket = max(bucket, span.next_forgotten - self._at + max(0.0, beyond) / self._refill)
        log = 0.0
        for span in self._spans:
            # Whatever comes, each window back from that moment holds at most the ceiling.
            windows = max(0, math.ceil(total / span.full) - 1)
            log = max(log, span.wait(total - windows * span.ceiling, self._at) + windows * span.seconds)
        return max(bucket, log, 0.0)

    def hold(self, slot: Slot | None, amount: float, now: float) -> Slot | None:
        """Count an admitted `amount` in every window until it is sent, however long that takes.

        Returns:
            The place in the log that replaces `slot`.
        """
        if slot is None:
            return None
        self._leave(slot, amount, now)
        self._unsent.amount += amount
        return self._unsent

    def sent(self, slot: Slot | None, amount: float, now: float) -> Slot | None:
        """Count an admitted `amount` as sent now, not when it was admitted.

        Returns:
            The place in the log that replaces `slot`.
        """
        if slot is None:
            return None
        if slot is self._tail and now - slot.first < self._step:  # it would come back to the same place
            self._advance(now)
            slot.stamp = self._at
            return slot
        self._leave(slot, amount, now)
        return self._record(amount)

    def _leave(self, slot: Slot, amount: float, now: float) -> None:
        self._advance(now)
        slot.amount -= amount
        for span in self._spans[: slot.age]:
            span.used += amount  # it had left this window, and is in it again

    def settle(self, slot: Slot | None, charged: float, actual: float, now: float) -> None:
        """Put the actual cost in the place of what is charged; more than that makes a debt.

        Args:
            slot: The place in the log that `take` (or `hold`, or `sent`) returned.
            charged: What is charged for the call at present: its estimate, or what it was last settled with.
            actual: What it has cost; 0.0 gives all of it back, for a call that was certainly never sent.
            now: The present moment.
        """
        change = actual - charged
        if change == 0.0:
            return
        if now > self._at:
            self._advance(now)
        # One window pays for any debt: the log remembers the rest of it for exactly as long.
        level = self._level - change
        if change < 0.0:
            level = max(self._level, min(level, self._burst))
        self._level = max(level, -self.ceiling)
        self._charged += change
        if slot is not None and (slot.age == 0 or change < 0.0):
            slot.amount += change
            for span in self._spans[slot.age :]:
                span.used += change
        elif change > 0.0:  # its window has passed; what came on top counts in this one
            for span in self._spans:
                span.used += change
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

        What was left then is carried forward to the present, as a bucket would have gone on (refilled, less
        what was reserved since) and as a sliding window would have (less what the log has grown); providers
        are of either kind, and the kinder reading rules. Without this, slow answers under full load would
        look like a quota that is used up.

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
        allowed = self.level(now)
        refilled = 0.0 if sent_at is None else max(0.0, now - sent_at) * self._refill
        grown = reserved_since if used_since is None else used_since
        left = max(remaining, 0.0) - min(reserved_since - refilled, grown)
        taken = min(max(0.0, allowed - left), self._level + self.ceiling)
        self._level -= taken
        if reset_after is not None and 0.0 <= reset_after < math.inf:
            self._withheld += taken
            self._withheld_until = self._at + reset_after
            self._next = min(self._next, self._withheld_until)

    def pushed_back(self, now: float) -> None:
        """Take a 429 that came although the quota was kept: widen the guard and shrink the burst.

        Counts once in a window. Each window without one takes a little of the caution back.
        """
        self._advance(now)
        self._quiet_since = self._at
        if self._caution == 0.0 or self._at - self._raised_at >= self._spans[0].seconds:
            self._raised_at = self._at
            self._be_cautious(min(1.0, max(LEAST_CAUTION, 2.0 * self._caution)))

    def _be_cautious(self, caution: float) -> None:
        self._caution = caution
        self._set(self._quota)
        self._level = min(self._level, self._burst)
        self._turn(self._at)

    def configure(self, quota: Quota, now: float) -> None:
        """Change the quota. What was admitted before stays in the log and counts against the new one."""
        if quota == self._quota:
            return
        self._advance(now)
        idle = self._level >= self._burst
        self._set(quota)
        self._level = self._burst if idle else min(self._level, self._capacity)
        self._turn(self._at)

    def _advance(self, now: float) -> None:
        """Refill the bucket: to the size of a burst while the log is empty, else to what pacing needs."""
        if now <= self._at:
            return
        if now >= self._next:
            self._turn(now)
        top = self._burst if self._empty else self._capacity
        if self._level < top:
            level = self._level + (now - self._at) * self._refill
            self._level = level if level < top else top
        self._at = now

    def _turn(self, now: float) -> None:
        """Do what is due besides the refill: the log forgets, the bucket gets back what news withheld."""
        if now >= self._withheld_until:
            self._level = max(self._level, min(self._level + self._withheld, self._burst))
            self._withheld = 0.0
            self._withheld_until = math.inf
        self._next = self._withheld_until
        for span in self._spans:
            span.forget(now)
            if span.slots:
                self._next = min(self._next, span.next_forgotten)
            else:
                span.used = self._unsent.amount  # and with the rest goes what floats have lost
        latest = None if self._empty else self._tail
        if latest is not None and not (self._spans[-1].slots or self._unsent.amount > 0.0):
            self._advance(min(now, latest.stamp + self._spans[-1].seconds))  # nothing is due by then
            self._empty = True
        quiet, seconds = now - self._quiet_since, self._spans[0].seconds
        if self._caution and quiet >= seconds:
            self._quiet_since = now
            self._be_cautious(max(0.0, self._caution - RELIEF * (quiet // seconds)))

    def _record(self, amount: float) -> Slot:
        now = self._at
        slot = self._tail
        if slot is not None and slot.age == 0 and now - slot.first < self._step:
            slot.stamp = now
            slot.amount += amount
        else:
            slot = self._tail = Slot(amount, now)
            for span in self._spans:
                span.slots.append(slot)
            self._next = min(self._next, now + self._spans[0].seconds)
        return slot

    def _bucket_wait(self, need: float) -> float:
        missing = need - self._level
        if missing <= 0.0:
            return 0.0
        wait = missing / self._refill
        if self._withheld > 0.0:
            return min(wait, max(0.0, self._withheld_until - self._at))
        return wait
