"""The route layer: chooses the endpoint of each attempt, in a pool or after a final failure in a fallback."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from callgate.call.calling import Calling
from callgate.pipeline import Service
from callgate.policies.route.state import Route, Tier
from callgate.response import Response

__all__ = ["Single", "route_service"]


class Single:
    """A tier of one endpoint, with the queue of its own limiter.

    Args:
        target: The endpoint, for `Route.target`.
        turn: Prepares a call for the endpoint: its defaults, backend and prices.
        service: Makes one attempt, limits included.
    """

    __slots__ = ("_service", "_turn", "target")

    def __init__(self, target: Any, turn: Callable[[Calling], None], service: Service) -> None:
        self.target = target
        self._turn = turn
        self._service = service

    def call(self, calling: Calling) -> Awaitable[Response]:
        """Make one attempt."""
        calling.route.target = self.target
        return self._service(calling)

    def enter(self, calling: Calling) -> None:
        """Prepare a call from the tier above for this endpoint."""
        self._turn(calling)

    def close(self, route: Route, until: float) -> None:
        """Do not send the call to the endpoint before `until`."""
        route.closed[self] = until

    def pause(self, route: Route, now: float) -> float:
        """Seconds until the call may be sent again."""
        return max(0.0, route.closed.get(self, now) - now)

    def has_untried(self, route: Route) -> bool:
        """There is no other endpoint."""
        return False

    def is_ejected(self, route: Route) -> bool:
        """A single endpoint is never ejected."""
        return False


def route_service(tiers: Sequence[Tier]) -> Service:
    """The innermost service of a model with several endpoints: makes each attempt in the call's current tier.

    A call starts at the first tier. The retry layer moves it to the next one, by `Calling.route`, after its
    final failure there.
    """

    def routed(calling: Calling) -> Awaitable[Response]:
        route: Route | None = calling.route
        if route is None:
            route = calling.route = Route(tiers)
        return route.tier.call(calling)

    return routed
