"""The number of workers follows what the limiter admits; every row is processed once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import pytest

from callgate.batch.input.feed import AsyncFeed, PulledFeed
from callgate.batch.input.rows import Row
from callgate.batch.workers import Workers
from tests.batch.conftest import make_row


def rows(count: int) -> PulledFeed:
    return PulledFeed([make_row(i)] for i in range(count))


class Provider:
    """Processes rows once `go` is set; counts how many are processed at once."""

    def __init__(self, slots: int = 1_000_000) -> None:
        self.slots = asyncio.Semaphore(slots)
        self.queued = 0
        self.running = 0
        self.most = 0
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.go = asyncio.Event()
        self.admitted: Callable[[], None] = lambda: None

    async def __call__(self, row: Row) -> None:
        self.queued += 1
        try:
            await self.slots.acquire()
        finally:
            self.queued -= 1
        self.running += 1
        self.begun.append(row.index)
        self.admitted()
        self.most = max(self.most, self.running)
        try:
            await self.go.wait()
            await asyncio.sleep(0)
            self.ended.append(row.index)
        finally:
            self.running -= 1
            self.slots.release()

    def workers(self, feed: PulledFeed, **more: Any) -> Workers:
        return Workers(self, feed, **{"queued": lambda: 0, **more})


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_every_row_is_processed_once() -> None:
    async def main() -> None:
        provider = Provider()
        provider.go.set()
        workers = provider.workers(rows(500), most=7)
        await workers.run()
        assert sorted(provider.begun) == sorted(provider.ended) == list(range(500))
        assert provider.most == 7
        assert len(workers) == 0

    asyncio.run(main())


def test_no_rows_no_calls() -> None:
    async def main() -> None:
        provider = Provider()
        await provider.workers(rows(0), most=7).run()
        assert provider.begun == []

    asyncio.run(main())


def test_there_are_as_many_as_run_at_once_and_about_one_that_waits() -> None:
    async def main() -> None:
        provider = Provider(slots=10)
        workers = provider.workers(rows(1000), queued=lambda: provider.queued, most=500)
        task = asyncio.create_task(workers.run())
        await turns(100)
        assert provider.most == 10
        assert 10 < len(workers) <= 13
        provider.go.set()
        await task
        assert len(provider.ended) == 1000
        assert provider.most == 10

    asyncio.run(main())


def test_they_grow_again_when_the_quota_empties_the_queue_and_no_row_ends() -> None:
    async def main() -> None:
        provider = Provider(slots=10)
        workers = provider.workers(rows(1000), queued=lambda: provider.queued, most=500)
        provider.admitted = workers.grow
        task = asyncio.create_task(workers.run())
        await turns(100)
        for _ in range(30):
            provider.slots.release()
        await turns(500)
        assert provider.running == 40  # although the slow provider has answered none of them
        provider.go.set()
        await task
        assert len(provider.ended) == 1000

    asyncio.run(main())


def test_they_shrink_when_many_calls_are_queued() -> None:
    async def main() -> None:
        provider = Provider(slots=10)
        queued = 0
        workers = provider.workers(rows(5000), queued=lambda: queued, most=300)
        task = asyncio.create_task(workers.run())
        await turns(400)
        assert len(workers) == 300
        queued = 100
        provider.go.set()
        while len(provider.begun) < 2000:
            await asyncio.sleep(0)
            queued = provider.queued
        assert len(workers) <= 20
        queued = 0
        await task
        assert len(provider.ended) == 5000

    asyncio.run(main())


def test_a_processing_that_is_cancelled_from_within_ends_the_run_with_an_error() -> None:
    async def process(row: Row) -> None:
        if row.index == 3:
            raise asyncio.CancelledError

    async def main() -> None:
        workers = Workers(process, rows(100), queued=lambda: 0, most=1)
        with pytest.raises(
            RuntimeError, match=r"<Row 3 line=4 key=\w+> was cancelled by something inside it"
        ):
            await workers.run()
        assert (workers.cancelled, len(workers)) == (1, 0)

    asyncio.run(main())


def test_calls_that_others_have_queued_keep_no_row_from_being_processed() -> None:
    async def main() -> None:
        provider = Provider()
        provider.go.set()
        queued = 0
        task = asyncio.create_task(provider.workers(rows(500), queued=lambda: queued, most=50).run())
        await turns(100)
        queued = 1000  # another user of the limiter
        await task
        assert len(provider.ended) == 500
        await provider.workers(rows(20), queued=lambda: 1000, most=50).run()
        assert len(provider.ended) == 520

    asyncio.run(main())


def test_rows_of_a_slow_pipe_add_no_workers() -> None:
    async def slow() -> AsyncGenerator[list[Row], None]:
        for i in range(200):
            await asyncio.sleep(0)
            yield [make_row(i)]

    async def main() -> None:
        most = count = 0

        async def process(row: Row) -> None:
            nonlocal most, count
            most = max(most, len(asyncio.all_tasks()))
            count += 1

        await Workers(process, AsyncFeed(slow()), queued=lambda: 0, most=100).run()
        assert count == 200
        assert most < 10

    asyncio.run(main())


def test_only_a_few_until_one_call_succeeds() -> None:
    async def main() -> None:
        provider = Provider()
        workers = provider.workers(rows(100), most=50, at_first=4)
        task = asyncio.create_task(workers.run())
        await turns(100)
        assert provider.running == 4
        workers.open_up()
        workers.open_up()
        await turns(100)
        assert provider.running == 50
        provider.go.set()
        await task
        assert len(provider.ended) == 100

    asyncio.run(main())


def test_draining_finishes_what_is_in_flight_and_begins_nothing() -> None:
    async def main() -> None:
        provider = Provider()
        workers = provider.workers(rows(100), most=5)
        task = asyncio.create_task(workers.run())
        await turns()
        workers.drain()
        provider.go.set()
        await task
        assert sorted(provider.ended) == [0, 1, 2, 3, 4]
        assert workers.cancelled == 0

    asyncio.run(main())


@pytest.mark.parametrize("cancelled", [False, True], ids=["aborted", "cancelled"])
def test_aborting_or_cancelling_the_run_cancels_what_is_in_flight(cancelled: bool) -> None:
    async def main() -> None:
        provider = Provider()
        workers = provider.workers(rows(100), most=5)
        task = asyncio.create_task(workers.run())
        await turns()
        assert provider.running == 5
        if cancelled:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            workers.abort()
            await task
        assert (provider.running, workers.cancelled, len(workers)) == (0, 5, 0)
        assert provider.begun == [0, 1, 2, 3, 4]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_what_is_admitted_after_an_abort_begins_nothing() -> None:
    """A call that is cancelled gives its permit to another one, and then `grow` is called."""
    begun: list[int] = []

    async def main() -> None:
        async def process(row: Row) -> None:
            begun.append(row.index)
            try:
                await asyncio.Event().wait()
            finally:
                await turns(3 * row.index)  # one after the other
                workers.grow()

        workers = Workers(process, rows(100), queued=lambda: 0, most=5)
        task = asyncio.create_task(workers.run())
        await turns()
        workers.abort()
        await task
        workers.grow()
        await turns()
        assert begun == [0, 1, 2, 3, 4]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_an_error_ends_the_run_and_cancels_the_rows_beside_it() -> None:
    async def main() -> None:
        running = 0

        async def process(row: Row) -> None:
            nonlocal running
            if row.index == 2:
                raise ZeroDivisionError
            running += 1
            try:
                await asyncio.sleep(3600)
            finally:
                running -= 1

        workers = Workers(process, rows(100), queued=lambda: 0, most=5)
        with pytest.raises(ZeroDivisionError):
            await workers.run()
        assert running == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_the_second_error_does_not_hide_the_first() -> None:
    async def process(row: Row) -> None:
        try:
            await asyncio.sleep(0 if row.index == 0 else 3600)
        finally:
            if row.index:
                raise RuntimeError("while cancelled")
        raise ZeroDivisionError

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await Workers(process, rows(2), queued=lambda: 0, most=2).run()

    asyncio.run(main())


def test_tasks_do_not_grow_with_the_input() -> None:
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
        await provider.workers(PulledFeed(endless()), most=50).run()
        assert len(provider.ended) == 20_000
        assert most <= 52

    asyncio.run(main())
