"""Where the workers of a batch take their rows from, whether these are there or still to come."""

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
        error: What ended the input early, or None. It is kept here, so that calls in flight can end first.
        exhausted: Whether the input has given its last row.

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
        self._rows: deque[Row] = deque()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether it was closed: no more rows are wanted."""
        return self._closed

    @property
    def over(self) -> bool:
        """Whether no more rows are to be had."""
        return self._closed or (self.exhausted and not self._rows)

    @property
    def idle(self) -> bool:
        """Whether the workers wait for rows that are still to come."""
        return False

    @abstractmethod
    async def take(self) -> Row | None:
        """The next row; None when there will be none."""

    def close(self) -> None:
        """Give no more rows, also to those who wait for one."""
        self._closed = True
        self._rows.clear()

    def fail(self, error: Exception) -> None:
        """Give no more rows, because of this error, unless another one came before it."""
        if self.error is None:
            self.error = error
        self.close()

    async def aclose(self) -> None:
        """Close it, and return when no task of its own is left."""
        self.close()


class PulledFeed(Feed):
    """Rows of an iterator that never waits: read when they are needed, a block at a time.

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
            if self._closed or self.exhausted:
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
                # Blocks of finished rows are skipped by the hundred thousand: let the others run as well.
                await asyncio.sleep(0)
        return rows.popleft()

    def close(self) -> None:
        super().close()
        # Let go of: a generator that nobody holds closes its file. It may be running (its own code may have
        # asked for the end), so it is not closed by name.
        self._blocks = iter(())


class PushedFeed(Feed):
    """Rows that come when they come; whoever reads them is a few blocks ahead of the workers and then waits.

    Args:
        used: Called when a block is taken up, once for each; its pusher may then push one more.

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
        self._ready = asyncio.Event()

    @property
    def over(self) -> bool:
        """Whether no more rows are to be had."""
        return self._closed or (self.exhausted and not self._rows and not self._blocks)

    @property
    def idle(self) -> bool:
        """Whether the workers wait for rows."""
        return not (self._rows or self._blocks or self.exhausted or self._closed)

    async def take(self) -> Row | None:
        while not self._rows:
            if self._closed:
                return None
            if self._blocks:
                self._rows.extend(self._blocks.popleft())
                self._used()
            elif self.exhausted:
                return None
            else:
                self._ready.clear()
                await self._ready.wait()
        return self._rows.popleft()

    def push(self, block: list[Row]) -> None:
        """Add a block of rows."""
        if not self._closed:
            self._blocks.append(block)
            self._ready.set()

    def end(self, error: Exception | None = None) -> None:
        """There are no more rows, because of `error` if one is given."""
        self.error, self.exhausted = error, True
        self._ready.set()

    def close(self) -> None:
        super().close()
        self._blocks.clear()
        self._ready.set()


class ThreadFeed(PushedFeed):
    """Rows of an iterator that may wait for somebody to write (a pipe): read in a thread of its own.

    A thread that sits in a read cannot be called back, so it is a daemon: it does not keep the program alive.

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
                if self._closed or not self._tell(self.push, block):
                    return
        except Exception as caught:  # whatever it is: without an end the workers would wait for ever
            error = caught
        self._tell(self.end, error)

    def _tell(self, what: Callable[..., None], *said: object) -> bool:
        """Have the loop do it; False when that is closed, and nobody wants the rows any more."""
        try:
            self._loop.call_soon_threadsafe(what, *said)
        except RuntimeError:
            return False
        return True

    def close(self) -> None:
        super().close()
        self._ahead.release()


class AsyncFeed(PushedFeed):
    """Rows of an async generator, pulled by one task a few ahead of the workers.

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
            if self._closed:
                raise
            # Raised as it is, it would pass for the end of whoever reads the results.
            error = RuntimeError("where the rows come from was cancelled by something else than their batch")
            error.__cause__ = cancelled
        except Exception as caught:
            error = caught
        self.end(error)

    def close(self) -> None:
        if not self._closed:  # a second time would cut off what the generator does to clean up
            self._task.cancel()
        super().close()

    async def aclose(self) -> None:
        """Close it, and return when the task that pulls has ended."""
        self.close()
        await asyncio.wait([self._task])
