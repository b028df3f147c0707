"""Bounds one attempt on the wire. Waiting in the queue is not the provider being slow."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from callgate.calling import Calling
from callgate.errors import APITimeoutError
from callgate.pipeline import Layer, Service
from callgate.response import Response

__all__ = ["timeout_layer"]


def timeout_layer(seconds: float | None) -> Layer:
    """End an attempt after the calling's own `timeout`, else after `seconds`; None: never.

    Raises (in the service):
        APITimeoutError: when the time is over. The provider may still be at work on it, so the attempt
            keeps its charge.
    """

    def wrap(call: Service) -> Service:
        def within_timeout(calling: Calling) -> Awaitable[Response]:
            limit = seconds if calling.timeout is None else calling.timeout
            return call(calling) if limit is None else bounded(calling, limit)

        async def bounded(calling: Calling, limit: float) -> Response:
            scope = asyncio.timeout(limit)
            try:
                async with scope:
                    return await call(calling)
            except TimeoutError as error:
                if not scope.expired():
                    raise
                raise APITimeoutError(
                    f"no answer to call {calling.request_id} within {limit:g} s; raise timeout= if the"
                    " model is slow"
                ) from error

        return within_timeout

    return wrap
