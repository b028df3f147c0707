"""Pushed results are pulled in their order; a full queue makes the pushing worker wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from callgate.batch.output.results import RowResult
from callgate.batch.result_queue import ResultQueue

Make = Callable[..., RowResult]


def test_results_come_in_the_order_in_which_they_were_put_and_end(result: Make) -> None:
    async def main() -> None:
        queue, given = ResultQueue(10), [result(i) for i in range(3)]
        assert [queue.put(each) for each in given] == [None, None, None]
        queue.end()
        assert [await queue.get() for _ in range(4)] == [*given, None]

    asyncio.run(main())


def test_get_waits_for_a_result_and_for_the_end(result: Make) -> None:
    async def main() -> None:
        queue, one = ResultQueue(10), result()
        waiting = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        assert not waiting.done()
        queue.put(one)
        assert await waiting is one
        waiting = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.end()
        assert await waiting is None

    asyncio.run(main())


def test_a_full_queue_has_its_worker_wait_until_all_results_are_read(result: Make) -> None:
    async def main() -> None:
        queue = ResultQueue(2)
        assert queue.put(result(0)) is None
        room = queue.put(result(1))
        assert room is not None
        waiting = asyncio.ensure_future(room)
        for _ in range(2):
            await queue.get()
            await asyncio.sleep(0)
            assert not waiting.done()
        reader = asyncio.create_task(queue.get())
        await waiting
        queue.end()
        assert await reader is None

    asyncio.run(main())
