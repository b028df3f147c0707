"""Tasks to give an executor, and an independent look at when they ran."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from callgate import RequestStatus

__all__ = ["ENDED", "Task", "answering", "most_in_a_window", "raising", "settle"]

Task = Callable[[], Awaitable[Any]]
ENDED = (RequestStatus.COMPLETED, RequestStatus.FAILED)


def answering(answer: Any = (200, {}, "ok"), *, seconds: float = 0.0, log: list[float] | None = None) -> Task:
    """A task that takes `seconds` and gives `answer`; `log` takes the moment of its start."""

    async def task() -> Any:
        if log is not None:
            log.append(asyncio.get_running_loop().time())
        await asyncio.sleep(seconds)
        return answer

    return task


def raising(error: BaseException) -> Task:
    async def task() -> Any:
        raise error

    return task


def most_in_a_window(moments: Sequence[float], period: float, costs: Sequence[float] | None = None) -> float:
    """The largest sum of costs (1 each unless told) in any window of one period that begins with an event."""
    costs = costs or [1] * len(moments)
    return max(
        sum(cost for moment, cost in zip(moments, costs, strict=True) if start <= moment < start + period)
        for start in moments
    )


async def settle() -> None:
    """Let everything run that is ready now."""
    for _ in range(20):
        await asyncio.sleep(0)
