"""A server that answers with exact bytes, for what no well-behaved server would send.

::

    async with raw_server({"/": b"HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\n\\r\\nhi"}) as server:
        ...  # server.url, server.heads
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["CLOSE", "KEEP_OPEN", "RESET", "RawServer", "answer", "raw_server", "tls_server"]

CLOSE = object()
"""Close the connection in an orderly way."""
RESET = object()
"""Break it."""
KEEP_OPEN = object()
"""Say no more, until the client goes away."""

Step = bytes | float | object
"""Bytes to send, seconds to wait, or one of the above."""


def answer(body: bytes = b"", status: int = 200, **headers: str) -> bytes:
    """A whole answer; underscores in names of headers stand for hyphens."""
    lines = [f"HTTP/1.1 {status} -", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass(slots=True)
class RawServer:
    """What each path is answered with, and what has come."""

    answers: Mapping[str, Step | list[Step]]
    url: str = ""
    heads: list[str] = field(default_factory=list)
    """Every request's first line and headers, as they came."""
    bodies: list[bytes] = field(default_factory=list)
    open: int = 0
    """Connections that are open."""
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait_open(self, count: int) -> None:
        """Wait until so many connections are open."""
        while self.open != count:
            self._changed.clear()
            await self._changed.wait()

    async def wait_requests(self, count: int) -> None:
        """Wait until so many requests have come."""
        while len(self.heads) < count:
            self._changed.clear()
            await self._changed.wait()

    def _count(self, change: int) -> None:
        self.open += change
        self._changed.set()

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._count(+1)
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client went away
        finally:
            self._count(-1)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = re.search(r"(?i)^content-length: *(\d+)", head, re.MULTILINE)
        self.bodies.append(await reader.readexactly(int(length[1]) if length else 0))
        self.heads.append(head)
        self._changed.set()
        steps = self.answers[head.split()[1].partition("?")[0]]
        for step in steps if isinstance(steps, list) else [steps]:
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            elif isinstance(step, float):
                await asyncio.sleep(step)
            elif step is KEEP_OPEN:
                await reader.read(1)
                return False
            elif step is RESET:
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.transport.abort()
                return False
            else:
                assert step is CLOSE
                return False
        return True


@asynccontextmanager
async def raw_server(
    answers: Mapping[str, Step | list[Step]], tls: ssl.SSLContext | None = None
) -> AsyncIterator[RawServer]:
    """A `RawServer` on a free port of 127.0.0.1, in the running loop."""
    wire = RawServer(answers)
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(wire.converse(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    wire.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield wire
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


@asynccontextmanager
async def tls_server(certificate: Path) -> AsyncIterator[RawServer]:
    """A server over TLS with a short answer at /, a long one at /big and none at /slow."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    answers = {"/": answer(b"hi"), "/slow": KEEP_OPEN, "/big": answer(b"x" * 500_000)}
    async with raw_server(answers, tls=context) as server:
        yield server
