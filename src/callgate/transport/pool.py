"""`Pool`: opens, reuses and closes the connections of one event loop, through a proxy if there is one."""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final

from callgate.errors import APIClientError
from callgate.transport.connection import Connection
from callgate.transport.descriptors import descriptors_of, is_shortage
from callgate.transport.failures import no_connection, shut, too_late
from callgate.transport.proxy import Proxy
from callgate.transport.request_head import Target
from callgate.transport.tunnel import open_socks, open_tunnel

__all__ = ["Pool"]

# Below the minute after which many servers and load balancers close an idle connection.
_MOST_IDLE_SECONDS: Final = 50.0
# A connection idle for less is not checked for a close by the server, which costs a system call.
_SURELY_FRESH_SECONDS: Final = 0.1


class Pool:
    """Open and idle connections of one loop.

    It closes them when the loop shuts down its async generators, as `asyncio.run` does, even if the transport
    was not closed.

    Args:
        loop: The event loop of the connections.
        tls: Returns the SSL context of TLS connections.
        find_proxy: Returns the proxy for a target, or None; None: no proxies.
        ended: Called after the pool was closed.
    """

    __slots__ = (
        "__weakref__",
        "_all",
        "_descriptors",
        "_ended",
        "_find_proxy",
        "_guard",
        "_idle",
        "_proxies",
        "_timer",
        "_tls",
        "clock",
        "closed",
        "has_proxies",
        "loop",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        tls: Callable[[], ssl.SSLContext],
        find_proxy: Callable[[Target], Proxy | None] | None,
        ended: Callable[[Pool], None],
    ) -> None:
        self.loop = loop
        self.clock = loop.time
        self._tls = tls
        self._find_proxy = find_proxy
        self.has_proxies = find_proxy is not None
        self._proxies: dict[tuple[bool, str, int], Proxy | None] = {}
        self._ended = ended
        self._idle: dict[tuple[bool, str, int], list[Connection]] = {}
        self._all: set[Connection] = set()
        self._guard: AsyncGenerator[None, None] | None = None
        self._timer: asyncio.TimerHandle | None = None  # while a connection is idle
        self.closed = False
        self._descriptors = descriptors_of(loop)
        self._descriptors.register(self)

    @property
    def open(self) -> int:
        """The number of connections, idle and in use."""
        return len(self._all)

    def idle_connection(self, target: Target) -> Connection | None:
        """The idle connection that was used last, or None."""
        idle = self._idle.get(target.key)
        if not idle:
            return None
        now = self.clock()
        while idle:
            connection = idle.pop()
            if connection.usable:
                rested = now - connection.idle_since
                if rested < _SURELY_FRESH_SECONDS:
                    return connection
                if rested < _MOST_IDLE_SECONDS and not connection.is_readable():
                    return connection
            connection.abort()
        return None

    def proxied(self, target: Target) -> str | None:
        """The credentials ("" for none) of an HTTP proxy that gets the request itself; None if none does."""
        if target.tls or self._find_proxy is None:
            return None
        proxy = self._proxy_for(target)
        return proxy.authorization if proxy is not None and proxy.is_http else None

    def _proxy_for(self, target: Target) -> Proxy | None:
        if self._find_proxy is None:
            return None
        if target.key not in self._proxies:
            self._proxies[target.key] = self._find_proxy(target)
        return self._proxies[target.key]

    async def connect(self, target: Target, seconds: float, deadline: float | None) -> Connection:
        """Open a connection, or wait for one while the process has no file descriptor left.

        Args:
            target: The destination.
            seconds: The timeout for name lookup, proxy, TCP and TLS together.
            deadline: The end of the whole call, in seconds of the loop's clock; None: no limit.

        Raises:
            APIConnectionError: the connection was refused, the host is unknown or its certificate not
                trusted.
            APITimeoutError: `seconds` or the deadline have passed.
        """
        if self._guard is None:
            self._guard = self._until_the_loop_ends()
            await anext(self._guard)
        descriptors, key, waited = self._descriptors, (id(self), target.key), False
        began = self.clock()
        while True:
            try:
                free = await descriptors.claim(key, self._released, deadline, front=waited)
            except TimeoutError:
                raise too_late(target.origin, self.clock() - began, connected=False) from None
            if self.closed:
                if free is None:
                    descriptors.closed()
                raise shut(target.origin, sent=False)
            if free is not None and free.usable:
                return free
            waited = True
            if free is not None:
                continue  # closed by the server meanwhile
            left = seconds if deadline is None else max(0.0, min(seconds, deadline - self.clock()))
            try:
                return await self._open_within(target, left)
            except OSError as error:
                if is_shortage(error):
                    if descriptors.hit_limit():
                        continue
                else:
                    descriptors.closed()
                if isinstance(error, APIClientError):
                    raise
                raise no_connection(target.origin, error, self._proxy_for(target)) from None
            except BaseException:
                descriptors.closed()
                raise

    async def _open_within(self, target: Target, seconds: float) -> Connection:
        scope = asyncio.timeout(seconds)
        try:
            async with scope:
                return await self._open(target)
        except TimeoutError:
            if not scope.expired():  # ETIMEDOUT of the system
                raise
            raise too_late(target.origin, seconds, connected=False) from None

    async def _open(self, target: Target) -> Connection:
        proxy = self._proxy_for(target)
        where: dict[str, Any] = {"host": target.host, "port": target.port}
        if proxy is not None:
            where = {"host": proxy.host, "port": proxy.port}
            if not proxy.is_http:
                where = {"sock": await open_socks(proxy, target)}
        connection = Connection(target.key, self._released, self._lost, self.clock)
        over_tls = proxy is not None and proxy.scheme == "https"
        if not (target.tls or over_tls):
            await self.loop.create_connection(lambda: connection, **where)
            return self._keep(connection)
        # TLS is started separately, so that the connection can read the write buffers of the layers below.
        wire, _ = await self.loop.create_connection(asyncio.Protocol, **where)
        layers = [wire]
        try:
            if proxy is not None and proxy.is_http:
                if over_tls:
                    first: asyncio.Protocol = asyncio.Protocol() if target.tls else connection
                    layers.append(await self._start_tls(wire, first, proxy.host))
                if target.tls:
                    await open_tunnel(layers[-1], proxy, target)
            if target.tls:
                layers.append(await self._start_tls(layers[-1], connection, target.host))
        except BaseException:
            wire.abort()
            raise
        connection.set_transports(layers)
        return self._keep(connection)

    async def _start_tls(
        self, wire: asyncio.Transport, protocol: asyncio.Protocol, host: str
    ) -> asyncio.Transport:
        secured = await self.loop.start_tls(wire, protocol, self._tls(), server_hostname=host)
        assert secured is not None
        return secured

    def _keep(self, connection: Connection) -> Connection:
        if not connection.usable:
            connection.abort()
            raise ConnectionResetError("closed as soon as it was open")
        self._all.add(connection)
        return connection

    def _lost(self, connection: Connection) -> None:
        if connection in self._all:
            self._all.discard(connection)
            self._descriptors.closed()

    def _released(self, connection: Connection) -> None:
        descriptors = self._descriptors
        if descriptors.is_scarce:
            if not descriptors.hand_over((id(self), connection.key), connection):
                connection.abort()
            return
        connection.idle_since = now = self.clock()
        self._idle.setdefault(connection.key, []).append(connection)
        if self._timer is None:
            self._timer = self.loop.call_at(now + _MOST_IDLE_SECONDS, self._close_old)

    def _close_old(self) -> None:
        """Close connections that have been idle for too long, and set the timer for the next ones."""
        self._timer = None
        now, next_due = self.clock(), math.inf
        for key, idle in list(self._idle.items()):
            young: list[Connection] = []
            for connection in idle:
                due = connection.idle_since + _MOST_IDLE_SECONDS
                if due > now:
                    young.append(connection)
                    next_due = min(next_due, due)
                else:
                    connection.abort()
            if young:
                self._idle[key] = young
            else:
                del self._idle[key]
        if next_due < math.inf:
            self._timer = self.loop.call_at(next_due, self._close_old)

    def close_idle(self) -> None:
        """Close the idle connections, because other calls need their file descriptors."""
        for idle in self._idle.values():
            while idle:
                idle.pop().abort()

    # -- closing

    async def close(self) -> None:
        """Close all connections; exchanges in flight fail."""
        self.close_now()
        await asyncio.sleep(0)  # the loop closes the sockets in its next turn

    def close_now(self) -> None:
        """As `close`, without `await`."""
        self.closed = True
        self._idle.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for connection in list(self._all):
            connection.shut()
        self._ended(self)

    async def _until_the_loop_ends(self) -> AsyncGenerator[None, None]:
        """Closes the connections when the loop, as it ends, closes its open async generators."""
        try:
            yield
        finally:
            await self.close()
