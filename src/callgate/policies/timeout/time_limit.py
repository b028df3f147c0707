"""The common part of deadline and timeout: ends a call at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from callgate.call.calling import Calling
from callgate.pipeline import Service
from callgate.policies.timeout.timer import Watch
from callgate.response import Response

__all__ = ["Bounded", "time_limit"]

Bounded = Callable[[Service, Calling, float], Coroutine[Any, Any, Response]]
"""Calls the service with the calling, within the limit."""


def time_limit(
    too_late: Callable[[Calling, float], Exception], watch: Watch | None = None, *, from_now: bool
) -> Bounded:
    """Returns a function that calls a service within a limit; all calls of a loop share one timer.

    Args:
        too_late: Creates the error of a calling that has passed its limit.
        watch: The timer, shared with others of the same loop; None: created for the first call.
        from_now: True: a limit is a number of seconds from now; False: a time of the loop's clock.

    Example::

        bounded = time_limit(lambda calling, seconds: TimeoutError(f"more than {seconds} s"), from_now=True)
        response = await bounded(service, calling, 5.0)
    """

    async def bounded(call: Service, calling: Calling, limit: float) -> Response:
        nonlocal watch
        loop = asyncio.get_running_loop()
        if watch is None:
            watch = Watch(loop)
        task = calling.task or asyncio.current_task()
        assert task is not None  # a coroutine that runs is in a task
        watched = watch.begin(task, loop.time() + limit if from_now else limit)
        try:
            return await call(calling)
        except asyncio.CancelledError as error:
            if not watched.was_it():
                raise
            raise too_late(calling, limit) from error
        finally:
            watch.end(watched)

    return bounded
