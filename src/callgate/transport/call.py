"""`Call`: one request in flight: its connection and its timeouts."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from callgate.errors import ConfigurationError
from callgate.transport.connection import Connection, Exchange
from callgate.transport.failures import shut, too_late
from callgate.transport.pool import Pool
from callgate.transport.request_head import read_target, request_head

__all__ = ["Call", "Dispatch", "HttpAnswer", "Limits"]

# Bodies up to this are sent together with the head, in one system call.
_JOINED_BYTES: Final = 64 * 1024
# A timer that fires this many seconds late shows that the process was suspended or its loop blocked. The call
# then gets that time again, up to the longest grace.
_STALLED: Final = 0.1
_LONGEST_GRACE: Final = 1.0
# Methods whose repetition has no further effect.
_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"})


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of every call of a transport, in seconds and bytes; None: no limit.

    Raises:
        ConfigurationError: a limit is not a positive number.
    """

    connect_timeout: float
    read_timeout: float | None
    max_response_bytes: int

    def __post_init__(self) -> None:
        for name in self.__slots__:
            limit = getattr(self, name)
            is_number = isinstance(limit, int | float) and not isinstance(limit, bool)
            if not (is_number and limit > 0) and not (name == "read_timeout" and limit is None):
                unit = "bytes" if name == "max_response_bytes" else "seconds"
                raise ConfigurationError(
                    f"{name} must be a positive number of {unit}, got {limit!r}", setting=name
                )


@dataclass(slots=True)
class HttpAnswer:
    """One complete answer: status, headers with lower-case names (repeated ones joined by ", "), body.

    >>> HttpAnswer(200, {"content-type": "application/json"}, b"{}").status
    200
    """

    status: int
    headers: dict[str, str]
    body: bytes


class Dispatch(Protocol):
    """Called when a request has to wait for a connection, and when it is sent."""

    def hold(self) -> None:
        """The request waits for a new connection."""
        ...

    def sent(self, now: float) -> None:
        """The request is written now, in seconds of the loop's clock."""
        ...


class Call:
    """`Call`: one request in flight: its connection and its timeouts."""

    __slots__ = (
        "_body",
        "_connection",
        "_deadline",
        "_dispatch",
        "_grace",
        "_headers",
        "_limits",
        "_method",
        "_pool",
        "_target",
        "_timeout",
        "_timer",
        "exchange",
        "loop",
    )

    def __init__(
        self,
        pool: Pool,
        limits: Limits,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout: float | None,
        dispatch: Dispatch | None = None,
        *,
        streaming: bool = False,
    ) -> None:
        self._pool = pool
        self.loop = pool.loop
        self._dispatch = dispatch
        self._limits = limits
        self._method = method
        self._target = target = read_target(url)
        self._headers = headers
        self._body = body
        self._timeout = timeout
        self._deadline = None if timeout is None else pool.clock() + timeout
        self._connection: Connection | None = None
        self._grace = False
        self._timer: asyncio.TimerHandle | None = None
        self.exchange = Exchange(method, target.origin, limits.max_response_bytes, streaming=streaming)

    async def run(self) -> HttpAnswer:
        """Send the request; returns the whole response, or the head of a stream with an empty body.

        On failure the connection is closed. Errors are listed at `HttpTransport`.
        """
        pool, target, body, exchange = self._pool, self._target, self._body, self.exchange
        try:
            proxied = pool.proxied(target) if pool.has_proxies else None
            head = request_head(self._method, target, self._headers, body, proxied=proxied)
            idle = pool.idle_connection(target)
            while True:
                self._connection = connection = await self._open() if idle is None else idle
                if body is None:
                    connection.begin(exchange, head)
                elif len(body) <= _JOINED_BYTES:
                    connection.begin(exchange, head + body)
                else:
                    connection.begin(exchange, head, body)
                if idle is None and self._dispatch is not None:
                    self._dispatch.sent(pool.clock())
                if self._deadline is not None or self._limits.read_timeout is not None:
                    self._set_timer()
                while not (exchange.complete or exchange.error or (exchange.streaming and exchange.status)):
                    await exchange.arrival(pool.loop)
                if not exchange.unanswered or idle is None or self._method not in _IDEMPOTENT:
                    break
                # The server closed the idle connection while the request was on its way.
                self.end()
                idle = None
                self.exchange = exchange = exchange.renewed()
            if exchange.streaming and exchange.status:
                return HttpAnswer(exchange.status, exchange.headers, b"")
            if exchange.error is not None:
                raise exchange.error
        except BaseException:
            self.give_up()
            raise
        if self._timer is not None:
            self.end()
        pieces = exchange.pieces
        whole = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return HttpAnswer(exchange.status, exchange.headers, whole)

    async def _open(self) -> Connection:
        """Open a connection. While the call waits for it, it counts as not sent."""
        pool = self._pool
        if self._dispatch is not None:
            self._dispatch.hold()
        connection = await pool.connect(self._target, self._limits.connect_timeout, self._deadline)
        if pool.closed:
            connection.abort()
            raise shut(self.exchange.origin, sent=False)
        return connection

    def end(self) -> None:
        """End the call, whose connection was released or closed before."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._connection = None

    def give_up(self) -> None:
        """Drop the rest of the response, and close the connection if it is in use."""
        connection = self._connection
        self.end()
        if connection is not None:
            connection.abandon(self.exchange)

    def read_on(self) -> None:
        """Continue after the reader has taken pieces from the buffer."""
        if self._connection is not None:
            self._connection.resume(self.exchange)

    def _set_timer(self) -> None:
        self.exchange.last_byte = self._pool.clock()
        self._timer = self._pool.loop.call_at(self._next_limit()[0], self._on_time)

    def _on_time(self) -> None:
        """End the call if a timeout has passed; it may have been moved by bytes received since."""
        self._timer = None
        exchange = self.exchange
        if exchange.complete or exchange.error is not None:
            return
        due, seconds = self._next_limit()
        now = self._pool.clock()
        if not self._grace and now - due > _STALLED:
            # The process was suspended. uvloop runs timers before it reads sockets, so let it read first.
            self._grace = True
            due = now + min(now - due, _LONGEST_GRACE)
        if now < due:
            self._timer = self._pool.loop.call_at(due, self._on_time)
            return
        exchange.fail(too_late(exchange.origin, seconds, connected=True))
        if self._connection is not None:
            self._connection.abandon(exchange)

    def _next_limit(self) -> tuple[float, float]:
        """The time of the next timeout if no byte arrives, and the seconds that it allows."""
        due, seconds = math.inf, math.inf
        read_timeout = self._limits.read_timeout
        if read_timeout is not None:
            exchange = self.exchange
            # While the reader has not taken all pieces, reading may be paused, which is not the server's
            # silence.
            heard = self._pool.clock() if exchange.streaming and exchange.pieces else exchange.last_byte
            due, seconds = heard + read_timeout, read_timeout
        if self._deadline is not None and self._timeout is not None and self._deadline < due:
            due, seconds = self._deadline, self._timeout
        return due, seconds
