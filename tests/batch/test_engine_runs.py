"""One engine for many runs, one after another and at the same time; many engines on one model."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from callgate.batch.engine import Engine
from callgate.batch.providers import AbstractProvider
from callgate.call.calling import Calling
from callgate.errors import BatchStoppedError
from callgate.executor.executor import Executor
from callgate.testing import run_virtual
from tests.batch.simulation import Simulation


async def count(engine: Engine, name: str, rows: int) -> int:
    return len([result async for result in engine.run(f"{name} {i}" for i in range(rows)) if result.ok])


@pytest.mark.parametrize("loops", ["the same loop", "a loop each"])
def test_runs_one_after_another_keep_the_limits_together(loops: str) -> None:
    sim = Simulation(requests_per_minute=6)
    engine = sim.engine(limit_requests=6)

    async def all_of_them() -> None:
        for number in range(5):
            assert await count(engine, f"run {number}", 6) == 6

    if loops == "the same loop":
        sim.run(all_of_them())
    else:
        for number in range(5):
            assert sim.run(count(engine, f"run {number}", 6)) == 6
    assert sim.stats.refused == 0
    assert sim.clock.time() >= 4 * 60


def test_runs_at_the_same_time_keep_the_limits_together() -> None:
    sim = Simulation(requests_per_minute=10, latency=1.0)
    engine = sim.engine(limit_requests=10)

    async def main() -> None:
        counts = await asyncio.gather(*(count(engine, f"run {i}", 5 * (i + 1)) for i in range(4)))
        assert counts == [5, 10, 15, 20]
        assert len(asyncio.all_tasks()) == 1

    sim.run(main())
    assert sim.stats.refused == 0
    assert sim.clock.time() >= 4 * 60


def test_a_second_loop_beside_one_that_is_still_open() -> None:
    sim = Simulation()
    engine = sim.engine(limit_requests=600)
    loops = [sim.clock.new_event_loop() for _ in range(2)]
    assert [loop.run_until_complete(count(engine, "row", 3)) for loop in loops] == [3, 3]
    for loop in loops:
        loop.close()


def test_an_executor_that_was_given_stays_open() -> None:
    sim = Simulation()

    async def main() -> None:
        async with Executor(concurrency_limit=2, requests_rate=None) as executor:
            engine = sim.engine(executor=executor)
            assert await count(engine, "first", 10) == await count(engine, "second", 10) == 10
            assert executor.is_running
        assert sim.stats.most_running == 2

    sim.run(main())


@pytest.mark.parametrize("how", [Engine.drain, Engine.abort])
def test_draining_and_aborting_reach_every_run(how: Callable[[Engine], None]) -> None:
    sim = Simulation(latency=10.0)
    engine = sim.engine()

    async def main() -> None:
        runs = [asyncio.create_task(count(engine, f"run {i}", 1000)) for i in range(3)]
        await asyncio.sleep(25)
        begun, sent = engine.in_flight, engine.on_wire
        assert begun > sent == sim.stats.running
        longest = engine.longest(1000)
        assert len(longest) == begun
        assert longest == sorted(longest, key=lambda each: -each[1])
        how(engine)
        answered = sum(await asyncio.gather(*runs))
        assert engine.in_flight == sim.stats.running == 0
        if how is Engine.drain:
            assert (answered, engine.abandoned) == (sim.stats.accepted, begun - sent)
        else:
            assert (answered + sent, engine.abandoned) == (sim.stats.accepted, begun)

    sim.run(main())
    assert sim.stats.accepted < 200


def test_one_run_that_is_stopped_stops_no_other() -> None:
    sim = Simulation(latency=5.0, models=["gpt-4o-mini"])

    async def main() -> None:
        async with sim.model(limit_concurrency=2) as model:
            engine = Engine(model)
            good = asyncio.create_task(count(engine, "good", 200))
            await asyncio.sleep(7)
            with pytest.raises(BatchStoppedError):
                async for _ in engine.run({"prompt": f"bad {i}", "model": "nobody's"} for i in range(50)):
                    pass
            assert await good == 200

    sim.run(main())


def test_an_engine_is_forgotten_by_the_model_that_it_was_made_for() -> None:
    sim = Simulation()

    async def main() -> None:
        async with sim.model() as model:
            engines = [Engine(model) for _ in range(3)]
            for engine in engines:
                assert await count(engine, "row", 2) == 2
            left = weakref.WeakSet(engines)
            del engines, engine
            gc.collect()
            assert len(left) == 0

    sim.run(main())


class Broken(AbstractProvider):
    """Something inside it is cancelled, by nobody who has to do with the run."""

    async def call(self, calling: Calling, /) -> Any:
        await asyncio.sleep(1)
        raise asyncio.CancelledError


def test_a_provider_that_is_cancelled_from_within_fails_its_rows_and_loses_none() -> None:
    async def main() -> None:
        results = [result async for result in Engine(Broken(), None).run(["a", "b", "c", "d", "e"])]
        assert sorted(result.row.index for result in results) == [0, 1, 2, 3, 4]
        assert {result.calling.error_type for result in results} == {"CancelledError"}

    run_virtual(main())
