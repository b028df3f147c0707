"""Half of the rows are duplicates, half of the distinct ones are cached: a quarter of the rows is called.

n rows ask n/2 different questions, each of them twice. Half of these questions, n/4, are in the cache. The
other n/4 are paid for once each, whether the second row of a question comes while the first is in flight or
after it. The simulator counts the requests that arrive, by their content.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from callgate import Conversation, Engine, iModel
from callgate.testing import Simulator
from tests.effort import scaled

ROWS = scaled(2_000, 100_000)
DIFFERENT, CALLS = ROWS // 2, ROWS // 4


def test_a_quarter_of_the_rows_is_called_for_and_all_come_in_order(tmp_path: Path) -> None:
    questions = [f"Question {number}" for number in range(DIFFERENT)]
    rows = questions * 2
    random.Random(5).shuffle(rows)

    async def ask(sim: Simulator, asked: list[str]) -> list[str]:
        """The answers, by an engine and a cache that are opened for these alone."""
        model = iModel(
            provider="openai", model="m", api_key="k", base_url=sim.base_url, cache=tmp_path / "cache"
        )
        async with model:
            engine = Engine(model, max_inflight_requests=64)
            conversations = [Conversation.with_initial_message("user", text) for text in asked]
            completions = await engine.schedule_completions(conversations, 0.0, "example")
        return [one["response"]["choices"][0]["message"]["content"] for one in completions]

    async def main() -> None:
        async with Simulator(echo=True, latency=0.001) as sim:
            known = questions[::2]
            assert await ask(sim, known) == known
            sim.reset()
            assert await ask(sim, rows) == rows
            assert sim.stats.requests == sim.stats.answered == CALLS
            assert sim.stats.paid_again == 0
            assert set(sim.stats.received_by_content.values()) == {1}
            assert len(sim.stats.received_by_content) == CALLS
            # All of it again: nothing is asked for.
            assert await ask(sim, rows) == rows
            assert sim.stats.requests == CALLS

    asyncio.run(main())
