"""What a 429 means for other calls: whether their gate pauses (`Hold`), and for how long (`Pushback`)."""

from __future__ import annotations

import math
import random
from collections import deque
from typing import Final

__all__ = ["Hold", "Pushback"]

# The gate closes without a probe after 429s for IN_A_ROW calls in a row, or for half of the LATEST calls.
# Calls are counted in the order in which they were sent, because a 429 comes sooner than the answers to calls
# sent before it. With 5 % of random 429s this happens about once in 100,000 calls.
IN_A_ROW: Final = 4
LATEST: Final = 16
# A call that gets no 429 within PATIENCE times the latency of the last 429, plus PATIENCE_SECONDS, counts as
# answered: providers refuse at once, while an answer may take minutes.
PATIENCE: Final = 2.0
PATIENCE_SECONDS: Final = 0.05
# After this many 429s since the last pause that affected only one call, 429s are taken to be random. That of
# a probe may be random too, so a second probe must confirm it.
AT_RANDOM: Final = 3
# The least pause in seconds, also when Retry-After is zero or in the past: the first one, doubled with each
# further pause in a row, up to the longest.
LEAST_PAUSE: Final = 0.1
LONGEST_LEAST_PAUSE: Final = 1.0


class Hold:
    """Decides after a 429 whether a gate is closed. No I/O and no clock; a call is identified by its order.

    One 429 proves nothing about other calls. The gate is held until a call that was sent later than the
    refused one ends. If that call is answered, the gate opens. If no later call is in flight, or all of them
    get a 429, one call passes as a probe. If the probe gets a 429 too, the gate pauses (if 429s have been
    random: after a second probe). The gate pauses at once after several 429s among calls that were sent one
    after another, and when the provider reports that its quota is used up. After a pause, again one probe
    passes first.

    Attributes:
        held: True while all calls but a probe must wait.

    >>> hold = Hold()
    >>> hold.refused(1, now=0.2, seconds=0.2, granted=1, certain=False)
    False
    >>> hold.room(0.2)
    0.0
    >>> hold.granted(2, now=0.2)
    >>> hold.room(0.3) > 0.0
    True
    >>> hold.answered(2)
    False
    >>> hold.held
    False
    """

    __slots__ = (
        "_answered",
        "_confirmed",
        "_disproved",
        "_latest",
        "_patience",
        "_paused",
        "_probe",
        "_probe_is_extra",
        "_probe_until",
        "_refused",
        "held",
    )

    def __init__(self) -> None:
        self.held = False
        self._paused = False  # no call has been answered since the last pause
        self._refused = 0  # answers to calls up to this order prove nothing
        self._answered = 0  # the highest order of an answered call
        self._confirmed = 0  # probes that got a 429 since the gate was last open
        self._disproved = 0  # 429s since the last pause after which a later call was answered
        self._latest: deque[int] = deque(maxlen=LATEST // 2)  # orders of the latest refused calls
        self._patience = PATIENCE_SECONDS
        self._probe = 0  # the order of the call in flight that decides; 0: none
        self._probe_is_extra = False  # the probe was granted while the gate was held
        self._probe_until = math.inf

    def room(self, now: float) -> float:
        """Seconds until a probe may pass; 0.0 if it may pass now or the gate is open."""
        if self._probe:
            if now < self._probe_until:
                return self._probe_until - now
            self._open()
        return 0.0

    def granted(self, order: int, now: float) -> None:
        """Report that a call was granted while the gate is held: it is the probe."""
        self._probe = order
        self._probe_is_extra = True
        self._probe_until = now + self._patience

    def answered(self, order: int) -> bool:
        """Report a response other than a 429; returns True for the first one after a pause."""
        if order > self._answered:
            self._answered = order
        if not self._paused and not self.held:
            return False
        self.inconclusive(order)
        if order <= self._refused:
            return False
        if self.held:
            self._open()
        ended, self._paused = self._paused, False
        return ended

    def refused(
        self,
        order: int,
        now: float,
        seconds: float,
        granted: int,
        certain: bool,
        latest_sent_at: float | None = None,
    ) -> bool:
        """Report a 429; returns True if other calls would get one too, so that the gate must pause.

        Args:
            order: The order of the refused call.
            now: The time of the 429.
            seconds: The latency of the 429.
            granted: The order of the latest call that was granted.
            certain: True if the provider reports that its quota is used up.
            latest_sent_at: When the latest granted call was sent; None if it is not in flight.
        """
        self._latest.append(order)
        several = self._several()
        if order < self._answered and not (certain or several or self.held):
            return False  # a later call was already answered
        if order == self._probe and self._probe_is_extra:
            self._confirmed += 1
        if certain or several or self._confirmed > (self._disproved >= AT_RANDOM):
            self.held = self._paused = True
            self._probe = 0  # one in flight no longer counts: it was sent before the pause
            self._confirmed = self._disproved = 0
            self._refused = granted
            return True
        self.inconclusive(order)
        self._refused = max(self._refused, order)
        if self._probe:
            return False
        self._patience = PATIENCE * seconds + PATIENCE_SECONDS
        if latest_sent_at is not None and granted > self._refused:
            until = latest_sent_at + self._patience
            if until <= now:
                return False  # its 429 would have come by now
            self._probe, self._probe_until = granted, until
            self._probe_is_extra = False
        self.held = True
        return False

    def inconclusive(self, order: int) -> None:
        """Report that a call ended without a response: if it was the probe, another one may pass."""
        if order == self._probe:
            self._probe = 0

    def _several(self) -> bool:
        """True if the latest 429s were for calls that were sent (nearly) one after another."""
        refused = sorted(self._latest)
        count = len(refused)
        if count == self._latest.maxlen and refused[-1] - refused[0] < LATEST:
            return True
        return any(refused[n + IN_A_ROW - 1] - refused[n] < IN_A_ROW for n in range(count - IN_A_ROW + 1))

    def _open(self) -> None:
        self.held = False
        self._confirmed = 0
        self._disproved += not self._paused
        self._probe = 0
        self._latest.clear()


class Pushback:
    """The length of a gate's pauses: the Retry-After if there is one, otherwise exponential backoff.

    Args:
        rng: Source of the jitter.
        base, ceiling: Seconds of the first and of the longest pause without a Retry-After.
        longest: Seconds. A longer Retry-After ends its call (`RetryAfterTooLongError`) and is ignored here,
            so that later calls are sent soon and end in the same way.
        at_once: Pause after every 429, without a probe. For calls that are not retried, because the probe
            would end with a 429.

    Attributes:
        at_once: As given.
    """

    __slots__ = ("_base", "_ceiling", "_in_a_row", "_longest", "_rng", "_until", "at_once")

    def __init__(
        self,
        rng: random.Random,
        *,
        base: float = 1.0,
        ceiling: float = 60.0,
        longest: float = 120.0,
        at_once: bool = False,
    ) -> None:
        self.at_once = at_once
        self._rng = rng
        self._base = base
        self._ceiling = ceiling
        self._longest = longest
        self._in_a_row = 0
        self._until = -math.inf

    def pause(self, now: float, retry_after: float | None) -> float:
        """When the pause ends, in seconds of the clock of `now`.

        A 429 during a pause is of a call that was in flight before, and does not count as a further pause.
        """
        if now >= self._until:
            self._in_a_row += 1
        growth = 2.0 ** min(self._in_a_row - 1, 30)
        jitter = self._rng.random()
        if retry_after is not None and retry_after <= self._longest:
            least = min(LONGEST_LEAST_PAUSE, LEAST_PAUSE * growth) * (0.5 + jitter / 2)
            # Never shorter than Retry-After; the jitter keeps many clients from returning at the same time.
            seconds = max(retry_after * (1.0 + 0.05 * jitter), least)
        elif now < self._until:
            return self._until
        else:
            seconds = min(self._ceiling, self._base * growth) * (0.5 + jitter / 2)
        self._until = max(self._until, now + seconds)
        return self._until

    def reset(self) -> None:
        """Start the backoff anew, after a call was answered."""
        self._in_a_row = 0
