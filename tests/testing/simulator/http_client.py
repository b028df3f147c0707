"""A minimal HTTP client over a stream, for exact bytes to and from the simulator."""

from __future__ import annotations

import asyncio
import contextlib

import orjson

from callgate.testing import Simulator

BODY = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "Hello"}]})


def post(body: bytes = BODY, *headers: str) -> bytes:
    lines = ["POST /v1/chat/completions HTTP/1.1", "host: sim", "authorization: Bearer k", *headers]
    if not any(header.startswith("transfer-encoding") for header in headers):
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Client:
    """A client that sees every byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def head(self) -> tuple[int, dict[str, str]]:
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        return int(lines[0].split()[1]), headers

    async def answer(self) -> tuple[int, bytes]:
        status, headers = await self.head()
        if "content-length" in headers:
            return status, await self.reader.readexactly(int(headers["content-length"]))
        body = b""
        while size := int((await self.reader.readline()), 16):
            body += await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        await self.reader.readline()
        return status, body


@contextlib.asynccontextmanager
async def connected(sim: Simulator):
    reader, writer = await asyncio.open_connection("127.0.0.1", sim.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def against(**options):
    """Run the decorated coroutine function with a simulator and a connection to it."""

    def decorate(test):
        def run():
            async def main():
                async with Simulator(**options) as sim, connected(sim) as client:
                    await test(sim, client)

            asyncio.run(main())

        run.__doc__ = test.__doc__
        run.__name__ = test.__name__
        return run

    return decorate
