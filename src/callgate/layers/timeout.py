"""Bounds one attempt on the wire. Waiting in the queue is not the provider being slow."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from callgate.calling import Calling
from callgate.control.watch import Watch
from callgate.errors import APITimeoutError
from callgate.pipeline import Layer, Service
from callgate.response import Response

__all__ = ["timeout_layer"]


def timeout_layer(seconds: float | None, watch: Watch | None = None) -> Layer:
    """End an attempt after the calling's own `timeout`, else after `seconds`; None: never.

    Args:
        seconds: Unless the calling says otherwise.
        watch: Shared by all attempts of a loop; None: one of its own, made with the first attempt.

    Raises (in the service):
        APITimeoutError: when the time is over. The provider may still be at work on it, so the attempt
            keeps its charge.
    """

    def wrap(call: Service) -> Service:
        def within_timeout(calling: Calling) -> Awaitable[Response]:
            limit = seconds if calling.timeout is None else calling.timeout
            return call(calling) if limit is None else bounded(calling, limit)

        async def bounded(calling: Calling, limit: float) -> Response:
            nonlocal watch
            if watch is None:
                watch = Watch(asyncio.get_running_loop())
            task = calling.task or asyncio.current_task()
            assert task is not None  # a coroutine that runs is in a task
            watched = watch.begin(task, limit)
            try:
                return await call(calling)
            except asyncio.CancelledError as error:
                if not watched.was_it():
                    raise
                raise APITimeoutError(
                    f"no answer to call {calling.request_id} within {limit:g} s; raise timeout= if the"
                    " model is slow"
                ) from error
            finally:
                watch.end(watched)

        return within_timeout

    return wrap
