"""Services that do as they are told, for layers to stand around."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from callgate.call.calling import Calling
from callgate.pipeline import Service
from callgate.response import Delta, Response

__all__ = ["After", "Scripted", "Streamed", "calling", "ended", "now"]


@dataclass(frozen=True, slots=True)
class After:
    """Take this many seconds, then do the step."""

    seconds: float
    step: Any


@dataclass(frozen=True, slots=True)
class Streamed:
    """Deliver these pieces, then do the step."""

    pieces: tuple[str, ...]
    step: Any


class Scripted:
    """A service that takes one step a call: a text or Response is the answer, an exception is raised.

    The last step is taken for ever. `at` has the moment of each call, `cancelled` how many were cut off.
    """

    name = "scripted"

    def __init__(self, *steps: Any) -> None:
        self._steps = list(steps)
        self.at: list[float] = []
        self.callings: list[Calling] = []
        self.payloads: list[Any] = []
        self.running = 0
        self.most_running = 0
        self.cancelled = 0

    async def __call__(self, calling: Calling) -> Response:
        step = self._steps.pop(0) if len(self._steps) > 1 else self._steps[0]
        self.at.append(now())
        self.callings.append(calling)
        self.payloads.append(calling.payload)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            return await self._do(step, calling)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    call = __call__  # as a backend of iModel

    async def _do(self, step: Any, calling: Calling) -> Response:
        if isinstance(step, After):
            await asyncio.sleep(step.seconds)
            return await self._do(step.step, calling)
        if isinstance(step, Streamed):
            for piece in step.pieces:
                await calling.emit(Delta(piece))
            return await self._do(step.step, calling)
        if isinstance(step, BaseException):
            raise step
        return step if isinstance(step, Response) else Response(text=step)


def now() -> float:
    """The running loop's time."""
    return asyncio.get_running_loop().time()


def calling(**settings: Any) -> Calling:
    """A calling made now."""
    return Calling(settings.pop("payload", {"messages": []}), now=now(), **settings)


async def ended(service: Service, call: Calling) -> Response | BaseException:
    """What a call ends in: its response or its error."""
    making = service(call)
    assert isinstance(making, Coroutine)
    task = asyncio.get_running_loop().create_task(making)
    call.bind(task)
    await asyncio.wait([task])
    if task.cancelled():
        return asyncio.CancelledError()
    return task.exception() or task.result()
