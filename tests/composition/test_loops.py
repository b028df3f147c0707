"""A script may call `asyncio.run` several times with one model."""

from __future__ import annotations

import asyncio

import pytest

from callgate.call.calling import Calling
from callgate.errors import RateLimitError
from callgate.executor.executor import Executor
from callgate.model.model import iModel
from callgate.testing.clock import VirtualClock, run_virtual
from tests.composition.scripted_model import assert_nothing_left, make_backend, make_model
from tests.policies.scripted_service import After, Streamed


def test_a_model_that_was_not_closed_works_in_the_next_loop_in_every_way() -> None:
    model, _ = make_model(Streamed(("ok",), "ok"), model={"limit_requests": 1000, "limit_tokens": 10**6})

    async def main() -> None:
        assert (await model.submit(prompt="x")).response.text == "ok"
        assert (await model.invoke(prompt="x")).response.text == "ok"
        assert [chunk.content async for chunk in model.invoke_stream(prompt="x")] == ["ok", ""]
        await assert_nothing_left(model)

    clock = VirtualClock()
    for _ in range(3):
        clock.run(main())


def test_a_new_loop_with_an_earlier_clock_begins_anew() -> None:
    """Its times cannot be compared with those before: a pause or a charge would last for ever."""
    pushed_back = RateLimitError("429", status_code=429, retry_after=60.0)
    model, _ = make_model("ok", pushed_back, "ok", retry=None, model={"limit_requests": 5})

    async def first() -> None:
        await asyncio.sleep(10**6)
        for _ in range(2):
            await model.invoke(prompt="x")

    async def second() -> None:
        assert (await model.invoke(prompt="x")).response.text == "ok"

    run_virtual(first())
    run_virtual(second())


def test_calls_of_a_closed_loop_hold_no_slot_in_the_next() -> None:
    model, _ = make_model(After(3600, "late"), model={"limit_concurrency": 1, "queue_capacity": 1})

    callings: list[Calling] = []

    async def abandoned() -> None:
        callings.extend(model.submit(prompt="x") for _ in range(5))
        await asyncio.sleep(1)

    async def again() -> None:
        assert (await model.invoke(prompt="x")).response.text == "late"
        assert (await model.submit(prompt="x")).response.text == "late"
        await assert_nothing_left(model)

    clock = VirtualClock()
    clock.run(abandoned())
    assert all(calling.cancelled for calling in callings)
    clock.run(again())


def test_two_open_loops_cannot_use_one_model() -> None:
    model, _ = make_model("ok")

    async def use() -> None:
        await model.invoke(prompt="x")

    with asyncio.Runner() as one, asyncio.Runner() as other:
        one.run(use())
        with pytest.raises(RuntimeError, match="another event loop"):
            other.run(use())


def test_an_executor_that_is_shared_is_not_started_by_a_model() -> None:
    model = iModel(backend=make_backend("ok"), executor=Executor())

    async def main() -> None:
        with pytest.raises(RuntimeError, match="start"):
            await model.invoke(prompt="x")
        await model.executor.start()
        assert (await model.invoke(prompt="x")).response.text == "ok"
        await model.executor.stop()

    run_virtual(main())
