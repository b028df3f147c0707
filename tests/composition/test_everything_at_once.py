"""Calls of every kind, abandoned, cancelled and closed at random moments: each ends and leaves nothing."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing, suppress
from typing import Any

import pytest

from callgate.call.calling import Calling
from callgate.errors import CallgateError, RateLimitError, ServerError
from callgate.model.base import Caller
from callgate.model.model import iModel
from callgate.model.spread import Spread
from callgate.policies.cache.memory import MemoryCache
from callgate.policies.observe.hooks import HookPhase, HookRegistry
from callgate.policies.retry.config import RetryConfig
from callgate.response import Delta, Response, StreamChunk, Usage
from callgate.testing.clock import run_virtual
from tests.composition.scripted_model import assert_nothing_left, breaker
from tests.policies.scripted_service import now

SEEDS = 60
TROUBLE = (CallgateError, TimeoutError, RuntimeError, KeyError, ValueError)


class RandomBackend:
    """A backend that answers, fails, hangs, runs far ahead of its reader, or will not be cancelled."""

    def __init__(self, name: str, rng: random.Random) -> None:
        self.name = name
        self.retry_config = RetryConfig(max_retries=2)
        self.timeout = rng.choice([None, 3.0])
        self.circuit_breaker = breaker(recovery_time=5.0) if rng.random() < 0.5 else None
        self._rng = rng

    async def call(self, calling: Calling) -> Response:
        rng = self._rng
        await asyncio.sleep(rng.choice([0.0, 4.0 * rng.random()]))
        for number in range(rng.choice([0, 2, 5, 400])):
            await calling.emit(Delta(str(number)))
            await asyncio.sleep(rng.choice([0.0, 0.0, 0.0, rng.random()]))
        match rng.randrange(12):
            case 0:
                raise ServerError("down", status_code=500)
            case 1:
                raise RateLimitError("slowly", status_code=429, retry_after=rng.choice([None, 1.0, 500.0]))
            case 2:
                raise KeyError("a bug")
            case 3:
                await self._resist()
        return Response(text="fine", usage=Usage(3, 4))

    async def _resist(self) -> None:
        try:
            await asyncio.sleep(5.0)
        except asyncio.CancelledError:
            if self._rng.random() < 0.5:
                raise ValueError("lost the way") from None


class RandomLoad:
    """Users of one model, each of whom does something with it at a random moment."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.parts: list[iModel] = []
        self.callings: list[Calling] = []
        self.model = self._make_model()

    def _make_model(self) -> Caller:
        match self._rng.randrange(3):
            case 0:
                return Spread([self._part("a"), self._part("b")])
            case 1:
                return self._part("first", fallbacks=[self._part("second")])
        return self._part("only")

    def _part(self, name: str, **settings: Any) -> iModel:
        rng = self._rng
        made = iModel(
            backend=RandomBackend(name, rng),
            limit_concurrency=rng.choice([None, 1, 3, "auto"]),
            limit_requests=rng.choice([None, 300]),
            limit_tokens=rng.choice([None, 2000]),
            queue_capacity=rng.choice([1, 3, 100]),
            hook_registry=rng.choice([None, HookRegistry(dict.fromkeys(HookPhase, self._hook))]),
            cache=rng.choice([None, MemoryCache()]),
            hedge=rng.choice([None, 0.3]),
            **settings,
        )
        self.parts.append(made)
        return made

    async def _hook(self, event: Calling) -> None:
        await asyncio.sleep(self._rng.choice([0.0, 0.0, 2.0 * self._rng.random()]))
        if self._rng.random() < 0.03:
            raise RuntimeError("a hook's own")

    async def use(self) -> None:
        """One user's call. Whatever becomes of it, the user's own task goes on undisturbed."""
        rng = self._rng
        await asyncio.sleep(8.0 * rng.random())
        with suppress(*TROUBLE):
            async with asyncio.timeout(rng.choice([None, 4.0 * rng.random()])):
                await rng.choice([self._invoke, self._submit, self._stream, self._share])(
                    prompt=str(rng.randrange(5)),
                    poll_timeout=rng.choice([None, 6.0 * rng.random()]),
                    timeout=rng.choice([None, 3.0 * rng.random()]),
                    num_api_tokens_needed=rng.choice([0, 10, 5000]),
                )
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    def _know(self, calling: Calling) -> Calling:
        self.callings.append(calling)
        if self._rng.random() < 0.5:
            asyncio.get_running_loop().call_later(5.0 * self._rng.random(), calling.cancel)
        return calling

    async def _invoke(self, **request: Any) -> None:
        await self.model.invoke(self._know(await self.model.create_calling(**request)))

    async def _submit(self, **request: Any) -> None:
        await self._know(self.model.submit(**request))

    async def _stream(self, **request: Any) -> None:
        async with aclosing(self.model.invoke_stream(**request)) as chunks:
            async for _ in chunks:
                await asyncio.sleep(self._rng.choice([0.0, self._rng.random()]))
                if self._rng.random() < 0.1:
                    break

    async def _share(self, **request: Any) -> None:
        channel = await self.model.invoke_stream_with_channel(**request)
        self._know(channel.calling)

        async def consume(chunk: StreamChunk) -> None:
            await asyncio.sleep(self._rng.choice([0.0, self._rng.random()]))
            match self._rng.randrange(50):
                case 0:
                    raise ValueError("a consumer's own")
                case 1:
                    await channel.close()

        channel.add_consumer(consume)
        try:
            async for _ in channel:
                if self._rng.random() < 0.1:
                    break
        finally:
            await channel.close()

    async def end(self) -> None:
        """Close the model: when all is done, in the middle of it and impatiently, or by an error."""
        match self._rng.randrange(3):
            case 0:
                await asyncio.sleep(60.0)
            case 1:
                await asyncio.sleep(4.0)
                with suppress(TimeoutError):
                    async with asyncio.timeout(2.0):
                        await self.model.close()
            case 2:
                with suppress(KeyError):
                    async with self.model:
                        await asyncio.sleep(4.0)
                        raise KeyError("the program's own")
        await self.model.close()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_call_ends_and_nothing_is_left(seed: int) -> None:
    async def main() -> None:
        told: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        load = RandomLoad(random.Random(seed))
        users = [asyncio.ensure_future(load.use()) for _ in range(25)]
        await load.end()
        await asyncio.gather(*users)
        for part in load.parts:
            await part.close()
        assert [each for each in load.callings if not each.done and each.status.value != "pending"] == []
        for part in load.parts:
            await assert_nothing_left(part)
        assert told == [], f"after {now()} s"

    run_virtual(main())
