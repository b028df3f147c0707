"""The breaker layer: refuses attempts while the circuit breaker is open."""

from __future__ import annotations

from callgate.call.calling import Calling
from callgate.pipeline import Layer, Service
from callgate.policies.breaker.breaker import CircuitBreaker
from callgate.response import Response

__all__ = ["breaker_layer"]


def breaker_layer(breaker: CircuitBreaker) -> Layer:
    """Pass each attempt through a breaker, and record its outcome.

    Raises (in the service):
        CircuitBreakerOpenError: the breaker is open.
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
                # A cancelled probe proves nothing about the service.
                breaker.abandon(generation)
                raise
            breaker.record(generation, None)
            return response

        return guarded

    return wrap
