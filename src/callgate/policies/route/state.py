"""What the route layer keeps for one call: the tier it is in, endpoints tried, endpoints closed to it."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

from callgate.call.calling import Calling
from callgate.errors import APIClientError, SDKError
from callgate.policies.route.health import is_of_endpoint
from callgate.response import Response

__all__ = ["Route", "Tier"]


class Tier(Protocol):
    """One level of a router: an endpoint, or a pool of them. It makes attempts."""

    def call(self, calling: Calling) -> Awaitable[Response]:
        """Make one attempt at an endpoint of its choice."""
        ...

    def enter(self, calling: Calling) -> None:
        """Prepare a call that comes from the tier above."""
        ...

    def close(self, route: Route, until: float) -> None:
        """Keep the call from the endpoint of its latest attempt until this moment."""
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
    """Where one call has been and may go. `Calling.route` holds it; the retry layer asks it after a failure.

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
        """Endpoints of this tier that have failed it or are at it; one that answered with a 429 is not."""
        self.closed: dict[Any, float] = {}
        """Endpoints that asked this call to wait: until when, by the loop's clock."""

    @property
    def tier(self) -> Tier:
        """The tier that takes its next attempt."""
        return self._tiers[self.index]

    def wait(self, seconds: float, now: float) -> float:
        """Seconds until the call may be sent again, after a 429 that asked for `seconds`.

        The Retry-After binds this call at that endpoint only; another endpoint may take it at once.
        """
        self.tier.close(self, now + seconds)
        return self.tier.pause(self, now)

    def pause(self, now: float) -> float:
        """Seconds until an endpoint of this tier may be sent the call; 0.0 unless a Retry-After binds it."""
        return self.tier.pause(self, now)

    def has_untried(self) -> bool:
        """True if an endpoint of this tier is in use that the call has not tried."""
        return self.tier.has_untried(self)

    def needs_no_backoff(self) -> bool:
        """True if the endpoint that failed is ejected, and another one may take the call."""
        return self.tier.is_ejected(self) and self.has_untried()

    def may_move(self, error: BaseException) -> bool:
        """True if the endpoint refused the call for its own reasons and another one may take it at once."""
        return self.target is not None and is_of_endpoint(error) and self.has_untried()

    def descend(self, calling: Calling, error: BaseException) -> bool:
        """Go on to the next fallback after the final failure at this tier; False if there is none.

        Only failures of calls lead to a fallback: any other exception is a bug, which a fallback would hide.
        """
        if not isinstance(error, APIClientError | SDKError) or self.index + 1 >= len(self._tiers):
            return False
        self.index += 1
        calling.http_path = calling.http_method = calling.sdk_method_name = None  # meant for the first tier
        self.tried.clear()
        self.closed.clear()
        self.tier.enter(calling)
        return True
