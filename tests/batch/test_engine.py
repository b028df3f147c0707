"""Rows in, results out as they come, whatever rows are given as and however the run ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from callgate.batch.engine import Engine, Record
from callgate.batch.guard import FailureGuard
from callgate.batch.input.rows import Row
from callgate.batch.output.results import RowResult
from callgate.batch.providers import OpenAICompatibleApiProvider
from callgate.errors import AuthenticationError, BatchStoppedError, ConfigurationError, InputError
from callgate.messages import Conversation
from callgate.model.model import iModel
from callgate.testing import MemoryTransport, Options, SimulatedProvider, Simulator, run_virtual
from tests.batch.conftest import make_row


def model(sim: Simulator, **options: Any) -> iModel:
    usual = {"provider": "openai", "model": "gpt-4o-mini", "api_key": "sk-x", "base_url": sim.base_url}
    return iModel(**{**usual, **options})


def test_rows_in_every_form() -> None:
    async def main() -> None:
        conversation = Conversation.with_initial_message("Short.", "user", "third")
        given: list[Record] = [
            "first",
            {"prompt": "second", "topic": "x"},
            conversation,
            {"messages": [{"role": "user", "content": "fourth"}]},
            make_row(4, "fifth"),
        ]
        async with Simulator(echo=True) as sim, model(sim) as m:
            results = {result.row.index: result async for result in Engine(m).run(given)}
        assert [results[i].text for i in range(5)] == ["first", "second", "third", "fourth", "fifth"]
        assert results[1].row.columns == {"prompt": "second", "topic": "x"}
        assert all(result.ok for result in results.values())

    asyncio.run(main())


@pytest.mark.parametrize("row", ["How big is the moon?", {"prompt": "How big is the moon?"}])
def test_one_row_is_not_taken_for_many(row: Any) -> None:
    async def main() -> None:
        async with Simulator() as sim, model(sim) as m:
            with pytest.raises(TypeError, match="put it into a list"):
                await anext(Engine(m).run(row))
            assert sim.stats.requests == 0

    asyncio.run(main())


def test_an_async_iterable_of_rows() -> None:
    async def rows() -> AsyncIterator[str]:
        for i in range(20):
            await asyncio.sleep(0)
            yield f"row {i}"

    async def main() -> None:
        async with Simulator(echo=True) as sim, model(sim) as m:
            texts = {result.text async for result in Engine(m).run(rows())}
        assert texts == {f"row {i}" for i in range(20)}

    asyncio.run(main())


def test_an_iterable_is_not_read_before_its_rows_are_needed() -> None:
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield f"row {taken}"

    async def main() -> None:
        async with Simulator() as sim, model(sim, limit_concurrency=3) as m:
            async with aclosing(Engine(m).run(endless())) as results:
                await anext(results)
                assert taken <= 12
            assert sim.stats.running == 0

    asyncio.run(main())


def test_failed_rows_are_results_too() -> None:
    async def main() -> None:
        async with Simulator(answers=[422]) as sim, model(sim) as m:
            results = [result async for result in Engine(m).run(["a", "b", "c"])]
        assert sorted(result.ok for result in results) == [False, True, True]

    asyncio.run(main())


def test_a_bad_row_ends_the_run_after_the_results_before_it() -> None:
    async def main() -> None:
        async with Simulator(echo=True) as sim, model(sim) as m:
            texts: list[str | None] = []
            with pytest.raises(InputError, match="rows:3: the row has no prompt"):
                async for result in Engine(m).run(["a", "b", {"x": 1}, "d"]):
                    texts.append(result.text)
            assert sorted(map(str, texts)) == ["a", "b"]

    asyncio.run(main())


def test_what_every_row_meets_stops_the_run_with_its_error() -> None:
    async def main() -> None:
        async with Simulator(keys=["other"]) as sim, model(sim) as m:
            count = 0
            with pytest.raises(BatchStoppedError, match="3 rows failed in the same way") as caught:
                async for _ in Engine(m).run(f"row {i}" for i in range(100)):
                    count += 1
            assert isinstance(caught.value.error, AuthenticationError)
            assert caught.value.count == 3
            assert count == sim.stats.requests <= 6

    asyncio.run(main())


def test_the_measure_of_when_to_stop_can_be_given() -> None:
    async def main() -> None:
        async with Simulator(keys=["other"]) as sim, model(sim) as m:
            with pytest.raises(BatchStoppedError):
                async for _ in Engine(m).run(
                    (f"row {i}" for i in range(100)), guard=FailureGuard(max_systematic=9)
                ):
                    pass
            assert 9 <= sim.stats.requests <= 12

    asyncio.run(main())


def test_at_most_so_many_rows_in_flight() -> None:
    async def main() -> None:
        async with Simulator(latency=0.005) as sim, model(sim, limit_concurrency=None) as m:
            engine = Engine(m, max_inflight_requests=7)
            assert len([result async for result in engine.run(f"row {i}" for i in range(60))]) == 60
            assert sim.stats.most_running == 7

    asyncio.run(main())


def test_slow_answers_do_not_keep_the_quota_from_being_used() -> None:
    async def main() -> None:
        provider = SimulatedProvider(Options(latency=1.5), clock=asyncio.get_running_loop().time)
        transport = MemoryTransport(provider)
        async with iModel(
            "openai/gpt-4o-mini",
            api_key="sk-x",
            base_url=transport.base_url,
            transport=transport,
            limit_concurrency=None,
            limit_requests=6000,
        ) as m:
            wide = Engine(m, max_inflight_requests=None)
            first = [result async for result in Engine(m).run(["warm up"])]
            assert first[0].ok
            results = [result async for result in wide.run(f"row {i}" for i in range(80))]
            assert len(results) == 80
            assert provider.stats.most_running >= 60

    run_virtual(main())


def test_draining_answers_what_is_on_the_wire_and_gives_up_what_waits() -> None:
    async def main() -> None:
        async with Simulator(latency=0.05) as sim, model(sim, limit_concurrency=4) as m:
            engine = Engine(m)
            results: list[RowResult] = []
            async for result in engine.run(f"row {i}" for i in range(500)):
                results.append(result)
                if len(results) == 8:
                    assert engine.in_flight >= engine.on_wire
                    engine.drain()
            assert all(result.ok for result in results)
            assert len(results) == sim.stats.requests < 20
            assert engine.in_flight == engine.on_wire == 0
            # Nothing is called any more, and not without a word.
            with pytest.raises(RuntimeError, match="drained or aborted and sends no more requests"):
                await anext(engine.run(["a"]))
            with pytest.raises(RuntimeError, match="drained or aborted"):
                await engine.schedule_completions(["a"])

    asyncio.run(main())


def test_a_worker_waits_for_what_the_sink_returns() -> None:
    begun: list[int] = []

    def rows() -> Iterator[Row]:
        for i in range(9):
            begun.append(i)
            yield make_row(i)

    async def main() -> None:
        async with Simulator() as sim, model(sim, limit_concurrency=2) as m:
            engine, room = Engine(m, max_inflight_requests=2), asyncio.Event()
            run = asyncio.create_task(engine.run_into(rows(), lambda result: room.wait()))
            await asyncio.sleep(0.1)
            assert begun == [0, 1]
            room.set()
            await run
        assert begun == list(range(9))

    asyncio.run(main())


def test_a_reader_that_does_not_look_has_the_workers_wait() -> None:
    async def main() -> None:
        async with Simulator() as sim, model(sim) as m:
            results = Engine(m, max_inflight_requests=5).run(f"row {i}" for i in range(100))
            await anext(results)
            await asyncio.sleep(0.2)
            assert sim.stats.requests <= 3 * 5
            assert len([result async for result in results]) == 99

    asyncio.run(main())


def test_aborting_gives_what_there_is() -> None:
    async def main() -> None:
        async with Simulator(answers=["quick"], latency=0.0) as sim, model(sim, limit_concurrency=4) as m:
            engine = Engine(m)
            assert (engine.abandoned, engine.idle) == (0, False)
            results = []
            async for result in engine.run(f"row {i}" for i in range(5000)):
                results.append(result)
                if len(results) == 10:
                    engine.abort()
            assert 10 <= len(results) < 5000
            assert engine.in_flight == 0
            assert sim.stats.requests < 5000
            with pytest.raises(RuntimeError, match="drained or aborted"):
                await anext(engine.run(["a"]))

    asyncio.run(main())


def test_what_the_sink_raises_ends_the_run() -> None:
    def refuse(result: RowResult) -> None:
        raise ZeroDivisionError

    async def main() -> None:
        async with Simulator() as sim, model(sim) as m:
            with pytest.raises(ZeroDivisionError):
                await Engine(m).run_into(["a", "b"], refuse)

    asyncio.run(main())


def test_each_result_is_pushed_before_another_row_takes_its_place() -> None:
    begun: list[int] = []
    told: list[int] = []

    def rows() -> Iterator[Row]:
        for i in range(30):
            begun.append(i)
            assert len(begun) <= len(told) + 2  # two workers: what was begun is told, or in flight
            yield make_row(i)

    async def main() -> None:
        async with Simulator() as sim, model(sim, limit_concurrency=2) as m:
            engine = Engine(m, max_inflight_requests=2)
            await engine.run_into(rows(), lambda result: told.append(result.row.index))
        assert sorted(told) == list(range(30))

    asyncio.run(main())


def test_a_provider_by_name() -> None:
    async def main() -> None:
        async with Simulator(echo=True) as sim:
            engine = Engine("openai", None, model="gpt-4o-mini", api_key="sk-x", base_url=sim.base_url)
            async with engine.model:
                assert [result.text async for result in engine.run(["hello"])] == ["hello"]

    asyncio.run(main())


def test_an_engine_of_a_provider_object_takes_the_limits_and_the_object_the_rest() -> None:
    async def main() -> None:
        async with Simulator() as sim:
            provider = OpenAICompatibleApiProvider("k", sim.base_url, model_id="m")
            engine = Engine(provider, None, limit_requests=100, limit_tokens=1_000_000)
            [result] = [result async for result in engine.run(["a"])]
            assert result.ok
            limits = engine.model.limiter.snapshot()
            assert limits.requests is not None
            assert limits.requests.quota.rate == 100
            with pytest.raises(ConfigurationError, match=r"\(retry_config\); set them on the backend"):
                Engine(provider, None, retry_config=None)
            await provider.close()

    asyncio.run(main())


def test_a_conversation_without_messages_is_refused() -> None:
    async def main() -> None:
        async with Simulator() as sim, model(sim) as m:
            engine = Engine(m)
            with pytest.raises(InputError, match="rows:1: messages must be a list with at least one message"):
                await anext(engine.run([Conversation()]))
            with pytest.raises(InputError, match="conversations:2: messages must be a list with at least"):
                await engine.schedule_completions(
                    [Conversation.with_initial_message("user", "Hi"), Conversation()]
                )
            assert sim.stats.requests == 0

    asyncio.run(main())
