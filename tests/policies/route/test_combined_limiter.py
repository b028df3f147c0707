"""Several limiters seen as one."""

from __future__ import annotations

from callgate.policies.limit.adaptive import AdaptiveConcurrency
from callgate.policies.limit.gate import Event
from callgate.policies.limit.limiter import Limiter
from callgate.policies.route.combined_limiter import CombinedLimiter
from callgate.policies.route.pool import Pool
from callgate.testing.clock import run_virtual
from tests.policies.route.fake_target import FakeTarget


def test_a_listener_hears_of_each_limiter_until_it_unsubscribes() -> None:
    async def main() -> None:
        limiters = [Limiter(), Limiter()]
        events: list[Event] = []
        targets = [FakeTarget("one", limiters[0]), FakeTarget("two", limiters[1])]
        unsubscribe = CombinedLimiter(Pool("both", targets)).subscribe(events.append)
        for limiter in limiters:
            (await limiter.acquire()).release()
        assert events == ["admitted", "changed"] * 2
        unsubscribe()
        await limiters[0].acquire()
        assert len(events) == 4

    run_virtual(main())


def test_an_expected_concurrency_is_shared_by_the_endpoints() -> None:
    limiters = [Limiter(adaptive=AdaptiveConcurrency(start=4)), Limiter(concurrency=3)]
    targets = [FakeTarget("one", limiters[0]), FakeTarget("two", limiters[1])]
    CombinedLimiter(Pool("both", targets)).expect(21)
    assert [limiter.snapshot().concurrency for limiter in limiters] == [11, 3]
