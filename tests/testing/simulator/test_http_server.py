"""The simulator over real sockets: a client receives exactly the plan."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from callgate.testing.simulator import http_server
from tests.testing.simulator.http_client import BODY, against, connected, post

STREAM = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "Hello"}], "stream": True})


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
