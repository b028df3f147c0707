"""As many calls at once as the limiter lets through, and no task more.

Each worker takes a row, calls, hands over the result, takes the next. A worker is added when a row is begun
or a call is let through, and nobody stands in the limiter's line: then one more call could be on its way. A
worker leaves when it has ended a row and several stand in the line; the last few never do, as those in the
line may be somebody else's. So the pool follows what quota and concurrency allow, plus a few that wait,
however long the input is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable

from callgate.batch.input.feed import Feed
from callgate.batch.input.rows import Row
from callgate.batch.output.results import RowResult

__all__ = ["Pool"]

_ENOUGH_IN_LINE = 4


class Pool:
    """Workers over one feed.

    Args:
        call: Makes the call for a row and returns what came of it; does not raise for a failed call. None:
            the row was not called, and no other one is to be.
        feed: The rows.
        in_line: How many calls stand in the limiter's line now, or wait for their share of a budget.
        most: Never more workers than this.
        at_first: Never more than this until `open_up()`: a failure that every row would meet shall show on a
            handful of them.
        on_end: Told of each result at once, before its worker begins the next row. What it raises ends the
            run as an error of a call does.

    Example::

        pool = Pool(call, PulledFeed(source.blocks()), in_line=lambda: limiter.waiting, most=1024)
        async for result in pool.results():
            print(result)
    """

    def __init__(
        self,
        call: Callable[[Row], Awaitable[RowResult | None]],
        feed: Feed,
        *,
        in_line: Callable[[], int],
        most: int,
        at_first: int | None = None,
        on_end: Callable[[RowResult], None] | None = None,
    ) -> None:
        self.feed = feed
        self.in_flight = 0
        """Rows begun and not ended."""
        self.abandoned = 0
        """Rows begun whose call was cancelled; nothing came of them."""
        self._call = call
        self._in_line = in_line
        self._on_end = on_end
        self._all = most
        self._most = most if at_first is None else min(most, at_first)
        self._workers: set[asyncio.Task[None]] = set()
        self._ended: deque[RowResult] = deque()
        self._news: asyncio.Future[None] | None = None
        self._room = asyncio.Event()
        self._room.set()
        self._crash: BaseException | None = None

    async def results(self) -> AsyncGenerator[RowResult, None]:
        """The results as they come. To be iterated once; leaving it early cancels what is in flight.

        The workers wait while `most` results have not been looked at, so memory stays bounded.

        Raises:
            RuntimeError: a call was cancelled by something else than the pool or its calling.
            BaseException: what else a call raised although it should not have. Either ends the run at once,
                after the results so far.
        """
        self._add_worker()
        try:
            while True:
                while self._ended:
                    yield self._ended.popleft()
                self._room.set()
                if not self._workers:
                    break
                self._news = asyncio.get_running_loop().create_future()
                await self._news
        finally:
            self.abort()
            if self._workers:
                await asyncio.gather(*self._workers, return_exceptions=True)
        if self._crash is not None:
            raise self._crash

    def nudge(self) -> None:
        """A call was let through: one more may be of use, though no row has ended."""
        if self._workers and not self.feed.over:
            self._grow()

    def open_up(self) -> None:
        """Calls succeed: let the pool grow to its full size."""
        if self._most != self._all:
            self._most = self._all
            self._grow()

    def drain(self) -> None:
        """Begin no more rows; what is in flight goes on to its end."""
        self.feed.close()

    def abort(self) -> None:
        """Begin no more rows and cancel what is in flight."""
        self.feed.close()
        for worker in self._workers:
            worker.cancel()

    # -- the inside --------------------------------------------------------------------------------------

    def _grow(self) -> None:
        if len(self._workers) < self._most and not self._in_line() and not self.feed.idle:
            self._add_worker()

    def _add_worker(self) -> None:
        worker = asyncio.get_running_loop().create_task(self._work())
        self._workers.add(worker)
        worker.add_done_callback(self._left)

    async def _work(self) -> None:
        feed, call, ended = self.feed, self._call, self._ended
        while (row := await feed.take()) is not None:
            self._grow()
            self.in_flight += 1
            try:
                result = await call(row)
            except asyncio.CancelledError as error:
                self.abandoned += 1
                if _is_cancelled_here():
                    raise
                # Taken for our own it would end this worker without a word, and the run with the last one.
                raise RuntimeError(
                    f"the call for {row!r} was cancelled by something inside it, not by its batch"
                ) from error
            finally:
                self.in_flight -= 1
            if result is None:
                self.drain()
                return
            if result.given_up:
                self.abandoned += 1
                continue  # if nobody had asked for it, it would be a failure like any other
            if self._on_end is not None:
                self._on_end(result)
            ended.append(result)
            self._tell()
            if len(ended) >= self._all:
                self._room.clear()
                await self._room.wait()
            if self._in_line() > _ENOUGH_IN_LINE and len(self._workers) > _ENOUGH_IN_LINE:
                return

    def _left(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        if not worker.cancelled() and (error := worker.exception()) is not None and self._crash is None:
            self._crash = error
            self.abort()
        self._tell()

    def _tell(self) -> None:
        news = self._news
        if news is not None and not news.done():
            news.set_result(None)


def _is_cancelled_here() -> bool:
    """Whether somebody cancelled the task that runs, and not only something that it awaits."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
