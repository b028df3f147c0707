"""HTTP: what goes out, what comes in, how each failure is told, and that nothing of it is a secret."""

from __future__ import annotations

import asyncio
import gzip
import random
import socket
import threading
import time
import traceback
import zlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from callgate.errors import (
    APIClientError,
    APIConnectionError,
    APITimeoutError,
    ConfigurationError,
    ResponseError,
    ResponseTooLargeError,
)
from callgate.transport import pool
from callgate.transport.http import HttpTransport, Transport
from callgate.transport.origin import check_headers
from tests.documents.http_service import in_thread
from tests.transport.raw_server import CLOSE, KEEP_OPEN, RESET, RawServer, answer, raw_server

T = TypeVar("T")
CANARY = "sk-canary-5f3a"
MEBIBYTE = 1024 * 1024

pytestmark = pytest.mark.usefixtures("each_loop")


def exchange(
    answers: dict[str, object], talk: Callable[[HttpTransport, RawServer], Awaitable[T]], **settings: object
) -> T:
    """Run `talk` with a transport and a server that gives these answers."""

    async def main() -> T:
        async with raw_server(answers) as server:
            transport = HttpTransport(**settings)  # type: ignore[arg-type]
            try:
                return await talk(transport, server)
            finally:
                await transport.close()

    return asyncio.run(main())


def failure_of(steps: object, *, timeout: float | None = 5.0, **settings: object) -> APIClientError:
    """What a request to a server that behaves so ends in, plain and streamed alike."""

    async def talk(transport: HttpTransport, server: RawServer) -> APIClientError:
        url = f"{server.url}/?key={CANARY}"
        with pytest.raises(APIClientError) as plain:
            await transport.send("GET", url, {"authorization": CANARY}, timeout=timeout)
        with pytest.raises(APIClientError) as streamed:
            async with transport.stream("GET", url, {"authorization": CANARY}, timeout=timeout) as stream:
                await stream.read()
        assert type(plain.value) is type(streamed.value)
        for error in (plain.value, streamed.value):
            assert "127.0.0.1" in str(error)
            assert CANARY not in "".join(traceback.format_exception(error))
        return plain.value

    return exchange({"/": steps}, talk, **settings)


@contextmanager
def unused_port() -> Iterator[int]:
    """A port that nothing listens on, and nothing else can take meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def test_the_answer_has_status_lower_case_headers_and_body() -> None:
    async def talk(transport: HttpTransport, server: RawServer) -> None:
        got = await transport.send("POST", server.url + "/v1", {"X-Tag": "blue"}, b"{}")
        assert (got.status, got.body, got.headers["x-request-id"]) == (503, b"busy", "r1")
        assert got.headers["set-cookie"] == "a=1, b=2"
        assert server.bodies == [b"{}"]
        assert "x-tag: blue" in server.heads[0].lower()

    busy = answer(b"busy", 503, X_Request_Id="r1", Set_Cookie="a=1\r\nSet-Cookie: b=2")
    exchange({"/v1": busy}, talk)


def test_a_header_of_a_former_age_is_read_as_latin_1() -> None:
    async def talk(transport: HttpTransport, server: RawServer) -> None:
        got = await transport.send("GET", server.url + "/", {})
        assert got.headers == {"content-length": "2", "x-name": "café"}

    raw = b"HTTP/1.1 200 OK\r\nx-name: caf\xe9\r\ncontent-length: 2\r\n\r\nhi"
    exchange({"/": raw}, talk)


def test_connections_are_kept_and_used_again() -> None:
    async def talk(transport: HttpTransport, server: RawServer) -> None:
        for _ in range(5):
            await transport.send("GET", server.url + "/", {})
            async with transport.stream("GET", server.url + "/", {}) as stream:
                assert await stream.read() == b"hi"
        assert server.open == 1

    exchange({"/": answer(b"hi")}, talk)


def test_redirects_are_not_followed() -> None:
    async def talk(transport: HttpTransport, server: RawServer) -> None:
        got = await transport.send("GET", server.url + "/", {"x-api-key": CANARY})
        assert (got.status, got.headers["location"]) == (307, "/elsewhere")
        assert len(server.heads) == 1

    exchange({"/": answer(status=307, Location="/elsewhere")}, talk)


def test_a_stream_gives_each_piece_as_it_comes() -> None:
    """Not when a buffer is full: the second piece is only sent once the first has been read."""

    async def main() -> None:
        read = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
            await writer.drain()
            await read.wait()
            writer.write(b"6\r\nsecond\r\n0\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        transport = HttpTransport()
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with transport.stream("GET", url, {}) as stream:
            pieces = []
            async for piece in stream:
                pieces.append(piece)
                read.set()
        assert b"".join(pieces) == b"firstsecond"
        assert pieces[0] == b"first"
        await transport.close()
        server.close()

    asyncio.run(main())


def test_a_closed_stream_cannot_be_read() -> None:
    async def talk(transport: HttpTransport, server: RawServer) -> None:
        async with transport.stream("GET", server.url + "/", {}) as stream:
            assert stream.status == 200
        with pytest.raises(RuntimeError, match="closed"):
            await stream.read()

    exchange({"/": answer(b"hi")}, talk)


class Dispatched:
    def __init__(self) -> None:
        self.heard: list[str] = []

    def hold(self) -> None:
        self.heard.append("hold")

    def sent(self, now: float) -> None:
        assert now <= asyncio.get_running_loop().time()
        self.heard.append("sent")


def test_a_request_that_needs_a_connection_first_reports_when_it_is_sent() -> None:
    async def talk(transport: HttpTransport, server: RawServer) -> None:
        dispatched = [Dispatched() for _ in range(3)]
        await transport.send("GET", server.url + "/", {}, dispatch=dispatched[0])
        await transport.send("GET", server.url + "/", {}, dispatch=dispatched[1])
        async with transport.stream("GET", server.url + "/", {}, dispatch=dispatched[2]) as stream:
            await transport.send("GET", server.url + "/", {})
            await stream.read()
        assert [each.heard for each in dispatched] == [["hold", "sent"], [], []]

    exchange({"/": answer(b"hi")}, talk)


def test_a_request_without_a_connection_is_never_reported_as_sent() -> None:
    async def main() -> None:
        transport, dispatched = HttpTransport(), Dispatched()
        with unused_port() as port, pytest.raises(APIConnectionError):
            await transport.send("GET", f"http://127.0.0.1:{port}/", {}, dispatch=dispatched)
        assert dispatched.heard == ["hold"]
        await transport.close()

    asyncio.run(main())


# -- failures


def test_a_refused_connection_is_surely_unsent() -> None:
    async def main() -> None:
        transport = HttpTransport()
        with unused_port() as port, pytest.raises(APIConnectionError) as caught:
            await transport.send("GET", f"http://127.0.0.1:{port}/?key={CANARY}", {})
        assert caught.value.surely_unsent
        assert caught.value.retryable
        assert f"127.0.0.1:{port}" in str(caught.value)
        assert CANARY not in str(caught.value)
        await transport.close()

    asyncio.run(main())


def test_an_unknown_host_is_surely_unsent() -> None:
    async def main() -> None:
        transport = HttpTransport(trust_env=False)
        with pytest.raises(APIConnectionError) as caught:
            await transport.send("GET", "http://no-such-host.invalid/", {})
        assert caught.value.surely_unsent
        assert "no-such-host.invalid:80" in str(caught.value)
        await transport.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(RESET, id="reset before the answer"),
        pytest.param(CLOSE, id="closed before the answer"),
        pytest.param([b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nabc", CLOSE], id="closed in the body"),
        pytest.param([b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nabc", RESET], id="reset in the body"),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", CLOSE],
            id="chunks broken off",
        ),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\ncontent-length: 999999\r\n\r\n" + b"x" * 500_000, CLOSE],
            id="large body broken off",
        ),
    ],
)
def test_a_connection_that_breaks_may_have_been_heard(steps: object) -> None:
    error = failure_of(steps)
    assert isinstance(error, APIConnectionError)
    assert not error.surely_unsent
    assert error.retryable


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", id="another protocol"),
        pytest.param(answer(gzip.compress(b"x" * 50)[:-4], content_encoding="gzip"), id="gzip cut off"),
        pytest.param(answer(b"\x1f\x8b" + b"x" * 50, content_encoding="gzip"), id="damaged gzip"),
        pytest.param(answer(b"\x1b\x03\x00\xf8", content_encoding="br"), id="brotli"),
    ],
)
def test_what_cannot_be_read_is_a_response_error(raw: bytes) -> None:
    assert type(failure_of([raw, CLOSE])) is ResponseError


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(KEEP_OPEN, id="before the answer"),
        pytest.param([b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nabc", KEEP_OPEN], id="in the body"),
    ],
)
def test_a_timeout_never_counts_as_unsent(steps: object) -> None:
    error = failure_of(steps, timeout=0.05)
    assert isinstance(error, APITimeoutError)
    assert not error.surely_unsent


def test_silence_ends_a_call_after_the_read_timeout() -> None:
    silent = [b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nabc", KEEP_OPEN]
    assert isinstance(failure_of(silent, timeout=None, read_timeout=0.05), APITimeoutError)


def test_a_connection_that_is_never_accepted_times_out_unsent() -> None:
    async def main() -> None:
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            crowd = [socket.socket() for _ in range(4)]
            for one in crowd:
                one.setblocking(False)
                one.connect_ex(full.getsockname())
            transport = HttpTransport(connect_timeout=0.05)
            with pytest.raises(APITimeoutError, match="no connection") as caught:
                await transport.send("GET", f"http://127.0.0.1:{full.getsockname()[1]}/", {})
            assert caught.value.surely_unsent
            await transport.close()
            for one in crowd:
                one.close()

    asyncio.run(main())


# -- the cap


def bomb(encoding: str) -> bytes:
    """The beginning of a packed body, some hundred kilobytes that inflate to 256 MiB of zeros."""
    packer = zlib.compressobj(9, wbits=31 if encoding == "gzip" else 15)
    first, next_one = (packer.compress(bytes(MEBIBYTE)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + 255 * next_one


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_bomb_is_stopped_as_it_inflates(encoding: str) -> None:
    import resource

    raw = answer(bomb(encoding), content_encoding=encoding)
    assert len(raw) < MEBIBYTE
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error = failure_of(raw, max_response_bytes=4 * MEBIBYTE)
    assert type(error) is ResponseTooLargeError
    assert not error.retryable
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # in KiB
    assert grown < 64 * 1024


def test_the_cap_counts_a_plain_body_and_lets_through_what_just_fits() -> None:
    async def talk(transport: HttpTransport, server: RawServer) -> None:
        assert len((await transport.send("GET", server.url + "/fits", {})).body) == 1000
        async with transport.stream("GET", server.url + "/fits", {}) as stream:
            assert len(await stream.read()) == 1000
        with pytest.raises(ResponseTooLargeError, match="1,000 bytes"):
            await transport.send("GET", server.url + "/over", {})

    exchange({"/fits": answer(b"x" * 1000), "/over": answer(b"x" * 1001)}, talk, max_response_bytes=1000)


def test_a_packed_answer_arrives_unpacked() -> None:
    async def talk(transport: HttpTransport, server: RawServer) -> None:
        got = await transport.send("GET", server.url + "/", {})
        assert got.body == b"hello" * 100
        assert "content-encoding" not in got.headers

    exchange({"/": answer(gzip.compress(b"hello" * 100), content_encoding="gzip")}, talk)


def test_gzip_without_a_label_is_unpacked_where_text_is_announced_and_left_alone_elsewhere() -> None:
    packed = gzip.compress(b'{"a": 1}')

    async def talk(transport: HttpTransport, server: RawServer) -> None:
        assert (await transport.send("GET", server.url + "/json", {})).body == b'{"a": 1}'
        assert (await transport.send("GET", server.url + "/file", {})).body == packed

    kinds = {"/json": "application/json; charset=utf-8", "/file": "application/gzip"}
    exchange({path: answer(packed, content_type=kind) for path, kind in kinds.items()}, talk)


@pytest.mark.parametrize("label", ["none", "gzip", "br", "identity, gzip"])
def test_a_body_shorter_than_the_magic_bytes_is_read(label: str) -> None:
    async def talk(transport: HttpTransport, server: RawServer) -> None:
        assert (await transport.send("GET", server.url + "/", {})).body == b"[]"
        async with transport.stream("GET", server.url + "/", {}) as stream:
            assert await stream.read() == b"[]"

    exchange({"/": answer(b"[]", content_encoding=label)}, talk)


# -- cancelling, closing, loops


def test_a_call_cancelled_while_its_body_comes_closes_its_connection() -> None:
    async def talk(transport: HttpTransport, server: RawServer) -> None:
        begun = asyncio.Event()

        async def read() -> None:
            async with transport.stream("GET", server.url + "/", {}) as stream:
                async for _ in stream:
                    begun.set()

        task = asyncio.create_task(read())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.wait_open(0)

    exchange({"/": [b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nabc", KEEP_OPEN]}, talk)


def test_a_call_cancelled_before_its_answer_closes_its_connection() -> None:
    async def talk(transport: HttpTransport, server: RawServer) -> None:
        tasks = [asyncio.create_task(transport.send("GET", server.url + "/", {})) for _ in range(20)]
        await server.wait_requests(20)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_open(0)
        assert "0 connections" in repr(transport)

    exchange({"/": KEEP_OPEN}, talk)


def test_calls_cancelled_at_any_moment_leave_nothing_behind() -> None:
    async def talk(transport: HttpTransport, server: RawServer) -> None:
        for seed in range(5):
            await cancel_many(random.Random(seed), server)
        # The server still accepts connections that were given up before it did, in turns of this loop, and
        # uvloop cannot be closed while that is under way.
        await asyncio.sleep(0.5)

    async def cancel_many(rng: random.Random, server: RawServer) -> None:
        transport = HttpTransport()

        async def one() -> None:
            try:
                async with asyncio.timeout(rng.uniform(0.0, 0.01)):
                    assert (await transport.send("GET", server.url + "/", {})).body == b"hi"
            except TimeoutError:
                pass

        for _ in range(5):
            await asyncio.gather(*(one() for _ in range(40)))
        # What is left is idle, and serves the next.
        assert (await transport.send("GET", server.url + "/", {})).body == b"hi"
        await transport.close()
        await server.wait_open(0)

    exchange({"/": answer(b"hi")}, talk)


def test_leaving_a_stream_early_closes_its_connection() -> None:
    async def talk(transport: HttpTransport, server: RawServer) -> None:
        async with transport.stream("GET", server.url + "/", {}) as stream:
            await anext(aiter(stream))
        await server.wait_open(0)

    exchange({"/": [b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nabc", KEEP_OPEN]}, talk)


def test_a_closed_transport_refuses_and_may_be_closed_again() -> None:
    async def main() -> None:
        transport = HttpTransport()
        await transport.close()
        await transport.close()
        with pytest.raises(RuntimeError, match="closed"):
            await transport.send("GET", "http://127.0.0.1:9/", {})
        assert repr(transport).startswith("<HttpTransport closed")

    asyncio.run(main())


def test_a_call_that_was_still_connecting_when_the_transport_was_closed_sends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    open_ = pool.Pool._open

    async def talk(transport: HttpTransport, server: RawServer) -> None:
        gate = asyncio.Event()

        async def open_later(*args: Any) -> Any:
            await gate.wait()
            return await open_(*args)

        monkeypatch.setattr(pool.Pool, "_open", open_later)
        task = asyncio.create_task(transport.send("GET", server.url + "/", {}))
        await asyncio.sleep(0)
        await transport.close()
        gate.set()
        with pytest.raises(APIConnectionError, match="closed") as caught:
            await task
        assert caught.value.surely_unsent
        await server.wait_open(0)
        assert server.heads == []

    exchange({"/": answer(b"hi")}, talk)


def test_calls_in_flight_end_when_the_transport_is_closed() -> None:
    async def talk(transport: HttpTransport, server: RawServer) -> None:
        task = asyncio.create_task(transport.send("GET", server.url + "/", {}, timeout=5))
        await server.wait_requests(1)
        await transport.close()
        with pytest.raises(APIConnectionError, match="closed") as caught:
            await task
        assert not caught.value.retryable

    exchange({"/": KEEP_OPEN}, talk)


def test_the_end_of_the_loop_closes_the_connections_of_an_open_transport() -> None:
    with in_thread(raw_server({"/": answer(b"hi")})) as server:
        transport = HttpTransport()

        async def use() -> None:
            await asyncio.gather(*(transport.send("GET", server.url + "/", {}) for _ in range(3)))
            assert "0 connections" not in repr(transport)

        for _ in range(2):
            asyncio.run(use())
            assert "0 connections" in repr(transport)


def test_an_idle_connection_is_not_used_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_SURELY_FRESH_SECONDS", -1.0)
    monkeypatch.setattr(pool, "_MOST_IDLE_SECONDS", -1.0)

    async def talk(transport: HttpTransport, server: RawServer) -> None:
        for _ in range(3):
            await transport.send("GET", server.url + "/", {})
        await server.wait_open(1)  # each closed the one before
        assert len(server.heads) == 3

    exchange({"/": answer(b"hi")}, talk)


@pytest.mark.parametrize("end", [CLOSE, RESET], ids=["closed", "reset"])
def test_a_connection_that_was_closed_while_idle_is_noticed(
    end: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although the event loop has not had the time to read it: an order is not sent into it."""
    monkeypatch.setattr(pool, "_SURELY_FRESH_SECONDS", -1.0)
    with in_thread(raw_server({"/": [answer(b"hi"), end]})) as server:

        async def order() -> None:
            transport = HttpTransport()
            for _ in range(3):
                assert (await transport.send("POST", server.url + "/", {}, b"order")).body == b"hi"
                time.sleep(0.05)  # the server is in another thread, and this one reads nothing meanwhile
            await transport.close()

        asyncio.run(order())
    assert len(server.heads) == 3


def test_a_get_that_crossed_the_news_of_the_end_is_sent_again_and_a_post_is_not() -> None:
    async def talk(transport: HttpTransport, server: RawServer) -> None:
        for _ in range(3):
            assert (await transport.send("GET", server.url + "/", {})).body == b"hi"
            async with transport.stream("GET", server.url + "/", {}) as stream:
                assert await stream.read() == b"hi"
            await transport.send("GET", server.url + "/kept", {})
            with pytest.raises(APIConnectionError) as caught:
                await transport.send("POST", server.url + "/deaf", {}, b"order")
            assert not caught.value.surely_unsent
        assert sum(head.startswith("POST") for head in server.heads) == 3

    exchange({"/": [answer(b"hi"), CLOSE], "/kept": answer(b"hi"), "/deaf": CLOSE}, talk)


def test_a_get_on_a_new_connection_that_is_closed_at_once_is_not_sent_again() -> None:
    async def talk(transport: HttpTransport, server: RawServer) -> None:
        with pytest.raises(APIConnectionError):
            await transport.send("GET", server.url + "/", {})
        assert len(server.heads) == 1

    exchange({"/": CLOSE}, talk)


def test_a_slow_reader_keeps_little_in_memory_and_gets_all() -> None:
    size = 32 * MEBIBYTE

    async def talk(transport: HttpTransport, server: RawServer) -> None:
        async with transport.stream("GET", server.url + "/", {}) as stream:
            got = 0
            async for piece in stream:
                got += len(piece)
                assert stream._call.exchange.buffered < 2 * MEBIBYTE  # type: ignore[attr-defined]
                await asyncio.sleep(0)
        assert got == size

    exchange({"/": answer(bytes(size))}, talk)


def test_a_large_body_is_sent_whole() -> None:
    async def talk(transport: HttpTransport, server: RawServer) -> None:
        for size in (64 * 1024, 64 * 1024 + 1, 5 * MEBIBYTE):
            await transport.send("POST", server.url + "/", {}, b"x" * size)
        assert [len(body) for body in server.bodies] == [64 * 1024, 64 * 1024 + 1, 5 * MEBIBYTE]

    exchange({"/": answer(b"hi")}, talk)


def test_bytes_that_keep_coming_hold_the_read_timeout_off() -> None:
    slow: list[object] = [b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n"]
    for _ in range(10):
        slow += [0.03, b"x"]

    async def talk(transport: HttpTransport, server: RawServer) -> None:
        assert (await transport.send("GET", server.url + "/", {})).body == b"x" * 10

    exchange({"/": slow}, talk, read_timeout=0.2)


def test_one_transport_serves_several_loops_in_several_threads() -> None:
    async def talk(transport: HttpTransport, server: RawServer) -> None:
        async def once() -> int:
            return (await transport.send("GET", server.url + "/", {})).status

        def in_own_loop() -> None:
            got.append(asyncio.run(once()))

        got: list[int] = [await once()]
        threads = [threading.Thread(target=in_own_loop) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join)
        assert got == [200] * 5

    exchange({"/": answer(b"hi")}, talk)


def test_it_is_a_transport() -> None:
    transport: Transport = HttpTransport()
    assert transport is not None


# -- what may be sent, and where to


@pytest.mark.parametrize("setting", ["verify", "client_cert"])
def test_a_certificate_file_that_cannot_be_read_is_named_at_once(setting: str, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    for name in ("missing.pem", "empty.pem"):
        settings: Any = {setting: tmp_path / name}
        with pytest.raises(ConfigurationError, match=name) as caught:
            HttpTransport(**settings)
        assert caught.value.setting == setting


@pytest.mark.parametrize("evil", ["a\r\nx-admin: 1", "a\nb", "a\rb", "a\0b"])
def test_a_header_value_that_would_smuggle_is_refused_when_set_and_when_sent(evil: str) -> None:
    secret = CANARY + evil
    with pytest.raises(ConfigurationError, match="x-tag") as set_:
        check_headers({"x-tag": secret})

    async def talk(transport: HttpTransport, server: RawServer) -> None:
        with pytest.raises(ConfigurationError, match="x-tag") as sent:
            await transport.send("GET", server.url + "/", {"x-tag": secret})
        assert server.heads == []
        for caught in (set_, sent):
            assert CANARY not in "".join(traceback.format_exception(caught.value))

    exchange({"/": answer()}, talk)
