"""`Service`, `Layer`, and the one order of the layers: `Layers` gives the reason for each place.

Everything that makes a call is a *service*; everything that changes when, whether, where or how often a call
happens is a *layer* around a service.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from callgate.call.calling import Calling
from callgate.errors import ConfigurationError
from callgate.response import Response

__all__ = ["Layer", "LayerName", "Layers", "Service", "UserLayer", "pipeline"]

Service = Callable[[Calling], Awaitable[Response]]
"""Makes one call: returns the response or raises what went wrong."""

Layer = Callable[[Service], Service]
"""Wraps a service in another one."""

LayerName = Literal[
    "observe", "deadline", "structured", "cache", "retry", "hedge", "limit", "breaker", "timeout"
]

_ORDER: tuple[LayerName, ...] = get_args(LayerName)


@dataclass(frozen=True, slots=True)
class UserLayer:
    """A layer of the user's own, and its place in the order.

    Attributes:
        name: For messages; unique in a model.
        layer: Wraps a service in another one.
        inside: The layer that is directly around it. Inside "retry" it runs once per try, inside "limit" once
            per admitted attempt, inside "observe" once per call.

    Raises:
        ConfigurationError: `inside` is not the name of a layer.

    >>> UserLayer("audit", lambda call: call, inside="cache").inside
    'cache'
    """

    name: str
    layer: Layer
    inside: LayerName

    def __post_init__(self) -> None:
        if self.inside not in _ORDER:
            raise ConfigurationError(
                f"layer {self.name!r}: inside must be one of {', '.join(_ORDER)}, not {self.inside!r}",
                setting="layers",
            )


@dataclass(frozen=True, slots=True)
class Layers:
    """The layers of one pipeline, outermost first; None leaves one out.

    Once per call:

    - observe: sees cache hits, refusals and the whole time; ends the calling and runs the hooks.
    - deadline: bounds queueing and backing off too.
    - structured: a response that does not match its schema is requested again, as a call of its own.
    - cache: with single-flight; a hit pays nothing and does not queue.
    - retry: backing off holds no permit; every attempt passes the limiter and pays it. It is outside of
      route, so that one policy bounds the attempts of a call however many endpoints there are.

    Once per try:

    - hedge: inside of retry, because both attempts belong to one try; outside of route, because the second
      one goes to another endpoint, waits for its quota and is paid for.

    - route: chooses the endpoint of each attempt, in a model with several endpoints. It has no field here: it
      is the `backend` of this pipeline, and each endpoint has the layers below in a pipeline of its own.

    Once per attempt:

    - limit: reserves the estimate, settles the actual; refuses at once what cannot be admitted in time.
    - breaker: decides at dispatch, so that queued calls do not pass it before it opens.
    - timeout: waiting in the queue does not count as a slow provider.
    """

    observe: Layer | None = None
    deadline: Layer | None = None
    structured: Layer | None = None
    cache: Layer | None = None
    retry: Layer | None = None
    hedge: Layer | None = None
    limit: Layer | None = None
    breaker: Layer | None = None
    timeout: Layer | None = None


def pipeline(backend: Service, layers: Layers, own: Sequence[UserLayer] = ()) -> Service:
    """The backend inside its layers.

    Args:
        backend: What makes an attempt: encodes, sends, decodes; or the route service.
        layers: The layers around it.
        own: Further layers, each directly inside the one that it names; of several at one place the first is
            outermost.
    """
    service = backend
    for name in reversed(_ORDER):
        for user_layer in reversed(own):
            if user_layer.inside == name:
                service = user_layer.layer(service)
        layer: Layer | None = getattr(layers, name)
        if layer is not None:
            service = layer(service)
    return service
