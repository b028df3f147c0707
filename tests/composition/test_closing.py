"""Closing a model ends calls in flight, then what it owns, also after an interrupted close."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from callgate.model.model import iModel
from callgate.model.spread import Spread
from callgate.testing.clock import run_virtual
from tests.composition.scripted_model import assert_nothing_left, make_model
from tests.policies.scripted_service import After, now

HOUR = 3600.0


class CountingStore:
    """A cache store that counts how often it was closed."""

    def __init__(self) -> None:
        self.closed = 0

    def get(self, key: Any) -> None:
        return None

    async def put(self, key: Any, response: Any) -> None:
        pass

    async def close(self) -> None:
        self.closed += 1


def owning(*steps: Any) -> tuple[iModel, Any, CountingStore]:
    """A model with a store that it closes, as it does one that it has opened itself."""
    store = CountingStore()
    model, backend = make_model(*steps, model={"cache": store})
    model._owns_cache = True
    return model, backend, store


def test_an_interrupted_close_can_be_repeated() -> None:
    model, _, store = owning(After(10, "fine"))

    async def main() -> None:
        calling = model.submit(prompt="x")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await model.close()
        assert store.closed == 0
        await model.close()
        assert (now(), calling.response.text, store.closed) == (10.0, "fine", 1)
        await model.close()
        assert store.closed == 1
        await assert_nothing_left(model)

    run_virtual(main())


def test_concurrent_closes_wait_for_the_same_end() -> None:
    model, _, store = owning(After(10, "fine"))

    async def main() -> None:
        model.submit(prompt="x")
        first = asyncio.ensure_future(model.close())
        await asyncio.sleep(1)
        await model.close()
        assert (now(), store.closed) == (10.0, 1)
        await first
        with pytest.raises(RuntimeError, match="closed"):
            await model.invoke(prompt="y")

    run_virtual(main())


def test_leaving_with_an_error_cancels_what_an_interrupted_close_was_waiting_for() -> None:
    model, backend, store = owning(After(HOUR, "late"))

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with model:
                calling = model.submit(prompt="x")
                async with asyncio.timeout(1):
                    await model.close()
        assert (now(), calling.cancelled, store.closed) == (1.0, True, 1)
        await assert_nothing_left(model)

    run_virtual(main())
    assert backend.cancelled == 1


def test_what_cannot_be_closed_leaves_nothing_else_open() -> None:
    model, backend, store = owning("fine")

    async def broken() -> None:
        raise OSError("the socket is gone")

    async def main() -> None:
        backend.close = broken
        model._owns_backend = True
        with pytest.raises(OSError, match="gone"):
            await model.close()
        assert store.closed == 1

    run_virtual(main())


def test_a_model_of_a_spread_that_cannot_be_closed_leaves_the_others_closed() -> None:
    first, backend, _ = owning("fine")
    second, _, store = owning("fine")

    async def broken() -> None:
        raise OSError("the socket is gone")

    async def main() -> None:
        backend.close = broken
        first._owns_backend = True
        with pytest.raises(OSError, match="gone"):
            async with Spread([first, second]):
                pass
        assert store.closed == 1

    run_virtual(main())
