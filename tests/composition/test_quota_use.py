"""The main job against a strict provider, on the virtual clock: the whole stack but the sockets.

The simulator's own count is the judge.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from callgate import Engine, RetryConfig, iModel
from callgate.testing import MemoryTransport, Options, SimulatedProvider, run_virtual

ROWS = 1_500


def prompts(rows: int, words: int = 8) -> list[str]:
    return [f"Question {number}: " + "what follows from it? " * words for number in range(rows)]


def run_batch(
    options: Options, rows: list[str], latency: float = 0.05, **settings: Any
) -> tuple[SimulatedProvider, int, float, list[float]]:
    """Answer all rows; gives the provider, how many were answered, the time it took and when 429s came."""

    async def scenario() -> tuple[SimulatedProvider, int, float, list[float]]:
        loop = asyncio.get_running_loop()
        provider = SimulatedProvider(options, clock=loop.time)
        transport = MemoryTransport(provider, latency=latency)
        model = iModel(
            provider="openai",
            api_key="k-1",
            base_url=transport.base_url,
            model="m",
            transport=transport,
            retry_config=RetryConfig(max_quota_wait=3_600.0),
            **settings,
        )
        start, answered, refused = loop.time(), 0, []
        async with model:
            async for result in Engine(model).run(rows):
                answered += result.ok
                for attempt in result.calling.attempts:
                    if attempt.error is not None and attempt.ended_at is not None:
                        refused.append(attempt.ended_at - start)
        return provider, answered, loop.time() - start, sorted(refused)

    return run_virtual(scenario())


def test_600_requests_a_minute_are_used_to_98_percent_without_one_429() -> None:
    options = Options(requests_per_minute=600, window="sliding", latency=0.5, latency_sigma=0.6)
    provider, answered, seconds, refused = run_batch(options, prompts(ROWS), limit_requests=600)
    assert answered == ROWS
    assert refused == []
    assert provider.stats.by_status == {200: ROWS}
    used = provider.stats.used
    assert used.busiest_requests <= 600
    assert used.requests_share >= 0.98
    assert seconds <= 60.0 * ROWS / 600 / 0.98


def twice_what_is_estimated() -> dict[str, Any]:
    """Answers twice as long as the estimate knows: nothing bounds them."""
    return {"output_tokens": 500, "output_sigma": 0.2}


def half_of_what_is_estimated() -> dict[str, Any]:
    """Answers half as long as the estimate of an unknown model."""
    return {"output_tokens": 120, "output_sigma": 0.2}


@pytest.mark.parametrize(
    "answers", [twice_what_is_estimated, half_of_what_is_estimated], ids=["twice", "half"]
)
@pytest.mark.parametrize("headers", ["openai", "none"])
def test_tokens_alone_with_estimates_off_by_two_lose_no_row_and_429s_shrink(
    answers: Callable[[], dict[str, Any]], headers: Any
) -> None:
    options = Options(
        tokens_per_minute=60_000,
        window="sliding",
        accounting="actual",
        latency=1.0,
        latency_sigma=0.3,
        headers=headers,
        **answers(),
    )
    provider, answered, seconds, refused = run_batch(options, prompts(900), limit_tokens=60_000)
    assert answered == 900
    assert provider.stats.used.busiest_tokens <= 60_000
    # Few: not one call in twenty. Shrinking: the second half of the time sees no more than the first.
    assert len(refused) <= 900 // 20
    assert sum(at > seconds / 2 for at in refused) <= sum(at <= seconds / 2 for at in refused)


def test_without_limits_given_the_rate_is_found() -> None:
    options = Options(requests_per_minute=1_200, window="sliding", latency=0.4, latency_sigma=0.4)
    provider, answered, seconds, _ = run_batch(options, prompts(4_000))
    assert answered == 4_000
    ideal = 60.0 * 4_000 / 1_200
    assert seconds <= ideal * 1.15
    assert provider.stats.refused <= 40


def test_without_limits_or_headers_the_rate_is_found_by_trying() -> None:
    options = Options(
        requests_per_minute=1_200, window="sliding", latency=0.4, headers="none", retry_after="seconds"
    )
    provider, answered, seconds, _ = run_batch(options, prompts(4_000))
    assert answered == 4_000
    # Nothing but refusals tells this provider's rate; at most one call in fifty is spent on finding it.
    assert provider.stats.refused <= 80
    assert seconds <= 60.0 * 4_000 / 1_200 * 1.1
