"""`Bucket`: tokens that refill steadily up to a capacity. No I/O; the time is passed in."""

from __future__ import annotations

from typing import TypeAlias

from callgate.policies.limit.quota import Quota

__all__ = ["Bucket"]

Charge: TypeAlias = "tuple[Bucket, None, float, float]"
# Seconds of tokens that rounding may cost.
_TOLERANCE = 1e-9


class Bucket:
    """A token bucket, with the methods of a `RateWindow`.

    One window of a period may hold the capacity and the rate; `RateWindow` is stricter.

    Args:
        quota: Its rate per period, and its capacity.
        now: Seconds of the loop's clock.
        level: Tokens at the start; None: full.

    >>> bucket = Bucket(Quota(2, 1.0, 10), now=0.0)
    >>> _ = bucket.take(10, 0.0)
    >>> bucket.wait(1, 0.0), bucket.wait(1, 0.5)
    (0.5, 0.0)
    """

    __slots__ = ("_filled_at", "_level", "ceiling", "quota")

    def __init__(self, quota: Quota, now: float, *, level: float | None = None) -> None:
        self.quota = quota
        self.ceiling = quota.capacity or quota.rate
        self._level = self.ceiling if level is None else min(level, self.ceiling)
        self._filled_at = now

    def level(self, now: float) -> float:
        """Tokens at `now`; negative if more were taken than available."""
        rate = self.quota.rate / self.quota.period
        self._level = min(self.ceiling, self._level + (now - self._filled_at) * rate)
        self._filled_at = now
        return self._level

    def wait(self, cost: float, now: float) -> float:
        """Seconds until `cost` tokens are available."""
        seconds = (cost - self.level(now)) * self.quota.period / self.quota.rate
        return seconds if seconds > _TOLERANCE else 0.0

    def take(self, cost: float, now: float) -> Charge:
        """Take tokens, also more than available; `settle` returns them."""
        self._level = self.level(now) - cost
        return self, None, cost, now

    def settle(self, slot: None, charged: float, actual: float, now: float) -> None:
        """Return the difference of charged and actual cost."""
        self._level = min(self.ceiling, self.level(now) + charged - actual)
