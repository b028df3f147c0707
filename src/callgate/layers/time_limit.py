"""What the deadline and the timeout have in common: a call that is cut off when its time is up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from callgate.calling import Calling
from callgate.control.watch import Watch
from callgate.pipeline import Service
from callgate.response import Response

__all__ = ["TimeLimit"]


class TimeLimit:
    """Cuts calls off, all of a loop by one watch.

    Args:
        too_late: The error for a calling and the limit that it has passed.
        watch: Shared with others of the same loop; None: one of its own, made with the first call.

    Example::

        limit = TimeLimit(lambda calling, seconds: TimeoutError(f"more than {seconds} s"))
        response = await limit.call_until(loop.time() + 5.0, 5.0, service, calling)
    """

    __slots__ = ("_too_late", "_watch")

    def __init__(self, too_late: Callable[[Calling, float], Exception], watch: Watch | None = None) -> None:
        self._too_late = too_late
        self._watch = watch

    async def call_until(self, when: float, limit: float, call: Service, calling: Calling) -> Response:
        """What the call gives, if it gives it by then.

        Args:
            when: In seconds of the loop's clock.
            limit: As the error is to tell it.
            call: The service.
            calling: What it is called with; its task is the one that is cut off.

        Raises:
            Exception: what `too_late` makes, when the time is up first.
        """
        watch = self._watch
        if watch is None:
            watch = self._watch = Watch(asyncio.get_running_loop())
        task = calling.task or asyncio.current_task()
        assert task is not None  # a coroutine that runs is in a task
        watched = watch.begin(task, when)
        try:
            return await call(calling)
        except asyncio.CancelledError as error:
            if not watched.was_it():
                raise
            raise self._too_late(calling, limit) from error
        finally:
            watch.end(watched)
