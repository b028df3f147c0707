"""HTTP: bytes in, bytes out. No retries, no redirects, no JSON, no errors for a status.

`Transport` is the protocol that the rest of callgate uses, so that tests can use a transport in memory.
`HttpTransport` implements it with HTTP/1.1 on the event loop. All failures are raised as callgate's errors,
which name the host, but no path, query or header, because these may hold a credential.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from callgate.reprs import live_repr
from callgate.transport.call import Call, Dispatch, HttpAnswer, Limits
from callgate.transport.keys import hide_secrets, hide_user
from callgate.transport.pool import Pool
from callgate.transport.proxy import Proxies, Proxy, read_proxy
from callgate.transport.request_head import Target
from callgate.transport.tls import tls_maker

__all__ = ["HTTP_SETTINGS", "Dispatch", "HttpAnswer", "HttpStream", "HttpTransport", "Transport"]

HTTP_SETTINGS = ("connect_timeout", "read_timeout", "max_response_bytes", "verify", "client_cert", "proxy",
                 "trust_env")  # fmt: skip
"""The settings of an `HttpTransport`."""


class HttpStream(Protocol):
    """A response whose body is still arriving. Iterate it for the pieces.

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
            APIConnectionError: the connection broke before the end.
            APITimeoutError: no more bytes arrived in time.
            ResponseTooLargeError: the pieces together exceed the cap.
        """
        ...

    async def read(self) -> bytes:
        """The rest of the body in one piece; raises the same errors as iteration."""
        ...


class Transport(Protocol):
    """Sends one request and returns the answer, whatever its status. `HttpTransport` lists what is raised."""

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        timeout: float | None = None,
    ) -> HttpAnswer:
        """Send a request and return the whole response."""
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
        """Send a request and return the response as it arrives; leaving the context ends it."""
        ...

    async def close(self) -> None:
        """Close every connection. Idempotent."""
        ...


class HttpTransport:
    """HTTP/1.1 with a connection pool. Follows no redirects, stores no cookies, raises no error for a status.

    It may be used from several event loops and threads; each loop has its own connections. A cancelled call
    closes its connection at once. If the process has no file descriptor for another connection, a call waits
    until a connection is free.

    Args:
        connect_timeout: Seconds for name lookup, proxy, TCP and TLS together.
        read_timeout: Seconds without a single byte after which a call is given up; None: no limit.
        max_response_bytes: Cap on one answer, counted after decompression.
        verify: True: check certificates against the system's authorities; the path of a PEM file or
            directory: trust the authorities in it too; an `ssl.SSLContext`: use that; False: do not check.
        client_cert: The path of a PEM file with a client certificate and its key, or (certificate, key) or
            (certificate, key, password).
        proxy: The URL of a proxy that every request goes through: http, https, socks4, socks4a, socks5 or
            socks5h (SOCKS needs the extra `socks`). None: as `trust_env` sets.
        trust_env: Use the proxies in HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, except for addresses of
            this machine.

    Raises:
        APIConnectionError: nothing listens, no such host (both `surely_unsent`), or the connection broke.
        APITimeoutError: `connect_timeout` (then `surely_unsent`), `read_timeout` or `timeout` passed.
        ResponseTooLargeError: the decoded body passed `max_response_bytes`.
        ResponseError: the answer is not HTTP, or does not decompress.
        ConfigurationError: a setting that cannot work, or a URL, method or header that cannot be sent.
        RuntimeError: it has been closed.

    Example::

        transport = HttpTransport()
        answer = await transport.send("GET", "https://api.example.com/v1/models", {"accept": "*/*"})
        print(answer.status, answer.body)
        await transport.close()
    """

    __slots__ = (
        "_closed",
        "_find_proxy",
        "_make_tls",
        "_pool",
        "_pools",
        "limits",
    )

    def __init__(
        self,
        *,
        connect_timeout: float = 10.0,
        read_timeout: float | None = None,
        max_response_bytes: int = 64 * 1024 * 1024,
        verify: bool | str | Path | ssl.SSLContext = True,
        client_cert: str | Path | Sequence[str | Path] | None = None,
        proxy: str | None = None,
        trust_env: bool = True,
    ) -> None:
        client_cert, proxy = hide_secrets({"certificate": client_cert})["certificate"], hide_user(proxy)
        self._closed = False
        self._pools: dict[asyncio.AbstractEventLoop, Pool] = {}
        self._pool: Pool | None = None  # the pool used last; None once it is closed
        self.limits = Limits(connect_timeout, read_timeout, max_response_bytes)
        self._make_tls = tls_maker(verify, client_cert)
        self._find_proxy: Callable[[Target], Proxy | None] | None = None
        if proxy is not None:
            given = read_proxy(proxy)
            self._find_proxy = lambda target: given
        elif trust_env and (proxies := Proxies()):
            self._find_proxy = proxies.find

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        timeout: float | None = None,
        dispatch: Dispatch | None = None,
    ) -> Coroutine[Any, Any, HttpAnswer]:
        """Send a request and return the whole response. Await it at once.

        Args:
            method, url, headers, body: The request as it is sent.
            timeout: Seconds for the whole exchange.
            dispatch: Called if the request has to wait for a new connection, and then when it is sent.
        """
        loop = asyncio.get_running_loop()
        pool = self._pool
        if pool is None or pool.loop is not loop:
            pool = self.pool_of(loop)
        return Call(pool, self.limits, method, url, headers, body, timeout, dispatch).run()

    def stream(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        timeout: float | None = None,
        dispatch: Dispatch | None = None,
    ) -> AbstractAsyncContextManager[HttpStream]:
        """Send a request and return the response as it arrives; arguments as for `send`."""
        pool = self.pool_of(asyncio.get_running_loop())
        return _OpenStream(
            Call(pool, self.limits, method, url, headers, body, timeout, dispatch, streaming=True)
        )

    async def close(self) -> None:
        """Close every connection; calls in flight end with APIConnectionError. Idempotent."""
        self._closed = True
        self._pool = None
        here = asyncio.get_running_loop()
        for loop, pool in list(self._pools.items()):
            if loop is here:
                await pool.close()
            elif not loop.is_closed():
                loop.call_soon_threadsafe(pool.close_now)

    @property
    def closed(self) -> bool:
        """True once it has been closed."""
        return self._closed

    def pool_of(self, loop: asyncio.AbstractEventLoop) -> Pool:
        """The connection pool of a loop, created on first use.

        Raises:
            RuntimeError: the transport has been closed.
        """
        if self._closed:
            raise RuntimeError("this transport has been closed")
        pool = self._pools.get(loop)
        if pool is None:
            pool = self._pools[loop] = Pool(loop, self._make_tls, self._find_proxy, self._forget)
        self._pool = pool
        return pool

    def _forget(self, pool: Pool) -> None:
        if self._pools.get(pool.loop) is pool:
            del self._pools[pool.loop]
        if self._pool is pool:
            self._pool = None

    @live_repr
    def __repr__(self) -> str:
        connections = sum(pool.open for pool in self._pools.values())
        state = "closed" if self._closed else f"{connections} connections"
        return f"<HttpTransport {state} max_response_bytes={self.limits.max_response_bytes}>"


class _OpenStream:
    """One streamed response: the context manager and the `HttpStream` in one object."""

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
        await self._call.run()
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
            await exchange.arrival(self._call.loop)

    async def read(self) -> bytes:
        return b"".join([piece async for piece in self])
