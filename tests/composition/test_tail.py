"""Hedged calls and read timeouts against the simulated provider."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from callgate.backends.config import SdkTransportConfig, ServiceEndpointConfig
from callgate.call.calling import Calling
from callgate.errors import APITimeoutError, ConfigurationError
from callgate.model.model import iModel
from callgate.policies.hedge.policy import HedgePolicy
from callgate.policies.retry.config import RetryConfig
from callgate.testing import Options, SimulatedProvider, Simulator, VirtualClock
from callgate.testing.memory import MemoryTransport
from callgate.testing.simulator.stats import Stats

CALLS = 2000


def latencies(hedge: Any, **options: Any) -> tuple[list[float], Stats, int, int]:
    """2,000 calls, 50 at once: how long each took (sorted), the provider's count, attempts, second ones."""
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
            attempts = hedged = 0

            async def work(first: int) -> None:
                nonlocal attempts, hedged
                for number in range(first, CALLS, 50):
                    calling = await model.invoke(messages=[{"role": "user", "content": f"Call {number}"}])
                    assert calling.answer is not None
                    assert calling.ended_at is not None
                    assert calling.sent_at is not None
                    seconds.append(calling.ended_at - calling.sent_at)
                    attempts += len(calling.attempts)
                    hedged += sum(attempt.hedge for attempt in calling.attempts)

            await asyncio.gather(*(work(first) for first in range(50)))
            assert model.limiter.in_flight == 0
            assert provider.stats.running == 0
            return sorted(seconds), provider.stats, attempts, hedged

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


def test_an_invalid_hedge_share_is_refused_by_the_constructor() -> None:
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


# --- silence --------------------------------------------------------------------------------------------

HELLO = [{"role": "user", "content": "Hello!"}]


def after_a_stall(**settings: Any) -> tuple[Calling, Stats]:
    """One call to a provider that falls silent in the middle of its answers, once or for ever."""

    async def main() -> tuple[Calling, Stats]:
        async with (
            Simulator(faults={"stall": 1.0}, stall_seconds=600.0) as sim,
            iModel(
                provider="openai",
                model="gpt-4o-mini",
                base_url=sim.base_url,
                api_key="sk-test",
                **settings,
            ) as model,
        ):
            return await model.invoke(messages=HELLO), sim.stats

    return asyncio.run(main())


def test_silence_in_the_middle_of_an_answer_ends_the_attempt_and_is_retried() -> None:
    retry = RetryConfig(max_retries=2, base_delay=0.01)
    calling, stats = after_a_stall(read_timeout=0.05, retry_config=retry)
    assert isinstance(calling.error, APITimeoutError)
    assert calling.error.retryable
    assert not calling.error.surely_unsent
    assert len(calling.attempts) == stats.requests == 3


def test_a_stream_that_falls_silent_raises_a_timeout() -> None:
    async def main() -> int:
        async with (
            Simulator(faults={"stall": 1.0}, stall_seconds=600.0) as sim,
            iModel(
                provider="openai", model="m", base_url=sim.base_url, api_key="sk-test", read_timeout=0.05
            ) as model,
        ):
            heard = 0
            with pytest.raises(APITimeoutError):
                async for _ in model.invoke_stream(messages=HELLO):
                    heard += 1
            assert sim.stats.requests == 1  # a piece has been delivered: not tried again
            return heard

    assert asyncio.run(main())


def test_a_given_transport_excludes_timeout_settings() -> None:
    provider = SimulatedProvider(Options(), clock=VirtualClock().time)
    with pytest.raises(ConfigurationError, match="set read_timeout on that"):
        iModel(provider="openai", api_key="k", transport=MemoryTransport(provider), read_timeout=5.0)
    sdk = SdkTransportConfig(sdk_provider_name="openai")
    with pytest.raises(ValueError, match="client_constructor_kwargs"):
        ServiceEndpointConfig(name="sdk", transport_type="sdk", sdk_config=sdk, read_timeout=5.0)
