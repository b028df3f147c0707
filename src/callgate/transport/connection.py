"""One HTTP/1.1 connection, and one exchange on it at a time.

The parser (llhttp, by httptools) calls back into the connection, in the event loop itself: no thread and no
task stands between the socket and the waiting call. An exchange that is given up closes its connection at
once: the other side then stops working on it.
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

# Of a head; and of trailers and whatever else is no part of a body that has begun.
_MOST_OTHER_BYTES: Final = 256 * 1024
# More than this unread in a stream, and the other side is made to wait.
_HIGH_WATER: Final = 256 * 1024
_LOW_WATER: Final = 64 * 1024
_POLL: Final = getattr(select, "poll", None)  # Windows has none


class Exchange:
    """What has come of one answer so far."""

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
        """As errors show it."""
        self.limit = self.left = limit
        self.streaming = streaming
        self.status = 0
        """0 until the head has come."""
        self.headers: dict[str, str] = {}
        self.pieces: deque[bytes] = deque()
        self.buffered = 0
        self.inflater: Inflater | None = None
        self.complete = False
        self.unanswered = False
        """The connection was lost before a single byte of the answer."""
        self.error: APIClientError | None = None
        self.last_byte = 0.0
        """When it came, in seconds of the loop's clock."""
        self.waiter: asyncio.Future[None] | None = None

    def anew(self) -> Exchange:
        """One for the same request, which is sent again."""
        return Exchange(self.method, self.origin, self.limit, streaming=self.streaming)

    def news(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        """To be awaited by the one call that waits: until something has come, or the end."""
        self.waiter = waiter = loop.create_future()
        return waiter

    def wake(self) -> None:
        """Wake the waiting call."""
        waiter, self.waiter = self.waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def fail(self, error: APIClientError) -> None:
        """End badly; the first error stays."""
        if self.error is None and not self.complete:
            self.error = error
        self.wake()


class Connection(asyncio.Protocol):
    """One connection to one origin.

    Args:
        key: Its destination; exchanges with the same key may follow one another on it.
        released: Called with it when it is free for another exchange.
        lost: Called with it when it is closed.
        clock: The loop's.
    """

    __slots__ = (
        "_clock",
        "_exchange",
        "_headers",
        "_layers",
        "_lost",
        "_other_bytes",
        "_parser",
        "_paused",
        "_released",
        "_spoilt",
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
        self._layers: Sequence[Any] = ()  # from the socket's transport up to its own, TLS between them
        self._parser: Any = httptools.HttpResponseParser(self)
        self._exchange: Exchange | None = None
        self._headers: dict[str, str] | None = None  # None: the head is complete
        self._other_bytes = 0  # that have come since the last of the body
        self._until_close = False
        self._paused = False
        self._spoilt = False  # it must not serve another exchange
        self.idle_since = 0.0

    @property
    def usable(self) -> bool:
        """Whether it can take an exchange."""
        return not self._spoilt and self._exchange is None and not self._transport.is_closing()

    def has_news(self) -> bool:
        """Whether the other side has said something that the loop has not read yet: that it is closing."""
        if _POLL is None:
            return False
        poll = _POLL()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def begin(self, exchange: Exchange, *request: bytes) -> None:
        """Send a request; its answer goes into `exchange`."""
        self._exchange = exchange
        self._other_bytes = 0
        for part in request:
            self._transport.write(part)

    def resume(self, exchange: Exchange) -> None:
        """Read from the socket again if the buffer of the stream has been emptied far enough."""
        if self._paused and exchange is self._exchange and exchange.buffered <= _LOW_WATER:
            self._paused = False
            self._transport.resume_reading()

    def abandon(self, exchange: Exchange) -> None:
        """Close at once if this exchange is still under way here."""
        if exchange is self._exchange:
            self._exchange = None
            self.abort()

    def shut(self) -> None:
        """Close at once, because the whole transport is being closed."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.fail(shut(exchange.origin))
        self.abort()

    def abort(self) -> None:
        """Close at once; what else arrives is dropped."""
        self._spoilt = True
        if self._transport is not None:
            self._transport.abort()

    def secure(self, layers: Sequence[asyncio.BaseTransport]) -> None:
        """Set the transports: the socket's own first, then one for each TLS session on top of it."""
        self._transport = layers[-1]
        self._layers = layers

    # -- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._layers = (transport,)

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:  # without a request
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
        elif self._spoilt:
            self.abort()
        elif exchange.streaming and not exchange.complete:
            if exchange.buffered > _HIGH_WATER and not self._paused:
                self._paused = True
                self._transport.pause_reading()
            exchange.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._spoilt = True
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
            self._spoilt = True  # an answer to no request
        self._headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        headers = self._headers
        if headers is None:
            return  # a trailer: the head has been read, and perhaps acted on
        key, text = name.decode("latin-1").lower(), value.decode("latin-1").strip()
        headers[key] = f"{headers[key]}, {text}" if key in headers else text

    def on_headers_complete(self) -> None:
        exchange, headers = self._exchange, self._headers
        self._headers = None
        status = self._parser.get_status_code()
        if exchange is None or headers is None or status < 200:
            return  # 100, 103: news before the answer
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
        # One that is no number is what the parser complains of itself.
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
            # The parser cannot know, and would wait for the body that the headers describe.
            self._spoilt = True
            self._finish(exchange)

    def on_body(self, data: bytes) -> None:
        self._other_bytes = 0
        exchange = self._exchange
        if exchange is None or exchange.error is not None:
            return
        if exchange.left == exchange.limit and exchange.inflater is None and data.startswith(GZIP_MAGIC):
            kind = exchange.headers.get("content-type", "").lower()
            if kind.startswith("text/") or "json" in kind:  # packed without a word of it
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
            self._spoilt = True
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
        spoilt = self._spoilt
        for layer in self._layers:
            # An answer may come before all of its request has gone out (413, 429).
            spoilt = spoilt or layer.get_write_buffer_size() > 0
        if spoilt:
            self.abort()
        else:
            self._released(self)

    def _fail(self, error: ResponseError | APIConnectionError) -> None:
        if self._exchange is not None:
            self._exchange.fail(error)
