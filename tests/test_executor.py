"""The executor beyond the documents: its loop, its backlog, 429s. What these promise: tests/documents."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from typing import Any

import pytest

from callgate.calling import Calling
from callgate.control.adaptive import AdaptiveConcurrency
from callgate.errors import DeadlineExceededError, RateLimitError
from callgate.executor import Executor
from callgate.layers.observe import observe_layer
from callgate.pipeline import Layers, pipeline
from callgate.response import Response
from callgate.testing.clock import VirtualClock, run_virtual
from tests.layers.services import After, Scripted, calling, now


def answering(
    answer: Any = "ok", *, seconds: float = 0.0, log: list[float] | None = None
) -> Callable[..., Any]:
    async def task() -> Any:
        if log is not None:
            log.append(now())
        await asyncio.sleep(seconds)
        return answer

    return task


def once_promised(executor: Executor, action: Callable[[], Any]) -> None:
    """Act in the turn of the loop in which room is promised to a submitter who has not run since."""

    def look() -> None:
        if executor._promised:
            action()
        else:
            asyncio.get_running_loop().call_soon(look)

    look()


def free(**settings: Any) -> Executor:
    """An executor without limits, unless told."""
    return Executor(**{"concurrency_limit": None, "requests_rate": None, **settings})


def line_of(executor: Executor, backend: Scripted) -> Any:
    """A service behind the executor's limiter, as a model has it."""
    from callgate.layers.deadline import deadline_layer

    return pipeline(
        backend,
        Layers(observe=observe_layer(now), deadline=deadline_layer(), limit=executor._layers.limit),
    )


# --- what cannot work -----------------------------------------------------------------------------------


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


# --- its loop -------------------------------------------------------------------------------------------


def test_it_works_in_the_loop_it_was_started_in_and_in_no_other() -> None:
    executor = free()

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
    executor = free(concurrency_limit=1, queue_capacity=1)

    async def abandoned() -> None:
        await executor.start()
        await executor.submit_task(answering(seconds=3600))
        await executor.submit_task(answering(seconds=3600))
        executor.enqueue(calling(), line_of(executor, Scripted("")))
        await asyncio.sleep(0)

    async def again() -> Calling:
        async with executor:
            return await (await executor.submit_task(answering("second life")))

    clock = VirtualClock()
    clock.run(abandoned())
    assert clock.run(again()).response_body == "second life"


def test_stopping_after_its_loop_was_closed_returns_at_once() -> None:
    executor = free(queue_capacity=1)

    async def abandoned() -> None:
        await executor.start()
        for _ in range(3):
            executor.enqueue(calling(), line_of(executor, Scripted(After(3600, ""))))

    clock = VirtualClock()
    clock.run(abandoned())
    clock.run(executor.stop())
    assert not executor.is_running


def test_starting_twice_and_stopping_before_the_start_change_nothing() -> None:
    async def main() -> None:
        executor = free()
        await executor.stop()
        await executor.start()
        await executor.start()
        assert executor.is_running
        await executor.stop()

    run_virtual(main())


def test_starting_while_it_stops_is_an_error_and_not_a_second_life() -> None:
    async def main() -> None:
        executor = free()
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
        executor = free()
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
        executor = free()
        await executor.start()
        await executor.submit_task(answering(seconds=10))
        impatient, patient = (asyncio.ensure_future(executor.stop()) for _ in range(2))
        await asyncio.sleep(1)
        impatient.cancel()
        await patient
        assert impatient.cancelled()
        assert now() == 10

    run_virtual(main())


def test_a_task_that_stops_its_own_executor_is_told_that_it_would_wait_for_itself() -> None:
    async def main() -> None:
        async with free() as executor:

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
            async with free() as executor:
                events.append(await executor.submit_task(answering(seconds=3600)))
                raise KeyError

        with pytest.raises(KeyError):
            await program()
        assert events[0].cancelled
        assert now() == 0

    run_virtual(main())


def test_the_repr_shows_where_it_stands() -> None:
    async def main() -> None:
        executor = free(concurrency_limit=1)
        assert "not started" in repr(executor)
        async with executor:
            await executor.submit_task(answering(seconds=5))
            await executor.submit_task(answering(seconds=5))
            await asyncio.sleep(1)
            assert "running" in repr(executor)
            assert "queued=1" in repr(executor)
        assert "stopped" in repr(executor)

    run_virtual(main())


# --- callings that are enqueued -------------------------------------------------------------------------


def test_an_error_belongs_to_the_calling_and_is_not_logged_as_one_that_nobody_has_seen() -> None:
    unseen: list[Any] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
        async with free() as executor:
            call = calling()
            executor.enqueue(call, line_of(executor, Scripted(KeyError("k"))))
            await call
            await executor.submit_task(raising)
        gc.collect()

    async def raising() -> None:
        raise KeyError

    run_virtual(main())
    assert unseen == []


def test_enqueueing_never_waits_and_keeps_the_order_behind_a_full_queue() -> None:
    backend = Scripted(After(10, ""))

    async def main() -> None:
        async with free(queue_capacity=2, concurrency_limit=1) as executor:
            service = line_of(executor, backend)
            calls = [calling() for _ in range(8)]
            for call in calls:
                executor.enqueue(call, service)
            assert {call.status.value for call in calls} == {"queued"}
            assert now() == 0
        assert backend.callings == calls
        assert backend.most_running == 1

    run_virtual(main())


def test_behind_a_full_queue_there_are_no_tasks() -> None:
    async def main() -> None:
        async with free(queue_capacity=10, concurrency_limit=1) as executor:
            service = line_of(executor, Scripted(After(1, "")))
            for _ in range(1000):
                executor.enqueue(calling(), service)
            most = 0
            while len(asyncio.all_tasks()) > 1:
                most = max(most, len(asyncio.all_tasks()) - 1)
                await asyncio.sleep(0.5)
            assert most <= 12  # the queue, the one in flight, and one that has just ended

    run_virtual(main())


@pytest.mark.parametrize("position", [0, 1, 3, 5])
def test_a_call_cancelled_anywhere_ends_and_is_never_made_unless_it_was(position: int) -> None:
    """0 is in flight, 1 and 2 are in the queue, the others in the backlog."""
    backend = Scripted(After(10, ""))

    async def main() -> None:
        async with free(queue_capacity=2, concurrency_limit=1) as executor:
            service = line_of(executor, backend)
            calls = [calling() for _ in range(6)]
            for call in calls:
                executor.enqueue(call, service)
            await asyncio.sleep(1)
            calls[position].cancel()
            await calls[position]
            assert calls[position].cancelled
            assert now() == 1
        others = [call for call in calls if call is not calls[position]]
        assert all(call.status.value == "completed" for call in others)
        made = [call for call in backend.callings if call is not calls[position]]
        assert made == others
        assert (calls[position] in backend.callings) is (position == 0)

    run_virtual(main())


def test_a_call_cancelled_before_its_task_ran_at_all_ends_cancelled() -> None:
    backend = Scripted("")

    async def main() -> None:
        async with free() as executor:
            call = calling()
            executor.enqueue(call, line_of(executor, backend))
            call.cancel()
            await call
            assert call.cancelled

    run_virtual(main())
    assert backend.at == []


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_call_that_never_stood_in_the_limiters_line_gives_its_place_back(cancelled: bool) -> None:
    """Because it was cancelled before it began, or because a cache answered it."""

    async def from_cache(call: Calling) -> Response:
        call.complete(Response(text="kept"), now())
        return Response(text="kept")

    async def main() -> None:
        async with free(queue_capacity=1) as executor:
            call = calling()
            executor.enqueue(call, from_cache)
            if cancelled:
                call.cancel()
            await (await executor.submit_task(answering()))
            assert call.cancelled is cancelled

    run_virtual(main())


def test_the_deadline_holds_behind_a_full_queue_too() -> None:
    backend = Scripted(After(100, ""))

    async def main() -> None:
        async with free(queue_capacity=1, concurrency_limit=1) as executor:
            service = line_of(executor, backend)
            calls = [calling(deadline=None if n < 2 else 30.0) for n in range(4)]
            for call in calls:
                executor.enqueue(call, service)
            await asyncio.gather(*(ended(call) for call in calls[2:]))
            assert now() == 30.0
            assert all(isinstance(call.error, DeadlineExceededError) for call in calls[2:])

    run_virtual(main())
    assert len(backend.at) == 2


async def ended(call: Calling) -> None:
    await call


def test_stopping_at_once_ends_the_backlog_too() -> None:
    backend = Scripted(After(100, ""))

    async def main() -> None:
        executor = free(queue_capacity=1, concurrency_limit=1)
        await executor.start()
        calls = [calling() for _ in range(5)]
        for call in calls:
            executor.enqueue(call, line_of(executor, backend))
        await asyncio.sleep(1)
        await executor.stop(graceful=False)
        assert all(call.cancelled for call in calls)
        assert now() == 1

    run_virtual(main())
    assert len(backend.at) == 1


def test_a_graceful_stop_finishes_the_backlog_although_a_submitter_had_been_promised_room() -> None:
    async def main() -> None:
        executor = free(queue_capacity=1, concurrency_limit=1)
        await executor.start()
        service = line_of(executor, Scripted(After(10, "")))
        await executor.submit_task(answering(seconds=10))
        queued = await executor.submit_task(answering(seconds=10))
        submitting = asyncio.ensure_future(executor.submit_task(answering()))
        await asyncio.sleep(5)
        late = [calling() for _ in range(2)]
        stopping: list[asyncio.Future[None]] = []

        def stop() -> None:
            for call in late:
                executor.enqueue(call, service)
            stopping.append(asyncio.ensure_future(executor.stop()))
            executor._state = type(executor._state).DRAINING  # what stop() does first, in its first step

        queued.cancel()
        once_promised(executor, stop)
        with pytest.raises(RuntimeError):
            await submitting
        await stopping[0]
        assert all(call.status.value == "completed" for call in late)

    run_virtual(main())


def test_room_promised_to_a_submitter_who_is_cancelled_goes_to_the_next() -> None:
    started: list[float] = []

    async def main() -> None:
        async with free(queue_capacity=1, concurrency_limit=1) as executor:
            await executor.submit_task(answering(seconds=10))
            queued = await executor.submit_task(answering(seconds=10))
            given_up = asyncio.ensure_future(executor.submit_task(answering(log=started)))
            next_one = asyncio.ensure_future(executor.submit_task(answering(log=started)))
            await asyncio.sleep(1)
            queued.cancel()
            once_promised(executor, given_up.cancel)
            await (await next_one)
            with pytest.raises(asyncio.CancelledError):
                await given_up

    run_virtual(main())
    assert started == [10.0]


def test_who_waits_for_room_when_it_stops_is_refused_unless_he_has_given_up_before() -> None:
    async def main() -> None:
        executor = free(queue_capacity=1, concurrency_limit=1)
        await executor.start()
        await executor.submit_task(answering(seconds=10))
        await executor.submit_task(answering(seconds=10))
        given_up, waiting = (asyncio.ensure_future(executor.submit_task(answering())) for _ in range(2))
        await asyncio.sleep(1)
        given_up.cancel()
        stopping = asyncio.ensure_future(executor.stop())
        await asyncio.wait([given_up, waiting])
        assert given_up.cancelled()
        assert "stopped" in str(waiting.exception())
        assert now() == 1
        await stopping

    run_virtual(main())


def test_a_submitter_who_is_cancelled_while_he_is_being_refused_stays_cancelled() -> None:
    async def main() -> None:
        executor = free(queue_capacity=1, concurrency_limit=1)
        await executor.start()
        await executor.submit_task(answering(seconds=10))
        await executor.submit_task(answering(seconds=10))
        submitting = asyncio.ensure_future(executor.submit_task(answering()))
        await asyncio.sleep(1)
        stopping = asyncio.ensure_future(executor.stop())
        asyncio.get_running_loop().call_soon(submitting.cancel)
        with pytest.raises(asyncio.CancelledError):
            await submitting
        await stopping
        assert executor._promised == 0

    run_virtual(main())


def test_submitters_are_let_in_in_their_order_also_past_one_who_has_given_up() -> None:
    started: list[str] = []

    def task(name: str) -> Callable[[], Awaitable[None]]:
        async def call() -> None:
            started.append(name)
            await asyncio.sleep(1)

        return call

    async def main() -> None:
        async with free(queue_capacity=1, concurrency_limit=1) as executor:
            submitting = [asyncio.ensure_future(executor.submit_task(task(name))) for name in "abcdef"]
            await asyncio.sleep(0.5)
            submitting[3].cancel()
            await asyncio.wait(submitting)

    run_virtual(main())
    assert "".join(started) == "abcef"


def test_an_enqueued_call_does_not_take_the_room_that_was_promised_to_a_submitter() -> None:
    """Else both would wait for somebody to make room who is not there."""

    async def main() -> None:
        async with free(queue_capacity=1, concurrency_limit=1) as executor:
            service = line_of(executor, Scripted(After(1, "")))
            await executor.submit_task(answering(seconds=10))
            queued = await executor.submit_task(answering(seconds=10))
            submitting = asyncio.ensure_future(executor.submit_task(answering(seconds=1)))
            await asyncio.sleep(1)
            late = calling()
            queued.cancel()
            once_promised(executor, lambda: executor.enqueue(late, service))
            submitted = await submitting
            await late
            assert submitted.status.value == late.status.value == "completed"
            assert submitted.called_at is not None
            assert late.called_at is not None
            assert submitted.called_at < late.called_at

    run_virtual(main())


# --- calls that run in their caller's task --------------------------------------------------------------


def test_a_call_in_its_callers_task_takes_no_place_in_the_queue() -> None:
    async def main() -> None:
        async with free(queue_capacity=1, concurrency_limit=1) as executor:
            service = line_of(executor, Scripted(After(10, "")))
            await executor.submit_task(answering(seconds=10))
            await executor.submit_task(answering(seconds=10))
            await asyncio.sleep(5)
            call = calling()
            executor.enter(call)
            await service(call)
            executor.leave(call)
            assert call.status.value == "completed"
            assert now() == 30

    run_virtual(main())


def test_a_graceful_stop_waits_for_calls_in_their_callers_tasks() -> None:
    async def main() -> None:
        executor = free()
        await executor.start()
        call = calling()
        executor.enter(call)
        other = calling()
        executor.enter(other)
        stopping = asyncio.ensure_future(executor.stop())
        await asyncio.sleep(5)
        executor.leave(other)
        assert not stopping.done()
        with pytest.raises(RuntimeError):
            executor.enter(calling())
        executor.leave(call)
        await stopping

    run_virtual(main())


# --- what a task may give -------------------------------------------------------------------------------


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
        async with free() as executor:
            event = await (await executor.submit_task(answering(given)))
            assert event.response_status_code == status
            assert event.response_body == body
            assert event.response_headers == {}

    run_virtual(main())


def test_text_is_text_and_anything_else_is_data() -> None:
    async def main() -> None:
        async with free() as executor:
            text = await (await executor.submit_task(answering((200, {}, "hello"))))
            data = await (await executor.submit_task(answering((200, {}, {"a": 1}))))
            assert (text.response.text, text.response.data) == ("hello", "hello")
            assert (data.response.text, data.response.data) == ("", {"a": 1})

    run_virtual(main())


# --- 429 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Retry-After", "retry-after"])
def test_a_returned_429_pauses_the_whole_line_for_as_long_as_it_says(name: str) -> None:
    started: list[float] = []

    async def main() -> None:
        async with free() as executor:
            pushed_back = await (await executor.submit_task(answering((429, {name: "20"}, "slow"))))
            assert (pushed_back.status.value, pushed_back.response_body) == ("completed", "slow")
            for _ in range(3):
                await executor.submit_task(answering(log=started))

    run_virtual(main())
    assert len(started) == 3
    assert all(20.0 <= at <= 21.0 for at in started)


def test_a_429_that_names_hours_does_not_hold_the_line_for_hours() -> None:
    async def main() -> None:
        async with free() as executor:
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
        async with free() as executor:
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
                executor.enqueue(calling(), line_of(executor, backend))

    run_virtual(main())
    assert backend.most_running == 20


# --- written down, and listened to ----------------------------------------------------------------------


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


def test_others_can_be_told_of_what_leaves_the_line_each_of_them_once() -> None:
    told: list[list[Calling]] = [[], []]

    async def main() -> None:
        async with free(concurrency_limit=1) as executor:
            for each in told:
                executor.tell_dispatched(each.append)
            service = line_of(executor, Scripted(After(10, "")))
            calls = [calling() for _ in range(3)]
            for call in calls:
                executor.enqueue(call, service)
            await asyncio.sleep(15)
            assert told == [calls[:2]] * 2

    run_virtual(main())
