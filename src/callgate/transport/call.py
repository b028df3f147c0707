"""One request on its way: its connection, and the limits on its time."""

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

# Bodies up to this are sent in one piece with the head: one system call, one packet on the way.
_JOINED_BYTES: Final = 64 * 1024
# Doing these twice is doing them once.
# A timer that fires this many seconds late: the process was stopped, or something blocked its loop.
_STALLED: Final = 0.1
_LONGEST_GRACE: Final = 1.0
_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"})


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of every call of a transport, in seconds and bytes; None: no limit.

    Raises:
        ConfigurationError: a limit that is not a positive number.
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
    """Hears when a request is sent, if it cannot be sent at once."""

    def hold(self) -> None:
        """A connection is opened first."""
        ...

    def sent(self, now: float) -> None:
        """The request is written now, in seconds of the loop's clock."""
        ...


class Call:
    """One request on its way: its connection, and the limits on its time."""

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
        """Send it, and return the answer: all of it, or its head without a body when it is a stream.

        When that fails, its connection is closed; what is raised stands in `HttpTransport`.
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
                    await exchange.news(pool.loop)
                if not exchange.unanswered or idle is None or self._method not in _IDEMPOTENT:
                    break
                # The server closed the connection while it was idle, and the news crossed our request.
                self.end()
                idle = None
                self.exchange = exchange = exchange.anew()
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
        """A connection of its own; what waits for it counts as not sent."""
        pool = self._pool
        if self._dispatch is not None:
            self._dispatch.hold()
        connection = await pool.connect(self._target, self._limits.connect_timeout, self._deadline)
        if pool.closed:
            connection.abort()
            raise shut(self.exchange.origin, sent=False)
        return connection

    def end(self) -> None:
        """It is over; its connection has gone back or been closed already."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._connection = None

    def give_up(self) -> None:
        """Drop the rest of the answer; a connection in use is closed."""
        connection = self._connection
        self.end()
        if connection is not None:
            connection.abandon(self.exchange)

    def read_on(self) -> None:
        """The reader has taken pieces out of the buffer."""
        if self._connection is not None:
            self._connection.resume(self.exchange)

    def _set_timer(self) -> None:
        self.exchange.last_byte = self._pool.clock()
        self._timer = self._pool.loop.call_at(self._next_limit()[0], self._on_time)

    def _on_time(self) -> None:
        """A limit may have passed, or bytes have come meanwhile and moved it."""
        self._timer = None
        exchange = self.exchange
        if exchange.complete or exchange.error is not None:
            return
        due, seconds = self._next_limit()
        now = self._pool.clock()
        if not self._grace and now - due > _STALLED:
            # The process was stopped. uvloop runs timers before it reads sockets: read those first.
            self._grace = True
            due = now + min(now - due, _LONGEST_GRACE)
        if now < due:
            self._timer = self._pool.loop.call_at(due, self._on_time)
            return
        exchange.fail(too_late(exchange.origin, seconds, connected=True))
        if self._connection is not None:
            self._connection.abandon(exchange)

    def _next_limit(self) -> tuple[float, float]:
        """When the next limit passes unless something comes, and how many seconds it allows."""
        due, seconds = math.inf, math.inf
        read_timeout = self._limits.read_timeout
        if read_timeout is not None:
            exchange = self.exchange
            # While the other side is made to wait for a slow reader, its silence is our doing.
            heard = self._pool.clock() if exchange.streaming and exchange.pieces else exchange.last_byte
            due, seconds = heard + read_timeout, read_timeout
        if self._deadline is not None and self._timeout is not None and self._deadline < due:
            due, seconds = self._deadline, self._timeout
        return due, seconds
