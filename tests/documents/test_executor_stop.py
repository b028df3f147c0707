"""Stopping and cancelling as the documents define them, without reference to the code.

Time is virtual: an hour of waiting takes no time, and every moment is exact.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from callgate import CallgateError, Calling, Executor, RequestStatus
from callgate.testing.clock import run_virtual
from tests.documents.tasks import answering, settle

# --- stopping --------------------------------------------------------------------------------------------


def test_a_graceful_stop_finishes_everything_queued_and_in_flight() -> None:
    async def main() -> None:
        executor = Executor(concurrency_limit=2, requests_rate=1, requests_period=1)
        await executor.start()
        events = [await executor.submit_task(answering(seconds=5)) for _ in range(10)]
        await executor.stop(graceful=True)
        assert [event.status for event in events] == [RequestStatus.COMPLETED] * 10

    run_virtual(main())


def test_a_graceful_stop_refuses_new_work_while_it_finishes_the_old() -> None:
    async def main() -> None:
        executor = Executor()
        await executor.start()
        event = await executor.submit_task(answering(seconds=5))
        stopping = asyncio.ensure_future(executor.stop())
        await asyncio.sleep(1)
        with pytest.raises(RuntimeError):
            await executor.submit_task(answering())
        await stopping
        assert event.status is RequestStatus.COMPLETED

    run_virtual(main())


def test_stopping_at_once_cancels_what_is_queued_and_what_is_in_flight() -> None:
    cleaned_up = False

    async def task() -> None:
        nonlocal cleaned_up
        try:
            await asyncio.sleep(3600)
        finally:
            cleaned_up = True

    async def main() -> None:
        executor = Executor(concurrency_limit=1)
        await executor.start()
        events = [await executor.submit_task(task) for _ in range(3)]
        await settle()
        await executor.stop(graceful=False)
        assert cleaned_up
        assert asyncio.get_running_loop().time() == 0
        for event in events:
            assert event.status is RequestStatus.FAILED
            assert event.error_type == "CancelledError"
            assert event.cancelled is True
            assert event.completed_at is not None
            assert await event is event
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(main())


def test_stopping_at_once_overtakes_a_graceful_stop_under_way() -> None:
    async def main() -> None:
        executor = Executor()
        await executor.start()
        event = await executor.submit_task(answering(seconds=3600))
        graceful = asyncio.ensure_future(executor.stop())
        await settle()
        await executor.stop(graceful=False)
        await graceful
        assert event.cancelled
        assert asyncio.get_running_loop().time() == 0

    run_virtual(main())


def test_leaving_the_context_finishes_the_work() -> None:
    async def main() -> None:
        async with Executor(concurrency_limit=1) as executor:
            events = [await executor.submit_task(answering(seconds=2)) for _ in range(3)]
        assert [event.status for event in events] == [RequestStatus.COMPLETED] * 3

    run_virtual(main())


# --- cancelling, state by state --------------------------------------------------------------------------


def assert_cancelled(event: Calling) -> None:
    assert event.status is RequestStatus.FAILED
    assert event.error_type == "CancelledError"
    assert event.cancelled is True
    with pytest.raises(CallgateError):
        _ = event.response


def test_a_queued_call_that_is_cancelled_is_never_made_and_costs_nothing() -> None:
    started: list[float] = []

    async def main() -> None:
        async with Executor(
            concurrency_limit=1, requests_rate=2, api_tokens_rate=10, api_tokens_period=1
        ) as executor:
            await executor.submit_task(answering(seconds=0.5, log=started), num_api_tokens_needed=5)
            queued = await executor.submit_task(answering(log=started), num_api_tokens_needed=5)
            queued.cancel()
            assert_cancelled(await queued)
            await executor.submit_task(answering(log=started), num_api_tokens_needed=5)

    run_virtual(main())
    assert started == [0, 0.5]


def test_a_cancelled_call_waiting_for_the_rate_delays_no_other() -> None:
    started: list[float] = []

    async def main() -> None:
        async with Executor(requests_rate=1000, api_tokens_rate=100, api_tokens_period=1) as executor:
            await executor.submit_task(answering(log=started), num_api_tokens_needed=50)
            waiting = await executor.submit_task(answering(log=started), num_api_tokens_needed=100)
            await asyncio.sleep(0.5)
            waiting.cancel()
            small = await executor.submit_task(answering(log=started), num_api_tokens_needed=50)
            await small
            assert_cancelled(waiting)

    run_virtual(main())
    assert started == [0, 0.5]


def test_a_call_in_flight_that_is_cancelled_frees_its_slot_and_keeps_its_charge() -> None:
    started: list[float] = []

    async def main() -> None:
        async with Executor(
            concurrency_limit=1, requests_rate=1000, api_tokens_rate=10, api_tokens_period=60
        ) as executor:
            flying = await executor.submit_task(
                answering(seconds=3600, log=started), num_api_tokens_needed=10
            )
            await asyncio.sleep(1)
            assert flying.status is RequestStatus.CALLING
            flying.cancel()
            assert_cancelled(await flying)
            await executor.submit_task(answering(log=started))
            await executor.submit_task(answering(log=started), num_api_tokens_needed=10)

    run_virtual(main())
    assert started[:2] == [0, 1]
    assert started[2] >= 60


def test_cancelling_a_call_that_has_ended_changes_nothing() -> None:
    async def main() -> None:
        async with Executor() as executor:
            event = await (await executor.submit_task(answering()))
            event.cancel()
            assert event.status is RequestStatus.COMPLETED
            assert not event.cancelled
            assert event.error is None

    run_virtual(main())


def test_cancelling_twice_is_cancelling_once() -> None:
    async def main() -> None:
        async with Executor() as executor:
            event = await executor.submit_task(answering(seconds=3600))
            await settle()
            event.cancel()
            event.cancel()
            assert_cancelled(await event)

    run_virtual(main())


def test_a_cancelled_waiter_does_not_cancel_the_shared_call() -> None:
    async def main() -> None:
        async with Executor() as executor:
            event = await executor.submit_task(answering(seconds=10))

            async def wait() -> Calling:
                return await event

            one, other = asyncio.ensure_future(wait()), asyncio.ensure_future(wait())
            await settle()
            one.cancel()
            assert (await other).status is RequestStatus.COMPLETED

    run_virtual(main())


# --- faults of the originals -----------------------------------------------------------------------------


def test_an_executor_keeps_no_call_that_has_ended() -> None:

    class Payload(dict[str, Any]):
        pass

    async def main() -> None:
        async with Executor(requests_rate=1000) as executor:
            payload = Payload(a=1)
            kept = weakref.ref(payload)
            event: Any = await executor.submit_task(answering(), payload=payload)
            await event
            await settle()
            del event, payload
            gc.collect()
            assert kept() is None

    run_virtual(main())


def test_waiting_is_not_polling() -> None:
    """A call that waits an hour for its rate costs a handful of turns of the loop, not one each 0.1 s."""
    turns = 0

    async def main() -> None:
        nonlocal turns
        loop: Any = asyncio.get_running_loop()
        run_once = loop._run_once

        def counted() -> None:
            nonlocal turns
            turns += 1
            run_once()

        loop._run_once = counted
        async with Executor(requests_rate=1, requests_period=3600) as executor:
            for _ in range(3):
                event = await executor.submit_task(answering())
            await event
            assert loop.time() >= 7200

    run_virtual(main())
    assert turns < 100
