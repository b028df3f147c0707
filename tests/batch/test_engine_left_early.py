"""However a run is left, and whenever: no task, no permit, no reservation and no file stays behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from callgate.batch.cost.budget import Budget
from callgate.batch.engine import Engine
from callgate.batch.input.feed import AsyncFeed, PulledFeed
from callgate.batch.input.rows import Row
from callgate.batch.input.sources import Source
from callgate.batch.output.results import RowResult
from callgate.errors import InputError
from callgate.model.model import iModel
from callgate.policies.observe.hooks import HookPhase, HookRegistry
from tests.batch.conftest import make_row
from tests.batch.simulation import Simulation
from tests.effort import examples

# Two on the wire, some in the limiter's line, and the others waiting for their share of this.
BUDGET = 0.0005
SETTINGS: dict[str, Any] = {"limit_concurrency": 2, "limit_requests": 600}


class Left(Exception):
    """Raised by those who leave."""


class InterruptedRun:
    """One run on its way, and what must be as before when it is over."""

    def __init__(self, sim: Simulation, model: iModel) -> None:
        self.sim = sim
        self.model = model
        self.engine = Engine(model)
        self.budget = Budget(BUDGET)
        self.reported = 0
        self.reading = 0
        self.leave: Callable[[], object] = lambda: None

    def rows(self) -> Iterator[dict[str, Any]]:
        self.reading += 1
        try:
            for number in range(1000):
                if number == 30:
                    self.leave()
                yield {"prompt": f"row {number}", "max_tokens": 20}
        finally:
            self.reading -= 1

    async def rows_to_come(self) -> AsyncIterator[dict[str, Any]]:
        self.reading += 1
        try:
            for number in range(1000):
                await asyncio.sleep(0.01)
                if number == 30:
                    self.leave()
                yield {"prompt": f"row {number}", "max_tokens": 20}
        finally:
            await asyncio.sleep(0.01)  # as one that closes a connection does
            self.reading -= 1

    def run(self, *, to_come: bool = False) -> Any:
        rows = self.rows_to_come() if to_come else self.rows()
        return self.engine.run(rows, budget=self.budget)

    async def check(self) -> None:
        """Nothing is left: at once, but for what the collector of asynchronous generators closes."""
        await asyncio.sleep(0.1)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        limiter = self.model.limiter
        assert (limiter.in_flight, limiter.waiting) == (0, 0)
        assert self.budget.reserved == 0.0
        assert 0.0 <= self.budget.spent <= BUDGET
        assert (self.engine.in_flight, self.engine.on_wire, self.engine.idle) == (0, 0, False)
        assert self.sim.stats.running == 0
        assert self.reading == 0
        # What is left can be used: as many calls at once as before, and the same engine.
        again = Budget(1.0)
        results = self.engine.run(
            ({"prompt": f"again {n}", "max_tokens": 20} for n in range(4)), budget=again
        )
        assert len([result async for result in results]) == 4


async def break_off(interrupted: InterruptedRun, to_come: bool) -> None:
    async for _ in interrupted.run(to_come=to_come):
        interrupted.reported += 1
        if interrupted.reported == 20:
            break


async def close(interrupted: InterruptedRun, to_come: bool) -> None:
    async with aclosing(interrupted.run(to_come=to_come)) as results:
        async for _ in results:
            interrupted.reported += 1
            if interrupted.reported == 20:
                break
    assert interrupted.sim.stats.running == interrupted.engine.in_flight == interrupted.budget.reserved == 0


async def raise_in_the_loop(interrupted: InterruptedRun, to_come: bool) -> None:
    with suppress(Left):
        async with aclosing(interrupted.run(to_come=to_come)) as results:
            async for _ in results:
                raise Left


async def cancel_the_task(interrupted: InterruptedRun, to_come: bool) -> None:
    async def consume() -> None:
        async for _ in interrupted.run(to_come=to_come):
            pass

    task = asyncio.create_task(consume())
    await asyncio.sleep(3.2)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def run_out_of_time(interrupted: InterruptedRun, to_come: bool) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(3.2):
            async for _ in interrupted.run(to_come=to_come):
                pass


async def raise_in_the_sink(interrupted: InterruptedRun, to_come: bool) -> None:
    def refuse(result: RowResult) -> None:
        interrupted.reported += 1
        if interrupted.reported == 20:
            raise Left

    with pytest.raises(Left):
        await interrupted.engine.run_into(
            interrupted.rows_to_come() if to_come else interrupted.rows(), refuse, budget=interrupted.budget
        )


async def raise_in_the_rows(interrupted: InterruptedRun, to_come: bool) -> None:
    def leave() -> None:
        raise Left

    interrupted.leave = leave
    with pytest.raises(Left):
        async for _ in interrupted.run(to_come=to_come):
            pass


async def drain_from_the_rows(interrupted: InterruptedRun, to_come: bool) -> None:
    interrupted.engine = engine = Engine(interrupted.model)
    interrupted.leave = engine.drain
    results = [result async for result in interrupted.run(to_come=to_come)]
    assert all(result.ok for result in results)
    interrupted.engine = Engine(interrupted.model)  # a drained one begins no row any more


async def abort(interrupted: InterruptedRun, to_come: bool) -> None:
    asyncio.get_running_loop().call_later(3.2, interrupted.engine.abort)
    async for _ in interrupted.run(to_come=to_come):
        pass
    interrupted.engine = Engine(interrupted.model)


@pytest.mark.parametrize("to_come", [False, True])
@pytest.mark.parametrize(
    "leave",
    [
        break_off,
        close,
        raise_in_the_loop,
        cancel_the_task,
        run_out_of_time,
        raise_in_the_sink,
        raise_in_the_rows,
        drain_from_the_rows,
        abort,
    ],
)
def test_nothing_stays_behind(leave: Any, to_come: bool) -> None:
    sim = Simulation(latency=0.3)

    async def main() -> None:
        async with sim.model(**SETTINGS) as model:
            interrupted = InterruptedRun(sim, model)
            await leave(interrupted, to_come)
            await interrupted.check()

    sim.run(main())


@examples(40)
@given(moment=st.floats(0.0, 6.0), to_come=st.booleans(), twice=st.booleans())
def test_nothing_stays_behind_at_whatever_moment_it_is_cancelled(
    moment: float, to_come: bool, twice: bool
) -> None:
    sim = Simulation(latency=0.3, latency_sigma=0.5, faults={"500": 0.1})

    async def main() -> None:
        async with sim.model(**SETTINGS) as model:
            interrupted = InterruptedRun(sim, model)

            async def consume() -> None:
                with suppress(Exception):
                    async for _ in interrupted.run(to_come=to_come):
                        pass

            task = asyncio.create_task(consume())
            await asyncio.sleep(moment)
            task.cancel()
            if twice:
                await asyncio.sleep(0)
                task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await interrupted.check()

    sim.run(main())


def test_a_generator_that_is_dropped_unused_has_begun_nothing() -> None:
    sim = Simulation()

    async def main() -> None:
        async with sim.model() as model:
            await Engine(model).run(["a"]).aclose()
            assert asyncio.all_tasks() == {asyncio.current_task()}
        assert sim.stats.requests == 0

    sim.run(main())


def test_the_file_of_the_rows_is_closed_with_the_run(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"prompt": "Hello, how are you?"}\n' * 20_000)  # more than one block
    sim = Simulation()

    async def main() -> None:
        async with sim.model() as model:
            engine = Engine(model)
            async with aclosing(engine.run(PulledFeed(Source(str(path)).blocks()))) as results:
                await anext(results)
                assert str(path) in opened()
            assert str(path) not in opened()
            assert engine.in_flight == 0

    def opened() -> list[str]:
        return [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.exists()]

    sim.run(main())


def test_what_pulls_the_rows_has_ended_with_the_run() -> None:
    """A database's cursor is closed while its connection still stands."""
    sim = Simulation()
    begun: list[int] = []
    cleaned_up = False

    async def blocks() -> AsyncGenerator[list[Row], None]:
        nonlocal cleaned_up
        try:
            for index in range(100):
                begun.append(index)
                yield [make_row(index)]
        finally:
            await asyncio.sleep(1)
            cleaned_up = True

    async def main() -> None:
        async with sim.model() as model:
            async with aclosing(Engine(model).run(AsyncFeed(blocks()))) as results:
                await anext(results)
                assert not cleaned_up
            assert cleaned_up
            assert asyncio.all_tasks() == {asyncio.current_task()}
        assert len(begun) < 50

    sim.run(main())


def test_a_row_that_no_budget_can_reckon_with_ends_the_run_after_those_on_the_wire() -> None:
    sim = Simulation(latency=10.0)

    async def main() -> None:
        async with sim.model() as model:
            engine, budget = Engine(model), Budget(1.0)
            rows: list[dict[str, Any]] = [{"prompt": f"row {n}", "max_tokens": 5} for n in range(3)]
            told = []
            with pytest.raises(InputError, match="line 4: a budget needs to know the longest answer"):
                async for result in engine.run([*rows, {"prompt": "any length"}, *rows], budget=budget):
                    told.append(result.row.index)
            assert sorted(told) == [0, 1, 2]  # they are paid for, so they are not cut off
            assert (engine.abandoned, sim.stats.accepted) == (0, 3)
            assert budget.reserved == 0.0

    sim.run(main())


def test_draining_sends_no_row_that_was_still_being_prepared() -> None:
    sim = Simulation()
    ready = asyncio.Event()

    async def hook(_: object) -> None:
        await ready.wait()

    async def main() -> None:
        hooks = HookRegistry({HookPhase.PreEventCreate: hook})
        async with sim.model(hook_registry=hooks) as model:
            engine = Engine(model)
            asyncio.get_running_loop().call_later(1, engine.drain)
            asyncio.get_running_loop().call_later(2, ready.set)
            assert [result async for result in engine.run(["a", "b", "c"])] == []
        assert sim.stats.requests == 0

    sim.run(main())
