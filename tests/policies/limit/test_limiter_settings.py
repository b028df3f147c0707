"""A limiter whose limits change: set by the user, told by the provider, found by trying."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from callgate.errors import QuotaTooSmallError
from callgate.policies.limit.adaptive import AdaptiveConcurrency
from callgate.policies.limit.lease import Lease
from callgate.policies.limit.limiter import Limiter
from callgate.policies.limit.quota import Quota, QuotaNews
from callgate.policies.limit.snapshot import RateSnapshot
from callgate.testing.clock import VirtualClock, run_virtual


def start(limiter: Limiter, tokens: float = 0.0, **kwargs: Any) -> asyncio.Task[Lease]:
    return asyncio.get_running_loop().create_task(limiter.acquire(tokens, **kwargs))


def requests(limiter: Limiter) -> RateSnapshot:
    state = limiter.snapshot().requests
    assert state is not None
    return state


class TestByTheUser:
    def test_a_larger_quota_admits_waiting_calls(self) -> None:
        async def main() -> None:
            limiter = Limiter(requests=Quota(1, 3600.0))
            await limiter.acquire()
            waiting = start(limiter)
            await asyncio.sleep(10)
            limiter.set_quota("requests", Quota(100, 1.0))
            assert (await waiting).granted_at < 10.1

        run_virtual(main())

    def test_no_quota_lets_all_go(self) -> None:
        async def main() -> None:
            limiter = Limiter(requests=Quota(1, 3600.0), tokens=Quota(10))
            waiting = [start(limiter) for _ in range(5)]
            await asyncio.sleep(10)
            limiter.set_quota("requests", None)
            leases = await asyncio.gather(*waiting)
            assert [lease.granted_at for lease in leases] == [0.0, 10.0, 10.0, 10.0, 10.0]
            assert limiter.snapshot().requests is None
            for lease in leases:
                lease.refund()  # also what was charged under the quota that is gone

        run_virtual(main())

    def test_a_quota_set_later_holds_from_then_on(self) -> None:
        async def main() -> None:
            limiter = Limiter()
            lease = await limiter.acquire(1000)
            limiter.set_quota("tokens", Quota(100, 1.0))
            lease.settle(5)  # was not charged here, and gives nothing
            state = limiter.snapshot().tokens
            assert state is not None
            assert (state.level, state.used) == (100, 0)

        run_virtual(main())

    def test_a_quota_that_has_become_too_small_fails_the_call_that_waits_and_not_the_next(self) -> None:
        async def main() -> None:
            limiter = Limiter(tokens=Quota(100, 1.0))
            await limiter.acquire(100)
            large, small = start(limiter, 80), start(limiter, 8)
            await asyncio.sleep(0.5)
            limiter.set_quota("tokens", Quota(10, 1.0))
            with pytest.raises(QuotaTooSmallError):
                await large
            assert (await small).granted_at == pytest.approx(1.01)

        run_virtual(main())

    def test_concurrency_changed_while_calls_wait(self) -> None:
        async def main() -> None:
            limiter = Limiter(concurrency=1)
            waiting = [start(limiter) for _ in range(4)]
            await asyncio.sleep(0)
            limiter.set_concurrency(3)
            assert limiter.in_flight == 3
            limiter.set_concurrency(1)
            assert limiter.snapshot().concurrency == 1
            assert limiter.bottleneck == "concurrency"
            limiter.set_concurrency(None)
            assert len(await asyncio.gather(*waiting)) == 4

        run_virtual(main())


class TestByTheProvider:
    def test_a_limit_is_adopted_where_none_was_set(self) -> None:
        async def main() -> None:
            limiter = Limiter()
            limiter.learn(QuotaNews("requests", limit=600, period=60.0))
            limiter.learn(QuotaNews("tokens", limit=9_000))
            state = limiter.snapshot()
            assert state.requests is not None
            assert state.tokens is not None
            assert (state.requests.quota, state.requests.learned) == (Quota(600, 60.0), True)
            assert state.tokens.quota == Quota(9_000, 60.0)
            limiter.learn(QuotaNews("requests", limit=900, period=60.0))
            assert requests(limiter).quota == Quota(900, 60.0)

        run_virtual(main())

    @pytest.mark.parametrize("limit", [None, 0, -1, math.nan, math.inf])
    def test_a_limit_that_is_none_is_no_news(self, limit: float | None) -> None:
        async def main() -> None:
            limiter = Limiter()
            limiter.learn(QuotaNews("requests", limit=limit, remaining=0, period=60.0))
            assert limiter.snapshot().requests is None

        run_virtual(main())

    @pytest.mark.parametrize("period", [None, 0.0, math.nan, math.inf])
    def test_a_reported_limit_without_a_period_has_that_of_the_user(self, period: float | None) -> None:
        async def main() -> None:
            limiter = Limiter(requests=Quota(10, 1.0))
            limiter.learn(QuotaNews("requests", limit=5, period=period))
            assert requests(limiter).quota == Quota(5, 1.0)

        run_virtual(main())

    def test_the_users_own_tighter_limit_stays(self) -> None:
        async def main() -> None:
            limiter = Limiter(requests=Quota(100, 60.0))
            limiter.learn(QuotaNews("requests", limit=6_000, period=60.0))
            assert requests(limiter) == RateSnapshot(Quota(100, 60.0), False, 10.0, 0.0)
            assert len(limiter._rates.requests) == 1  # whoever keeps the one keeps the other
            limiter.learn(QuotaNews("requests", limit=60, period=60.0))
            assert (requests(limiter).quota, requests(limiter).learned) == (Quota(60, 60.0), True)
            limiter.set_quota("requests", Quota(30, 60.0))
            assert (requests(limiter).quota, requests(limiter).learned) == (Quota(30, 60.0), False)

        run_virtual(main())

    def test_where_neither_limit_implies_the_other_both_are_kept(self) -> None:
        async def main() -> None:
            limiter = Limiter(requests=Quota(10, 1.0))
            limiter.learn(QuotaNews("requests", limit=300, period=60.0))
            leases = await asyncio.gather(*(limiter.acquire() for _ in range(400)))
            times = [lease.granted_at for lease in leases]
            assert sum(at <= 1.0 for at in times) == 10
            assert sum(at <= 60.0 for at in times) == 300

        run_virtual(main())

    def test_a_new_limit_admits_waiting_calls(self) -> None:
        async def main() -> None:
            limiter = Limiter()
            limiter.learn(QuotaNews("requests", limit=1, period=3600.0))
            await limiter.acquire()
            waiting = start(limiter)
            await asyncio.sleep(1)
            limiter.learn(QuotaNews("requests", limit=100, period=1.0))
            assert (await waiting).granted_at < 1.1

        run_virtual(main())

    def test_what_remained_less_what_was_sent_since_is_what_is_left(self) -> None:
        async def main() -> None:
            limiter = Limiter(requests=Quota(100, 1.0))
            lease = await limiter.acquire()
            for _ in range(9):
                await limiter.acquire()
            limiter.learn(QuotaNews("requests", remaining=30), lease)
            assert requests(limiter).level == 21
            limiter.learn(QuotaNews("requests", remaining=99), lease)
            assert requests(limiter).level == 21  # news never loosen
            limiter.learn(QuotaNews("requests", remaining=5))
            assert requests(limiter).level == 5  # no call to reckon from

        run_virtual(main())

    def test_tokens_are_reckoned_from_the_same_moment(self) -> None:
        async def main() -> None:
            limiter = Limiter(tokens=Quota(1000, 1.0))
            lease = await limiter.acquire(100)
            (await limiter.acquire(300)).settle(50)
            limiter.learn(QuotaNews("tokens", remaining=500), lease)
            state = limiter.snapshot().tokens
            assert state is not None
            assert state.level == 450

        run_virtual(main())

    def test_what_remains_is_said_of_the_providers_window_where_there_are_two(self) -> None:
        async def main() -> None:
            limiter = Limiter(requests=Quota(10, 1.0))
            limiter.learn(QuotaNews("requests", limit=300, period=60.0))
            lease = await limiter.acquire()
            await limiter.acquire()
            limiter.learn(QuotaNews("requests", limit=300, remaining=5, period=60.0), lease)
            assert (requests(limiter).level, requests(limiter).learned) == (4, True)

        run_virtual(main())

    def test_answers_that_were_overtaken_by_newer_ones_are_dropped(self) -> None:
        async def main() -> None:
            limiter = Limiter(requests=Quota(100, 1.0))
            old, new = await limiter.acquire(), await limiter.acquire()
            limiter.learn(QuotaNews("requests", remaining=40), new)
            limiter.learn(QuotaNews("requests", limit=7, remaining=0), old)
            assert (requests(limiter).level, requests(limiter).quota.rate) == (40, 100)

        run_virtual(main())

    def test_news_of_a_window_younger_than_the_call_count_all_that_it_was_charged(self) -> None:
        async def main() -> None:
            limiter = Limiter()
            lease = await limiter.acquire()
            limiter.learn(QuotaNews("requests", limit=50, period=1.0))
            for _ in range(3):
                await limiter.acquire()
            limiter.learn(QuotaNews("requests", limit=50, remaining=20, period=1.0), lease)
            assert requests(limiter).level == 17

        run_virtual(main())

    def test_slow_answers_under_full_load_do_not_look_like_a_quota_used_up(self) -> None:
        """A sliding provider window has a remainder near 0 under full load, and frees as fast as we send."""

        async def main() -> None:
            limiter = Limiter(requests=Quota(600, 60.0))
            sent: list[float] = []

            async def call() -> None:
                lease = await limiter.acquire()
                sent.append(lease.granted_at)
                left = 600 - sum(at > lease.granted_at - 60.0 for at in sent)
                await asyncio.sleep(20)
                limiter.learn(QuotaNews("requests", 600, left, 60.0, 60.0), lease)
                lease.release()

            await asyncio.gather(*(call() for _ in range(3000)))
            # Five windows of 60.24 s with 600 in each; the last of them within its first 55 s.
            assert sent[-1] < 4 * 60.24 + 55.5

        run_virtual(main())


class TestByTrying:
    def test_the_adaptive_limit_rules_within_the_users(self) -> None:
        async def main() -> None:
            limiter = Limiter(concurrency=3, adaptive=AdaptiveConcurrency(start=2))
            leases = [await limiter.acquire() for _ in range(2)]
            waiting = [start(limiter) for _ in range(3)]
            await asyncio.sleep(0)
            assert limiter.snapshot().concurrency == 2
            await asyncio.sleep(1)
            for _ in range(10):
                limiter.succeeded(leases[0], first_byte=0.1)
            assert limiter.snapshot().concurrency == 3
            assert limiter.in_flight == 3
            limiter.pushed_back(leases[1])
            assert limiter.snapshot().concurrency == 2
            for task in waiting:
                task.cancel()

        run_virtual(main())

    def test_without_it_the_signals_do_nothing(self) -> None:
        async def main() -> None:
            limiter = Limiter(concurrency=3)
            lease = await limiter.acquire()
            limiter.succeeded(lease)
            limiter.pushed_back(lease)
            assert limiter.snapshot().concurrency == 3

        run_virtual(main())


class TestLoops:
    def test_a_second_open_loop_is_refused(self) -> None:
        limiter = Limiter(name="one")
        other = asyncio.new_event_loop()
        try:
            other.run_until_complete(limiter.acquire())
            with pytest.raises(RuntimeError, match="'one' belongs to another event loop"):
                run_virtual(limiter.acquire())
        finally:
            other.close()

    def test_uvloop_whose_handles_of_times_that_are_due_are_no_timers(self) -> None:
        uvloop = pytest.importorskip("uvloop")
        limiter = Limiter(concurrency=5, requests=Quota(10, 0.002))

        async def call() -> None:
            lease = await limiter.acquire()
            await asyncio.sleep(0)
            lease.release()

        async def main() -> None:
            await asyncio.gather(*(call() for _ in range(500)))

        uvloop.run(main())
        assert (limiter.waiting, limiter.in_flight) == (0, 0)

    def test_outside_of_a_loop_there_is_no_lease(self) -> None:
        with pytest.raises(RuntimeError):
            Limiter().try_acquire()

    def test_the_next_loop_takes_over_with_what_was_used(self) -> None:
        clock = VirtualClock()
        limiter = Limiter(requests=Quota(10, 1.0, capacity=10))

        async def main() -> float:
            return (await limiter.acquire(deadline=100.0)).granted_at

        times = [clock.run(main()) for _ in range(12)]
        assert times == [0.0] * 10 + [pytest.approx(1.004)] * 2

    def test_a_loop_with_a_clock_of_its_own_starts_afresh(self) -> None:
        limiter = Limiter(requests=Quota(2, 3600.0), tokens=Quota(9))

        async def main() -> float:
            return (await limiter.acquire()).granted_at

        limiter.pause_until(6000.0)
        assert [run_virtual(main(), start=5000.0 - since) for since in (0, 1, 2, 3)] == [
            6000.0,
            4999.0,
            4998.0,
            4997.0,
        ]
        assert requests(limiter).quota == Quota(2, 3600.0)

    def test_calls_that_waited_in_a_closed_loop_are_dropped(self) -> None:
        clock = VirtualClock()
        limiter = Limiter(concurrency=1)

        async def main() -> None:
            await limiter.acquire()
            start(limiter)
            await asyncio.sleep(0)

        loop = clock.new_event_loop()
        loop.run_until_complete(main())
        tasks = asyncio.all_tasks(loop)
        loop.close()

        async def look() -> tuple[int, bool]:
            refused = limiter.try_acquire() is None  # the lease of the closed loop was never given back
            return limiter.waiting, refused

        waiting = clock.run(look())
        for task in tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # we left it so on purpose
        assert waiting == (0, True)

    def test_a_timer_of_a_closed_loop_is_replaced(self) -> None:
        clock = VirtualClock()
        limiter = Limiter(requests=Quota(1, 60.0))

        async def leave_one_waiting() -> None:
            await limiter.acquire()
            start(limiter)
            await asyncio.sleep(0)

        loop = clock.new_event_loop()
        loop.run_until_complete(leave_one_waiting())
        tasks = asyncio.all_tasks(loop)
        loop.close()
        lease = clock.run(limiter.acquire())  # in line for the same moment
        for task in tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # we left it so on purpose
        assert 60.0 <= lease.granted_at < 61.0


def test_what_there_is_to_see() -> None:
    fresh = Limiter(requests=Quota(10, 1.0), name="api")
    assert repr(fresh) == "<Limiter 'api': 0 in flight, 0 of 10 requests in 1 s>"

    async def main() -> None:
        limiter = Limiter(concurrency=5, requests=Quota(2, 1.0), tokens=Quota(1000, 1.0), name="api")
        leases = [await limiter.acquire(50) for _ in range(2)]
        waiting = start(limiter, 50)
        await asyncio.sleep(0)
        assert repr(limiter) == (
            "<Limiter 'api': 2 of 5 in flight, 2 of 2 requests in 1 s, 100 of 1000 tokens in 1 s, "
            "1 waiting (requests)>"
        )
        assert limiter.bottleneck == "requests"
        (await waiting).release()
        waiting = start(limiter, 960)
        await asyncio.sleep(0)
        assert limiter.bottleneck == "tokens"
        waiting.cancel()
        await asyncio.sleep(0)
        assert limiter.bottleneck is None
        for lease in leases:
            lease.release()
        assert limiter.snapshot().in_flight == 0

    run_virtual(main())
