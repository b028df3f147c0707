"""The common part of deadline and timeout."""

from __future__ import annotations

import asyncio

import pytest

from callgate.policies.timeout.time_limit import Bounded, time_limit
from callgate.testing.clock import run_virtual
from tests.composition.scripted_model import timers
from tests.policies.scripted_service import After, Scripted, calling, now


class LateError(Exception):
    """The error of these limits."""


def limit() -> Bounded:
    return time_limit(lambda _, seconds: LateError(f"more than {seconds:g} s"), from_now=True)


def test_a_call_over_its_limit_is_cancelled_and_raises_the_given_error() -> None:
    async def main() -> None:
        service = Scripted(After(10, "late"))
        with pytest.raises(LateError, match="more than 3 s"):
            await limit()(service, calling(), 3.0)
        assert (now(), service.cancelled) == (3.0, 1)

    run_virtual(main())


def test_a_call_within_its_limit_returns_and_leaves_no_timer() -> None:
    async def main() -> None:
        assert (await limit()(Scripted(After(2, "ok")), calling(), 3.0)).text == "ok"
        await asyncio.sleep(10)
        assert timers() == 0

    run_virtual(main())


def test_a_cancellation_from_outside_stays_one() -> None:
    async def main() -> None:
        task = asyncio.ensure_future(limit()(Scripted(After(10, "late")), calling(), 30.0))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtual(main())


def test_many_calls_share_one_timer() -> None:
    async def main() -> None:
        bounded = limit()
        calls = [asyncio.ensure_future(_outcome(bounded, seconds)) for seconds in (1.0, 2.0, 3.0)]
        await asyncio.sleep(0.5)
        assert timers() == 1 + 3  # and the services' own
        assert await asyncio.gather(*calls) == [1.0, 2.0, 3.0]

    run_virtual(main())


async def _outcome(bounded: Bounded, seconds: float) -> float:
    with pytest.raises(LateError):
        await bounded(Scripted(After(60, "late")), calling(), seconds)
    return now()
