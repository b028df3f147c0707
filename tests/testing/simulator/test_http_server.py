"""The simulator over real sockets: a client receives exactly the plan."""

from __future__ import annotations

import asyncio
import contextlib
import urllib.error
import urllib.request

import orjson
import pytest

from callgate.testing import Simulator
from callgate.testing.simulator import http_server

BODY = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "Hello"}]})
STREAM = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "Hello"}], "stream": True})


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


@against()
async def test_connection_is_kept_for_the_next_request(sim, client):
    for _ in range(3):
        client.writer.write(post())
        assert (await client.answer())[0] == 200
    assert sim.stats.requests == 3


@against(latency=0.01)
async def test_pipelined_requests_are_answered_in_order(sim, client):
    bodies = [
        orjson.dumps({"model": f"m{n}", "messages": [{"role": "user", "content": "x"}]}) for n in range(20)
    ]
    client.writer.write(b"".join(post(body) for body in bodies))
    models = [orjson.loads((await client.answer())[1])["model"] for _ in bodies]
    assert models == [f"m{n}" for n in range(20)]


@against()
async def test_a_thousand_pipelined_requests_do_not_nest(sim, client):
    client.writer.write(post() * 1000)
    for _ in range(1000):
        assert (await client.answer())[0] == 200


@against(tokens_per_second=2000)
async def test_stream_arrives_chunk_by_chunk(sim, client):
    client.writer.write(post(STREAM))
    status, headers = await client.head()
    assert (status, headers["transfer-encoding"]) == (200, "chunked")
    first = int(await client.reader.readline(), 16)
    assert (await client.reader.readexactly(first)).startswith(b"data: {")


@against()
async def test_stream_is_followed_by_the_next_answer(sim, client):
    client.writer.write(post(STREAM) + post())
    assert (await client.answer())[1].endswith(b"data: [DONE]\n\n")
    assert (await client.answer())[0] == 200


@against()
async def test_chunked_request_and_expect_continue(sim, client):
    body = b"%x\r\n" % 10 + BODY[:10] + b"\r\n%x\r\n" % len(BODY[10:]) + BODY[10:] + b"\r\n0\r\n\r\n"
    client.writer.write(post(b"", "transfer-encoding: chunked", "expect: 100-continue"))
    assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.writer.write(body)
    assert (await client.answer())[0] == 200


@against()
async def test_connection_close_is_obeyed(sim, client):
    client.writer.write(post(BODY, "connection: close"))
    assert (await client.answer())[0] == 200
    assert await client.reader.read() == b""


@against(faults={"reset": 1.0})
async def test_reset_is_seen_as_a_reset(sim, client):
    client.writer.write(post())
    with pytest.raises(ConnectionResetError):
        await client.reader.read()


@pytest.mark.parametrize("body", [BODY, STREAM])
def test_truncated_body_ends_early(body):
    @against(faults={"truncated": 1.0})
    async def run(sim, client):
        client.writer.write(post(body))
        with pytest.raises((asyncio.IncompleteReadError, ValueError)):
            await client.answer()
        assert client.reader.at_eof()

    run()


@against(faults={"stall": 1.0}, stall_seconds=0.05)
async def test_stall_is_silent_and_ends_by_itself(sim, client):
    client.writer.write(post(STREAM))
    assert not (await client.reader.read()).endswith(b"0\r\n\r\n")


@against(faults={"oversized": 1.0}, oversized_bytes=8_000_000)
async def test_oversized_body_waits_for_a_slow_reader(sim, client):
    client.writer.write(post())
    status, body = await client.answer()
    assert status == 200
    assert len(body) > 8_000_000
    assert orjson.loads(body)["choices"]


@against(latency=60, concurrency=1)
async def test_a_client_that_leaves_frees_its_place(sim, client):
    async with connected(sim) as other:
        other.writer.write(post())
        while not sim.stats.running:
            await asyncio.sleep(0)
    while sim.stats.running:
        await asyncio.sleep(0)
    assert sim.stats.abandoned == 1


@against()
async def test_what_is_no_http_gets_400(sim, client):
    client.writer.write(b"\x16\x03\x01 hello\r\n\r\n")
    assert (await client.head())[0] == 400
    assert await client.reader.read() == b""


def test_a_body_beyond_the_limit_gets_413(monkeypatch):
    monkeypatch.setattr(http_server, "_MAX_BODY", 100)

    @against()
    async def run(sim, client):
        client.writer.write(post(b"x" * 101))
        assert (await client.head())[0] == 413

    run()


def test_stopping_aborts_connections_and_keeps_the_counts():
    async def main():
        async with Simulator(latency=60) as sim, connected(sim) as client:
            client.writer.write(post())
            while not sim.stats.running:
                await asyncio.sleep(0)
            await sim.stop()
            with contextlib.suppress(ConnectionError):
                assert await client.reader.read() == b""
        assert sim.stats.requests == 1
        with pytest.raises(RuntimeError, match="not running"):
            _ = sim.port

    asyncio.run(main())


def test_with_runs_the_server_in_a_thread():
    with Simulator(requests_per_minute=1) as sim:
        request = urllib.request.Request(sim.base_url + "/chat/completions", BODY)
        with urllib.request.urlopen(request) as answer:
            assert orjson.loads(answer.read())["object"] == "chat.completion"
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request)
        refused.value.close()
        assert refused.value.code == 429
    assert sim.stats.refused == 1


def test_a_port_in_use_is_an_error_with_and_without_a_loop():
    with Simulator() as sim:
        with pytest.raises(OSError, match="in use"):
            Simulator(port=sim.port).__enter__()

        async def main():
            with pytest.raises(OSError, match="in use"):
                await Simulator(port=sim.port).start()

        asyncio.run(main())


def test_options_object_and_keywords_do_not_mix():
    from callgate.testing.simulator import Options

    with pytest.raises(TypeError, match="not both"):
        Simulator(Options(), seed=1)
    assert "not running" in repr(Simulator())
