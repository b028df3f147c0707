"""What a provider grants, and what its answers tell about it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from callgate.errors import ConfigurationError

__all__ = ["Quota", "QuotaNews", "Resource"]

Resource = Literal["requests", "tokens"]


@dataclass(frozen=True, slots=True)
class Quota:
    """So many units (requests, tokens) in every window of one period.

    Args:
        rate: Units per period. A rate below 1 reads as one unit in a period that is longer by as much:
            half a request a second is one request in two seconds.
        period: Seconds.
        capacity: The burst asked for, in units. None: all of the rate at once for periods up to a second,
            paced in bursts of five seconds' worth for longer ones. Below the rate: bursts no larger than
            this. Above the rate: a burst on top, so one window may then hold `capacity` units.

    Raises:
        ConfigurationError: A value that is not a positive, finite number.

    >>> Quota(600)
    Quota(rate=600, period=60.0, capacity=None)
    """

    rate: float
    period: float = 60.0
    capacity: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("rate", self.rate), ("period", self.period), ("capacity", self.capacity)):
            if value is None and name == "capacity":
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
                raise ConfigurationError(f"a quota's {name} must be a positive, finite number, not {value!r}")

    @property
    def per_second(self) -> float:
        """Units per second in the long run."""
        return self.rate / self.period


@dataclass(frozen=True, slots=True)
class QuotaNews:
    """What one answer told about one resource; None where it told nothing.

    Args:
        resource: Which of the two is meant.
        limit: Units per period.
        remaining: Units left when the provider looked.
        reset_after: Seconds until the provider's count is back at its limit.
        period: Seconds of the provider's window, where it is known.

    >>> QuotaNews("requests", limit=600, remaining=599).remaining
    599
    """

    resource: Resource
    limit: float | None = None
    remaining: float | None = None
    reset_after: float | None = None
    period: float | None = None
