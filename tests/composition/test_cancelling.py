"""A call cancelled in any state ends once and leaves no permit, task or timer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from callgate.call.calling import Calling
from callgate.errors import CallCancelledError, RateLimitError, ServerError
from callgate.model.model import iModel
from callgate.policies.cache.memory import MemoryCache
from callgate.policies.observe.hooks import HookPhase, HookRegistry
from callgate.response import Response
from callgate.testing.clock import run_virtual
from tests.composition.scripted_model import assert_nothing_left, breaker, make_model, used
from tests.policies.scripted_service import After, Streamed, now

DOWN = ServerError("down", status_code=500)
HOUR = 3600.0


async def occupy(model: iModel, calls: int = 1) -> list[Calling]:
    """Calls that take the places there are."""
    others = [model.submit(prompt=f"other {n}") for n in range(calls)]
    await asyncio.sleep(1)
    return others


async def freed(others: list[Calling]) -> None:
    """Cancel them all before any of them has room to move up."""
    for other in others:
        other.cancel()
    for other in others:
        await other


# Each brings a call to a state, at 10 s of its clock at the latest; the model has one place.
async def behind_a_full_queue(model: iModel) -> Calling:
    await occupy(model, 3)
    return model.submit(prompt="x")


async def before_its_first_step(model: iModel) -> Calling:
    return model.submit(prompt="x")


async def queued(model: iModel) -> Calling:
    await occupy(model, 2)
    calling = model.submit(prompt="x")
    await asyncio.sleep(1)
    assert calling.status.value == "queued"
    return calling


async def next_in_line(model: iModel) -> Calling:
    await occupy(model)
    calling = model.submit(prompt="x")
    await asyncio.sleep(1)
    assert calling.status.value == "processing"
    return calling


async def calling_(model: iModel) -> Calling:
    calling = model.submit(prompt="x")
    await asyncio.sleep(1)
    assert calling.status.value == "calling"
    return calling


STATES: dict[str, tuple[Callable[[iModel], Awaitable[Calling]], bool]] = {
    "behind a full queue": (behind_a_full_queue, False),
    "before its first step": (before_its_first_step, False),
    "queued": (queued, False),
    "next in line": (next_in_line, False),
    "on the wire": (calling_, True),
}


@pytest.mark.parametrize("deadline", [None, 1000.0])
@pytest.mark.parametrize("state", STATES)
def test_in_every_state(state: str, deadline: float | None) -> None:
    bring, was_sent = STATES[state]
    model, backend = make_model(
        After(HOUR, "late"),
        timeout=500.0,
        circuit_breaker=breaker(),
        model={
            "limit_concurrency": 1,
            "queue_capacity": 2,
            "limit_tokens": 10**6,
            "capacity_refresh_time": 10 * HOUR,
            "cache": MemoryCache(),
        },
    )
    if deadline is not None:
        submit = model.submit
        model.submit = lambda **request: submit(**request, poll_timeout=deadline)  # type: ignore[method-assign]

    async def main() -> None:
        calling = await bring(model)
        before = now()
        others = [other for other in model.executor._live if other is not calling]
        paid = used(model)
        assert calling.cancel()
        assert await calling is calling
        assert (calling.status.value, calling.error_type, calling.cancelled) == (
            "failed",
            "CancelledError",
            True,
        )
        with pytest.raises(CallCancelledError):
            _ = calling.response
        assert now() == before
        assert not calling.cancel()
        await freed(others)
        assert (calling in backend.callings) is was_sent
        assert used(model) == paid
        await assert_nothing_left(model, idle=2 * HOUR)
        await model.executor.stop()

    run_virtual(main())


def test_while_backing_off() -> None:
    model, backend = make_model(DOWN)

    async def main() -> None:
        calling = model.submit(prompt="x")
        await asyncio.sleep(0.5)
        calling.cancel()
        await calling
        assert calling.cancelled
        assert now() == 0.5
        await assert_nothing_left(model)

    run_virtual(main())
    assert len(backend.at) == 1


def test_while_the_queue_is_paused_by_a_429() -> None:
    model, backend = make_model(RateLimitError("429", status_code=429, retry_after=60.0), "fine")

    async def main() -> None:
        calling = model.submit(prompt="x")
        await asyncio.sleep(10)
        calling.cancel()
        await calling
        assert calling.cancelled
        assert (await model.invoke(prompt="y")).response.text == "fine"
        await assert_nothing_left(model)

    run_virtual(main())
    assert len(backend.at) == 2


def test_in_the_middle_of_a_stream() -> None:
    model, backend = make_model(Streamed(("Once",), After(HOUR, "never")))

    async def main() -> None:
        pieces = []

        async def read() -> None:
            async for chunk in model.invoke_stream(prompt="x"):
                pieces.append(chunk.content)

        reading = asyncio.ensure_future(read())
        await asyncio.sleep(1)
        reading.cancel()
        await asyncio.wait([reading])
        assert reading.cancelled()
        assert pieces == ["Once"]
        await assert_nothing_left(model)

    run_virtual(main())
    assert backend.cancelled == 1


def test_while_a_hook_runs_before_the_call() -> None:
    async def slow_hook(event: Calling, **_: Any) -> None:
        await asyncio.sleep(HOUR)

    model, backend = make_model(
        "fine", model={"hook_registry": HookRegistry({HookPhase.PreInvocation: slow_hook})}
    )

    async def main() -> None:
        calling = model.submit(prompt="x")
        await asyncio.sleep(1)
        calling.cancel()
        await calling
        assert calling.cancelled
        await assert_nothing_left(model)

    run_virtual(main())
    assert backend.at == []


@pytest.mark.parametrize("streamed", [False, True])
def test_while_a_creation_hook_runs(streamed: bool) -> None:
    made: list[Calling] = []

    async def slow_hook(event: Calling, **_: Any) -> None:
        made.append(event)
        await asyncio.sleep(HOUR)

    model, backend = make_model(
        "fine", model={"hook_registry": HookRegistry({HookPhase.PreEventCreate: slow_hook})}
    )

    async def call() -> None:
        if streamed:
            async for _ in model.invoke_stream(prompt="x"):
                pass
        else:
            await model.invoke(prompt="x")

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await call()
        assert now() == 1.0
        assert [calling.cancelled for calling in made] == [True]
        await assert_nothing_left(model)

    run_virtual(main())
    assert backend.at == []


def test_cancelling_one_of_several_sharers_keeps_the_answer_for_the_rest() -> None:
    model, backend = make_model(After(10, "shared"), model={"cache": MemoryCache()})

    async def main() -> None:
        callings = [model.submit(prompt="the same") for _ in range(5)]
        await asyncio.sleep(1)
        callings[0].cancel()  # it leads
        callings[3].cancel()
        for calling in callings:
            await calling
        outcomes = [calling.status.value for calling in callings]
        assert outcomes == ["failed", "completed", "completed", "failed", "completed"]
        await assert_nothing_left(model)

    run_virtual(main())
    assert len(backend.at) == 2  # the one that was cancelled, and its successor's


def test_cancelling_the_invoking_task_raises_cancelled_error() -> None:
    model, _ = make_model(After(HOUR, "late"))

    async def main() -> None:
        task = asyncio.ensure_future(model.invoke(prompt="x"))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await assert_nothing_left(model)

    run_virtual(main())


def test_cancelling_a_call_leaves_the_task_that_invokes_it_alive() -> None:
    model, _ = make_model(After(HOUR, "late"))

    async def main() -> None:
        calling = await model.create_calling(prompt="x")
        task = asyncio.ensure_future(model.invoke(calling))
        await asyncio.sleep(1)
        calling.cancel()
        assert await task is calling
        assert calling.cancelled
        assert task.cancelling() == 0

    run_virtual(main())


def test_a_call_that_is_cancelled_twice_still_ends_as_one_call() -> None:
    model, _ = make_model(After(HOUR, "late"))

    async def main() -> None:
        calling = await model.create_calling(prompt="x")
        task = asyncio.ensure_future(model.invoke(calling))
        await asyncio.sleep(1)
        assert calling.cancel()
        assert calling.cancel()
        assert await task is calling
        assert calling.cancelled
        assert task.cancelling() == 0

    run_virtual(main())


@pytest.mark.parametrize("error", [None, KeyError("lost the way")])
def test_a_backend_that_answers_despite_cancellation_leaves_no_cancellation_behind(
    error: Exception | None,
) -> None:
    class Stubborn:
        name = "stubborn"

        async def call(self, calling: Calling) -> Response:
            try:
                await asyncio.sleep(HOUR)
            except asyncio.CancelledError:
                if error is not None:
                    raise error from None
            return Response(text="all the same")

    async def main() -> None:
        model = iModel(backend=Stubborn())
        calling = await model.create_calling(prompt="x")
        task = asyncio.ensure_future(model.invoke(calling))
        await asyncio.sleep(1)
        calling.cancel()
        await task
        assert calling.error is error
        assert task.cancelling() == 0
        await assert_nothing_left(model)

    run_virtual(main())


def test_a_call_that_was_cancelled_before_it_was_invoked_is_never_sent() -> None:
    model, backend = make_model("fine")

    async def main() -> None:
        calling = await model.create_calling(prompt="x")
        calling.cancel()
        assert (await model.invoke(calling)).cancelled

    run_virtual(main())
    assert backend.at == []


@pytest.mark.parametrize("seed", range(5))
def test_a_thousand_random_cancellations_leave_nothing(seed: int) -> None:
    rng = random.Random(seed)

    class Random:
        """Steps drawn anew for every call."""

        def __len__(self) -> int:
            return 2

        def pop(self, _: int) -> Any:
            outcome = rng.choice(["fine", "fine", DOWN, RateLimitError("429", status_code=429)])
            return After(rng.uniform(0, 5), outcome)

    model, backend = make_model(
        "",
        timeout=4.0,
        circuit_breaker=breaker(failure_threshold=50, recovery_time=1.0),
        model={
            "limit_concurrency": 7,
            "limit_requests": 5000,
            "limit_tokens": 500_000,
            "queue_capacity": 20,
        },
    )
    backend._steps = Random()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        callings = []
        for n in range(1000):
            poll_timeout = rng.choice([None, rng.uniform(0, 60)])
            calling = model.submit(
                prompt=str(n), num_api_tokens_needed=rng.randint(1, 200), poll_timeout=poll_timeout
            )
            callings.append(calling)
            if rng.random() < 0.5:
                loop.call_later(rng.uniform(0, 100), calling.cancel)
            await asyncio.sleep(rng.uniform(0, 0.2))
        for calling in callings:
            await calling
            assert calling.done
        await asyncio.sleep(200)  # for the cancellations that came too late
        await assert_nothing_left(model)
        assert backend.running == 0
        assert not model.executor._queued
        assert not model.executor._live

    run_virtual(main())
