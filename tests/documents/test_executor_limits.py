"""The executor's limits as the documents define them, without reference to the code.

Time is virtual: an hour of waiting takes no time, and every moment is exact.
"""

from __future__ import annotations

import asyncio

import pytest

from callgate import CallgateError, Executor, RequestStatus
from callgate.testing.clock import run_virtual
from tests.documents.tasks import ENDED, Task, answering, most_in_a_window, raising, settle

# --- concurrency -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_workers", [1, 5, 50])
def test_concurrency_is_the_limit_alone_and_workers_are_without_effect(num_workers: int) -> None:
    running = most = 0

    async def task() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(1)
        running -= 1

    async def main() -> None:
        async with Executor(concurrency_limit=10, requests_rate=1000, num_workers=num_workers) as executor:
            for _ in range(40):
                await executor.submit_task(task)

    run_virtual(main())
    assert most == 10


def test_tasks_start_in_the_order_they_were_submitted() -> None:
    started: list[int] = []

    def task(number: int) -> Task:
        async def call() -> None:
            started.append(number)
            await asyncio.sleep(1 + number % 3)

        return call

    async def main() -> None:
        async with Executor(concurrency_limit=3, requests_rate=5) as executor:
            for number in range(30):
                await executor.submit_task(task(number))

    run_virtual(main())
    assert started == list(range(30))


@pytest.mark.parametrize("task", [answering(), answering((429, {}, "")), raising(ValueError("x"))])
def test_a_permit_is_released_however_its_task_ends(task: Task) -> None:
    async def main() -> None:
        async with Executor(concurrency_limit=1, requests_rate=1000) as executor:
            first = [await executor.submit_task(task) for _ in range(5)]
            last = await (await executor.submit_task(answering()))
            assert last.status is RequestStatus.COMPLETED
            assert all(event.status in ENDED for event in first)

    run_virtual(main())


# --- rates -----------------------------------------------------------------------------------------------


def test_a_hundred_calls_at_ten_a_second_take_the_time_that_promises() -> None:
    started: list[float] = []

    async def main() -> None:
        async with Executor(concurrency_limit=100, requests_rate=10, requests_period=1) as executor:
            for _ in range(100):
                await executor.submit_task(answering(log=started))

    run_virtual(main())
    assert most_in_a_window(started, 1.0) <= 10
    assert 9 <= started[-1] <= 10 / 0.99


def test_calls_that_come_late_find_no_more_than_one_window_saved_up() -> None:
    started: list[float] = []

    async def main() -> None:
        async with Executor(concurrency_limit=100, requests_rate=10, requests_period=1) as executor:
            await asyncio.sleep(3600)
            for _ in range(50):
                await executor.submit_task(answering(log=started))

    run_virtual(main())
    assert most_in_a_window(started, 1.0) <= 10


def test_api_tokens_are_a_promise_about_every_window() -> None:
    started: list[float] = []
    costs = [3, 7, 5, 5, 10, 1, 9, 4, 6, 2] * 60

    async def main() -> None:
        executor = Executor(
            concurrency_limit=50, requests_rate=1000, api_tokens_rate=1000, api_tokens_period=60
        )
        async with executor:
            for cost in costs:
                await executor.submit_task(answering(log=started), num_api_tokens_needed=cost)

    run_virtual(main())
    assert len(started) == len(costs)
    assert most_in_a_window(started, 60.0, costs) <= 1000
    assert started[-1] <= (sum(costs) / 1000) * 60 / 0.99


def test_no_window_holds_too_many_tokens_when_calls_cost_much_of_the_quota_each() -> None:
    started: list[float] = []
    costs = [300, 700, 500, 500, 1000, 1, 999, 400, 600, 250] * 3

    async def main() -> None:
        async with Executor(concurrency_limit=50, requests_rate=1000, api_tokens_rate=1000) as executor:
            for cost in costs:
                await executor.submit_task(answering(log=started), num_api_tokens_needed=cost)

    run_virtual(main())
    assert len(started) == len(costs)
    assert most_in_a_window(started, 60.0, costs) <= 1000


def test_tokens_without_a_rate_limit_nothing() -> None:
    async def main() -> None:
        async with Executor(requests_rate=1000) as executor:
            event = await (await executor.submit_task(answering(), num_api_tokens_needed=10**9))
            assert event.status is RequestStatus.COMPLETED
            assert asyncio.get_running_loop().time() == 0

    run_virtual(main())


def test_a_bucket_capacity_above_the_rate_is_a_burst_on_top() -> None:
    started: list[float] = []

    async def main() -> None:
        async with Executor(
            concurrency_limit=1000, requests_rate=58, requests_period=1, requests_bucket_capacity=100
        ) as executor:
            for _ in range(500):
                await executor.submit_task(answering(log=started))

    run_virtual(main())
    assert sum(moment == 0 for moment in started) == 100
    assert most_in_a_window(started, 1.0) <= 100
    assert all(count <= 100 + 58 * moment for count, moment in enumerate(started))
    assert started[-1] <= (500 - 100) / 58 / 0.99


def test_waiting_for_a_rate_holds_no_concurrency_slot() -> None:
    """Two calls at once allowed, tokens short: the running one may end while the other waits for tokens."""
    running: list[float] = []

    async def main() -> None:
        async with Executor(
            concurrency_limit=1, requests_rate=1000, api_tokens_rate=10, api_tokens_period=60
        ) as executor:
            first = await executor.submit_task(answering(seconds=100), num_api_tokens_needed=10)
            waiting = await executor.submit_task(answering(log=running), num_api_tokens_needed=10)
            waiting.cancel()
            after = await executor.submit_task(answering(log=running))
            await first
            await after
            assert asyncio.get_running_loop().time() == 100

    run_virtual(main())


def test_no_smaller_call_overtakes_one_that_waits_for_tokens() -> None:
    order: list[str] = []

    def task(name: str) -> Task:
        async def call() -> None:
            order.append(name)

        return call

    async def main() -> None:
        async with Executor(requests_rate=1000, api_tokens_rate=100, api_tokens_period=60) as executor:
            await executor.submit_task(task("first"), num_api_tokens_needed=60)
            await executor.submit_task(task("large"), num_api_tokens_needed=90)
            await executor.submit_task(task("small"), num_api_tokens_needed=1)

    run_virtual(main())
    assert order == ["first", "large", "small"]


def test_a_cost_over_the_whole_quota_is_refused_at_submit_and_disturbs_nothing() -> None:
    async def main() -> None:
        async with Executor(api_tokens_rate=100, api_tokens_period=60) as executor:
            with pytest.raises((CallgateError, ValueError)) as refusal:
                await executor.submit_task(answering(), num_api_tokens_needed=101)
            assert "101" in str(refusal.value)
            assert "100" in str(refusal.value)
            exactly = await (await executor.submit_task(answering(), num_api_tokens_needed=100))
            assert exactly.status is RequestStatus.COMPLETED
            assert asyncio.get_running_loop().time() == 0

    run_virtual(main())


def test_a_cost_within_the_burst_that_was_asked_for_is_admitted() -> None:
    async def main() -> None:
        async with Executor(
            api_tokens_rate=5000, api_tokens_period=1, api_tokens_bucket_capacity=10000
        ) as executor:
            event = await (await executor.submit_task(answering(), num_api_tokens_needed=8000))
            assert event.status is RequestStatus.COMPLETED
            with pytest.raises(ValueError):
                await executor.submit_task(answering(), num_api_tokens_needed=10001)

    run_virtual(main())


# --- a full queue ----------------------------------------------------------------------------------------


def test_a_full_queue_makes_submitting_wait_and_drops_nothing() -> None:
    async def main() -> None:
        async with Executor(queue_capacity=2, concurrency_limit=1, requests_rate=1000) as executor:
            loop = asyncio.get_running_loop()
            events, accepted = [], []
            for _ in range(6):
                events.append(await executor.submit_task(answering(seconds=10)))
                accepted.append(loop.time())
                assert sum(event.status is RequestStatus.QUEUED for event in events) <= 2
            for event in events:
                await event
            assert accepted == [0, 0, 0, 10, 20, 30]
            assert [event.status for event in events] == [RequestStatus.COMPLETED] * 6
            assert loop.time() == 60

    run_virtual(main())


def test_a_cancelled_submit_to_a_full_queue_leaves_nothing() -> None:
    started: list[float] = []

    async def main() -> None:
        async with Executor(queue_capacity=1, concurrency_limit=1, requests_rate=1000) as executor:
            await executor.submit_task(answering(seconds=10))
            await executor.submit_task(answering(seconds=10))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(3):
                    await executor.submit_task(answering(log=started))
            last = await executor.submit_task(answering(log=started))
            await last

    run_virtual(main())
    assert started == [20]


def test_a_cancelled_call_in_a_full_queue_makes_room_at_once() -> None:
    async def main() -> None:
        async with Executor(queue_capacity=1, concurrency_limit=1, requests_rate=1000) as executor:
            await executor.submit_task(answering(seconds=10))
            queued = await executor.submit_task(answering())
            submitting = asyncio.ensure_future(executor.submit_task(answering()))
            await settle()
            assert not submitting.done()
            queued.cancel()
            await submitting
            assert asyncio.get_running_loop().time() == 0

    run_virtual(main())


@pytest.mark.parametrize("graceful", [True, False])
def test_a_submit_waiting_at_a_full_queue_ends_when_the_executor_stops(graceful: bool) -> None:
    async def main() -> None:
        executor = Executor(queue_capacity=1, concurrency_limit=1, requests_rate=1000)
        await executor.start()
        await executor.submit_task(answering(seconds=10))
        await executor.submit_task(answering(seconds=10))
        submitting = asyncio.ensure_future(executor.submit_task(answering()))
        await settle()
        await executor.stop(graceful=graceful)
        with pytest.raises(RuntimeError):
            await submitting

    run_virtual(main())
