"""Rows are taken one by one, whether they are there or still to come."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator

import pytest

from callgate.batch.input.feed import AsyncFeed, Feed, PulledFeed, PushedFeed, ThreadFeed
from callgate.batch.input.rows import Row
from callgate.errors import InputError
from callgate.testing import run_virtual
from tests.batch.conftest import make_row


async def take_all(feed: Feed) -> list[int]:
    taken = []
    while (row := await feed.take()) is not None:
        taken.append(row.index)
    return taken


def blocks(*sizes: int) -> Iterator[list[Row]]:
    index = 0
    for size in sizes:
        yield [make_row(index + i) for i in range(size)]
        index += size


def failing(size: int, error: Exception) -> Iterator[list[Row]]:
    yield from blocks(size)
    raise error


async def async_blocks(*sizes: int) -> AsyncGenerator[list[Row], None]:
    for block in blocks(*sizes):
        await asyncio.sleep(0)
        yield block


def test_a_pulled_feed_reads_no_block_before_it_is_needed() -> None:
    read: list[int] = []

    def counted() -> Iterator[list[Row]]:
        for block in blocks(2, 2):
            read.append(len(block))
            yield block

    async def main() -> None:
        feed = PulledFeed(counted())
        assert not feed.idle
        await feed.take()
        await feed.take()
        assert read == [2]
        assert await take_all(feed) == [2, 3]
        assert feed.exhausted
        assert await feed.take() is None

    asyncio.run(main())


def test_empty_blocks_let_the_loop_run() -> None:
    async def main() -> None:
        turns = 0

        def count() -> None:
            nonlocal turns
            turns += 1
            loop.call_soon(count)

        loop = asyncio.get_running_loop()
        loop.call_soon(count)
        assert await take_all(PulledFeed(blocks(*[0] * 50, 1))) == [0]
        assert turns >= 40

    asyncio.run(main())


def test_the_error_of_the_input_waits_until_somebody_looks() -> None:
    async def main() -> None:
        for feed in (PulledFeed(failing(2, InputError("bad"))), ThreadFeed(failing(2, InputError("bad")))):
            assert await take_all(feed) == [0, 1]
            assert str(feed.error) == "bad"

    asyncio.run(main())


def test_whatever_a_thread_meets_in_its_input_ends_it() -> None:
    async def main() -> None:
        for error in (KeyError("a fault of ours"), RuntimeError("a closed loop raises this too")):
            feed = ThreadFeed(failing(1, error))
            assert await take_all(feed) == [0]
            assert feed.error is error

    asyncio.run(main())


def test_the_first_error_is_kept_and_ends_the_feed() -> None:
    async def main() -> None:
        feed = PulledFeed(blocks(5))
        await feed.take()
        feed.fail(InputError("first"))
        feed.fail(InputError("second"))
        assert await feed.take() is None
        assert str(feed.error) == "first"
        assert feed.closed

    asyncio.run(main())


def test_closing_lets_go_of_what_is_read() -> None:
    closed = False

    def opened() -> Iterator[list[Row]]:
        nonlocal closed
        try:
            yield from blocks(1, 1, 1)
        finally:
            closed = True

    async def main() -> None:
        feed = PulledFeed(opened())
        await feed.take()
        feed.close()
        assert closed

    asyncio.run(main())


def test_what_is_read_may_itself_ask_for_the_end() -> None:
    def enough() -> Iterator[list[Row]]:
        yield from blocks(1)
        feed.close()
        yield from blocks(1)

    feed = PulledFeed(enough())
    assert asyncio.run(take_all(feed)) == [0, 0]  # the second was asked for before


def test_rows_are_to_be_had_until_the_last_block_is_used() -> None:
    async def main() -> None:
        feed = PushedFeed(lambda: None)
        for block in blocks(1, 1):
            feed.push(block)
        feed.end()
        await feed.take()
        assert feed.ready
        await feed.take()
        assert not feed.ready

    asyncio.run(main())


@pytest.mark.parametrize("kind", [PulledFeed, ThreadFeed])
def test_closing_gives_no_more_rows(kind: type[PulledFeed] | type[ThreadFeed]) -> None:
    async def main() -> None:
        feed = kind(blocks(5, 5))
        assert await feed.take() is not None
        feed.close()
        assert await feed.take() is None

    asyncio.run(main())


def test_a_thread_reads_a_few_blocks_ahead_and_then_waits() -> None:
    read = threading.Semaphore(0)
    count = 0

    def counted() -> Iterator[list[Row]]:
        nonlocal count
        for block in blocks(*[1] * 50, 0):
            count += 1
            read.release()
            yield block

    async def main() -> None:
        feed = ThreadFeed(counted())
        for _ in range(9):
            await asyncio.get_running_loop().run_in_executor(None, read.acquire)
        assert count == 9  # eight handed over, the ninth waits
        assert await take_all(feed) == list(range(50))

    asyncio.run(main())


def test_a_thread_that_waits_for_input_keeps_nobody() -> None:
    never = threading.Event()

    def waiting() -> Iterator[list[Row]]:
        yield from blocks(1)
        never.wait()

    async def main() -> None:
        feed = ThreadFeed(waiting())
        assert (await feed.take()) is not None
        taker = asyncio.create_task(feed.take())
        await asyncio.sleep(0)
        assert feed.idle
        feed.close()
        assert await taker is None
        assert not feed.idle

    asyncio.run(main())
    never.set()


def test_a_thread_whose_loop_has_ended_just_ends() -> None:
    go = threading.Event()

    def late() -> Iterator[list[Row]]:
        go.wait()
        yield from blocks(1)

    async def main() -> ThreadFeed:
        return ThreadFeed(late())

    feed = asyncio.run(main())
    go.set()
    feed._thread.join()


def test_blocks_that_come_after_the_end_are_dropped() -> None:
    async def main() -> None:
        feed = ThreadFeed(blocks(1))
        feed.close()
        feed.push([make_row(0)])
        assert await feed.take() is None

    asyncio.run(main())


def test_an_async_iterator() -> None:
    async def main() -> None:
        assert await take_all(AsyncFeed(async_blocks(*[1] * 20))) == list(range(20))

    asyncio.run(main())


def test_an_async_iterator_that_fails() -> None:
    async def broken() -> AsyncGenerator[list[Row], None]:
        async for block in async_blocks(1):
            yield block
        raise InputError("bad")

    async def main() -> None:
        feed = AsyncFeed(broken())
        assert await take_all(feed) == [0]
        assert str(feed.error) == "bad"

    asyncio.run(main())


def test_an_async_iterator_that_is_cancelled_by_somebody_else_is_an_error() -> None:
    async def cancelled() -> AsyncGenerator[list[Row], None]:
        yield [make_row(0)]
        raise asyncio.CancelledError

    async def main() -> None:
        feed = AsyncFeed(cancelled())
        assert await take_all(feed) == [0]
        assert isinstance(feed.error, RuntimeError)
        assert isinstance(feed.error.__cause__, asyncio.CancelledError)

    asyncio.run(main())


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_closing_ends_the_task_that_pulls_and_closes_the_generator(taken: int) -> None:
    closed = False

    async def endless() -> AsyncGenerator[list[Row], None]:
        nonlocal closed
        try:
            while True:
                yield [make_row(0)]
        finally:
            await asyncio.sleep(0)
            closed = True

    async def main() -> None:
        feed = AsyncFeed(endless())
        for _ in range(taken):
            await feed.take()
        await feed.aclose()
        assert closed or not taken  # what was never begun has nothing to close
        assert feed.error is None
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


def test_cleaning_up_is_not_cut_off_by_closing_again() -> None:
    cleaned = False

    async def careful() -> AsyncGenerator[list[Row], None]:
        nonlocal cleaned
        try:
            yield [make_row(0)]
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(10)  # it says goodbye to a database, say
            cleaned = True

    async def main() -> None:
        feed = AsyncFeed(careful())
        await feed.take()
        await asyncio.sleep(1)
        feed.close()
        await asyncio.sleep(1)
        await feed.aclose()
        assert cleaned

    run_virtual(main())


def test_an_error_in_cleaning_up_is_told() -> None:
    async def careless() -> AsyncGenerator[list[Row], None]:
        try:
            yield [make_row(0)]
            await asyncio.Event().wait()
        finally:
            raise InputError("the cursor is gone")

    async def main() -> None:
        feed = AsyncFeed(careless())
        await feed.take()
        await asyncio.sleep(1)
        await feed.aclose()
        assert str(feed.error) == "the cursor is gone"

    run_virtual(main())
