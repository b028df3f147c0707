"""A transport without sockets: calls a simulated provider in this process, on the loop's own clock.

On a virtual clock the whole stack, from the model's limiter to the provider's quota, runs an hour in about
a second, with the same result each time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from callgate.errors import APIConnectionError, APITimeoutError, ResponseTooLargeError
from callgate.testing.simulator.plan import Ending, Plan
from callgate.testing.simulator.provider import SimulatedProvider
from callgate.transport.http import HttpAnswer, HttpStream
from callgate.transport.origin import origin_of

__all__ = ["MemoryTransport"]


class MemoryTransport:
    """A `Transport` that passes every request to a simulated provider and performs its plan.

    Failures raise the same errors as `HttpTransport`.

    Args:
        provider: Answers every request, whatever the host of the URL.
        latency: Seconds before a request reaches the provider.
        read_timeout: Seconds without a byte after which a call fails; None: no limit.
        max_response_bytes: Largest size of one answer, in bytes.

    >>> from callgate.testing import Options, SimulatedProvider, VirtualClock
    >>> clock = VirtualClock()
    >>> transport = MemoryTransport(SimulatedProvider(Options(latency=3600), clock=clock.time))
    >>> body = b'{"model": "m", "messages": [{"role": "user", "content": "Hello"}]}'
    >>> url = f"{transport.base_url}/chat/completions"
    >>> clock.run(transport.send("POST", url, {"authorization": "Bearer k"}, body)).status
    200
    >>> clock.time()
    3600.0
    """

    base_url = "https://simulator.invalid/v1"
    """A base URL for models on this transport; it is never resolved."""

    __slots__ = ("_closed", "_provider", "_waiting", "latency", "max_response_bytes", "read_timeout")

    def __init__(
        self,
        provider: SimulatedProvider,
        *,
        latency: float = 0.0,
        read_timeout: float | None = None,
        max_response_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self.latency = latency
        self.read_timeout = read_timeout
        self.max_response_bytes = max_response_bytes
        self._provider = provider
        self._waiting: dict[asyncio.Future[None], str] = {}
        self._closed = False

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        timeout: float | None = None,
    ) -> HttpAnswer:
        """The whole answer; `timeout` seconds for the whole exchange."""
        async with self.stream(method, url, headers, body, timeout=timeout) as answer:
            return HttpAnswer(answer.status, answer.headers, await answer.read())

    def stream(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        timeout: float | None = None,
    ) -> AbstractAsyncContextManager[HttpStream]:
        """The answer as it comes, chunk by chunk of the provider's plan; arguments as for `send`."""
        if self._closed:
            raise RuntimeError("this transport has been closed")
        return _Exchange(self, self._provider, (method, url, headers, body or b""), timeout)

    async def close(self) -> None:
        """Calls in flight end with APIConnectionError. Idempotent."""
        self._closed = True
        waiting, self._waiting = self._waiting, {}
        for waiter, where in waiting.items():
            if not waiter.done():
                waiter.set_exception(
                    APIConnectionError(f"the transport was closed before {where} answered", retryable=False)
                )

    async def wait(self, seconds: float, where: str) -> None:
        """Wait `seconds`; raises APIConnectionError when the transport is closed meanwhile."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(seconds, _wake, waiter)
        self._waiting[waiter] = where
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiting.pop(waiter, None)

    def __repr__(self) -> str:
        state = " closed" if self._closed else f" {len(self._waiting)} in flight"
        return f"<MemoryTransport{state}>"


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class _Exchange:
    """One request and its answer: the context manager and the `HttpStream` in one object."""

    __slots__ = (
        "_deadline",
        "_left",
        "_plan",
        "_position",
        "_provider",
        "_request",
        "_timeout",
        "_transport",
        "_where",
        "headers",
        "status",
    )

    def __init__(
        self,
        transport: MemoryTransport,
        provider: SimulatedProvider,
        request: tuple[str, str, Mapping[str, str], bytes],
        timeout: float | None,
    ) -> None:
        self._transport = transport
        self._provider = provider
        self._request = request
        self._timeout = timeout
        self._deadline: float | None = None
        self._where = origin_of(request[1])
        self._plan: Plan | None = None
        self._position = 0
        self._left = transport.max_response_bytes
        self.status = 0
        self.headers: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        if self._timeout is not None:
            self._deadline = asyncio.get_running_loop().time() + self._timeout
        await self._pass(self._transport.latency)
        method, url, headers, body = self._request
        parts = urlsplit(url)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        lower = {name.lower(): value for name, value in headers.items()}
        self._plan = plan = self._provider.handle(method, path, lower, body)
        try:
            await self._pass(plan.delay)
            if plan.ending is Ending.RESET and not plan.chunks:
                raise self._broken()
        except BaseException:
            self._provider.finish(plan, delivered=False)
            raise
        self.status = plan.status
        for name, value in plan.headers:
            name = name.lower()
            self.headers[name] = f"{self.headers[name]}, {value}" if name in self.headers else value
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        plan = self._plan
        assert plan is not None
        whole = plan.ending is Ending.COMPLETE and self._position >= len(plan.chunks)
        self._provider.finish(plan, delivered=whole)
        self._plan = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        plan = self._plan
        if plan is None:
            raise RuntimeError("this stream has been closed; iterate it inside its `async with`")
        if self._position >= len(plan.chunks):
            if plan.ending is Ending.COMPLETE:
                raise StopAsyncIteration
            await self._pass(plan.hold if plan.ending is Ending.STALL else 0.0)
            raise self._broken()
        chunk = plan.chunks[self._position]
        await self._pass(chunk.delay)
        self._position += 1
        self._left -= len(chunk.data)
        if self._left < 0:
            raise ResponseTooLargeError(
                f"the answer of {self._where} is larger than {self._transport.max_response_bytes:,} bytes"
            )
        return chunk.data

    async def read(self) -> bytes:
        """The rest of the body."""
        return b"".join([piece async for piece in self])

    def _broken(self) -> APIConnectionError:
        return APIConnectionError(f"the connection to {self._where} broke")

    async def _pass(self, seconds: float) -> None:
        """Wait `seconds`, or until a timeout ends the call.

        The plan's delays are known in advance, so one timer is enough.
        """
        limits = [self._transport.read_timeout]
        if self._deadline is not None:
            limits.append(self._deadline - asyncio.get_running_loop().time())
        shortest = min((limit for limit in limits if limit is not None), default=None)
        if shortest is None or seconds <= shortest:
            await self._transport.wait(seconds, self._where)
        else:
            await self._transport.wait(max(0.0, shortest), self._where)
            raise APITimeoutError(f"no complete answer from {self._where} in time")
