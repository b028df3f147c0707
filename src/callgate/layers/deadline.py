"""Bounds the whole call, queueing and backing off included."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from callgate.calling import Calling
from callgate.control.watch import Watch
from callgate.errors import DeadlineExceededError
from callgate.pipeline import Layer, Service
from callgate.response import Response

__all__ = ["deadline_layer"]


def deadline_layer(watch: Watch | None = None) -> Layer:
    """End a call at its `deadline` (loop's clock, seconds); a call without one is left alone.

    Args:
        watch: Shared by all calls of a loop; None: one of its own, made with the first call that needs it.

    Raises (in the service):
        DeadlineExceededError: when the deadline passes first.
    """

    def wrap(call: Service) -> Service:
        def within_deadline(calling: Calling) -> Awaitable[Response]:
            # Most calls have none, and are spared a coroutine.
            return call(calling) if calling.deadline is None else bounded(calling, calling.deadline)

        async def bounded(calling: Calling, deadline: float) -> Response:
            nonlocal watch
            if watch is None:
                watch = Watch(asyncio.get_running_loop())
            task = calling.task or asyncio.current_task()
            assert task is not None  # a coroutine that runs is in a task
            watched = watch.begin_until(task, deadline)
            try:
                return await call(calling)
            except asyncio.CancelledError as error:
                if not watched.was_it():
                    raise
                raise _too_late(calling, deadline) from error
            finally:
                watch.end(watched)

        return within_deadline

    return wrap


def _too_late(calling: Calling, deadline: float) -> DeadlineExceededError:
    return DeadlineExceededError(
        f"call {calling.request_id} had no answer within its {deadline - calling.made_at:g} s"
        f" (it was {calling.status.value}, {calling.attempts} attempts); allow it more time"
        " with poll_timeout=, or lower the load",
        surely_unsent=calling.attempts == 0,
    )
