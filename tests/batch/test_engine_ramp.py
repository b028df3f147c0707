"""How soon a batch makes use of a quota that is known, while nobody has said how many calls at once."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

import pytest

from callgate import Engine, iModel
from callgate.testing import MemoryTransport, Options, SimulatedProvider, run_virtual

ROWS = 3_000
OPTIONS = Options(requests_per_minute=6_000, latency=3.0)


def seconds_of_a_batch(options: Options, **settings: Any) -> tuple[float, dict[int, int]]:
    """How long it takes, and the provider's answers by status."""

    async def scenario() -> tuple[float, dict[int, int]]:
        loop = asyncio.get_running_loop()
        provider = SimulatedProvider(options, clock=loop.time)
        model = iModel(
            provider="openai",
            api_key="k-1",
            base_url=MemoryTransport.base_url,
            model="m",
            transport=MemoryTransport(provider),
            **settings,
        )
        async with model:
            async for result in Engine(model, None, None).run(f"Question {row}" for row in range(ROWS)):
                assert result.ok
        return loop.time(), dict(provider.stats.by_status)

    return run_virtual(scenario())


@pytest.mark.parametrize("settings", [{}, {"limit_concurrency": 32}], ids=["of the engine", "of the model"])
def test_a_concurrency_that_was_given_is_used_from_the_first_answer_on(settings: dict[str, Any]) -> None:
    """60 rows, 32 at once: four rows, then 32, then the other 24."""

    async def scenario() -> float:
        loop = asyncio.get_running_loop()
        provider = SimulatedProvider(Options(latency=1.0), clock=loop.time)
        transport = MemoryTransport(provider)
        url = MemoryTransport.base_url
        async with iModel(
            provider="openai", api_key="k", base_url=url, model="m", transport=transport, **settings
        ) as model:
            async for result in Engine(model, max_inflight_requests=32).run(
                f"Row {row}" for row in range(60)
            ):
                assert result.ok
        return loop.time()

    assert run_virtual(scenario()) == pytest.approx(3.0)


@cache
def fastest_batch() -> tuple[float, dict[int, int]]:
    """The batch with the quota and the best number of calls at once known from the start."""
    return seconds_of_a_batch(OPTIONS, limit_requests=6_000, limit_concurrency=1_000)


@pytest.mark.parametrize(
    "limit", [{"limit_requests": 6_000}, {}], ids=["told by the user", "told by the headers"]
)
def test_a_quota_is_used_nearly_as_well_as_with_the_right_number_at_once(limit: dict[str, Any]) -> None:
    best, _ = fastest_batch()
    seconds, statuses = seconds_of_a_batch(OPTIONS, **limit)
    assert seconds < 1.06 * best
    assert statuses == {200: ROWS}
