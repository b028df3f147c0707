"""What refused calls (429) mean for the others: whether their gate is closed, and for how long."""

from __future__ import annotations

import math
import random
from collections import deque
from typing import Final

__all__ = ["Hold", "Pushback"]

# Refusals that close the gate without a probe: of so many calls in a row, or of half of so many. They are
# counted in the order in which the calls were sent: refusals come at once, the answers to the calls between
# them later. At 5 % of refusals at random that comes about once in 100,000 calls.
IN_A_ROW: Final = 4
LATEST: Final = 16
# A call that is not refused in this time counts as answered: so many times what the refusal took, plus
# seconds. Providers refuse at once, while an answer may take minutes.
PATIENCE: Final = 2.0
PATIENCE_SECONDS: Final = 0.05
# Where so many refusals since the last pause were of one call only, they come at random, and that of a probe
# may be such a one: a second probe has to confirm it.
AT_RANDOM: Final = 3
# The first pause (seconds) where the provider asks for none, for less, or for a moment in the past; doubled
# with each pause in a row, up to the longest.
LEAST_PAUSE: Final = 0.1
LONGEST_LEAST_PAUSE: Final = 1.0


class Hold:
    """Whether a gate is closed after a refusal. No I/O and no clock; calls are known by their order.

    A refusal is news of one call. The gate is held until a call that was sent after the refused one shows
    more. If it is answered, the gate opens. If none is in flight, or all of those are refused, one call
    passes as a probe; if that is refused, too, the pause is real (where refusals have been coming at random:
    after a second probe). Several refusals among calls that were sent one after another, or a quota that is
    reported as used up, need no probe: the pause is real at once. After a pause again one probe goes first.

    Attributes:
        held: Whether anything but a probe has to wait.

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
        self._paused = False  # there was a pause, and no call has been answered since
        self._refused = 0  # the order up to which answers show nothing
        self._answered = 0  # the latest call, by order, that was answered
        self._confirmed = 0  # probes that were refused since the gate was open
        self._disproved = 0  # how often a later call has shown that the gate is open, since the last pause
        self._latest: deque[int] = deque(maxlen=LATEST // 2)  # the latest refused calls since it was open
        self._patience = PATIENCE_SECONDS
        self._probe = 0  # the order of the call in flight that is waited for; 0: none
        self._probe_is_extra = False  # it passed while the gate was held
        self._probe_until = math.inf

    def room(self, now: float) -> float:
        """Seconds until a probe may go; 0.0: it may go now, or the gate is open."""
        if self._probe:
            if now < self._probe_until:
                return self._probe_until - now
            self._open()
        return 0.0

    def granted(self, order: int, now: float) -> None:
        """A call passes while the gate is held: it is the probe."""
        self._probe = order
        self._probe_is_extra = True
        self._probe_until = now + self._patience

    def answered(self, order: int) -> bool:
        """A call was answered, with whatever but a refusal; True if it is the first one after a pause."""
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
        """A call was refused; True if that is so for all: the gate has to pause before the next probe.

        Args:
            order: The call's.
            now: When the refusal came.
            seconds: How long it took.
            granted: The order of the latest call that was granted.
            certain: Whether the provider reports that its quota is used up.
            latest_sent_at: When the call that was granted last was sent; None if it is not in flight.
        """
        self._latest.append(order)
        several = self._several()
        if order < self._answered and not (certain or several or self.held):
            return False  # a later call has shown already that the gate is open
        if order == self._probe and self._probe_is_extra:
            self._confirmed += 1
        if certain or several or self._confirmed > (self._disproved >= AT_RANDOM):
            self.held = self._paused = True
            self._probe = 0  # also one that is in flight: it was sent before the pause
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
                return False  # it would have been refused by now
            self._probe, self._probe_until = granted, until
            self._probe_is_extra = False
        self.held = True
        return False

    def inconclusive(self, order: int) -> None:
        """A call ended without a word of the provider: if it was the probe, another one may go."""
        if order == self._probe:
            self._probe = 0

    def _several(self) -> bool:
        """Whether the latest refusals are of calls that were sent (nearly) one after another."""
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
    """How long a gate pauses.

    As long as the provider asks, if a call would wait that long; otherwise longer with every pause in a row.

    Args:
        rng: Source of the jitter.
        base, ceiling: Seconds; the first pause without a Retry-After, and the longest.
        longest: Seconds; a longer Retry-After is not obeyed, because no call waits for it: each that comes
            next has to find out soon, and end.
        at_once: Pause for every refusal, without a probe. For calls that are not retried: a probe costs the
            answer of another one.

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
        """When to go on, in seconds of the clock of `now`.

        Refusals that come during a pause are of calls that were in flight: they are no further pause.
        """
        if now >= self._until:
            self._in_a_row += 1
        growth = 2.0 ** min(self._in_a_row - 1, 30)
        jitter = self._rng.random()
        if retry_after is not None and retry_after <= self._longest:
            least = min(LONGEST_LEAST_PAUSE, LEAST_PAUSE * growth) * (0.5 + jitter / 2)
            # The provider's word is a floor; what comes on top keeps many clients from returning as one.
            seconds = max(retry_after * (1.0 + 0.05 * jitter), least)
        elif now < self._until:
            return self._until
        else:
            seconds = min(self._ceiling, self._base * growth) * (0.5 + jitter / 2)
        self._until = max(self._until, now + seconds)
        return self._until

    def relent(self) -> None:
        """A call was answered: the next pause is the first again."""
        self._in_a_row = 0
