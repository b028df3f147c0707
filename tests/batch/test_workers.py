"""The pool grows to what the limiter lets through, delivers everything, and ends however it is ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing

import pytest

from callgate.batch.input.feed import AsyncFeed, PulledFeed
from callgate.batch.input.rows import Row
from callgate.batch.output.results import RowResult
from callgate.batch.workers import Pool
from callgate.call.calling import Calling
from tests.batch.conftest import answered, failed, make_row


def rows(count: int) -> PulledFeed:
    return PulledFeed([make_row(i)] for i in range(count))


class Provider:
    """Holds calls until told to answer; counts how many are there at once."""

    def __init__(self, slots: int = 1_000_000) -> None:
        self.slots = asyncio.Semaphore(slots)
        self.in_line = 0
        self.running = 0
        self.most = 0
        self.begun: list[int] = []
        self.go = asyncio.Event()
        self.dispatched: Callable[[], None] = lambda: None

    async def __call__(self, row: Row) -> RowResult:
        self.in_line += 1
        try:
            await self.slots.acquire()
        finally:
            self.in_line -= 1
        self.running += 1
        self.begun.append(row.index)
        self.dispatched()
        self.most = max(self.most, self.running)
        try:
            await self.go.wait()
            await asyncio.sleep(0)
            return RowResult(row, answered())
        finally:
            self.running -= 1
            self.slots.release()


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def collect(pool: Pool) -> list[int]:
    return [result.row.index async for result in pool.results()]


def test_every_row_is_called_once() -> None:
    async def main() -> None:
        provider = Provider()
        provider.go.set()
        pool = Pool(provider, rows(500), in_line=lambda: 0, most=7)
        assert sorted(await collect(pool)) == list(range(500))
        assert sorted(provider.begun) == list(range(500))
        assert provider.most == 7
        assert pool.in_flight == 0

    asyncio.run(main())


def test_no_rows_no_calls() -> None:
    async def main() -> None:
        assert await collect(Pool(Provider(), rows(0), in_line=lambda: 0, most=7)) == []

    asyncio.run(main())


def test_it_grows_to_what_runs_at_once_and_about_one_that_waits() -> None:
    async def main() -> None:
        provider = Provider(slots=10)
        pool = Pool(provider, rows(1000), in_line=lambda: provider.in_line, most=500)
        task = asyncio.create_task(collect(pool))
        await turns(100)
        assert provider.most == 10
        assert 10 < pool.in_flight <= 13
        provider.go.set()
        assert len(await task) == 1000
        assert provider.most == 10

    asyncio.run(main())


def test_it_grows_again_when_the_quota_empties_the_line_and_no_row_ends() -> None:
    async def main() -> None:
        provider = Provider(slots=10)
        pool = Pool(provider, rows(1000), in_line=lambda: provider.in_line, most=500)
        provider.dispatched = pool.nudge
        task = asyncio.create_task(collect(pool))
        await turns(100)
        for _ in range(30):
            provider.slots.release()
        await turns(500)
        assert provider.running == 40  # although the slow provider has answered none of them
        provider.go.set()
        assert len(await task) == 1000

    asyncio.run(main())


def test_it_shrinks_when_many_stand_in_line() -> None:
    async def main() -> None:
        provider = Provider(slots=10)
        line = 0
        pool = Pool(provider, rows(5000), in_line=lambda: line, most=300)
        task = asyncio.create_task(collect(pool))
        await turns(400)
        assert pool.in_flight == 300  # it was told that nobody waits
        line = 100
        provider.go.set()
        while len(provider.begun) < 2000:
            await asyncio.sleep(0)
            line = provider.in_line
        assert pool.in_flight <= 20
        line = 0
        assert len(await task) == 5000

    asyncio.run(main())


def test_callings_that_were_given_up_are_no_results() -> None:
    async def call(row: Row) -> RowResult:
        if row.index % 2 == 0:
            return RowResult(row, answered())
        given_up = Calling({})
        given_up.cancel()
        return RowResult(row, given_up)

    async def main() -> None:
        pool = Pool(call, rows(10), in_line=lambda: 0, most=1)
        assert await collect(pool) == [0, 2, 4, 6, 8]
        assert pool.abandoned == 5

    asyncio.run(main())


def test_a_calling_that_nobody_gave_up_is_a_result_though_it_was_cancelled() -> None:
    async def call(row: Row) -> RowResult:
        return RowResult(row, failed(asyncio.CancelledError()))

    async def main() -> None:
        pool = Pool(call, rows(10), in_line=lambda: 0, most=1)
        assert await collect(pool) == list(range(10))
        assert pool.abandoned == 0

    asyncio.run(main())


def test_a_call_that_is_cancelled_from_within_ends_the_run_loudly() -> None:
    async def call(row: Row) -> RowResult:
        if row.index == 3:
            raise asyncio.CancelledError
        return RowResult(row, answered())

    async def main() -> None:
        pool = Pool(call, rows(100), in_line=lambda: 0, most=1)
        with pytest.raises(
            RuntimeError, match=r"<Row 3 line=4 key=\w+> was cancelled by something inside it"
        ):
            await collect(pool)
        assert (pool.abandoned, pool.in_flight) == (1, 0)

    asyncio.run(main())


def test_a_line_of_others_keeps_no_row_from_being_called() -> None:
    async def main() -> None:
        provider = Provider()
        provider.go.set()
        in_line = 0
        pool = Pool(provider, rows(500), in_line=lambda: in_line, most=50)
        task = asyncio.create_task(collect(pool))
        await turns(100)
        in_line = 1000  # the limiter is shared with somebody who has much to ask
        assert len(await task) == 500
        assert await collect(Pool(provider, rows(20), in_line=lambda: 1000, most=50)) == list(range(20))

    asyncio.run(main())


def test_rows_of_a_slow_pipe_make_no_crowd_of_workers() -> None:
    async def slow() -> AsyncGenerator[list[Row], None]:
        for i in range(200):
            await asyncio.sleep(0)
            yield [make_row(i)]

    async def main() -> None:
        most = 0

        async def call(row: Row) -> RowResult:
            nonlocal most
            most = max(most, len(asyncio.all_tasks()))
            return RowResult(row, answered())

        pool = Pool(call, AsyncFeed(slow()), in_line=lambda: 0, most=100)
        assert len(await collect(pool)) == 200
        assert most < 10

    asyncio.run(main())


def test_only_a_few_until_one_succeeds() -> None:
    async def main() -> None:
        provider = Provider()
        pool = Pool(provider, rows(100), in_line=lambda: 0, most=50, at_first=4)
        task = asyncio.create_task(collect(pool))
        await turns(100)
        assert provider.running == 4
        pool.open_up()
        pool.open_up()
        await turns(100)
        assert provider.running == 50
        provider.go.set()
        assert len(await task) == 100

    asyncio.run(main())


def test_draining_finishes_what_is_in_flight_and_begins_nothing() -> None:
    async def main() -> None:
        provider = Provider()
        pool = Pool(provider, rows(100), in_line=lambda: 0, most=5)
        task = asyncio.create_task(collect(pool))
        await turns()
        pool.drain()
        provider.go.set()
        assert sorted(await task) == [0, 1, 2, 3, 4]
        assert pool.abandoned == 0

    asyncio.run(main())


def test_aborting_cancels_what_is_in_flight_and_delivers_what_has_ended() -> None:
    running = 0

    async def call(row: Row) -> RowResult:
        nonlocal running
        if row.index >= 3:
            running += 1
            try:
                await asyncio.Event().wait()
            finally:
                running -= 1
        return RowResult(row, answered())

    async def main() -> None:
        pool = Pool(call, rows(100), in_line=lambda: 0, most=5)
        results = pool.results()
        first = await anext(results)
        await turns()
        assert running == 5
        pool.abort()
        assert [first.row.index, *[result.row.index async for result in results]] == [0, 1, 2]
        assert (running, pool.abandoned, pool.in_flight) == (0, 5, 0)

    asyncio.run(main())


def test_what_is_let_through_after_an_abort_begins_nothing() -> None:
    """A call that is cancelled gives its place to another, which nudges the pool."""
    begun: list[int] = []

    async def main() -> None:
        async def call(row: Row) -> RowResult:
            begun.append(row.index)
            try:
                await asyncio.Event().wait()
            finally:
                await turns(3 * row.index)  # one after the other
                pool.nudge()
            return RowResult(row, answered())

        pool = Pool(call, rows(100), in_line=lambda: 0, most=5)
        task = asyncio.create_task(collect(pool))
        await turns()
        pool.abort()
        await turns(50)
        assert begun == [0, 1, 2, 3, 4]
        assert await task == []
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_leaving_the_loop_cancels_what_is_in_flight() -> None:
    async def main() -> None:
        provider = Provider()
        provider.go.set()
        pool = Pool(provider, rows(100), in_line=lambda: 0, most=5)
        async with aclosing(pool.results()) as results:
            async for _ in results:
                provider.go.clear()
                await turns()
                break
        assert provider.running == 0
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


def test_workers_wait_for_a_consumer_that_does_not_look() -> None:
    async def main() -> None:
        provider = Provider()
        provider.go.set()
        pool = Pool(provider, rows(1000), in_line=lambda: 0, most=5)
        async with aclosing(pool.results()) as results:
            await anext(results)
            await turns(500)
            assert len(provider.begun) <= 3 * 5
            assert len([result async for result in results]) == 999

    asyncio.run(main())


def test_a_call_that_raises_ends_the_run_with_its_error_after_the_results() -> None:
    async def call(row: Row) -> RowResult:
        if row.index == 2:
            raise ZeroDivisionError
        return RowResult(row, answered())

    async def main() -> None:
        results = Pool(call, rows(100), in_line=lambda: 0, most=1).results()
        assert [(await anext(results)).row.index for _ in range(2)] == [0, 1]
        with pytest.raises(ZeroDivisionError):
            await anext(results)

    asyncio.run(main())


def test_the_second_error_does_not_hide_the_first() -> None:
    async def call(row: Row) -> RowResult:
        try:
            await asyncio.sleep(0 if row.index == 0 else 3600)
        finally:
            if row.index:
                raise RuntimeError("while cancelled")
        raise ZeroDivisionError

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await collect(Pool(call, rows(2), in_line=lambda: 0, most=2))

    asyncio.run(main())


def test_memory_and_tasks_do_not_grow_with_the_input() -> None:
    async def main() -> None:
        most = 0

        def endless() -> Iterator[list[Row]]:
            nonlocal most
            for i in range(20_000):
                if i % 500 == 0:
                    most = max(most, len(asyncio.all_tasks()))
                yield [make_row(i, "same")]

        provider = Provider()
        provider.go.set()
        pool = Pool(provider, PulledFeed(endless()), in_line=lambda: 0, most=50)
        count = 0
        async for _ in pool.results():
            count += 1
        assert count == 20_000
        assert most <= 52

    asyncio.run(main())
