"""Feeds: where the workers of a batch take their rows from."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing

from callgate.batch.input.rows import Row

__all__ = ["AsyncFeed", "Feed", "PulledFeed", "PushedFeed", "ThreadFeed"]

_BLOCKS_AHEAD = 8


class Feed(ABC):
    """Gives rows one by one, until there are none left or it is closed.

    Attributes:
        error: What ended the input early, or None. It is kept here so that the calls in flight can end first.
        exhausted: True once the input has given its last row.
        closed: True once `close` was called: no more rows are wanted.

    Example::

        async with aclosing(PulledFeed(source.blocks())) as feed:
            while (row := await feed.take()) is not None:
                print(row)
        if feed.error is not None:
            raise feed.error
    """

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.exhausted = False
        self.closed = False
        self._rows: deque[Row] = deque()

    @property
    def ready(self) -> bool:
        """False when `take` would wait, or is known to return None."""
        return bool(self._rows) or not (self.closed or self.exhausted)

    @property
    def idle(self) -> bool:
        """True while `take` waits for rows that are still to come."""
        return False

    @abstractmethod
    async def take(self) -> Row | None:
        """Return the next row; None when there will be none."""

    def close(self) -> None:
        """Give no more rows; a pending `take` returns None."""
        self.closed = True
        self._rows.clear()

    def fail(self, error: Exception) -> None:
        """Give no more rows because of this error; the first error is kept."""
        if self.error is None:
            self.error = error
        self.close()

    async def aclose(self) -> None:
        """Close it, and return when no task of its own is left."""
        self.close()


class PulledFeed(Feed):
    """Rows of an iterator that never waits, read block by block as they are needed.

    >>> feed = PulledFeed(iter([[Row(0, 1, None, 1, {})], []]))
    >>> asyncio.run(feed.take())
    <Row 0 line=1 key=0000000000000001>
    """

    def __init__(self, blocks: Iterator[list[Row]]) -> None:
        super().__init__()
        self._blocks = blocks

    async def take(self) -> Row | None:
        rows = self._rows
        while not rows:
            if self.closed or self.exhausted:
                return None
            try:
                rows.extend(next(self._blocks))
            except StopIteration:
                self.exhausted = True
                return None
            except Exception as error:
                self.error, self.exhausted = error, True
                return None
            if not rows:
                # Blocks of finished rows are skipped by the hundred thousand: let other tasks run as well.
                await asyncio.sleep(0)
        return rows.popleft()

    def close(self) -> None:
        super().close()
        # Dropping the last reference closes a generator's file. Its `close()` would fail if the generator is
        # running now, because its own code asked for the end.
        self._blocks = iter(())


class PushedFeed(Feed):
    """Rows that another task or thread pushes, a few blocks ahead of the workers.

    Args:
        used: Called once for each block when it is taken up; one more may then be pushed.

    Example::

        room = asyncio.Semaphore(8)
        feed = PushedFeed(room.release)
        async for block in blocks:
            await room.acquire()
            feed.push(block)
        feed.end()
    """

    def __init__(self, used: Callable[[], object]) -> None:
        super().__init__()
        self._used = used
        self._blocks: deque[list[Row]] = deque()
        self._news = asyncio.Event()

    @property
    def ready(self) -> bool:
        return bool(self._rows or self._blocks)

    @property
    def idle(self) -> bool:
        return not (self._rows or self._blocks or self.exhausted or self.closed)

    async def take(self) -> Row | None:
        while not self._rows:
            if self.closed:
                return None
            if self._blocks:
                self._rows.extend(self._blocks.popleft())
                self._used()
            elif self.exhausted:
                return None
            else:
                self._news.clear()
                await self._news.wait()
        return self._rows.popleft()

    def push(self, block: list[Row]) -> None:
        """Add a block of rows."""
        if not self.closed:
            self._blocks.append(block)
            self._news.set()

    def end(self, error: Exception | None = None) -> None:
        """Mark the end of the input; `error` is what ended it early."""
        self.error, self.exhausted = error, True
        self._news.set()

    def close(self) -> None:
        super().close()
        self._blocks.clear()
        self._news.set()


class ThreadFeed(PushedFeed):
    """Rows of an iterator that may block (a pipe), read in a thread.

    A thread that blocks in a read cannot be interrupted, so it is a daemon thread, which does
    not keep the program alive.

    Example::

        feed = ThreadFeed(Source("-").blocks())  # within a running loop
        row = await feed.take()
    """

    def __init__(self, blocks: Iterator[list[Row]]) -> None:
        self._ahead = threading.Semaphore(_BLOCKS_AHEAD)
        super().__init__(self._ahead.release)
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._read, args=(blocks,), name="callgate-input", daemon=True)
        self._thread.start()

    def _read(self, blocks: Iterator[list[Row]]) -> None:
        error: Exception | None = None
        try:
            for block in blocks:
                if not block:
                    continue
                self._ahead.acquire()
                if self.closed or not self._call_in_loop(self.push, block):
                    return
        except Exception as caught:  # any error must reach `end`, or the workers would wait for ever
            error = caught
        self._call_in_loop(self.end, error)

    def _call_in_loop(self, function: Callable[..., None], argument: object) -> bool:
        """Schedule a call in the event loop; False when that is closed, so that no rows are needed."""
        try:
            self._loop.call_soon_threadsafe(function, argument)
        except RuntimeError:
            return False
        return True

    def close(self) -> None:
        super().close()
        self._ahead.release()


class AsyncFeed(PushedFeed):
    """Rows of an async generator, pulled by one task a few blocks ahead of the workers.

    Example::

        async def blocks():
            async for record in database.stream("SELECT ..."):
                yield [builder.build(record, index=record["id"], line=record["id"])]

        feed = AsyncFeed(blocks())  # within a running loop
        row = await feed.take()
    """

    def __init__(self, blocks: AsyncGenerator[list[Row], None]) -> None:
        self._ahead = asyncio.Semaphore(_BLOCKS_AHEAD)
        super().__init__(self._ahead.release)
        self._task = asyncio.get_running_loop().create_task(self._pump(blocks))

    async def _pump(self, blocks: AsyncGenerator[list[Row], None]) -> None:
        error: Exception | None = None
        try:
            async with aclosing(blocks):
                async for block in blocks:
                    await self._ahead.acquire()
                    self.push(block)
        except asyncio.CancelledError as cancelled:
            if self.closed:
                raise
            # Raised as it is, it would look like a cancellation of the task that reads the results.
            error = RuntimeError("the source of the rows was cancelled by something other than its batch")
            error.__cause__ = cancelled
        except Exception as caught:
            error = caught
        self.end(error)

    def close(self) -> None:
        if not self.closed:  # a second cancel would cut off the generator's own clean-up
            self._task.cancel()
        super().close()

    async def aclose(self) -> None:
        """Close it, and return when the task that pulls has ended."""
        self.close()
        await asyncio.wait([self._task])
