"""What a limiter foresees for one more call, so that limiters can be compared."""

from __future__ import annotations

import asyncio
import math

import pytest

from callgate.policies.limit.limiter import Limiter
from callgate.policies.limit.quota import Quota
from callgate.testing.clock import run_virtual


def test_an_unused_limiter_foresees_no_wait() -> None:
    assert Limiter(requests=Quota(1)).expected_wait() == 0.0


def test_a_call_that_can_never_be_admitted_would_wait_for_ever() -> None:
    async def main() -> None:
        limiter = Limiter(tokens=Quota(100))
        assert limiter.expected_wait(101.0) == math.inf, "before a loop has used it"
        limiter.try_acquire(60.0)
        assert limiter.expected_wait(101.0) == math.inf
        assert limiter.expected_wait(100.0) < 61.0

    run_virtual(main())


def test_what_it_foresees_for_a_rate_comes_true() -> None:
    async def main() -> None:
        limiter = Limiter(tokens=Quota(100, 10.0, 100))
        lease = limiter.try_acquire(80)
        assert lease is not None
        assert limiter.expected_wait(20) == 0.0
        wait = limiter.expected_wait(50)
        assert wait > 0.0
        await limiter.acquire(50)
        assert asyncio.get_running_loop().time() == pytest.approx(wait)

    run_virtual(main())


def test_those_in_line_come_first() -> None:
    async def main() -> None:
        limiter = Limiter(requests=Quota(1, 1.0))
        limiter.try_acquire()
        alone = limiter.expected_wait()
        waiting = asyncio.ensure_future(limiter.acquire())
        await asyncio.sleep(0)
        assert limiter.expected_wait() > alone
        waiting.cancel()
        await asyncio.wait([waiting])

    run_virtual(main())


def test_a_pause_is_waited_out() -> None:
    async def main() -> None:
        limiter = Limiter()
        limiter.try_acquire()
        limiter.pause_until(asyncio.get_running_loop().time() + 30.0)
        assert limiter.expected_wait() == 30.0

    run_virtual(main())


def test_where_calls_at_once_are_the_limit_the_longer_line_is_worse() -> None:
    async def main() -> None:
        small, large = Limiter(concurrency=1), Limiter(concurrency=10)
        for limiter, calls in ((small, 1), (large, 10)):
            for _ in range(calls):
                assert limiter.try_acquire() is not None
        assert small.expected_wait() > large.expected_wait() > 0.0
        waiting = [asyncio.ensure_future(large.acquire()) for _ in range(20)]
        await asyncio.sleep(0)
        assert large.expected_wait() > small.expected_wait()
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)

    run_virtual(main())
