"""The waist of the house: what a service is, what a layer is, and THE order of the layers.

Everything that makes a call is a *service*; everything that changes when, whether or how often a call happens
is a *layer* around a service. The order stands once, here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from callgate.call.calling import Calling
from callgate.response import Response

__all__ = ["Layer", "Layers", "Service", "pipeline"]

Service = Callable[[Calling], Awaitable[Response]]
"""Makes one call: gives the answer or raises what went wrong."""

Layer = Callable[[Service], Service]
"""Wraps a service in another."""


@dataclass(frozen=True, slots=True)
class Layers:
    """The layers of one pipeline, outermost first; None leaves one out.

    Once per call:

    - observe: sees cache hits, refusals and the whole time; ends the calling and calls the hooks.
    - deadline: bounds queueing and backing off too.
    - fallback: another model answers in the time that is left when this one cannot.
    - structure: an answer that does not fit its schema is asked for again, as a call of its own.
    - cache: with single-flight; a hit pays nothing and waits for nobody.
    - retry: backing off holds no permit; every attempt passes the limiter and pays it.

    Once per attempt:

    - hedge: inside of retry, because both attempts belong to one try; outside of limit, because the second
      one waits and pays like any.
    - limit: reserves the estimate, settles the actual; refuses at once what cannot be admitted in time.
    - breaker: decides at dispatch, so that a queued crowd does not pass it before it opens.
    - timeout: waiting in the queue is not the provider being slow.
    """

    observe: Layer | None = None
    deadline: Layer | None = None
    fallback: Layer | None = None
    structure: Layer | None = None
    cache: Layer | None = None
    retry: Layer | None = None
    hedge: Layer | None = None
    limit: Layer | None = None
    breaker: Layer | None = None
    timeout: Layer | None = None


def pipeline(backend: Service, layers: Layers) -> Service:
    """The backend inside its layers.

    Args:
        backend: What sends the call: encodes, sends, decodes.
        layers: What stands around it.
    """
    service = backend
    inside_out = (
        layers.timeout,
        layers.breaker,
        layers.limit,
        layers.hedge,
        layers.retry,
        layers.cache,
        layers.structure,
        layers.fallback,
        layers.deadline,
        layers.observe,
    )
    for layer in inside_out:
        if layer is not None:
            service = layer(service)
    return service
