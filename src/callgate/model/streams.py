"""From push to pull: the deltas of a stream, pushed through the layers, become chunks to iterate over.

`read_stream` serves one reader through a bounded queue. `StreamChannel` serves many: all read one shared
record of the response, each at its own pace, so a slow reader neither blocks the others nor loses a chunk.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

from callgate.call.calling import Calling
from callgate.response import Delta, Response, StreamChunk

__all__ = ["StreamChannel", "read_stream"]

Start = Callable[[Calling], "asyncio.Task[None]"]
Consumer = Callable[[StreamChunk], Any]

# How far a provider may run ahead of one reader before it is held back.
_AHEAD = 256
_log = logging.getLogger("callgate")


async def read_stream(calling: Calling, start: Start) -> AsyncGenerator[StreamChunk, None]:
    """The chunks of one calling, for one reader; ending the iteration early cancels the call.

    Args:
        calling: Made, not yet started; its sink is set here.
        start: Starts it as a task.

    Raises:
        APIClientError: (or what else ended it) after what came before it has been delivered.
    """
    ready: asyncio.Queue[Delta | None] = asyncio.Queue(_AHEAD)
    calling.sink = ready.put
    task = start(calling)
    task.add_done_callback(lambda _: _wake(ready))
    index = 0
    try:
        while not (task.done() and ready.empty()):
            delta = await ready.get()
            if delta is not None:
                yield _chunk(delta, index)
                index += 1
        await calling
        yield StreamChunk("", index, is_final=True, response=calling.response)
    finally:
        if not task.done():
            calling.cancel()
            await asyncio.wait([task])


def _wake(ready: asyncio.Queue[Delta | None]) -> None:
    """The end must reach a reader that waits at an empty queue; at a full one it sees for itself."""
    if ready.empty():
        ready.put_nowait(None)


def _chunk(delta: Delta, index: int) -> StreamChunk:
    metadata: dict[str, Any] = {}
    if delta.reasoning:
        metadata["reasoning"] = delta.reasoning
    if delta.tool_call is not None:
        metadata["tool_call"] = delta.tool_call
    return StreamChunk(delta.text, index, metadata=metadata)


class StreamChannel:
    """One streamed answer for many readers: consumers that are called, and async iteration.

    Every reader sees every chunk in order, from the first one on, also when it comes late. A consumer that
    raises is dropped, logged, and listed in `failures`. Nothing starts before the first reader does.

    Example::

        channel = await model.invoke_stream_with_channel(messages=[...])
        channel.add_consumer(lambda chunk: print(chunk.content, end=""))
        async for chunk in channel:
            pass
        text = channel.get_accumulated()
    """

    def __init__(self, calling: Calling, start: Start) -> None:
        self.calling = calling
        self.failures: list[tuple[Consumer, BaseException]] = []
        """Consumers that were dropped, each with what it raised."""
        self._start = start
        self._task: asyncio.Task[None] | None = None
        self._chunks: list[StreamChunk] = []
        self._ended = False
        self._waiters: list[asyncio.Future[None]] = []
        self._consumers: dict[Consumer, asyncio.Task[None]] = {}
        calling.sink = self._record

    # -- readers -----------------------------------------------------------------------------------------

    def add_consumer(self, consumer: Consumer) -> None:
        """Call `consumer(chunk)` for every chunk, the earlier ones included. It may be async.

        Adding the same one twice changes nothing.
        """
        if consumer in self._consumers:
            return
        self._begin()
        self._consumers[consumer] = asyncio.get_running_loop().create_task(self._feed(consumer))

    def remove_consumer(self, consumer: Consumer) -> bool:
        """Stop calling it; False when it was not there."""
        task = self._consumers.pop(consumer, None)
        if task is None:
            return False
        task.cancel()
        return True

    async def _feed(self, consumer: Consumer) -> None:
        try:
            async for chunk in self._read():
                result = consumer(chunk)
                if inspect.isawaitable(result):
                    await result
        except Exception as error:
            self._consumers.pop(consumer, None)
            self.failures.append((consumer, error))
            _log.warning("a consumer of %s raised and was dropped: %r", self.calling.request_id, error)

    async def __aiter__(self) -> AsyncIterator[StreamChunk]:
        """The chunks, from the first one on. Ends when the consumers have had theirs too.

        Raises:
            APIClientError: (or what else ended the call) after all chunks before it.
        """
        self._begin()
        async for chunk in self._read():
            yield chunk
        await self._settle_consumers()
        _ = self.calling.response

    async def _settle_consumers(self) -> None:
        current = asyncio.current_task()
        waiting = [task for task in self._consumers.values() if task is not current]
        if waiting:
            await asyncio.wait(waiting)

    # -- the record --------------------------------------------------------------------------------------

    async def _read(self) -> AsyncIterator[StreamChunk]:
        at = 0
        while True:
            while at < len(self._chunks):
                yield self._chunks[at]
                at += 1
            if self._ended:
                return
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    async def _record(self, delta: Delta) -> None:
        self._chunks.append(_chunk(delta, len(self._chunks)))
        self._tell()

    def _tell(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _begin(self) -> None:
        if self._task is None:
            self._task = self._start(self.calling)
            self._task.add_done_callback(self._end)

    def _end(self, _: object) -> None:
        answer = self.calling.answer
        if answer is not None:
            self._chunks.append(StreamChunk("", len(self._chunks), is_final=True, response=answer))
        self._ended = True
        self._tell()

    # -- what is known -----------------------------------------------------------------------------------

    @property
    def is_completed(self) -> bool:
        """Whether the stream has ended, well or not."""
        return self._ended

    def get_accumulated(self) -> str:
        """The text so far."""
        return "".join(chunk.content for chunk in self._chunks)

    def get_buffer(self) -> list[StreamChunk]:
        """The chunks so far."""
        return list(self._chunks)

    async def response(self) -> Response:
        """The whole answer, once it is complete.

        Raises:
            APIClientError: (or what else ended it) when the call failed.
        """
        self._begin()
        await self.calling
        return self.calling.response

    async def close(self) -> None:
        """Cancel the call and every consumer."""
        self.calling.cancel()
        for task in self._consumers.values():
            task.cancel()
        tasks = [*self._consumers.values(), *([self._task] if self._task is not None else [])]
        if tasks:
            await asyncio.wait(tasks)

    def __repr__(self) -> str:
        state = "ended" if self._ended else "open"
        return f"<StreamChannel {state} chunks={len(self._chunks)} consumers={len(self._consumers)}>"
