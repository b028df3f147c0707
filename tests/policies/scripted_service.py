"""A service that follows a script, for tests of the layers around it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from callgate.call.calling import Calling
from callgate.pipeline import Service
from callgate.response import Delta, Response

__all__ = ["After", "Scripted", "Streamed", "calling", "now", "result_of"]


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
    """A service that takes one step per call: a text or Response is returned, an exception is raised.

    The last step repeats. `at` holds the time of each call, `cancelled` the number of cancelled calls.
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


def attempted(service: Service) -> Service:
    """The service with its attempts recorded, as the limit layer records them."""

    async def call(calling: Calling) -> Response:
        attempt = calling.begin_attempt("backend", now())
        try:
            response = await service(calling)
        except BaseException as error:
            attempt.fail(error, now())
            raise
        attempt.succeed(response, now())
        return response

    return call


def errors(calling: Calling) -> list[BaseException]:
    """Errors of the call's attempts in their order, without those that were cancelled."""
    return [each.error for each in calling.attempts if each.error is not None and not each.cancelled]


def hedges(calling: Calling) -> int:
    """How many of its attempts were hedges."""
    return sum(attempt.hedge for attempt in calling.attempts)


def now() -> float:
    """The running loop's time."""
    return asyncio.get_running_loop().time()


def calling(**settings: Any) -> Calling:
    """A `Calling` created at the loop's current time."""
    return Calling(settings.pop("payload", {"messages": []}), now=now(), **settings)


async def result_of(service: Service, call: Calling) -> Response | BaseException:
    """Make the call; returns its response or the error it raised."""
    making = service(call)
    assert isinstance(making, Coroutine)
    task = asyncio.get_running_loop().create_task(making)
    call.bind(task)
    await asyncio.wait([task])
    if task.cancelled():
        return asyncio.CancelledError()
    return task.exception() or task.result()
