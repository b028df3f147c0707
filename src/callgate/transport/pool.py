"""The connections of one event loop: opened, through a proxy where one is named, kept, and closed."""

from __future__ import annotations

import asyncio
import base64
import math
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

from callgate.errors import APIClientError, ConfigurationError
from callgate.transport.connection import Connection
from callgate.transport.failures import no_connection, too_late
from callgate.transport.origin import is_loopback, name_to_look_up, port_of
from callgate.transport.request_head import Target

__all__ = ["Pool", "Proxies", "Proxy"]

# Below the minute after which many servers and balancers close an idle connection themselves.
_MOST_IDLE_SECONDS: Final = 50.0
# Looking whether the other side has closed it costs a system call, so a busy connection is not looked at.
_SURELY_FRESH_SECONDS: Final = 0.1
_MOST_TUNNEL_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Proxy:
    """Who is asked instead."""

    host: str
    port: int
    credentials: str
    """The value of Proxy-Authorization; "" for none."""


class Proxies:
    """The proxies that HTTP_PROXY, HTTPS_PROXY and NO_PROXY name. None stands before this machine itself:
    what is meant for a local server is not shown to another machine.

    >>> from callgate.transport.request_head import read_target
    >>> Proxies({"http": "http://proxy.example:3128"}).find(read_target("http://api.example.com/")).port
    3128
    """

    __slots__ = ("_found",)

    def __init__(self, found: Mapping[str, str] | None = None) -> None:
        self._found = dict(getproxies_environment() if found is None else found)

    def __bool__(self) -> bool:
        return bool(self._found)

    def find(self, target: Target) -> Proxy | None:
        """The proxy for a target, or None: go there directly.

        Raises:
            ConfigurationError: a proxy of a kind that is not supported, or one that cannot be reached.
        """
        url = self._found.get("https" if target.tls else "http") or self._found.get("all")
        where = f"{target.host}:{target.port}"  # NO_PROXY may name a host, or a host and a port
        if not url or is_loopback(target.host) or proxy_bypass_environment(where, self._found):
            return None
        try:
            proxy = urlsplit(url if "://" in url else f"http://{url}")
            host, port = proxy.hostname, port_of(proxy)
        except ValueError:  # whose text may hold a piece of the password
            raise ConfigurationError("the environment names a proxy whose host or port is none") from None
        if proxy.scheme != "http" or not host:
            raise ConfigurationError(
                f"the environment names a {proxy.scheme} proxy; callgate knows http proxies only "
                "(trust_env=False goes without)"
            )
        return Proxy(name_to_look_up(host), port, _credentials(proxy))


def _credentials(proxy: SplitResult) -> str:
    if proxy.username is None:
        return ""
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


class Pool:
    """Open and idle connections of one loop.

    It closes them when the loop ends in an orderly way (`asyncio.run`), so none is left over when nobody has
    closed the transport.

    Args:
        tls: What every TLS connection is made with.
        proxies: Where to go instead.
        ended: Called when it has closed for good.
    """

    __slots__ = (
        "_all",
        "_ended",
        "_guard",
        "_idle",
        "_loop",
        "_proxies",
        "_timer",
        "_tls",
        "clock",
        "closed",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        tls: Callable[[], ssl.SSLContext],
        proxies: Proxies | None,
        ended: Callable[[Pool], None],
    ) -> None:
        self._loop = loop
        self.clock = loop.time
        self._tls = tls
        self._proxies = proxies
        self._ended = ended
        self._idle: dict[tuple[bool, str, int], list[Connection]] = {}
        self._all: set[Connection] = set()
        self._guard: AsyncGenerator[None, None] | None = None
        self._timer: asyncio.TimerHandle | None = None  # while a connection is idle
        self.closed = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Whose connections these are."""
        return self._loop

    @property
    def open(self) -> int:
        """Connections, idle and busy."""
        return len(self._all)

    def idle_connection(self, target: Target) -> Connection | None:
        """One that can be used at once, the warmest first."""
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
                if rested < _MOST_IDLE_SECONDS and not connection.has_news():
                    return connection
            connection.abort()
        return None

    def proxied(self, target: Target) -> str | None:
        """The proxy's credentials when the request itself goes to a proxy; None: it goes to the target."""
        if target.tls or self._proxies is None:
            return None
        proxy = self._proxies.find(target)
        return None if proxy is None else proxy.credentials

    async def connect(self, target: Target, seconds: float) -> Connection:
        """A new connection.

        Raises:
            APIConnectionError: refused, no such host, a certificate that is not trusted.
            APITimeoutError: it took longer than `seconds`.
        """
        await self._watch_the_loop()
        scope = asyncio.timeout(seconds)
        try:
            async with scope:
                return await self._open(target)
        except TimeoutError as error:
            if not scope.expired():  # the system's own, ETIMEDOUT
                failure: APIClientError = no_connection(target.origin, error)
            else:
                failure = too_late(target.origin, seconds, connected=False)
        except OSError as error:
            failure = no_connection(target.origin, error)
        raise failure

    async def _open(self, target: Target) -> Connection:
        proxy = None if self._proxies is None else self._proxies.find(target)
        host, port = (target.host, target.port) if proxy is None else (proxy.host, proxy.port)
        if not target.tls:
            _, connection = await self._loop.create_connection(lambda: self._new(target), host, port)
            return self._keep(connection)
        tls = self._tls()
        if proxy is None:
            wire, _ = await self._loop.create_connection(asyncio.Protocol, host, port)
            return await self._secure(wire, target, tls)
        tunnel = _Tunnel(self._loop.create_future(), target, proxy.credentials)
        wire, _ = await self._loop.create_connection(lambda: tunnel, host, port)
        try:
            await tunnel.answered
        except BaseException:
            wire.abort()
            raise
        return await self._secure(wire, target, tls)

    async def _secure(self, wire: asyncio.Transport, target: Target, tls: ssl.SSLContext) -> Connection:
        """TLS over `wire`, in a step of its own: only so can the connection ask what `wire` has not sent."""
        connection = self._new(target)
        try:
            secured = await self._loop.start_tls(wire, connection, tls, server_hostname=target.host)
        except BaseException:
            wire.abort()
            raise
        assert secured is not None
        connection.secure(secured, wire)
        return self._keep(connection)

    def _new(self, target: Target) -> Connection:
        return Connection(target.key, self._released, self._all.discard, self.clock)

    def _keep(self, connection: Connection) -> Connection:
        if not connection.usable:
            connection.abort()
            raise ConnectionResetError("closed as soon as it was open")
        self._all.add(connection)
        return connection

    def _released(self, connection: Connection) -> None:
        connection.idle_since = now = self.clock()
        self._idle.setdefault(connection.key, []).append(connection)
        if self._timer is None:
            self._timer = self._loop.call_at(now + _MOST_IDLE_SECONDS, self._close_old)

    def _close_old(self) -> None:
        """Close those that nobody has used for too long, and come back when the next one's time is over."""
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
            self._timer = self._loop.call_at(next_due, self._close_old)

    # -- the end

    async def close(self) -> None:
        """Close everything; exchanges that are under way fail."""
        self.close_now()
        await asyncio.sleep(0)  # the loop closes the sockets in its next turn

    def close_now(self) -> None:
        """The same, for a callback."""
        self.closed = True
        self._idle.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for connection in list(self._all):
            connection.shut()
        self._ended(self)

    async def _watch_the_loop(self) -> None:
        if self._guard is None:
            self._guard = self._until_the_loop_ends()
            await anext(self._guard)

    async def _until_the_loop_ends(self) -> AsyncGenerator[None, None]:
        """The loop closes the generators that are open when it ends; this one closes the connections."""
        try:
            yield
        finally:
            await self.close()


class _Tunnel(asyncio.Protocol):
    """Asks a proxy for a tunnel."""

    def __init__(self, answered: asyncio.Future[None], target: Target, credentials: str) -> None:
        self.answered = answered
        self._target = target
        self._credentials = credentials
        self._answer = b""

    def connection_made(self, transport: Any) -> None:  # uvloop's are of no class of asyncio's
        host = f"[{self._target.host}]" if ":" in self._target.host else self._target.host
        where = f"{host}:{self._target.port}"
        login = f"proxy-authorization: {self._credentials}\r\n" if self._credentials else ""
        transport.write(f"CONNECT {where} HTTP/1.1\r\nhost: {where}\r\n{login}\r\n".encode())

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if self.answered.done():
            return
        if b"\r\n\r\n" in self._answer:
            words = self._answer.split(b"\r\n", 1)[0].split()
            if len(words) > 1 and words[1] == b"200":
                self.answered.set_result(None)
            else:
                status = words[1].decode("latin-1") if len(words) > 1 else "nonsense"
                self._refuse(f"the proxy refuses a tunnel (it answers {status})")
        elif len(self._answer) > _MOST_TUNNEL_BYTES:
            self._refuse("the proxy does not answer as a proxy")

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.answered.done():
            self._refuse("the proxy closed the connection")

    def _refuse(self, why: str) -> None:
        self.answered.set_exception(OSError(why))
