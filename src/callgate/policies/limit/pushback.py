"""What refused calls (429) mean for the others: whether their gate is closed, and for how long."""

from __future__ import annotations

import math
import random
from collections import deque
from typing import Final

__all__ = ["Hold", "Pushback"]

# Refusals that close the gate without a probe: so many in a row, or half of so many latest outcomes. At 5 %
# of refusals at random either comes less than once in 100,000 calls.
IN_A_ROW: Final = 4
LATEST: Final = 16
# A probe that is not refused in this time counts as answered: so many times what the refusal took, plus
# seconds. Providers refuse at once, while an answer may take minutes.
PATIENCE: Final = 2.0
PATIENCE_SECONDS: Final = 0.5
# The first pause (seconds) where the provider asks for none, for less, or for a moment in the past; doubled
# with each pause in a row, up to the longest.
LEAST_PAUSE: Final = 0.1
LONGEST_LEAST_PAUSE: Final = 1.0


class Hold:
    """Whether a gate is closed after a refusal. No I/O and no clock; calls are known by their order.

    A refusal is news of one call. The gate is held until a call that was sent after the refused one shows
    more: it is answered, and the gate opens; or it is refused, and the pause is real. While it is held, one
    call at a time passes as a probe. Several refusals among the latest outcomes, or a quota that is
    reported as used up, need no probe: the pause is real at once. After a pause again one probe goes first.

    Attributes:
        held: Whether anything but a probe has to wait.
        until: When the next probe may go, in seconds of the gate's clock.

    >>> hold = Hold()
    >>> hold.refused(1, now=0.2, seconds=0.2, granted=1, certain=False)
    False
    >>> hold.room(0.2)
    0.0
    >>> hold.granted(2, now=0.2)
    >>> hold.room(0.3) > 0.0
    True
    >>> hold.answered(2)
    True
    >>> hold.held
    False
    """

    __slots__ = (
        "_answered",
        "_in_a_row",
        "_latest",
        "_patience",
        "_probe",
        "_probe_until",
        "_refused",
        "held",
        "until",
    )

    def __init__(self) -> None:
        self.held = False
        self.until = -math.inf
        self._refused = 0  # the order up to which answers show nothing
        self._answered = 0  # the latest call, by order, that was answered
        self._in_a_row = 0
        self._latest: deque[bool] = deque(maxlen=LATEST)
        self._patience = PATIENCE_SECONDS
        self._probe = 0  # the order of the probe in flight; 0: none
        self._probe_until = math.inf

    def room(self, now: float) -> float:
        """Seconds until a probe may go; 0.0: it may go now, or the gate is open."""
        if self._probe:
            if now < self._probe_until:
                return self._probe_until - now
            self._open()
        return max(0.0, self.until - now) if self.held else 0.0

    def granted(self, order: int, now: float) -> None:
        """A call passes while the gate is held: it is the probe."""
        self._probe = order
        self._probe_until = now + self._patience

    def answered(self, order: int) -> bool:
        """A call was answered, with whatever but a refusal; True if the gate is open now."""
        self._in_a_row = 0
        self._latest.append(False)
        self._answered = max(self._answered, order)
        self.inconclusive(order)
        if self.held and order > self._refused:
            self._open()
        return not self.held

    def refused(self, order: int, now: float, seconds: float, granted: int, certain: bool) -> bool:
        """A call was refused; True if the pause is real, and `pause_until` is to be called.

        Args:
            order: The call's.
            now: When the refusal came.
            seconds: How long it took.
            granted: The order of the latest call that was granted.
            certain: Whether the provider reports that its quota is used up.
        """
        self._in_a_row += 1
        self._latest.append(True)
        several = self._in_a_row >= IN_A_ROW or 2 * sum(self._latest) >= LATEST
        if order < self._answered and not (certain or several or self.held):
            return False  # a later call has shown already that the gate is open
        probed = order == self._probe
        self.inconclusive(order)
        self.held = True
        self._patience = PATIENCE * seconds + PATIENCE_SECONDS
        real = certain or several or probed
        self._refused = granted if real else max(self._refused, order)
        return real

    def inconclusive(self, order: int) -> None:
        """A call ended without a word of the provider: if it was the probe, another one may go."""
        if order == self._probe:
            self._probe = 0

    def pause_until(self, when: float) -> None:
        """Let no probe go before `when`; the latest moment rules."""
        self.until = max(self.until, when)

    def _open(self) -> None:
        self.held = False
        self.until = -math.inf
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
    """

    __slots__ = ("_base", "_ceiling", "_in_a_row", "_longest", "_rng", "_until")

    def __init__(
        self, rng: random.Random, *, base: float = 1.0, ceiling: float = 60.0, longest: float = 120.0
    ) -> None:
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
        """A call was answered while the gate was open."""
        self._in_a_row = 0
