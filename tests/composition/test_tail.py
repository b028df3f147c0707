"""Second attempts for the slowest calls, and silence that ends, against the simulated provider."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from callgate.control.hedging import HedgePolicy
from callgate.errors import ConfigurationError
from callgate.model import iModel
from callgate.testing import Options, SimulatedProvider, VirtualClock
from callgate.testing.memory import MemoryTransport
from callgate.testing.simulator.stats import Stats

CALLS = 3000


def latencies(hedge: Any, **options: Any) -> tuple[list[float], Stats, int, int]:
    """3,000 calls, 50 at once: how long each took (sorted), the provider's count, attempts, second ones."""
    clock = VirtualClock()
    provider = SimulatedProvider(Options(latency=0.5, latency_sigma=0.3, seed=7, **options), clock=clock.time)
    transport = MemoryTransport(provider)

    async def main() -> tuple[list[float], Stats, int, int]:
        async with iModel(
            provider="openai",
            model="gpt-4o-mini",
            base_url=transport.base_url,
            api_key="sk-test",
            transport=transport,
            limit_concurrency=50,
            hedge=hedge,
        ) as model:
            seconds: list[float] = []
            attempts = hedges = 0

            async def work(first: int) -> None:
                nonlocal attempts, hedges
                for number in range(first, CALLS, 50):
                    calling = await model.invoke(messages=[{"role": "user", "content": f"Call {number}"}])
                    assert calling.answer is not None
                    assert calling.ended_at is not None
                    assert calling.called_at is not None
                    seconds.append(calling.ended_at - calling.called_at)
                    attempts += calling.attempts
                    hedges += calling.hedges

            await asyncio.gather(*(work(first) for first in range(50)))
            assert model.limiter.in_flight == 0
            assert provider.stats.running == 0
            return sorted(seconds), provider.stats, attempts, hedges

    return clock.run(main())


def test_the_tail_shrinks_for_less_than_the_share_of_calls_more() -> None:
    faults = {"slow": 0.02}
    plain, stats, attempts, hedges = latencies(None, faults=faults, slow_seconds=20.0)
    assert (stats.requests, attempts, hedges) == (CALLS, CALLS, 0)
    hedged, stats, attempts, hedges = latencies(0.05, faults=faults, slow_seconds=20.0)
    assert stats.requests == attempts == CALLS + hedges
    assert hedges <= 0.05 * CALLS
    p50, p99 = CALLS // 2, CALLS * 99 // 100
    assert plain[p99] > 20.0
    assert hedged[p99] < 3.0
    assert hedged[p50] == pytest.approx(plain[p50], rel=0.05)


def test_a_share_that_cannot_be_is_refused_when_the_model_is_made() -> None:
    with pytest.raises(ConfigurationError, match="hedge is the share"):
        iModel(provider="openai", api_key="sk-test", hedge=5)
    with pytest.raises(ConfigurationError, match="HedgePolicy"):
        iModel(provider="openai", api_key="sk-test", hedge={"part": 0.1})


def test_hedging_is_written_down_and_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    model = iModel(provider="openai", api_key="OPENAI_API_KEY", hedge=HedgePolicy(share=0.02, window=200))
    written = model.to_dict()
    assert written["hedge"] == {"share": 0.02, "min_samples": 50, "window": 200}
    assert iModel.from_dict(written).to_dict() == written
