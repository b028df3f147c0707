"""The server's start, stop and options."""

from __future__ import annotations

import asyncio
import contextlib
import urllib.error
import urllib.request

import orjson
import pytest

from callgate.testing import Simulator
from tests.testing.simulator.http_client import BODY, connected, post


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
