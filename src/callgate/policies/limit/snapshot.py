"""A limiter's state at one moment, for displays and logs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from callgate.policies.limit.quota import Quota

__all__ = ["Bottleneck", "LimiterSnapshot", "RateSnapshot"]

Bottleneck = Literal["requests", "tokens", "concurrency", "paused"]


@dataclass(frozen=True, slots=True)
class RateSnapshot:
    """One resource at one moment.

    Attributes:
        quota: The quota in force: the user's own, or a tighter one that the provider reported.
        learned: True if the provider reported it.
        level: Units that can be taken now; negative after calls that cost more than estimated.
        used: Units admitted in the window that ends now.
    """

    quota: Quota
    learned: bool
    level: float
    used: float


@dataclass(frozen=True, slots=True)
class LimiterSnapshot:
    """A limiter at one moment.

    Attributes:
        name: The limiter's name.
        waiting: Calls in the queue.
        in_flight: Leases that are not released.
        concurrency: Concurrent calls allowed at present; None: no limit.
        paused_for: Seconds until a pause ends; 0.0 if there is none.
        bottleneck: The limit that the head of the queue waits for; None if the queue is empty.
        requests: The request quota, or None.
        tokens: The token quota, or None.
    """

    name: str
    waiting: int
    in_flight: int
    concurrency: int | None
    paused_for: float
    bottleneck: Bottleneck | None
    requests: RateSnapshot | None
    tokens: RateSnapshot | None

    def __str__(self) -> str:
        limit = "" if self.concurrency is None else f" of {self.concurrency}"
        parts = [f"{self.in_flight}{limit} in flight"]
        for unit, rate in (("requests", self.requests), ("tokens", self.tokens)):
            if rate is not None:
                parts.append(f"{rate.used:g} of {rate.quota.rate:g} {unit} in {rate.quota.period:g} s")
        if self.waiting:
            parts.append(f"{self.waiting} waiting ({self.bottleneck})")
        return f"{self.name!r}: {', '.join(parts)}"
