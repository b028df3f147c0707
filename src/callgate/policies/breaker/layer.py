"""Keeps calls from a service that keeps failing."""

from __future__ import annotations

from callgate.call.calling import Calling
from callgate.pipeline import Layer, Service
from callgate.policies.breaker.breaker import CircuitBreaker
from callgate.response import Response

__all__ = ["breaker_layer"]


def breaker_layer(breaker: CircuitBreaker) -> Layer:
    """Ask the breaker before each attempt and tell it how that went.

    Raises (in the service):
        CircuitBreakerOpenError: when the breaker is open.
    """

    def wrap(call: Service) -> Service:
        async def guarded(calling: Calling) -> Response:
            generation = breaker.admit()
            try:
                response = await call(calling)
            except Exception as error:
                breaker.record(generation, error)
                raise
            except BaseException:
                # A cancelled probe says nothing of the service.
                breaker.abandon(generation)
                raise
            breaker.record(generation, None)
            return response

        return guarded

    return wrap
