"""Bounds the whole call, queueing and backing off included."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from callgate.calling import Calling
from callgate.errors import DeadlineExceededError
from callgate.pipeline import Layer, Service
from callgate.response import Response

__all__ = ["deadline_layer"]


def deadline_layer() -> Layer:
    """End a call at its `deadline` (loop's clock, seconds); a call without one is left alone.

    Raises (in the service):
        DeadlineExceededError: when the deadline passes first.
    """

    def wrap(call: Service) -> Service:
        def within_deadline(calling: Calling) -> Awaitable[Response]:
            # Most calls have none, and are spared a coroutine.
            return call(calling) if calling.deadline is None else bounded(calling, calling.deadline)

        async def bounded(calling: Calling, deadline: float) -> Response:
            scope = asyncio.timeout_at(deadline)
            try:
                async with scope:
                    return await call(calling)
            except TimeoutError as error:
                if not scope.expired() or isinstance(error, DeadlineExceededError):
                    raise
                seconds = deadline - calling.made_at
                raise DeadlineExceededError(
                    f"call {calling.request_id} had no answer within its {seconds:g} s"
                    f" (it was {calling.status.value}, {calling.attempts} attempts); allow it more time"
                    " with poll_timeout=, or lower the load",
                    surely_unsent=calling.attempts == 0,
                ) from error

        return within_deadline

    return wrap
