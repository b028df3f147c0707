"""Worker tasks over one feed of rows: as many as the limiter admits calls, and no more.

Each worker takes a row, processes it, and takes the next. A worker is added when a row is taken or a call is
admitted while no call is queued: one more call could be sent then. A worker ends after its row when several
calls are queued; the last few never do, because the queued calls may belong to other users of the limiter. So
the number of workers follows what quota and concurrency allow, however long the input is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from callgate.batch.input.feed import Feed
from callgate.batch.input.rows import Row

__all__ = ["Workers"]

_ENOUGH_QUEUED = 4


class Workers:
    """Processes the rows of a feed in a varying number of tasks.

    Args:
        process: Called with each row; returns when the row has ended. What it raises ends the run.
        feed: The rows.
        queued: Returns how many calls wait for the limiter or the budget now.
        most: The largest number of workers.
        at_first: The largest number until `open_up()`, so that a failure which every row would meet costs
            few calls; None: `most`.

    Example::

        workers = Workers(process, PulledFeed(source.blocks()), queued=lambda: limiter.waiting, most=1024)
        await workers.run()
    """

    def __init__(
        self,
        process: Callable[[Row], Awaitable[None]],
        feed: Feed,
        *,
        queued: Callable[[], int],
        most: int,
        at_first: int | None = None,
    ) -> None:
        self.feed = feed
        self.cancelled = 0
        """Rows begun whose processing was cancelled."""
        self._process = process
        self._queued = queued
        self._most = most if at_first is None else min(most, at_first)
        self._most_in_the_end = most
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended: asyncio.Future[None] | None = None
        self._crash: BaseException | None = None

    def __len__(self) -> int:
        return len(self._tasks)

    async def run(self) -> None:
        """Process all rows and return when the last has ended. Cancelling it cancels the rows in flight.

        Raises:
            RuntimeError: when a call was cancelled by something other than its calling or its worker.
            BaseException: whatever else `process` raises. The rows in flight are cancelled first.
        """
        self._ended = asyncio.get_running_loop().create_future()
        self._add()
        try:
            await self._ended
        finally:
            self.abort()
            if self._tasks:
                await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._crash is not None:
            raise self._crash

    def grow(self) -> None:
        """Add a worker if one more call could be sent now; call it whenever a call is admitted."""
        if 0 < len(self._tasks) < self._most and not self._queued() and self.feed.ready:
            self._add()

    def open_up(self) -> None:
        """Allow the full number of workers: a call has succeeded."""
        if self._most != self._most_in_the_end:
            self._most = self._most_in_the_end
            self.grow()

    def drain(self) -> None:
        """Begin no more rows; those in flight go on to their end."""
        self.feed.close()

    def abort(self) -> None:
        """Begin no more rows and cancel those in flight."""
        self.feed.close()
        for task in self._tasks:
            task.cancel()

    # -- internals ---------------------------------------------------------------------------------------

    def _add(self) -> None:
        task = asyncio.get_running_loop().create_task(self._work())
        self._tasks.add(task)
        task.add_done_callback(self._left)

    async def _work(self) -> None:
        feed, process, tasks = self.feed, self._process, self._tasks
        while (row := await feed.take()) is not None:
            self.grow()
            try:
                await process(row)
            except asyncio.CancelledError as error:
                self.cancelled += 1
                if _is_cancelled_here():
                    raise
                # Taken for a cancellation of this task, it would end the worker without an error.
                raise RuntimeError(
                    f"the call for {row!r} was cancelled by something inside it, not by its batch"
                ) from error
            if len(tasks) > _ENOUGH_QUEUED and self._queued() > _ENOUGH_QUEUED:
                return

    def _left(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and self._crash is None:
            self._crash = error
            self.abort()
        if not self._tasks and self._ended is not None and not self._ended.done():
            self._ended.set_result(None)


def _is_cancelled_here() -> bool:
    """Whether the running task itself was cancelled, and not only something that it awaits."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
