"""Opens a connection through a proxy: by HTTP CONNECT or SOCKS."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Final

from callgate.errors import ConfigurationError
from callgate.transport.proxy import Proxy
from callgate.transport.request_head import Target

__all__ = ["open_socks", "open_tunnel"]

_MOST_BYTES: Final = 64 * 1024


async def open_tunnel(transport: asyncio.Transport, proxy: Proxy, target: Target) -> None:
    """Open a tunnel through an HTTP proxy; `transport` then leads to the target.

    Raises:
        OSError: the proxy refuses, closes the connection or does not speak HTTP.
    """
    tunnel = _Tunnel(asyncio.get_running_loop().create_future())
    transport.set_protocol(tunnel)
    if transport.is_closing():
        tunnel.connection_lost(None)
    else:
        host = f"[{target.host}]" if ":" in target.host else target.host
        where = f"{host}:{target.port}"
        login = f"proxy-authorization: {proxy.authorization}\r\n" if proxy.username else ""
        transport.write(f"CONNECT {where} HTTP/1.1\r\nhost: {where}\r\n{login}\r\n".encode())
    await tunnel.answered


class _Tunnel(asyncio.Protocol):
    """Reads a proxy's answer to CONNECT."""

    def __init__(self, answered: asyncio.Future[None]) -> None:
        self.answered = answered
        self._answer = b""

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if self.answered.done():
            return
        if b"\r\n\r\n" in self._answer:
            words = self._answer.split(b"\r\n", 1)[0].split()
            if len(words) > 1 and words[1] == b"200":
                self.answered.set_result(None)
            else:
                status = words[1].decode("latin-1") if len(words) > 1 else "not HTTP"
                self._refuse(f"the proxy refuses a tunnel ({status})")
        elif len(self._answer) > _MOST_BYTES:
            self._refuse("the proxy does not answer as an HTTP proxy")

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.answered.done():
            self._refuse("the proxy closed the connection")

    def _refuse(self, why: str) -> None:
        self.answered.set_exception(OSError(why))


async def open_socks(proxy: Proxy, target: Target) -> socket.socket:
    """A socket that leads to the target through a SOCKS proxy (package python-socks, extra `socks`).

    Raises:
        OSError: the proxy cannot be reached, or refuses.
        ConfigurationError: python-socks is not installed.
    """
    socks = _import_socks()
    kind = socks.ProxyType.SOCKS5 if proxy.scheme.startswith("socks5") else socks.ProxyType.SOCKS4
    client = socks.async_.asyncio.Proxy(
        kind,
        proxy.host,
        proxy.port,
        username=proxy.username or None,
        password=proxy.password or None,
        rdns=proxy.scheme in ("socks5h", "socks4a"),
    )
    try:
        opened: socket.socket = await client.connect(target.host, target.port)
    except socks.ProxyError as error:
        raise OSError(f"the proxy refuses: {error}") from None
    except socks.ProxyTimeoutError:
        raise OSError("the proxy does not answer") from None
    return opened


def _import_socks() -> Any:
    try:
        import python_socks
        import python_socks.async_.asyncio
    except ImportError as error:
        raise ConfigurationError(
            "a SOCKS proxy needs python-socks: pip install 'callgate[socks]'", setting="proxy"
        ) from error
    return python_socks
