"""Proxies on a free port of 127.0.0.1: HTTP with CONNECT, with or without TLS, and SOCKS5.

`api.example` is at 127.0.0.1 for all of them.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.transport.raw_server import answer

__all__ = ["HttpProxy", "SocksProxy", "running"]


class _Proxy:
    """What all proxies do: note what was asked, and pass bytes on."""

    scheme = "http"

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self.talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client went away
        finally:
            writer.close()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError

    async def connect(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(host.replace("api.example", "127.0.0.1"), port)

    async def pass_on(
        self,
        here: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        there: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        await asyncio.gather(self._copy(here[0], there[1]), self._copy(there[0], here[1]))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
        finally:
            writer.close()


class HttpProxy(_Proxy):
    """Passes tunnels on, and answers plain requests itself."""

    def __init__(self, status: bytes = b"200 OK") -> None:
        super().__init__()
        self.status = status

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(head)
        method, where, _ = head.split(" ", 2)
        if method != "CONNECT":
            writer.write(answer(b"by proxy"))
            await reader.read(1)
        elif not self.status.startswith(b"200"):
            writer.write(b"HTTP/1.1 " + self.status + b"\r\n\r\n")
        else:
            host, _, port = where.rpartition(":")
            there = await self.connect(host, int(port))
            writer.write(b"HTTP/1.1 200 Connection established\r\nvia: me\r\n\r\n")
            await self.pass_on((reader, writer), there)


class SocksProxy(_Proxy):
    """SOCKS5 with user name and password (RFC 1928, RFC 1929); `reply` 0 grants, others refuse."""

    scheme = "socks5h"

    def __init__(self, reply: int = 0) -> None:
        super().__init__()
        self.reply = reply

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, count = await reader.readexactly(2)
        await reader.readexactly(count)
        writer.write(b"\x05\x02")
        login = []
        await reader.readexactly(1)
        for _ in range(2):
            login.append((await reader.readexactly((await reader.readexactly(1))[0])).decode())
        writer.write(b"\x01\x00")
        kind = (await reader.readexactly(4))[3]
        if kind == 3:
            host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        else:
            host = ".".join(map(str, await reader.readexactly(4)))
        port = int.from_bytes(await reader.readexactly(2), "big")
        self.asked.append(f"{':'.join(login)} {host}:{port}")
        writer.write(bytes([5, self.reply, 0, 1, 0, 0, 0, 0, 0, 0]))
        if self.reply == 0:
            await self.pass_on((reader, writer), await self.connect(host, port))


@asynccontextmanager
async def running(
    proxy: HttpProxy | SocksProxy, tls: ssl.SSLContext | None = None
) -> AsyncIterator[HttpProxy | SocksProxy]:
    """The proxy, listening; its `url` holds a user and a password."""
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.get_running_loop().create_task(proxy.serve(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    scheme = "https" if tls is not None else proxy.scheme
    proxy.url = f"{scheme}://user:p%40ss@127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
