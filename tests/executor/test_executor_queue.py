"""The executor's queue: places, promises of places, the backlog behind it, and who stands outside of it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from callgate.call.calling import Calling
from callgate.errors import DeadlineExceededError
from callgate.response import Response
from callgate.testing.clock import run_virtual
from tests.executor.executor_tasks import answering, executor_service, unlimited, when_promised
from tests.policies.scripted_service import After, Scripted, calling, now

# --- callings that are enqueued --------------------------------------------------------------------------


def test_an_error_is_kept_on_the_calling_and_not_logged_as_never_retrieved() -> None:
    unseen: list[Any] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
        async with unlimited() as executor:
            call = calling()
            executor.enqueue(call, executor_service(executor, Scripted(KeyError("k"))))
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
        async with unlimited(queue_capacity=2, concurrency_limit=1) as executor:
            service = executor_service(executor, backend)
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
        async with unlimited(queue_capacity=10, concurrency_limit=1) as executor:
            service = executor_service(executor, Scripted(After(1, "")))
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
        async with unlimited(queue_capacity=2, concurrency_limit=1) as executor:
            service = executor_service(executor, backend)
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
        async with unlimited() as executor:
            call = calling()
            executor.enqueue(call, executor_service(executor, backend))
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
        async with unlimited(queue_capacity=1) as executor:
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
        async with unlimited(queue_capacity=1, concurrency_limit=1) as executor:
            service = executor_service(executor, backend)
            calls = [calling(deadline=None if n < 2 else 30.0) for n in range(4)]
            for call in calls:
                executor.enqueue(call, service)
            await asyncio.gather(*(result_of(call) for call in calls[2:]))
            assert now() == 30.0
            assert all(isinstance(call.error, DeadlineExceededError) for call in calls[2:])

    run_virtual(main())
    assert len(backend.at) == 2


async def result_of(call: Calling) -> None:
    await call


def test_stopping_at_once_ends_the_backlog_too() -> None:
    backend = Scripted(After(100, ""))

    async def main() -> None:
        executor = unlimited(queue_capacity=1, concurrency_limit=1)
        await executor.start()
        calls = [calling() for _ in range(5)]
        for call in calls:
            executor.enqueue(call, executor_service(executor, backend))
        await asyncio.sleep(1)
        await executor.stop(graceful=False)
        assert all(call.cancelled for call in calls)
        assert now() == 1

    run_virtual(main())
    assert len(backend.at) == 1


def test_a_graceful_stop_finishes_the_backlog_although_a_submitter_had_been_promised_room() -> None:
    async def main() -> None:
        executor = unlimited(queue_capacity=1, concurrency_limit=1)
        await executor.start()
        service = executor_service(executor, Scripted(After(10, "")))
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
        when_promised(executor, stop)
        with pytest.raises(RuntimeError):
            await submitting
        await stopping[0]
        assert all(call.status.value == "completed" for call in late)

    run_virtual(main())


def test_the_place_of_a_cancelled_submitter_goes_to_the_next() -> None:
    started: list[float] = []

    async def main() -> None:
        async with unlimited(queue_capacity=1, concurrency_limit=1) as executor:
            await executor.submit_task(answering(seconds=10))
            queued = await executor.submit_task(answering(seconds=10))
            given_up = asyncio.ensure_future(executor.submit_task(answering(log=started)))
            next_one = asyncio.ensure_future(executor.submit_task(answering(log=started)))
            await asyncio.sleep(1)
            queued.cancel()
            when_promised(executor, given_up.cancel)
            await (await next_one)
            with pytest.raises(asyncio.CancelledError):
                await given_up

    run_virtual(main())
    assert started == [10.0]


def test_submitters_that_wait_during_a_stop_are_refused_unless_cancelled_before() -> None:
    async def main() -> None:
        executor = unlimited(queue_capacity=1, concurrency_limit=1)
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


def test_a_submitter_cancelled_while_it_is_refused_stays_cancelled() -> None:
    async def main() -> None:
        executor = unlimited(queue_capacity=1, concurrency_limit=1)
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


def test_submitters_are_admitted_in_fifo_order_also_past_a_cancelled_one() -> None:
    started: list[str] = []

    def task(name: str) -> Callable[[], Awaitable[None]]:
        async def call() -> None:
            started.append(name)
            await asyncio.sleep(1)

        return call

    async def main() -> None:
        async with unlimited(queue_capacity=1, concurrency_limit=1) as executor:
            submitting = [asyncio.ensure_future(executor.submit_task(task(name))) for name in "abcdef"]
            await asyncio.sleep(0.5)
            submitting[3].cancel()
            await asyncio.wait(submitting)

    run_virtual(main())
    assert "".join(started) == "abcef"


def test_an_enqueued_call_does_not_take_the_room_that_was_promised_to_a_submitter() -> None:
    """Else both would wait for somebody to make room who is not there."""

    async def main() -> None:
        async with unlimited(queue_capacity=1, concurrency_limit=1) as executor:
            service = executor_service(executor, Scripted(After(1, "")))
            await executor.submit_task(answering(seconds=10))
            queued = await executor.submit_task(answering(seconds=10))
            submitting = asyncio.ensure_future(executor.submit_task(answering(seconds=1)))
            await asyncio.sleep(1)
            late = calling()
            queued.cancel()
            when_promised(executor, lambda: executor.enqueue(late, service))
            submitted = await submitting
            await late
            assert submitted.status.value == late.status.value == "completed"
            assert submitted.sent_at is not None
            assert late.sent_at is not None
            assert submitted.sent_at < late.sent_at

    run_virtual(main())


# --- calls that run in their caller's task ---------------------------------------------------------------


def test_a_call_in_its_callers_task_takes_no_place_in_the_queue() -> None:
    async def main() -> None:
        async with unlimited(queue_capacity=1, concurrency_limit=1) as executor:
            service = executor_service(executor, Scripted(After(10, "")))
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
        executor = unlimited()
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
