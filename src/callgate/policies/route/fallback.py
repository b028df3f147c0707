"""Lets another model answer when the first cannot."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from callgate.call.calling import Calling
from callgate.errors import APIClientError, SDKError
from callgate.pipeline import Layer, Service
from callgate.response import Response

__all__ = ["Alternative", "fallback_layer"]

# Anything else is a bug, of ours or of a backend of the user's own, and hiding it helps nobody.
_FAILURES = (APIClientError, SDKError)


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another way to get an answer: its name, how the calling is turned to it, and its own service.

    `remembers` tells of a calling that was turned to it whether it can answer without asking anybody; None:
    it never can.
    """

    name: str
    turn: Callable[[Calling], None]
    service: Service
    remembers: Callable[[Calling], Awaitable[bool]] | None = None


def fallback_layer(name: str, alternatives: Sequence[Alternative]) -> Layer:
    """Try each alternative in turn once the call was refused or failed for good.

    A call of which a piece has been delivered already is not begun anew. `calling.completed_by` tells who
    answered. When nobody could, the last error is raised; the others are notes on it.

    Args:
        name: The name of the first one.
        alternatives: The others, in their order.
    """

    def wrap(call: Service) -> Service:
        async def with_fallbacks(calling: Calling) -> Response:
            last: Exception
            try:
                response = await call(calling)
            except _FAILURES as error:
                last = error
            else:
                return response
            for alternative in alternatives:
                if calling.delivered:
                    break
                alternative.turn(calling)
                try:
                    response = await alternative.service(calling)
                except _FAILURES as error:
                    error.add_note(f"before it: {type(last).__name__}: {last}")
                    last = error
                else:
                    return response
            raise last

        return with_fallbacks

    return wrap
