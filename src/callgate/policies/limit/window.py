"""`RateWindow`: the rate of one resource, kept in every window of a period.

Two constraints apply together. A *bucket* keeps bursts short, because some providers divide their minute into
seconds. A *sliding log* keeps the rate exactly, because a bucket alone admits nearly twice the rate in the
first window (its capacity and the refill).
"""

from __future__ import annotations

import math
from typing import Final, TypeAlias

from callgate.policies.limit.log import GONE, Slot, Span
from callgate.policies.limit.pace import BURST_CALLS, pace_of
from callgate.policies.limit.quota import Quota

__all__ = ["Charge", "RateWindow"]

# The log has slots of 1/2048 of a period, so that its memory is bounded at any rate. All units of a slot
# count from its latest admission, which delays calls by at most 0.05 % of a period.
SLOTS_PER_PERIOD: Final = 2048
# Seconds. Shorter waits are rounded up, because adding less to a monotonic clock may not change it.
SHORTEST_WAIT: Final = 1e-6
# The share of the capacity for rounding errors of floats.
TOLERANCE: Final = 1e-9
ENOUGH: Final = 1.0 - TOLERANCE
# The least increase of the caution after a 429, and its decrease after each window without one.
LEAST_CAUTION: Final = 0.25
RELIEF: Final = 0.05

# A cost that was taken: the window, the slot of its log, and the window's total charges and used units just
# after it.
Charge: TypeAlias = "tuple[RateWindow, Slot | None, float, float]"


class RateWindow:
    """The rate of one resource. It does no I/O and has no clock: `now`, in seconds, is passed in.

    An earlier `now` counts as the latest one so far. Not thread-safe.

    Args:
        quota: The quota to keep.
        now: The present time.
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
        self._unsent = Slot(0.0, math.inf)  # admitted but not sent: counts in all spans
        self._charged = 0.0  # all units taken, less those returned
        self._withheld = 0.0  # units removed from the bucket by a report, until `_withheld_until`
        self._withheld_until = math.inf
        self._caution = 0.0
        self._raised_at = -math.inf  # when a 429 last raised the caution
        self._quiet_since = -math.inf  # the last 429 or decrease of the caution
        self._at = now
        self._next = math.inf  # when `_turn` is due
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
        """The quota in force."""
        return self._quota

    @property
    def charged(self) -> float:
        """All units taken since the start, less those returned."""
        return self._charged

    def level(self, now: float) -> float:
        """Units that can be taken now; negative after calls that cost more than estimated."""
        self._advance(now)
        return min(self._level, *(span.ceiling - span.used for span in self._spans))

    def used(self, now: float) -> float:
        """Units in the window that ends now."""
        self._advance(now)
        return self._spans[0].used

    def wait(self, cost: float, now: float) -> float:
        """Seconds until `cost` can be taken; infinity for never.

        Exact until something else is taken, settled or reported. 0.0 for a cost that is not positive.
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
        """Take `cost`, for which `wait` has returned 0.0; returns a charge for `settle`.

        A cost above `Pace.enough` leaves the bucket negative: a large call need not wait for a full bucket,
        and later calls wait until it is paid.
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
        """Take `cost` at the earliest time at which it fits, behind all earlier reservations.

        Returns:
            Seconds from `now` to that time; infinity if it never fits, and nothing is taken.
        """
        at = max(now, self._at)
        while (wait := self.wait(cost, at)) > 0.0:
            if wait == math.inf:
                return wait
            at += wait
        self.take(cost, at)
        return at - now

    def eta(self, ahead: float, cost: float, now: float) -> float:
        """A lower bound of the seconds until `cost` fits, if `ahead` units are admitted before it."""
        self._advance(now)
        total = ahead + max(cost, 0.0)
        bucket = 0.0
        if total > self._level and not self._empty:
            # A cost of 0 needs no units, but the last call ahead may be a large one that leaves the bucket
            # negative.
            last = min(cost, self._enough) if cost > 0.0 else self._enough - self.ceiling
            bucket = self._bucket_wait(ahead + last)
            span = self._spans[0]
            room = span.ceiling - span.used
            if total > room and span.slots:
                # Until a slot leaves the log, the bucket is bounded by its capacity.
                beyond = ahead + last - room - max(self._capacity, self._level)
                bucket = max(bucket, span.next_forgotten - self._at + max(0.0, beyond) / self._refill)
        log = 0.0
        for span in self._spans:
            # Each window before that time holds at most the ceiling.
            windows = max(0, math.ceil(total / span.full) - 1)
            log = max(log, span.wait(total - windows * span.ceiling, self._at) + windows * span.seconds)
        return max(bucket, log, 0.0)

    def hold(self, slot: Slot | None, amount: float, now: float) -> Slot | None:
        """Count an admitted `amount` in every window until it is sent.

        Returns:
            The slot that replaces `slot`.
        """
        if slot is None:
            return None
        self._leave(slot, amount, now)
        self._unsent.amount += amount
        return self._unsent

    def sent(self, slot: Slot | None, amount: float, now: float) -> Slot | None:
        """Count an admitted `amount` from now on, when it is sent, and not from its admission.

        Returns:
            The slot that replaces `slot`.
        """
        if slot is None:
            return None
        if slot is self._tail and now - slot.first < self._step:  # it would be in the same slot again
            self._advance(now)
            slot.stamp = self._at
            return slot
        self._leave(slot, amount, now)
        return self._record(amount)

    def _leave(self, slot: Slot, amount: float, now: float) -> None:
        self._advance(now)
        slot.amount -= amount
        for span in self._spans[: slot.age]:
            span.used += amount  # counted again in a window that it had left

    def settle(self, slot: Slot | None, charged: float, actual: float, now: float) -> None:
        """Replace the charged cost by the actual one, which may be higher.

        Args:
            slot: The slot that `take`, `hold` or `sent` returned.
            charged: The present charge of the call: its estimate, or the last settled cost.
            actual: The actual cost; 0.0 for a call that was certainly not sent.
            now: The present time.
        """
        change = actual - charged
        if change == 0.0:
            return
        if now > self._at:
            self._advance(now)
        # The bucket is at most one window's units below zero: the log counts the rest for as long.
        level = self._level - change
        if change < 0.0:
            level = max(self._level, min(level, self._burst))
        self._level = max(level, -self.ceiling)
        self._charged += change
        if slot is not None and (slot.age == 0 or change < 0.0):
            slot.amount += change
            for span in self._spans[slot.age :]:
                span.used += change
        elif change > 0.0:  # its window has passed, so the increase counts in this one
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
        """Lower the level to the `remaining` units that the provider reported for a call. Never raises it.

        The report is updated to the present in two ways: for a provider with a bucket (plus the refill, less
            the units
        reserved since) and for one with a sliding window (less the growth of the log). The higher result is
        used, because providers are of either kind. Without this, slow responses under full load would look
        like a quota that is used up.

        Args:
            remaining: Units that remained when the provider counted the call.
            reset_after: Seconds until the provider's count is at its limit again; the removed units return
                then.
            now: The present time.
            reserved_since: Units taken here since the call was sent, which the provider had not counted.
            sent_at: When the call was sent; None: now.
            used_since: The growth of the log since then; None: `reserved_since`.
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
        """Report a 429 that came although the quota was kept: widens the guard and shrinks the burst.

        Counts once in a window. Each window without a 429 reduces the caution.
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
        """Change the quota. Units admitted before stay in the log and count against the new one."""
        if quota == self._quota:
            return
        self._advance(now)
        idle = self._level >= self._burst
        self._set(quota)
        self._level = self._burst if idle else min(self._level, self._capacity)
        self._turn(self._at)

    def _advance(self, now: float) -> None:
        """Refill the bucket: up to the burst while the log is empty, else up to the capacity."""
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
        """Remove old slots from the log, return withheld units to the bucket, and reduce the caution."""
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
                span.used = self._unsent.amount  # clears the rounding errors of floats
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
