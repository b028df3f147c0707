"""The executor beyond the documents: its loop, its life, 429s. What these promise: tests/documents."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any

import pytest

from callgate.call.calling import Calling
from callgate.errors import RateLimitError
from callgate.executor.executor import Executor
from callgate.policies.limit.adaptive import AdaptiveConcurrency
from callgate.response import Response
from callgate.testing.clock import VirtualClock, run_virtual
from tests.executor.executor_tasks import answering, executor_service, unlimited
from tests.policies.scripted_service import After, Scripted, calling, now

HOUR = 3600.0

# --- what cannot work ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"queue_capacity": 0},
        {"concurrency_limit": 0},
        {"requests_rate": 0},
        {"requests_rate": -1},
        {"requests_period": 0},
        {"api_tokens_rate": float("nan")},
        {"api_tokens_rate": 10, "api_tokens_period": float("inf")},
        {"requests_bucket_capacity": -5},
    ],
)
def test_a_limit_that_is_no_positive_number_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Executor(**settings)


def test_a_coroutine_instead_of_a_function_is_a_type_error() -> None:
    async def main() -> None:
        coroutine: Any = answering()()
        async with Executor() as executor:
            with pytest.raises(TypeError, match="function that returns a coroutine"):
                await executor.submit_task(coroutine)
        coroutine.close()

    run_virtual(main())


# --- its loop --------------------------------------------------------------------------------------------


def test_it_works_in_the_loop_it_was_started_in_and_in_no_other() -> None:
    executor = unlimited()

    async def elsewhere() -> None:
        with pytest.raises(RuntimeError, match="another event loop"):
            await executor.submit_task(answering())
        with pytest.raises(RuntimeError, match="another event loop"):
            await executor.start()

    with asyncio.Runner() as home, asyncio.Runner() as other:
        home.run(executor.start())
        other.run(elsewhere())
        home.run(executor.stop())


def test_a_loop_that_was_closed_without_a_stop_is_left_behind() -> None:
    executor = unlimited(concurrency_limit=1, queue_capacity=1)

    async def abandoned() -> None:
        await executor.start()
        await executor.submit_task(answering(seconds=3600))
        await executor.submit_task(answering(seconds=3600))
        executor.enqueue(calling(), executor_service(executor, Scripted("")))
        await asyncio.sleep(0)

    async def again() -> Calling:
        async with executor:
            return await (await executor.submit_task(answering("second life")))

    clock = VirtualClock()
    clock.run(abandoned())
    assert clock.run(again()).response_body == "second life"


def test_stopping_after_its_loop_was_closed_returns_at_once() -> None:
    executor = unlimited(queue_capacity=1)

    async def abandoned() -> None:
        await executor.start()
        for _ in range(3):
            executor.enqueue(calling(), executor_service(executor, Scripted(After(3600, ""))))

    clock = VirtualClock()
    clock.run(abandoned())
    clock.run(executor.stop())
    assert not executor.is_running


def test_starting_twice_and_stopping_before_the_start_change_nothing() -> None:
    async def main() -> None:
        executor = unlimited()
        await executor.stop()
        await executor.start()
        await executor.start()
        assert executor.is_running
        await executor.stop()

    run_virtual(main())


def test_starting_while_it_stops_is_an_error_and_not_a_second_life() -> None:
    async def main() -> None:
        executor = unlimited()
        await executor.start()
        await executor.submit_task(answering(seconds=5))
        stopping = asyncio.ensure_future(executor.stop())
        await asyncio.sleep(1)
        with pytest.raises(RuntimeError, match="stopping"):
            await executor.start()
        await stopping
        await executor.start()
        await executor.stop()

    run_virtual(main())


def test_a_stop_that_is_cancelled_can_be_taken_up_again() -> None:
    async def main() -> None:
        executor = unlimited()
        await executor.start()
        event: Any = await executor.submit_task(answering(seconds=10))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await executor.stop()
        assert not event.done
        await executor.stop()
        assert event.done
        assert now() == 10

    run_virtual(main())


def test_a_stop_that_is_cancelled_does_not_end_another_that_waits_for_the_same() -> None:
    async def main() -> None:
        executor = unlimited()
        await executor.start()
        await executor.submit_task(answering(seconds=10))
        impatient, patient = (asyncio.ensure_future(executor.stop()) for _ in range(2))
        await asyncio.sleep(1)
        impatient.cancel()
        await patient
        assert impatient.cancelled()
        assert now() == 10

    run_virtual(main())


def test_the_slower_of_two_stops_does_not_stop_a_restarted_executor() -> None:
    async def main() -> None:
        executor = unlimited()
        await executor.start()
        await executor.submit_task(answering(seconds=1))

        async def restart() -> Calling:
            await executor.stop()
            await executor.start()
            return await executor.submit_task(answering(seconds=HOUR))

        restarted, other = asyncio.ensure_future(restart()), asyncio.ensure_future(executor.stop())
        again = await restarted
        await other
        assert now() == 1.0
        assert executor.is_running
        await again
        await executor.stop()

    run_virtual(main())


def test_a_task_cancelled_by_its_own_function_does_not_end_waiting_calls() -> None:
    async def timed_out_inside() -> str:
        # As a library's timeout does that was written before `uncancel`.
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(HOUR)
        return "too late"

    async def main() -> None:
        async with unlimited(queue_capacity=1, concurrency_limit=1) as executor:
            first = await executor.submit_task(timed_out_inside)
            service = executor_service(executor, Scripted("fine"))
            others = [calling() for _ in range(3)]
            for other in others:
                executor.enqueue(other, service)
            assert (await first).response.data == "too late"
            assert [(await other).response.text for other in others] == ["fine"] * 3

    run_virtual(main())


def test_a_task_cannot_stop_its_own_executor_gracefully() -> None:
    async def main() -> None:
        async with unlimited() as executor:

            async def stopping(graceful: bool) -> None:
                await executor.stop(graceful=graceful)

            graceful = await (await executor.submit_task(partial(stopping, True)))
            assert graceful.error_type == "RuntimeError"
            at_once = await (await executor.submit_task(partial(stopping, False)))
            assert at_once.cancelled

    run_virtual(main())


def test_leaving_the_context_with_an_error_cancels_instead_of_waiting() -> None:
    async def main() -> None:
        events = []

        async def program() -> None:
            async with unlimited() as executor:
                events.append(await executor.submit_task(answering(seconds=3600)))
                raise KeyError

        with pytest.raises(KeyError):
            await program()
        assert events[0].cancelled
        assert now() == 0

    run_virtual(main())


def test_the_repr_shows_where_it_stands() -> None:
    async def main() -> None:
        executor = unlimited(concurrency_limit=1)
        assert "not started" in repr(executor)
        async with executor:
            await executor.submit_task(answering(seconds=5))
            await executor.submit_task(answering(seconds=5))
            await asyncio.sleep(1)
            assert "running" in repr(executor)
            assert "queued=1" in repr(executor)
        assert "stopped" in repr(executor)

    run_virtual(main())


# --- what a task may give --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "status", "body"),
    [
        ((HTTPStatus.CREATED, None, "b"), 201, "b"),
        ((204, {}, None), 204, None),
        ((7, {}, "three small numbers"), 200, (7, {}, "three small numbers")),
        ((True, {}, "yes"), 200, (True, {}, "yes")),
        (Response(text="whole", raw={"a": 1}, status_code=202), 202, {"a": 1}),
    ],
)
def test_status_headers_body_or_a_body_alone(given: Any, status: int, body: Any) -> None:
    async def main() -> None:
        async with unlimited() as executor:
            event = await (await executor.submit_task(answering(given)))
            assert event.response_status_code == status
            assert event.response_body == body
            assert event.response_headers == {}

    run_virtual(main())


def test_text_is_text_and_anything_else_is_data() -> None:
    async def main() -> None:
        async with unlimited() as executor:
            text = await (await executor.submit_task(answering((200, {}, "hello"))))
            data = await (await executor.submit_task(answering((200, {}, {"a": 1}))))
            assert (text.response.text, text.response.data) == ("hello", "hello")
            assert (data.response.text, data.response.data) == ("", {"a": 1})

    run_virtual(main())


# --- 429 -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Retry-After", "retry-after"])
def test_a_returned_429_pauses_the_whole_line_for_as_long_as_it_says(name: str) -> None:
    started: list[float] = []

    async def main() -> None:
        async with unlimited() as executor:
            pushed_back = await (await executor.submit_task(answering((429, {name: "20"}, "slow"))))
            assert (pushed_back.status.value, pushed_back.response_body) == ("completed", "slow")
            for _ in range(3):
                await executor.submit_task(answering(log=started))

    run_virtual(main())
    assert len(started) == 3
    assert all(20.0 <= at <= 21.0 for at in started)


def test_a_429_that_names_hours_does_not_hold_the_line_for_hours() -> None:
    async def main() -> None:
        async with unlimited() as executor:
            await (await executor.submit_task(answering((429, {"Retry-After": "36000"}, ""))))
            await (await executor.submit_task(answering()))
            assert now() <= 2.0

    run_virtual(main())


@pytest.mark.parametrize("raised", [True, False])
def test_pauses_grow_with_every_429_in_a_row_and_begin_anew_after_a_success(raised: bool) -> None:
    async def pushing_back() -> Any:
        if raised:
            raise RateLimitError("429", status_code=429)
        return 429, {}, ""

    async def pause_after(executor: Executor, count: int) -> float:
        for _ in range(count):
            await (await executor.submit_task(pushing_back))
        ended_at = now()
        await (await executor.submit_task(answering()))
        return now() - ended_at

    async def main() -> None:
        async with unlimited() as executor:
            first = await pause_after(executor, 1)
            fifth = await pause_after(executor, 5)
            anew = await pause_after(executor, 1)
            assert 0.5 <= first <= 1.0
            assert 8.0 <= fifth <= 16.0
            assert 0.5 <= anew <= 1.0

    run_virtual(main())


def test_a_returned_429_lowers_the_adaptive_concurrency() -> None:
    adaptive = AdaptiveConcurrency(start=20)

    async def main() -> None:
        async with Executor(requests_rate=None, adaptive=adaptive) as executor:
            await (await executor.submit_task(answering((429, {}, ""))))

    run_virtual(main())
    assert adaptive.limit < 20


def test_with_adaptive_concurrency_the_fixed_limit_does_not_hold() -> None:
    backend = Scripted(After(1, ""))

    async def main() -> None:
        adaptive = AdaptiveConcurrency(start=20)
        async with Executor(concurrency_limit=2, requests_rate=None, adaptive=adaptive) as executor:
            for _ in range(20):
                executor.enqueue(calling(), executor_service(executor, backend))

    run_virtual(main())
    assert backend.most_running == 20


# --- written down, and listened to -----------------------------------------------------------------------


@pytest.mark.parametrize("adaptive", [None, AdaptiveConcurrency(start=7)])
def test_limits_survive_json_and_come_back_with_full_capacity(adaptive: AdaptiveConcurrency | None) -> None:
    executor = Executor(
        queue_capacity=7, concurrency_limit=3, requests_rate=2, api_tokens_rate=100, adaptive=adaptive
    )

    async def spend() -> None:
        async with executor:
            await (await executor.submit_task(answering(), num_api_tokens_needed=100))

    run_virtual(spend())
    restored = Executor.from_dict(json.loads(json.dumps(executor.to_dict())))
    assert restored.to_dict() == executor.to_dict()
    tokens = restored.limiter.snapshot().tokens
    assert tokens is not None
    assert tokens.used == 0
    assert (restored.limiter.snapshot().concurrency == 3) is (adaptive is None)


def test_each_listener_is_called_once_for_a_call_that_leaves_the_queue() -> None:
    told: list[list[Calling]] = [[], []]

    async def main() -> None:
        async with unlimited(concurrency_limit=1) as executor:
            for each in told:
                executor.on_dispatched(each.append)
            service = executor_service(executor, Scripted(After(10, "")))
            calls = [calling() for _ in range(3)]
            for call in calls:
                executor.enqueue(call, service)
            await asyncio.sleep(15)
            assert told == [calls[:2]] * 2

    run_virtual(main())
