"""`HedgePolicy`, and `LateAttempts`: decides which attempts are late and get a second attempt. No I/O."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass
from typing import Final

from callgate.errors import ConfigurationError

__all__ = ["MOST_AT_ONCE", "HedgePolicy", "LateAttempts"]

# The most attempts of one call in flight. If 3 % of the attempts are very slow, both attempts are slow in 1
# of 1,100 calls, and three attempts in 1 of 37,000. A call that is slow at any endpoint must not use the
# budget of the others.
MOST_AT_ONCE: Final = 3

# A second attempt takes the usual time too, so it certainly helps only if the first one takes several times
# that. Attempts that are slightly late, because all become slower, end soon.
SURELY_LATE: Final = 3.0
# A factor on the quantile, so that at a service with constant latency no attempt is late by rounding.
CLEARLY_LATER: Final = 1.01
# The most second attempts that the budget accumulates, besides the share of attempts in flight.
MOST_SAVED: Final = 20.0
ENOUGH: Final = 1.0 - 1e-9


@dataclass(frozen=True, slots=True)
class HedgePolicy:
    """When a slow attempt gets a second one.

    Args:
        share: The slowest share of the attempts, above 0 and at most 0.5: an attempt that takes longer than
            the others (0.05: than 95 % of them) is sent again. At most this share of the attempts is sent
            twice.
        min_samples: The number of responses before the first hedge.
        window: The number of latest responses for the quantile.

    Raises:
        ConfigurationError: A value is out of its range.

    >>> HedgePolicy(share=0.02).quantile
    0.98
    """

    share: float = 0.05
    min_samples: int = 50
    window: int = 1000

    def __post_init__(self) -> None:
        share = self.share
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0.0 < share <= 0.5:
            raise ConfigurationError(
                f"hedge is the share of attempts sent twice, above 0 and at most 0.5, not {share!r}"
            )
        if self.min_samples < 2 or self.window < self.min_samples:
            raise ConfigurationError(
                f"hedging needs a window of at least min_samples answers, and 2 of these at least, not"
                f" min_samples={self.min_samples!r} and window={self.window!r}"
            )

    @property
    def quantile(self) -> float:
        """The quantile of attempt times at which a second attempt is sent."""
        return 1.0 - self.share


class LateAttempts:
    """Measures the latency of attempts, and keeps the budget of second attempts.

    Memory is bounded by the policy's window; a response costs about a microsecond.

    Args:
        policy: The quantile and the share.

    >>> late = LateAttempts(HedgePolicy(share=0.1, min_samples=10))
    >>> for tenths in range(1, 11):
    ...     late.begin()
    ...     late.note(tenths / 10)
    >>> late.patience, late.spend(), late.spend()
    (0.909, True, False)
    """

    __slots__ = ("_allowance", "_latest", "_policy", "_sorted", "_spare")

    def __init__(self, policy: HedgePolicy) -> None:
        self._policy = policy
        self._allowance = 0.0
        self._spare = 0.0  # the part for attempts that are only slightly late
        self._latest: deque[float] = deque()
        self._sorted: list[float] = []

    def begin(self, at_once: int = 0) -> None:
        """Add the share of a new attempt to the budget; `at_once` others are in flight."""
        share = self._policy.share
        self._allowance = min(self._allowance + share, MOST_SAVED + share * at_once)
        ordered = self._sorted
        if ordered:
            surely_late = len(ordered) - bisect_left(ordered, self.surely_late)
            share = max(0.0, share - surely_late / len(ordered))
        self._spare = min(self._spare + share, MOST_SAVED)

    def affordable(self, at_once: int | None = None) -> bool:
        """True if the budget allows a second attempt now.

        Args:
            at_once: For an attempt that is only slightly late: the number of attempts in flight. Their shares
                are kept for those that will be surely late, and as much more as such attempts needed
                recently.
        """
        if at_once is None:
            return self._allowance >= ENOUGH
        return min(self._spare, self._allowance - self._policy.share * at_once) >= ENOUGH

    def spend(self, at_once: int | None = None) -> bool:
        """Take a second attempt from the budget; False if it is not `affordable`."""
        if not self.affordable(at_once):
            return False
        self._allowance -= 1.0
        if at_once is not None:
            self._spare -= 1.0
        return True

    def give_back(self) -> None:
        """Return a second attempt that was not sent to the budget."""
        self._allowance += 1.0

    def note(self, seconds: float) -> None:
        """Record the seconds that an attempt took, or until its second one won."""
        latest, ordered = self._latest, self._sorted
        latest.append(seconds)
        insort(ordered, seconds)
        if len(latest) > self._policy.window:
            del ordered[bisect_left(ordered, latest.popleft())]

    @property
    def patience(self) -> float | None:
        """Seconds after which an attempt is late; None before `min_samples` responses."""
        known = len(self._sorted)
        if known < self._policy.min_samples:
            return None
        return self._sorted[math.ceil(self._policy.quantile * known - 1e-9) - 1] * CLEARLY_LATER

    @property
    def surely_late(self) -> float:
        """Seconds after which an attempt is surely late: a multiple of the median."""
        return SURELY_LATE * self.usual

    @property
    def usual(self) -> float:
        """The median latency in seconds; 0.0 before the first response."""
        return self._sorted[len(self._sorted) // 2] if self._sorted else 0.0
