"""HTTP: bytes in, bytes out. No retry, no redirect, no JSON, no status turned into an error.

`Transport` is all that the rest of callgate knows of HTTP, so tests can put an in-memory one in its place.
`HttpTransport` is the real one, over pyreqwest. Every failure leaves here as one of callgate's own errors,
which name the host and never the path, the query or a header: any of these may hold a credential.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import PyreqwestError
from pyreqwest.http import HeaderMap
from pyreqwest.request import StreamRequest
from pyreqwest.response import ResponseBodyReader

from callgate.errors import ConfigurationError
from callgate.transport.failures import too_large, translate
from callgate.transport.origin import check_base_url, check_headers, origin_of

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
    """HTTP/1.1 (or 2) over a connection pool. Follows no redirect, keeps no cookie, raises for no status.

    It may be used from several event loops and threads; the connections are made when first needed.

    A call that is cancelled while its body arrives closes its connection. One that is cancelled before the
    answer has begun is no longer waited for, but pyreqwest keeps its connection until the server answers or
    `timeout` ends: so give a `timeout`.

    Args:
        connect_timeout: Seconds for name, TCP and TLS together.
        read_timeout: Seconds without a single byte after which a call is given up; None: no limit.
        max_response_bytes: Cap on one answer, counted after decompression.
        verify: Check certificates against the system's authorities; False: do not check; a path: trust the
            authorities in that PEM file too.
        http2: Offer HTTP/2. HTTP/1.1 costs less CPU for small answers.
        trust_env: Use the proxies that HTTP_PROXY, HTTPS_PROXY and NO_PROXY name.

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
        "_builder_settings",
        "_client",
        "_closed",
        "connect_timeout",
        "max_response_bytes",
        "read_timeout",
    )

    def __init__(
        self,
        *,
        connect_timeout: float = 10.0,
        read_timeout: float | None = None,
        max_response_bytes: int = 64 * 1024 * 1024,
        verify: bool | str | Path = True,
        http2: bool = False,
        trust_env: bool = True,
    ) -> None:
        self.connect_timeout = connect_timeout
        self.read_timeout = read_timeout
        self.max_response_bytes = max_response_bytes
        self._builder_settings = (verify, http2, trust_env)
        self._client: Client | None = None
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
        request = self._request(method, url, headers, body, timeout, None)
        try:
            # Read as a stream although all of it is wanted: only so can the cap stop a bomb as it inflates.
            async with request as response:
                read = response.body_reader.read_chunk
                cap = self.max_response_bytes
                pieces = []
                while (chunk := await read()) is not None:
                    pieces.append(chunk.to_bytes())
                    cap -= len(chunk)
                    if cap < 0:
                        raise too_large(self.max_response_bytes, url)
                return HttpAnswer(response.status, _headers_of(response.headers), b"".join(pieces))
        except PyreqwestError as caught:
            failure = translate(caught, url)
        # Outside the handler, so that the error does not carry pyreqwest's own, which holds the whole URL.
        raise failure

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
        return _OpenStream(
            self._request(method, url, headers, body, timeout, 0), url, self.max_response_bytes
        )

    async def close(self) -> None:
        """Close every connection; calls in flight end with APIConnectionError. Idempotent."""
        self._closed = True
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout: float | None,
        buffer: int | None,
    ) -> StreamRequest:
        client = self._client or self._open()
        try:
            builder = client.request(method, url).headers(headers)
            if body is not None:
                builder = builder.body_bytes(body)
            if timeout is not None:
                builder = builder.timeout(timedelta(seconds=timeout))
            if buffer is not None:
                builder = builder.streamed_read_buffer_limit(buffer)
            return builder.build_streamed()
        except (ValueError, TypeError) as caught:
            # ValueErrors of pyreqwest quote the header value, so only the harmless ones are passed on.
            reason = str(caught) if "header" not in str(caught) else "a header cannot be sent"
        check_headers(headers)
        raise ConfigurationError(f"{method} to {origin_of(url)}: {reason}")

    def _open(self) -> Client:
        if self._closed:
            raise RuntimeError("this transport has been closed")
        verify, http2, trust_env = self._builder_settings
        builder = (
            ClientBuilder()
            .error_for_status(False)
            # A redirect would carry `x-api-key` along to another host; who wants to follow does so above.
            .follow_redirects(False)
            .referer(False)
            .user_agent("callgate")
            .http2(http2)
            .connect_timeout(timedelta(seconds=self.connect_timeout))
        )
        if self.read_timeout is not None:
            builder = builder.read_timeout(timedelta(seconds=self.read_timeout))
        if not trust_env:
            builder = builder.no_proxy()
        if verify is False:
            builder = builder.danger_accept_invalid_certs(True)
        elif verify is not True:
            try:
                builder = builder.add_root_certificate_pem(Path(verify).read_bytes())
            except (OSError, ValueError, PyreqwestError) as error:
                raise ConfigurationError(f"verify={str(verify)!r} is no readable PEM file: {error}") from None
        self._client = builder.build()
        return self._client

    def __repr__(self) -> str:
        state = "closed" if self._closed else "idle" if self._client is None else "open"
        return f"<HttpTransport {state} max_response_bytes={self.max_response_bytes}>"


class _OpenStream:
    """One streamed answer: the context manager and the `HttpStream` in one object."""

    __slots__ = ("_left", "_limit", "_read", "_request", "_url", "headers", "status")

    def __init__(self, request: StreamRequest, url: str, limit: int) -> None:
        self._request = request
        self._url = url
        self._limit = self._left = limit
        self._read: ResponseBodyReader | None = None
        self.status = 0
        self.headers: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        try:
            response = await self._request.__aenter__()
        except PyreqwestError as caught:
            failure = translate(caught, self._url)
        else:
            self.status = response.status
            self.headers = _headers_of(response.headers)
            self._read = response.body_reader
            return self
        raise failure

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._read = None
        await self._request.__aexit__(kind, error, trace)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._read is None:
            raise RuntimeError("this stream has been closed; iterate it inside its `async with`")
        try:
            chunk = await self._read.read_chunk()
        except PyreqwestError as caught:
            failure = translate(caught, self._url)
        else:
            if chunk is None:
                raise StopAsyncIteration
            self._left -= len(chunk)
            if self._left < 0:
                raise too_large(self._limit, self._url)
            return chunk.to_bytes()
        raise failure

    async def read(self) -> bytes:
        return b"".join([piece async for piece in self])


def _headers_of(headers: HeaderMap) -> dict[str, str]:
    try:
        found = headers.dict_multi_value()
    except ValueError:
        found = _readable_headers(headers)
    for name, value in found.items():
        if type(value) is not str:
            found[name] = ", ".join(value)
    return found  # type: ignore[return-value]  # the lists have just been joined


def _readable_headers(headers: HeaderMap) -> dict[str, str | list[str]]:
    """Without those that are not text: pyreqwest cannot give these, and refuses the whole map for one."""
    readable: dict[str, str | list[str]] = {}
    for name in headers:
        try:
            readable[name] = headers.getall(name)
        except ValueError:
            continue
    return readable
