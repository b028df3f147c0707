"""A real HTTP service on 127.0.0.1, in a thread, for blocks that call `asyncio.run` themselves::

with serve_in_thread(lambda request: (200, {}, {"path": request.path})) as service:
    ...  # service.url, service.requests
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

__all__ = ["Answer", "HttpService", "Request", "in_thread", "serve_in_thread"]

T = TypeVar("T")
Answer = tuple[int, Mapping[str, str], Any]
"""Status, headers, and the body: bytes as they are, a str as text, anything else as JSON."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came: lower-case header names, the body's bytes."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body parsed."""
        return json.loads(self.body)


@dataclass(slots=True)
class HttpService:
    """A server that records its requests. Use `async with`, or `serve_in_thread(...)` to run it in a thread.

    The handler gives the answer, or an awaitable of it; None cuts the connection.
    """

    handler: Callable[[Request], Answer | Awaitable[Answer | None] | None]
    requests: list[Request] = field(default_factory=list)
    running: int = 0
    most_running: int = 0
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Such as `http://127.0.0.1:8000`."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> HttpService:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._converse(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await _read_request(reader)) is not None:
                answer = await self._answer(request)
                if answer is None:
                    break
                writer.write(_encode(answer))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client went away, which some tests are about
        finally:
            writer.close()

    async def _answer(self, request: Request) -> Answer | None:
        self.requests.append(request)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            answer = self.handler(request)
            return await answer if isinstance(answer, Awaitable) else answer
        finally:
            self.running -= 1


async def _read_request(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    method, path, _ = first.split(" ")
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(method, path, headers, body)


def _encode(answer: Answer) -> bytes:
    status, headers, content = answer
    if isinstance(content, bytes):
        kind, body = "application/octet-stream", content
    elif isinstance(content, str):
        kind, body = "text/plain", content.encode()
    else:
        kind, body = "application/json", json.dumps(content).encode()
    lines = {"Content-Type": kind, "Content-Length": str(len(body)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} -\r\n{head}\r\n".encode() + body


@contextmanager
def in_thread(entered: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """Enter an asynchronous context in a loop of its own, in a thread; leave it at the end."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="loopback")
    thread.start()
    try:
        value = asyncio.run_coroutine_threadsafe(entered.__aenter__(), loop).result()
        try:
            yield value
        finally:
            asyncio.run_coroutine_threadsafe(entered.__aexit__(None, None, None), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def serve_in_thread(handler: Callable[[Request], Any]) -> Iterator[HttpService]:
    """A `HttpService` in a thread."""
    with in_thread(HttpService(handler)) as service:
        yield service
