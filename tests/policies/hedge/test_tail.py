"""What hedging brings a whole batch whose provider answers a few requests very late."""

from __future__ import annotations

import asyncio

import pytest

from callgate import Engine, iModel
from callgate.testing import MemoryTransport, Options, SimulatedProvider, run_virtual
from tests.effort import scaled
from tests.policies.scripted_service import hedges

pytestmark = pytest.mark.slow

ROWS = 1_500


def seconds_of_a_batch(
    slow: float, seed: int, *, hedge: float | None = None, spread: float = 0.0
) -> tuple[float, int, list[int]]:
    """How long it takes, the requests that the provider saw, and the hedges of the rows it answered late."""

    async def scenario() -> tuple[float, int, list[int]]:
        loop = asyncio.get_running_loop()
        options = Options(
            latency=0.2, latency_sigma=spread, faults={"slow": slow}, slow_seconds=8.0, seed=seed
        )
        provider = SimulatedProvider(options, clock=loop.time)
        model = iModel(
            provider="openai",
            api_key="k-1",
            base_url=MemoryTransport.base_url,
            model="m",
            transport=MemoryTransport(provider),
            hedge=hedge,
        )
        late = []
        async with model:
            async for result in Engine(model, None, None).run(f"Question {row}" for row in range(ROWS)):
                calling = result.calling
                assert result.ok
                assert calling.ended_at is not None
                assert calling.sent_at is not None
                if hedges(calling) or calling.ended_at - calling.sent_at > 0.3:
                    late.append(hedges(calling))
        return loop.time(), provider.stats.by_status[200], late

    return run_virtual(scenario())


@pytest.mark.parametrize("seed", range(scaled(1, 10)))
def test_stragglers_no_longer_make_the_batch_wait(seed: int) -> None:
    even, _, _ = seconds_of_a_batch(0.0, seed)
    without, _, stragglers = seconds_of_a_batch(0.03, seed)
    seconds, requests, late = seconds_of_a_batch(0.03, seed, hedge=0.05)
    assert without > even + 8.0
    assert stragglers == [0] * len(stragglers)
    # Most of the eight seconds are won back, by sending again every one of them and little else.
    assert seconds < even + 2.0
    assert min(late) > 0
    assert len(stragglers) <= sum(late) + 3
    assert requests <= ROWS * 1.05


@pytest.mark.parametrize("seed", range(scaled(1, 10)))
def test_nor_do_they_where_many_others_are_a_little_late(seed: int) -> None:
    even, _, _ = seconds_of_a_batch(0.0, seed, spread=0.5)
    without, _, _ = seconds_of_a_batch(0.03, seed, spread=0.5)
    # Besides the 3 %, one or two of a hundred take three times the usual by themselves.
    seconds, requests, _ = seconds_of_a_batch(0.03, seed, spread=0.5, hedge=0.07)
    assert seconds < without - 5.0
    assert seconds < even + 2.0
    assert requests <= ROWS * 1.07
