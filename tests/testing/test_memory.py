"""The transport without sockets, and the whole stack on the virtual clock through it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from callgate.errors import APIConnectionError, APITimeoutError, ResponseTooLargeError
from callgate.model.model import iModel
from callgate.policies.retry.config import RetryConfig
from callgate.testing import MemoryTransport, Options, SimulatedProvider, VirtualClock
from callgate.transport.http import HttpAnswer, Transport

BODY = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
KEY = {"Authorization": "Bearer k", "Content-Type": "application/json"}
URL = f"{MemoryTransport.base_url}/chat/completions"


class Simulation:
    """A clock, a provider and a transport to it."""

    def __init__(self, *, transport: dict[str, Any] | None = None, **options: Any) -> None:
        self.clock = VirtualClock()
        self.provider = SimulatedProvider(Options(**options), clock=self.clock.time)
        self.transport = MemoryTransport(self.provider, **transport or {})

    def send(self, timeout: float | None = None, **body: Any) -> HttpAnswer:
        raw = orjson.dumps({**BODY, **body})
        return self.clock.run(self.transport.send("POST", URL, KEY, raw, timeout=timeout))

    def model(self, **settings: Any) -> iModel:
        return iModel(
            provider="openai",
            model="m",
            api_key="k",
            base_url=self.transport.base_url,
            transport=self.transport,
            **settings,
        )


def test_an_answer_comes_with_its_status_and_headers_in_lower_case() -> None:
    sim = Simulation(requests_per_minute=5)
    answer = sim.send()
    assert answer.status == 200
    assert orjson.loads(answer.body)["choices"][0]["message"]["content"]
    assert answer.headers["x-ratelimit-remaining-requests"] == "4"
    assert answer.headers["content-type"] == "application/json"
    assert (sim.provider.stats.accepted, sim.provider.stats.running) == (1, 0)


def test_a_call_takes_the_planned_time() -> None:
    sim = Simulation(latency=2.0, latency_sigma=0, transport={"latency": 0.5})
    sim.send()
    assert sim.clock.time() == 2.5


def test_the_query_reaches_the_provider_and_other_pages_too() -> None:
    sim = Simulation()
    url = "https://anywhere.example/stats?contents=1"
    answer = sim.clock.run(sim.transport.send("GET", url, {}))
    assert "contents" in orjson.loads(answer.body)


def test_a_stream_arrives_in_chunks_at_their_times() -> None:
    sim = Simulation(tokens_per_second=10, output_tokens=20, output_sigma=0)
    moments: list[float] = []

    async def main() -> None:
        raw = orjson.dumps({**BODY, "stream": True})
        async with sim.transport.stream("POST", URL, KEY, raw) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            async for piece in answer:
                assert piece
                moments.append(sim.clock.time())
        with pytest.raises(RuntimeError, match="closed"):
            await anext(aiter(answer))

    sim.clock.run(main())
    assert moments == sorted(moments)
    assert moments[-1] == pytest.approx(2.0, abs=0.2)


@pytest.mark.parametrize("fault", ["reset", "truncated", "stall"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_broken_connection_raises_the_error_of_the_http_transport(fault: str, stream: bool) -> None:
    sim = Simulation(faults={fault: 1.0})
    with pytest.raises(APIConnectionError) as caught:
        sim.send(stream=stream)
    assert caught.value.retryable
    assert not caught.value.surely_unsent
    assert "simulator.invalid" in str(caught.value)
    assert (sim.provider.stats.running, sim.provider.stats.abandoned) == (0, 1)


def test_silence_ends_in_a_timeout_error() -> None:
    sim = Simulation(faults={"stall": 1.0})
    with pytest.raises(APITimeoutError):
        sim.send(timeout=3.0)
    assert sim.clock.time() == pytest.approx(3.0)
    sim = Simulation(faults={"slow": 1.0}, transport={"read_timeout": 1.5})
    with pytest.raises(APITimeoutError):
        sim.send(timeout=100)
    assert sim.clock.time() == pytest.approx(1.5)
    assert sim.provider.stats.running == 0


def test_an_answer_above_the_size_limit_is_an_error() -> None:
    sim = Simulation(transport={"max_response_bytes": 100})
    with pytest.raises(ResponseTooLargeError, match="100 bytes"):
        sim.send()


def test_a_cancelled_call_releases_its_slot() -> None:
    sim = Simulation(latency=10, concurrency=1)

    async def main() -> None:
        call = asyncio.create_task(sim.transport.send("POST", URL, KEY, orjson.dumps(BODY)))
        await asyncio.sleep(5)
        assert sim.provider.stats.running == 1
        call.cancel()
        await asyncio.wait([call])
        assert sim.provider.stats.running == 0

    sim.clock.run(main())


def test_closing_fails_calls_in_flight_and_refuses_new_ones() -> None:
    sim = Simulation(latency=10)

    async def main() -> None:
        call = asyncio.create_task(sim.transport.send("POST", URL, KEY, orjson.dumps(BODY)))
        await asyncio.sleep(5)
        await sim.transport.close()
        await sim.transport.close()
        with pytest.raises(APIConnectionError, match="closed before"):
            await call
        with pytest.raises(RuntimeError, match="has been closed"):
            sim.transport.stream("POST", URL, KEY)

    assert repr(sim.transport) == "<MemoryTransport 0 in flight>"
    sim.clock.run(main())
    assert repr(sim.transport) == "<MemoryTransport closed>"


def test_it_has_the_methods_of_the_transport_protocol() -> None:
    def signature(method: Callable[..., Any]) -> list[str]:
        return list(inspect.signature(method).parameters)

    for name in ("send", "stream", "close"):
        assert signature(getattr(MemoryTransport, name)) == signature(getattr(Transport, name))


class TestTheWholeStackOnTheVirtualClock:
    def test_1500_calls_under_600_a_minute_meet_no_429_and_use_the_quota(self) -> None:
        sim = Simulation(requests_per_minute=600, latency=0.5)

        async def main() -> None:
            async with sim.model(limit_requests=600, limit_concurrency=None) as model:
                calls = (model.invoke(messages=BODY["messages"], user=str(n)) for n in range(1500))
                callings = await asyncio.gather(*calls)
                assert all(calling.error is None for calling in callings)

        sim.clock.run(main())
        stats = sim.provider.stats
        assert (stats.accepted, stats.refused) == (1500, 0)
        # The first 600 could go at once, so 900 more at 600 a minute are the least that it can take.
        assert sim.clock.time() < 2.5 * 60 / 0.98

    def test_a_429_is_waited_for_and_every_call_is_answered(self) -> None:
        sim = Simulation(requests_per_minute=60, latency=0.2, faults={"500": 0.05})

        async def main() -> None:
            async with sim.model() as model:
                calls = (model.invoke(messages=BODY["messages"], user=str(n)) for n in range(200))
                assert all(calling.error is None for calling in await asyncio.gather(*calls))

        sim.clock.run(main())
        assert sim.clock.time() > 120

    def test_every_run_has_the_same_result(self) -> None:
        def history() -> tuple[float, int]:
            sim = Simulation(latency=1, faults={"500": 0.2, "reset": 0.1}, seed=3)

            async def main() -> None:
                async with sim.model(limit_concurrency=4, retry_config=RetryConfig(jitter=False)) as model:
                    await asyncio.gather(
                        *(model.invoke(messages=BODY["messages"], user=str(n)) for n in range(40))
                    )

            sim.clock.run(main())
            return sim.clock.time(), sim.provider.stats.accepted

        assert history() == history()
