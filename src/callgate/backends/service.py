"""`ServiceBackend`: what a user implements to put any service behind an `iModel`."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol, runtime_checkable

from callgate.call.calling import Calling
from callgate.response import Response

__all__ = ["ServiceBackend", "as_response"]


@runtime_checkable
class ServiceBackend(Protocol):
    """Anything with a `name` and a `call` that can be awaited. No base class is needed.

    Optional, and used when present: `async close()`, `tags` (a set of str), `circuit_breaker`,
    `retry_config`, `timeout` (seconds), `concurrency` (calls at once, unless the user says otherwise).

    Example::

        class Thermometer:
            name = "thermometer"

            async def call(self, calling):
                return {"celsius": 21.5}  # any value, or a Response

        model = iModel(backend=Thermometer())
        calling = await model.invoke(room="kitchen")
        print(calling.response.data)  # {'celsius': 21.5}
    """

    @property
    def name(self) -> str:
        """What it is called in messages and in the registry; an attribute will do."""
        ...

    def call(self, calling: Calling, /) -> Awaitable[Any]:
        """Answer one call: `calling.payload` says what is asked.

        Pieces of a stream are passed on by `await calling.emit(delta)` as they come, if `calling.sink` is
        not None. Cancelling it must leave nothing behind.

        Returns:
            A `Response`, or any other value, which becomes the response's `data`.

        Raises:
            APIClientError: with the facts that retry and breaker decide by; any other exception ends the
                call as it is.
        """
        ...


def as_response(answer: Any) -> Response:
    """A backend's answer as a `Response`; text becomes its text, anything else its data."""
    if isinstance(answer, Response):
        return answer
    return Response(text=answer if isinstance(answer, str) else "", data=answer, raw=answer)
