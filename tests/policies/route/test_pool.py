"""A pool by itself: which endpoint takes an attempt, and when a call in its queue is looked at again."""

from __future__ import annotations

import asyncio

import pytest

from callgate.call.calling import Calling
from callgate.errors import QuotaTooSmallError
from callgate.policies.limit.limiter import Limiter
from callgate.policies.limit.quota import Quota
from callgate.policies.route.pool import Pool
from callgate.policies.route.state import Route
from callgate.testing.clock import run_virtual
from tests.policies.route.fake_target import FakeTarget


class Dear(FakeTarget):
    """An endpoint at which a call costs 60 tokens, whatever it costs elsewhere."""

    def tokens(self, calling: Calling) -> float:
        return 60.0


def call_through(pool: Pool) -> Calling:
    calling = Calling({}, num_api_tokens_needed=30.0)
    calling.route = Route([pool])
    return calling


def start(pool: Pool) -> float:
    now = asyncio.get_running_loop().time
    pool.restart(now)
    return now()


def test_a_call_that_is_dearer_at_the_endpoint_with_room_waits_until_it_fits_there() -> None:
    async def main() -> None:
        dear = Dear("dear", Limiter(tokens=Quota(100, 60.0)))
        full = FakeTarget("full", Limiter(tokens=Quota(100, 6000.0)))
        pool = Pool("both", [full, dear])
        began = start(pool)
        dear.gate.grant(50.0, began).release()  # there is room for 30 tokens, and not for 60
        full.gate.grant(100.0, began).release()
        response = await pool.call(call_through(pool))
        assert response.text == "from dear"
        assert asyncio.get_running_loop().time() - began == pytest.approx(60.0, rel=0.01)

    run_virtual(main())


def test_a_call_that_fits_at_no_endpoint_is_refused_at_once() -> None:
    async def main() -> None:
        small = FakeTarget("small", Limiter(tokens=Quota(20, 60.0)))
        pool = Pool("both", [small, Dear("dear", Limiter(tokens=Quota(50, 60.0)))])
        start(pool)
        with pytest.raises(QuotaTooSmallError):
            await pool.call(call_through(pool))

    run_virtual(main())


def test_a_call_without_an_attempt_is_kept_from_no_endpoint() -> None:
    async def main() -> None:
        pool = Pool("one", [FakeTarget("one")])
        now = start(pool)
        calling = call_through(pool)
        pool.close(calling.route, now + 5.0)
        assert calling.route.closed == {}

    run_virtual(main())
