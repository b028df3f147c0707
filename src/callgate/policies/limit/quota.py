"""`Quota`: a rate over a period. `QuotaNews`: what the headers of one response report of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from callgate.errors import ConfigurationError

__all__ = ["Quota", "QuotaNews", "Resource"]

Resource = Literal["requests", "tokens"]


@dataclass(frozen=True, slots=True)
class Quota:
    """At most `rate` units (requests or tokens) in every window of one period.

    Args:
        rate: Units per period. A rate below 1 is one unit in a longer period: 0.5 requests a second is one
            request in two seconds.
        period: Seconds.
        capacity: The largest burst, in units. None: the whole rate for periods up to a second, and the units
            of five seconds for longer ones. If it is above the rate, one window may hold `capacity` units.

    Raises:
        ConfigurationError: A value is not a positive, finite number.

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
        """Units per second."""
        return self.rate / self.period


@dataclass(frozen=True, slots=True)
class QuotaNews:
    """What the headers of one response report of one resource; None where they report nothing.

    Args:
        resource: "requests" or "tokens".
        limit: Units per period.
        remaining: Units left in the provider's window.
        reset_after: Seconds until all of the limit remains again.
        period: Seconds of the provider's window, if known.

    >>> QuotaNews("requests", limit=600, remaining=599).remaining
    599
    """

    resource: Resource
    limit: float | None = None
    remaining: float | None = None
    reset_after: float | None = None
    period: float | None = None
