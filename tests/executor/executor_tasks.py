"""Tasks and services to give an executor, and what it shows of itself while it works."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from callgate.executor.executor import Executor
from callgate.pipeline import Layers, pipeline
from callgate.policies.observe.layer import observe_layer
from callgate.policies.timeout.deadline import deadline_layer
from tests.policies.scripted_service import Scripted, now

__all__ = ["answering", "executor_service", "unlimited", "when_promised"]


def answering(
    answer: Any = "ok", *, seconds: float = 0.0, log: list[float] | None = None
) -> Callable[..., Any]:
    async def task() -> Any:
        if log is not None:
            log.append(now())
        await asyncio.sleep(seconds)
        return answer

    return task


def when_promised(executor: Executor, action: Callable[[], Any]) -> None:
    """Act in the turn of the loop in which room is promised to a submitter who has not run since."""

    def look() -> None:
        if executor._promised:
            action()
        else:
            asyncio.get_running_loop().call_soon(look)

    look()


def unlimited(**settings: Any) -> Executor:
    """An executor without limits, unless told."""
    return Executor(**{"concurrency_limit": None, "requests_rate": None, **settings})


def executor_service(executor: Executor, backend: Scripted) -> Any:
    """A service behind the executor's limiter, as a model has it."""
    return pipeline(
        backend,
        Layers(observe=observe_layer(now), deadline=deadline_layer(), limit=executor._layers.limit),
    )
