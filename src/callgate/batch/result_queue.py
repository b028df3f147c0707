"""`ResultQueue`: turns pushed results into pulled ones, for the loop over `Engine.run`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable

from callgate.batch.output.results import RowResult

__all__ = ["ResultQueue"]


class ResultQueue:
    """Results between the workers that push them and the one loop that pulls them.

    Args:
        capacity: With so many results in it, `put` returns an awaitable: the pushing worker is to wait.

    Example::

        results = ResultQueue(32)
        task = asyncio.create_task(engine.run_into(rows, results.put))
        task.add_done_callback(results.end)
        while (result := await results.get()) is not None:
            print(result)
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._results: deque[RowResult] = deque()
        self._ended = False
        self._news = asyncio.Event()
        self._room = asyncio.Event()

    def put(self, result: RowResult) -> Awaitable[object] | None:
        """Add a result; returns what to await before the next one, or None while there is room."""
        self._results.append(result)
        self._news.set()
        if len(self._results) < self._capacity:
            return None
        self._room.clear()
        return self._room.wait()

    def end(self, _: object = None) -> None:
        """Mark the end: no more results will be added."""
        self._ended = True
        self._news.set()

    async def get(self) -> RowResult | None:
        """The next result; None when all were read and no more will come."""
        while not self._results:
            self._room.set()
            if self._ended:
                return None
            self._news.clear()
            await self._news.wait()
        return self._results.popleft()
