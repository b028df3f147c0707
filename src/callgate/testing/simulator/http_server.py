"""A small, fast HTTP/1.1 server on asyncio.Protocol and httptools that performs plans."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import deque
from http import HTTPStatus
from typing import Any, cast

import httptools

from callgate.testing.simulator.plan import Ending, Plan
from callgate.testing.simulator.provider import SimulatedProvider

__all__ = ["Connection"]

_MAX_BODY = 64 * 1024 * 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_REASONS = {status.value: status.phrase for status in HTTPStatus} | {529: "Site is overloaded"}


class Connection(asyncio.Protocol):
    """One client's connection. Pipelined requests are answered in order.

    Each wait is one loop timer, cancelled when the connection is lost.
    """

    def __init__(
        self, provider: SimulatedProvider, loop: asyncio.AbstractEventLoop, opened: set[Connection]
    ) -> None:
        self._provider = provider
        self._loop = loop
        self._opened = opened
        self._transport: asyncio.Transport | None = None
        self._parser: Any = None
        self._waiting: deque[Plan] = deque()
        self._keep_alive = True
        self._plan: Plan | None = None
        self._position = 0
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = 0

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transport does not inherit from it
        self._parser = httptools.HttpRequestParser(self)
        self._opened.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._opened.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._plan is not None:
            # A plan that cuts or holds the connection has been delivered as planned.
            self._provider.finish(self._plan, delivered=self._plan.ending is not Ending.COMPLETE)
        for plan in self._waiting:
            self._provider.finish(plan, delivered=False)
        self._plan = None
        self._waiting.clear()
        self._parser = None  # it refers to this object: break the cycle

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._reject(400)
        except httptools.HttpParserError:
            self._reject(400)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._plan is not None and self._timer is None:
            self._send()

    # Called by httptools.

    def on_message_begin(self) -> None:
        self._url, self._headers, self._body, self._size = b"", {}, [], 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._headers.get("expect", "").lower() == "100-continue" and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > _MAX_BODY:
            self._reject(413)
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._keep_alive = self._parser.should_keep_alive()
        method = self._parser.get_method().decode("latin-1")
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        plan = self._provider.handle(method, self._url.decode("latin-1"), self._headers, body)
        if method == "HEAD":
            plan.chunks = ()  # HEAD: headers only, including content-length
        if self._plan is None and not self._waiting:
            self._begin(plan)
        else:
            self._waiting.append(plan)

    # Performing a plan.

    def _next(self) -> None:
        if self._plan is None and self._waiting:
            self._begin(self._waiting.popleft())

    def _begin(self, plan: Plan) -> None:
        self._plan, self._position = plan, -1
        if plan.delay > 0:
            self._timer = self._loop.call_later(plan.delay, self._due)
        else:
            self._send()

    def _due(self) -> None:
        self._timer = None
        self._send()

    def _send(self) -> None:
        """Send all chunks due now in one write, then set a timer for the next."""
        plan, transport = self._plan, self._transport
        if plan is None or transport is None or transport.is_closing():
            return
        if self._position < 0 and plan.ending is Ending.RESET and not plan.chunks:
            self._reset(transport)
            return
        chunked = plan.content_length is None
        parts: list[bytes] = []
        if self._position < 0:
            parts.append(self._head(plan))
            self._position = 0
            if plan.chunks and plan.chunks[0].delay > 0:
                transport.write(parts[0])
                self._timer = self._loop.call_later(plan.chunks[0].delay, self._due)
                return
        chunks, size = plan.chunks, 0
        while self._position < len(chunks):
            data = chunks[self._position].data
            parts += (b"%x\r\n" % len(data), data, b"\r\n") if chunked else (data,)
            size += len(data)
            self._position += 1
            if self._position < len(chunks) and (delay := chunks[self._position].delay) > 0:
                transport.write(b"".join(parts))
                self._timer = self._loop.call_later(delay, self._due)
                return
            if size > 262_144:
                transport.write(b"".join(parts))
                parts, size = [], 0
                if self._paused:
                    return
        self._end(plan, transport, parts)

    def _end(self, plan: Plan, transport: asyncio.Transport, parts: list[bytes]) -> None:
        if plan.ending is Ending.COMPLETE:
            if plan.content_length is None:
                parts.append(b"0\r\n\r\n")
            transport.write(b"".join(parts))
            self._plan = None
            self._provider.finish(plan)
            if not self._keep_alive and not self._waiting:
                transport.close()
            elif self._waiting:
                self._loop.call_soon(self._next)  # not called directly: a long queue would recurse
            return
        transport.write(b"".join(parts))
        if plan.ending is Ending.STALL:
            self._timer = self._loop.call_later(plan.hold, transport.close)
        elif plan.ending is Ending.TRUNCATED:
            transport.close()
        else:
            self._reset(transport)

    def _head(self, plan: Plan) -> bytes:
        lines = [f"HTTP/1.1 {plan.status} {_REASONS.get(plan.status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in plan.headers]
        if plan.content_length is None:
            lines.append("transfer-encoding: chunked")
        else:
            lines.append(f"content-length: {plan.content_length}")
        if not self._keep_alive:
            lines.append("connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _reject(self, status: int) -> None:
        """Answer an unreadable request and close: the client may be out of sync."""
        if self._transport is not None and not self._transport.is_closing():
            line = f"HTTP/1.1 {status} {_REASONS[status]}\r\n"
            self._transport.write((line + "content-length: 0\r\nconnection: close\r\n\r\n").encode())
            self._transport.close()

    @staticmethod
    def _reset(transport: asyncio.Transport) -> None:
        """Close with RST, so that the client sees a connection reset."""
        with contextlib.suppress(OSError):
            transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE
            )
        transport.abort()

    def abort(self) -> None:
        """Abort the connection in any state."""
        if self._transport is not None:
            self._transport.abort()
