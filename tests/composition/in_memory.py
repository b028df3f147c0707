"""A transport without a socket: it acts out the plans of a `SimulatedProvider` on the running loop's clock.

On a virtual clock an hour of Retry-After passes in no time, and the bytes of a stream arrive in pieces of any
size::

    transport = InMemoryTransport(SimulatedProvider(options, clock=loop.time), split=one_byte_at_a_time)
    model = iModel(provider="openai", base_url="http://127.0.0.1:9/v1", transport=transport)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from callgate.errors import APIConnectionError
from callgate.testing import Ending, Plan, SimulatedProvider
from callgate.transport.http import HttpAnswer

__all__ = ["InMemoryTransport", "one_byte_at_a_time", "split_at"]

Split = Callable[[bytes], Iterable[bytes]]


def one_byte_at_a_time(body: bytes) -> Iterable[bytes]:
    return (body[at : at + 1] for at in range(len(body)))


def split_at(place: int) -> Split:
    return lambda body: (body[:place], body[place:])


class InMemoryStream:
    """The body of one answer, as it comes."""

    def __init__(self, plan: Plan, split: Split | None) -> None:
        self.status = plan.status
        self.headers = {name.lower(): value for name, value in plan.headers}
        self._plan = plan
        self._split = split

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks: Iterable[bytes] = (chunk.data for chunk in self._plan.chunks)
        if self._split is not None:
            chunks = self._split(self._plan.body)
        elif any(chunk.delay for chunk in self._plan.chunks):
            for chunk in self._plan.chunks:
                await asyncio.sleep(chunk.delay)
                yield chunk.data
            chunks = ()
        for data in chunks:
            yield data
        if self._plan.ending is not Ending.COMPLETE:
            raise APIConnectionError("the connection broke before the end of the answer")

    async def read(self) -> bytes:
        return b"".join([piece async for piece in self])


class InMemoryTransport:
    """See the module. `split` says in which pieces a streamed body arrives."""

    def __init__(self, provider: SimulatedProvider, *, split: Split | None = None) -> None:
        self.provider = provider
        self.split = split
        self.sent: list[tuple[float, str, Mapping[str, str], bytes]] = []
        """When (loop's clock), path, headers and body of each request."""
        self.last_body = b""
        """The whole body of the latest answer."""

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        timeout: float | None = None,
    ) -> HttpAnswer:
        async with self.stream(method, url, headers, body) as answer:
            return HttpAnswer(answer.status, answer.headers, await answer.read())

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        timeout: float | None = None,
    ) -> AsyncIterator[InMemoryStream]:
        parts = urlsplit(url)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        self.sent.append((asyncio.get_running_loop().time(), path, headers, body or b""))
        lower = {name.lower(): value for name, value in headers.items()}
        plan = self.provider.handle(method, path, lower, body or b"")
        self.last_body = plan.body
        delivered = False
        try:
            await asyncio.sleep(plan.delay)
            if plan.ending is Ending.RESET and not plan.chunks:
                raise APIConnectionError("the connection was reset")
            yield InMemoryStream(plan, self.split)
            delivered = True
        finally:
            self.provider.finish(plan, delivered=delivered)

    async def close(self) -> None:
        pass
