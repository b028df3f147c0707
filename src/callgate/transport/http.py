"""HTTP: bytes in, bytes out. No retry, no redirect, no JSON, no status turned into an error.

`Transport` is all that the rest of callgate knows of HTTP, so tests can put an in-memory one in its place.
`HttpTransport` is the real one: HTTP/1.1 on the event loop itself. Every failure leaves here as one of
callgate's own errors, which name the host and never the path, the query or a header: any of these may hold a
credential.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from callgate.errors import ConfigurationError
from callgate.transport.call import Call, Limits
from callgate.transport.origin import check_base_url, check_headers, origin_of
from callgate.transport.pool import Pool, Proxies

__all__ = [
    "HttpAnswer",
    "HttpStream",
    "HttpTransport",
    "Transport",
    "check_base_url",
    "check_headers",
    "origin_of",
]


@dataclass(slots=True)
class HttpAnswer:
    """One complete answer: status, headers with lower-case names (repeated ones joined by ", "), body.

    >>> HttpAnswer(200, {"content-type": "application/json"}, b"{}").status
    200
    """

    status: int
    headers: dict[str, str]
    body: bytes


class HttpStream(Protocol):
    """An answer whose body is still coming. Iterate it for the pieces as they arrive.

    Example::

        async with transport.stream("POST", url, headers, body) as answer:
            async for piece in answer:
                decoder.feed(piece)
    """

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> dict[str, str]:
        """The headers, lower-case names."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The body in pieces of any size.

        Raises:
            APIConnectionError: when the connection breaks before the end.
            APITimeoutError: when no more bytes come in time.
            ResponseTooLargeError: when the pieces together pass the cap.
        """
        ...

    async def read(self) -> bytes:
        """What is left of the body in one piece; raises as iterating does."""
        ...


class Transport(Protocol):
    """Sends one request and gives the answer, whatever its status. See `HttpTransport` for what is raised."""

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        timeout: float | None = None,
    ) -> HttpAnswer:
        """The whole answer."""
        ...

    def stream(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        timeout: float | None = None,
    ) -> AbstractAsyncContextManager[HttpStream]:
        """The answer as it comes; leaving the context gives the connection back, or closes it."""
        ...

    async def close(self) -> None:
        """Close every connection. Idempotent."""
        ...


class HttpTransport:
    """HTTP/1.1 over kept connections. Follows no redirect, keeps no cookie, raises for no status.

    It may be used from several event loops and threads; each loop has connections of its own, opened when
    first needed. A call that is cancelled closes its connection at once, wherever it stands.

    Args:
        connect_timeout: Seconds for name, TCP and TLS together.
        read_timeout: Seconds without a single byte after which a call is given up; None: no limit.
        max_response_bytes: Cap on one answer, counted after decompression.
        verify: Check certificates against the system's authorities; False: do not check; a path: trust the
            authorities in that PEM file too.
        trust_env: Use the proxies that HTTP_PROXY, HTTPS_PROXY and NO_PROXY name, but never for this machine
            itself.

    Raises:
        APIConnectionError: nothing listens, no such host (both `surely_unsent`), or the connection broke.
        APITimeoutError: `connect_timeout` (then `surely_unsent`), `read_timeout` or `timeout` passed.
        ResponseTooLargeError: the decoded body passed `max_response_bytes`.
        ResponseError: what came is not HTTP, or does not decompress.
        ConfigurationError: a URL, method or header that cannot be sent.
        RuntimeError: it has been closed.

    Example::

        transport = HttpTransport()
        answer = await transport.send("GET", "https://api.example.com/v1/models", {"accept": "*/*"})
        print(answer.status, answer.body)
        await transport.close()
    """

    __slots__ = (
        "_closed",
        "_loop",
        "_make_tls",
        "_pool",
        "_pools",
        "_proxies",
        "limits",
    )

    def __init__(
        self,
        *,
        connect_timeout: float = 10.0,
        read_timeout: float | None = None,
        max_response_bytes: int = 64 * 1024 * 1024,
        verify: bool | str | Path = True,
        trust_env: bool = True,
    ) -> None:
        self.limits = Limits(connect_timeout, read_timeout, max_response_bytes)
        self._make_tls = functools.partial(_tls_context, verify if isinstance(verify, bool) else str(verify))
        self._proxies = (Proxies() or None) if trust_env else None
        self._pools: dict[asyncio.AbstractEventLoop, Pool] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pool: Pool | None = None
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
        """The whole answer.

        Args:
            method, url, headers, body: The request as it goes over the wire.
            timeout: Seconds for the whole exchange.
        """
        pool = self.pool_of(asyncio.get_running_loop())
        call = Call(pool, self.limits, method, url, headers, body, timeout)
        try:
            exchange = await call.run()
            if exchange.error is not None:
                raise exchange.error
        except BaseException:
            call.give_up()
            raise
        call.end()
        pieces = exchange.pieces
        return HttpAnswer(
            exchange.status, exchange.headers, pieces[0] if len(pieces) == 1 else b"".join(pieces)
        )

    def stream(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        timeout: float | None = None,
    ) -> AbstractAsyncContextManager[HttpStream]:
        """The answer as it comes, piece by piece; arguments as for `send`."""
        pool = self.pool_of(asyncio.get_running_loop())
        return _OpenStream(Call(pool, self.limits, method, url, headers, body, timeout, streaming=True))

    async def close(self) -> None:
        """Close every connection; calls in flight end with APIConnectionError. Idempotent."""
        self._closed = True
        here = asyncio.get_running_loop()
        for loop, pool in list(self._pools.items()):
            if loop is here:
                await pool.close()
            elif not loop.is_closed():
                loop.call_soon_threadsafe(pool.close_now)

    @property
    def closed(self) -> bool:
        """Whether it has been closed."""
        return self._closed

    def pool_of(self, loop: asyncio.AbstractEventLoop) -> Pool:
        """The connections of a loop.

        Raises:
            RuntimeError: it has been closed.
        """
        if loop is self._loop and self._pool is not None and not self._closed:
            return self._pool
        if self._closed:
            raise RuntimeError("this transport has been closed")
        pool = self._pools.get(loop)
        if pool is None:
            pool = self._pools[loop] = Pool(loop, self._make_tls, self._proxies, self._forget)
        self._loop, self._pool = loop, pool
        return pool

    def _forget(self, pool: Pool) -> None:
        if self._pools.get(pool.loop) is pool:
            del self._pools[pool.loop]
        if self._pool is pool:
            self._loop = self._pool = None

    def __repr__(self) -> str:
        connections = sum(pool.open for pool in self._pools.values())
        state = "closed" if self._closed else f"{connections} connections"
        return f"<HttpTransport {state} max_response_bytes={self.limits.max_response_bytes}>"


class _OpenStream:
    """One streamed answer: the context manager and the `HttpStream` in one object."""

    __slots__ = ("_call", "_closed")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._closed = False

    @property
    def status(self) -> int:
        return self._call.exchange.status

    @property
    def headers(self) -> dict[str, str]:
        return self._call.exchange.headers

    async def __aenter__(self) -> Self:
        try:
            exchange = await self._call.run()
            if exchange.error is not None and exchange.status == 0:
                raise exchange.error
        except BaseException:
            self._call.give_up()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        self._call.give_up()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._closed:
            raise RuntimeError("this stream has been closed; iterate it inside its `async with`")
        exchange = self._call.exchange
        while True:
            if exchange.pieces:
                piece = exchange.pieces.popleft()
                exchange.buffered -= len(piece)
                self._call.read_on()
                return piece
            if exchange.error is not None:
                raise exchange.error
            if exchange.complete:
                raise StopAsyncIteration
            await self._call.wait(exchange)

    async def read(self) -> bytes:
        return b"".join([piece async for piece in self])


@functools.lru_cache(maxsize=16)
def _tls_context(verify: bool | str) -> ssl.SSLContext:
    """Reading the authorities takes 20 ms, so it is done once for each setting."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif verify is not True:
        try:
            context.load_verify_locations(verify)
        except (OSError, ssl.SSLError) as error:
            why = error.strerror or str(error)
            raise ConfigurationError(f"verify={verify!r} is no readable PEM file: {why}") from None
    return context
