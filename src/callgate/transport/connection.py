"""One HTTP/1.1 connection, and one exchange on it at a time.

The parser (llhttp, by httptools) calls back into the connection on the event loop, without a thread or task
between the socket and the waiting call. A cancelled exchange closes its connection at once, so that the
server can stop working on it.
"""

from __future__ import annotations

import asyncio
import select
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import httptools

from callgate.errors import APIClientError, APIConnectionError, ResponseError
from callgate.transport.content_coding import GZIP_MAGIC, Inflater, make_inflater
from callgate.transport.failures import broken, shut, too_large, unreadable

__all__ = ["Connection", "Exchange"]

# The most bytes of a head, of trailers and of anything else outside of a body.
_MOST_OTHER_BYTES: Final = 256 * 1024
# Reading from the socket stops above the first number of unread bytes in a stream, and resumes below the
# second.
_HIGH_WATER: Final = 256 * 1024
_LOW_WATER: Final = 64 * 1024
_POLL: Final = getattr(select, "poll", None)  # Windows has none


class Exchange:
    """The part of one response that has arrived."""

    __slots__ = (
        "buffered",
        "complete",
        "error",
        "headers",
        "inflater",
        "last_byte",
        "left",
        "limit",
        "method",
        "origin",
        "pieces",
        "status",
        "streaming",
        "unanswered",
        "waiter",
    )

    def __init__(self, method: str, origin: str, limit: int, *, streaming: bool) -> None:
        self.method = method
        self.origin = origin
        """Scheme, host and port, for errors."""
        self.limit = self.left = limit
        self.streaming = streaming
        self.status = 0
        """0 until the head has arrived."""
        self.headers: dict[str, str] = {}
        self.pieces: deque[bytes] = deque()
        self.buffered = 0
        self.inflater: Inflater | None = None
        self.complete = False
        self.unanswered = False
        """True if the connection was lost before the first byte of the response."""
        self.error: APIClientError | None = None
        self.last_byte = 0.0
        """When the last byte arrived, in seconds of the loop's clock."""
        self.waiter: asyncio.Future[None] | None = None

    def renewed(self) -> Exchange:
        """A new exchange for the same request, which is sent again."""
        return Exchange(self.method, self.origin, self.limit, streaming=self.streaming)

    def arrival(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        """A future that is done when more of the response has arrived, or its end. For one waiting call."""
        self.waiter = waiter = loop.create_future()
        return waiter

    def wake(self) -> None:
        """Wake the waiting call."""
        waiter, self.waiter = self.waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def fail(self, error: APIClientError) -> None:
        """End with an error, unless the exchange has ended; the first error is kept."""
        if self.error is None and not self.complete:
            self.error = error
        self.wake()


class Connection(asyncio.Protocol):
    """One connection to one origin.

    Args:
        key: The destination. Exchanges with the same key may use the connection one after another.
        released: Called with the connection when it is free for another exchange.
        lost: Called with the connection when it is closed.
        clock: The clock of the loop.
    """

    __slots__ = (
        "_clock",
        "_exchange",
        "_headers",
        "_layers",
        "_lost",
        "_not_reusable",
        "_other_bytes",
        "_parser",
        "_paused",
        "_released",
        "_transport",
        "_until_close",
        "idle_since",
        "key",
    )

    def __init__(
        self,
        key: tuple[bool, str, int],
        released: Callable[[Connection], None],
        lost: Callable[[Connection], None],
        clock: Callable[[], float],
    ) -> None:
        self.key = key
        self._released = released
        self._lost = lost
        self._clock = clock
        self._transport: Any = None
        self._layers: Sequence[
            Any
        ] = ()  # the transports from the socket's up to `_transport`, one for each TLS session
        self._parser: Any = httptools.HttpResponseParser(self)
        self._exchange: Exchange | None = None
        self._headers: dict[str, str] | None = None  # None: the head is complete
        self._other_bytes = 0  # bytes received since the last ones of a body
        self._until_close = False
        self._paused = False
        self._not_reusable = False  # True: close it after the present exchange
        self.idle_since = 0.0

    @property
    def usable(self) -> bool:
        """True if it can take an exchange."""
        return not self._not_reusable and self._exchange is None and not self._transport.is_closing()

    def is_readable(self) -> bool:
        """True if the socket has unread data. On an idle connection that is the server closing it."""
        if _POLL is None:
            return False
        poll = _POLL()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def begin(self, exchange: Exchange, *request: bytes) -> None:
        """Send a request, and receive its response in `exchange`."""
        self._exchange = exchange
        self._other_bytes = 0
        for part in request:
            self._transport.write(part)

    def resume(self, exchange: Exchange) -> None:
        """Resume reading from the socket if the buffer of the stream is below the low mark."""
        if self._paused and exchange is self._exchange and exchange.buffered <= _LOW_WATER:
            self._paused = False
            self._transport.resume_reading()

    def abandon(self, exchange: Exchange) -> None:
        """Close at once if this exchange has not ended."""
        if exchange is self._exchange:
            self._exchange = None
            self.abort()

    def shut(self) -> None:
        """Close at once and fail the exchange, because the whole transport is closed."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.fail(shut(exchange.origin))
        self.abort()

    def abort(self) -> None:
        """Close at once, and drop further data."""
        self._not_reusable = True
        if self._transport is not None:
            self._transport.abort()

    def set_transports(self, layers: Sequence[asyncio.BaseTransport]) -> None:
        """Set the transports: the socket's own first, then one for each TLS session on top of it."""
        self._transport = layers[-1]
        self._layers = layers

    # -- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._layers = (transport,)

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:  # data without a request
            self.abort()
            return
        exchange.last_byte = self._clock()
        self._other_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            exchange.fail(unreadable(exchange.origin, "an upgrade that was not asked for"))
        except httptools.HttpParserError as error:
            exchange.fail(unreadable(exchange.origin, str(error)))
        if self._other_bytes > _MOST_OTHER_BYTES:
            exchange.fail(unreadable(exchange.origin, "headers or trailers without end"))
        if exchange.error is not None:
            self._exchange = None
            self.abort()
        elif self._not_reusable:
            self.abort()
        elif exchange.streaming and not exchange.complete:
            if exchange.buffered > _HIGH_WATER and not self._paused:
                self._paused = True
                self._transport.pause_reading()
            exchange.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._not_reusable = True
        exchange = self._exchange
        if exchange is not None:
            if self._until_close and exc is None:
                self._finish(exchange)
            else:
                exchange.unanswered = (
                    exchange.error is None and self._other_bytes == 0 and not exchange.status
                )
                exchange.fail(broken(exchange.origin, exc, begun=exchange.status != 0))
                self._exchange = None
        self._lost(self)

    # -- called by the parser

    def on_message_begin(self) -> None:
        if self._exchange is None:
            self._not_reusable = True  # a response without a request
        self._headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        headers = self._headers
        if headers is None:
            return  # a trailer, after the head was used
        key, text = name.decode("latin-1").lower(), value.decode("latin-1").strip()
        headers[key] = f"{headers[key]}, {text}" if key in headers else text

    def on_headers_complete(self) -> None:
        exchange, headers = self._exchange, self._headers
        self._headers = None
        status = self._parser.get_status_code()
        if exchange is None or headers is None or status < 200:
            return  # 100, 103: informational, before the response
        length, coding = headers.get("content-length"), headers.get("content-encoding")
        self._until_close = length is None and "chunked" not in headers.get("transfer-encoding", "").lower()
        if coding is not None:
            try:
                exchange.inflater = make_inflater(coding)
            except ValueError as error:
                self._fail(unreadable(exchange.origin, str(error)))
                return
            if exchange.inflater is not None:
                del headers["content-encoding"]
                headers.pop("content-length", None)
        # The parser itself rejects a length that is not a number.
        elif (
            length is not None
            and exchange.method != "HEAD"
            and length.isdecimal()
            and len(length) < 20
            and int(length) > exchange.limit
        ):
            self._fail(too_large(exchange.limit, exchange.origin))
            return
        exchange.headers = headers
        exchange.status = status
        if exchange.method == "HEAD":
            # The parser does not know the method, and would wait for the body that the headers describe.
            self._not_reusable = True
            self._finish(exchange)

    def on_body(self, data: bytes) -> None:
        self._other_bytes = 0
        exchange = self._exchange
        if exchange is None or exchange.error is not None:
            return
        if exchange.left == exchange.limit and exchange.inflater is None and data[:1] == GZIP_MAGIC[:1]:
            kind = exchange.headers.get("content-type", "").lower()
            if kind.startswith("text/") or "json" in kind:  # compressed without a Content-Encoding
                exchange.inflater = Inflater(["gzip"])
        if exchange.inflater is not None:
            try:
                data = exchange.inflater.feed(data, exchange.left)
            except ValueError as error:
                self._fail(unreadable(exchange.origin, str(error)))
                return
        size = len(data)
        exchange.left -= size
        if exchange.left < 0:
            self._fail(too_large(exchange.limit, exchange.origin))
            return
        exchange.pieces.append(data)
        exchange.buffered += size

    def on_message_complete(self) -> None:
        exchange = self._exchange
        if exchange is None or exchange.status == 0 or exchange.error is not None:
            return
        if not self._parser.should_keep_alive():
            self._not_reusable = True
        self._finish(exchange)

    def _finish(self, exchange: Exchange) -> None:
        if exchange.inflater is not None:
            try:
                rest = exchange.inflater.finish(exchange.left)
            except ValueError as error:
                self._fail(unreadable(exchange.origin, str(error)))
                return
            if len(rest) > exchange.left:
                self._fail(too_large(exchange.limit, exchange.origin))
                return
            exchange.pieces.append(rest)
            exchange.buffered += len(rest)
        self._exchange = None
        self._until_close = False
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        exchange.complete = True
        exchange.wake()
        not_reusable = self._not_reusable
        for layer in self._layers:
            # A response may arrive before the whole request was sent (413, 429).
            not_reusable = not_reusable or layer.get_write_buffer_size() > 0
        if not_reusable:
            self.abort()
        else:
            self._released(self)

    def _fail(self, error: ResponseError | APIConnectionError) -> None:
        if self._exchange is not None:
            self._exchange.fail(error)
