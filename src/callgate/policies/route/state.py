"""`Route`: the state of one call in the route layer: its tier, and the endpoints that it has tried."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

from callgate.call.calling import Calling
from callgate.errors import APIClientError, SDKError
from callgate.policies.route.health import is_of_endpoint
from callgate.response import Response

__all__ = ["Route", "Tier"]


class Tier(Protocol):
    """One level of a route: an endpoint, or a pool of endpoints."""

    def call(self, calling: Calling) -> Awaitable[Response]:
        """Make one attempt at an endpoint of its choice."""
        ...

    def enter(self, calling: Calling) -> None:
        """Prepare a call that comes from the tier above."""
        ...

    def close(self, route: Route, until: float) -> None:
        """Do not send the call to the endpoint of its latest attempt before `until`."""
        ...

    def pause(self, route: Route, now: float) -> float:
        """Seconds until the call may be sent to an endpoint of this tier."""
        ...

    def has_untried(self, route: Route) -> bool:
        """True if the tier has an endpoint in use that the call has not tried."""
        ...

    def is_ejected(self, route: Route) -> bool:
        """True if the endpoint of the call's latest attempt gets no calls now."""
        ...


class Route:
    """The endpoints that a call has tried and may try. Kept in `Calling.route`; the retry layer reads it.

    Args:
        tiers: The endpoints of the model first, then one tier for each of its fallbacks.
    """

    __slots__ = ("_tiers", "closed", "index", "target", "tried")

    def __init__(self, tiers: Sequence[Tier]) -> None:
        self._tiers = tiers
        self.index = 0
        self.target: Any = None
        """The endpoint of the latest attempt; None if the latest try found none."""
        self.tried: set[Any] = set()
        """Endpoints of this tier with a failed attempt (other than a 429) or one in flight."""
        self.closed: dict[Any, float] = {}
        """Endpoint that sent a 429 -> the end of the wait there, in seconds of the loop's clock."""

    @property
    def tier(self) -> Tier:
        """The tier of the next attempt."""
        return self._tiers[self.index]

    def wait(self, seconds: float, now: float) -> float:
        """Seconds until the next attempt, after a 429 with a wait of `seconds`.

        The wait applies to this call at that endpoint only; another endpoint may take the call at once.
        """
        self.tier.close(self, now + seconds)
        return self.tier.pause(self, now)

    def pause(self, now: float) -> float:
        """Seconds until the call may go to an endpoint of this tier; 0.0 unless a Retry-After applies."""
        return self.tier.pause(self, now)

    def has_untried(self) -> bool:
        """True if this tier has an endpoint in use that the call has not tried."""
        return self.tier.has_untried(self)

    def needs_no_backoff(self) -> bool:
        """True if the endpoint of the failed attempt is ejected and another one may take the call."""
        return self.tier.is_ejected(self) and self.has_untried()

    def may_move(self, error: BaseException) -> bool:
        """True if the error is not due to the request and another endpoint may take the call at once."""
        return self.target is not None and is_of_endpoint(error) and self.has_untried()

    def descend(self, calling: Calling, error: BaseException) -> bool:
        """Move the call to the next fallback after its final failure in this tier; False if there is none.

        Exceptions that are no failed calls do not lead to a fallback, which would hide a bug.
        """
        if not isinstance(error, APIClientError | SDKError) or self.index + 1 >= len(self._tiers):
            return False
        self.index += 1
        calling.http_path = calling.http_method = calling.sdk_method_name = None  # set for the first tier
        self.tried.clear()
        self.closed.clear()
        self.tier.enter(calling)
        return True
