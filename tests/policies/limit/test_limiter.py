"""What a limiter promises to those who come, wait, leave and are turned away."""

from __future__ import annotations

import asyncio
import gc
import math
from collections.abc import Callable
from typing import Any

import pytest

from callgate.errors import (
    CallCancelledError,
    ConfigurationError,
    DeadlineExceededError,
    QuotaTooSmallError,
)
from callgate.policies.limit.gate import Event
from callgate.policies.limit.lease import Lease
from callgate.policies.limit.limiter import Limiter
from callgate.policies.limit.quota import Quota
from callgate.testing.clock import run_virtual


def now() -> float:
    return asyncio.get_running_loop().time()


def start(limiter: Limiter, tokens: float = 0.0, **kwargs: Any) -> asyncio.Task[Lease]:
    return asyncio.get_running_loop().create_task(limiter.acquire(tokens, **kwargs))


async def settled() -> None:
    """Let everything run that can run at this moment."""
    for _ in range(5):
        await asyncio.sleep(0)


class TestAdmission:
    def test_three_resources_are_taken_together_or_not_at_all(self) -> None:
        async def main() -> None:
            limiter = Limiter(concurrency=1, requests=Quota(10, 1.0), tokens=Quota(100, 1.0))
            assert limiter.try_acquire(101) is None
            state = limiter.snapshot()
            assert state.requests is not None
            assert (state.in_flight, state.requests.used) == (0, 0)
            lease = limiter.try_acquire(100)
            assert lease is not None
            assert limiter.try_acquire(0) is None
            lease.release()
            assert limiter.try_acquire(1) is None
            assert limiter.try_acquire(0) is not None

        run_virtual(main())

    def test_nothing_limited_admits_at_once(self) -> None:
        async def main() -> None:
            limiter = Limiter()
            leases = [await limiter.acquire(math.inf) for _ in range(3)]
            assert limiter.in_flight == 3
            assert [lease.order for lease in leases] == [1, 2, 3]
            assert limiter.snapshot().concurrency is None

        run_virtual(main())

    def test_a_smaller_call_does_not_overtake_a_large_one(self) -> None:
        async def main() -> None:
            limiter = Limiter(tokens=Quota(100, 1.0))
            await limiter.acquire(50)
            large, small = start(limiter, 90), start(limiter, 1)
            await settled()
            assert limiter.try_acquire(1) is None
            assert not small.done()
            first, second = await large, await small
            assert first.order < second.order
            assert first.granted_at <= second.granted_at

        run_virtual(main())

    def test_a_call_between_the_burst_and_the_window_is_not_starved(self) -> None:
        async def main() -> None:
            limiter = Limiter(tokens=Quota(6000, 60.0))  # bursts of 500
            stop = False

            async def small() -> None:
                while not stop:
                    (await limiter.acquire(20)).release()

            crowd = [asyncio.get_running_loop().create_task(small()) for _ in range(50)]
            await asyncio.sleep(90)
            begun = now()
            lease = await limiter.acquire(6000)
            stop = True
            assert lease.granted_at - begun < 2 * 60.24
            assert (await limiter.acquire(1)).granted_at - lease.granted_at > 55
            await asyncio.gather(*crowd)

        run_virtual(main())

    def test_a_returned_lease_goes_to_the_next_call_only(self) -> None:
        async def main() -> None:
            limiter = Limiter(concurrency=1)
            lease = await limiter.acquire()
            waiting = start(limiter)
            await settled()
            lease.release()
            assert limiter.in_flight == 1  # handed over before the other task has run
            assert limiter.try_acquire() is None
            (await waiting).release()
            assert limiter.in_flight == 0

        run_virtual(main())

    def test_release_counts_once(self) -> None:
        async def main() -> None:
            limiter = Limiter(concurrency=2)
            lease = await limiter.acquire()
            lease.release()
            lease.release()
            assert limiter.in_flight == 0

        run_virtual(main())

    @pytest.mark.parametrize("tokens", [-1.0, math.nan])
    def test_a_cost_that_is_none_is_refused(self, tokens: float) -> None:
        async def main() -> None:
            limiter = Limiter(concurrency=1)
            with pytest.raises(ConfigurationError, match="must be a number from 0"):
                limiter.try_acquire(tokens)
            await limiter.acquire()
            with pytest.raises(ConfigurationError, match="must be a number from 0"):
                await limiter.acquire(tokens)  # also when it would have to wait

        run_virtual(main())

    @pytest.mark.parametrize("tokens", [101, math.inf])
    def test_a_cost_over_the_whole_quota_is_refused_at_once(self, tokens: float) -> None:
        async def main() -> None:
            limiter = Limiter(tokens=Quota(100), name="small")
            limiter.check_fits(100)
            with pytest.raises(QuotaTooSmallError):
                limiter.check_fits(tokens)
            with pytest.raises(QuotaTooSmallError, match="'small' never admits more than 100") as caught:
                await limiter.acquire(tokens)
            assert caught.value.surely_unsent
            assert limiter.waiting == 0

        run_virtual(main())

    @pytest.mark.parametrize("concurrency", [0, -1, math.nan])
    def test_a_concurrency_below_one_is_refused(self, concurrency: Any) -> None:
        with pytest.raises(ConfigurationError, match="at least 1"):
            Limiter(concurrency=concurrency)


class TestRetries:
    def test_they_stand_in_front_and_behind_earlier_retries(self) -> None:
        async def main() -> None:
            limiter = Limiter(concurrency=1)
            lease = await limiter.acquire()
            fresh = [start(limiter) for _ in range(2)]
            await settled()
            retries = [start(limiter, front=True) for _ in range(2)]
            await settled()
            order = []
            for task in (*retries, *fresh):
                lease.release()
                lease = await task
                order.append(lease.order)
            assert order == [2, 3, 4, 5]

        run_virtual(main())

    def test_one_goes_at_once_when_only_the_large_head_cannot(self) -> None:
        async def main() -> None:
            limiter = Limiter(tokens=Quota(100, 1.0))
            await limiter.acquire(50)
            large = start(limiter, 100)
            await settled()
            lease = await limiter.acquire(50, front=True)
            assert lease.granted_at == 0.0
            await large

        run_virtual(main())

    def test_they_do_not_starve_fresh_calls(self) -> None:
        async def main() -> None:
            limiter = Limiter(requests=Quota(10, 1.0))
            served: list[str] = []

            async def failing(times: int) -> None:
                for attempt in range(times):
                    lease = await limiter.acquire(front=attempt > 0)
                    served.append("retry" if attempt else "fresh")
                    await asyncio.sleep(0.05)
                    lease.release()

            await asyncio.gather(*(failing(4) for _ in range(30)))
            assert served.count("fresh") == 30
            # Each failure brings one retry: a fresh call comes to its turn before all retries are through.
            assert "fresh" in served[80:]

        run_virtual(main())


class TestDeadlines:
    def test_refused_at_once_when_the_line_is_too_long(self) -> None:
        async def main() -> None:
            limiter = Limiter(requests=Quota(10, 1.0))
            tasks = [start(limiter) for _ in range(35)]
            await settled()
            with pytest.raises(
                DeadlineExceededError, match="cannot admit the call before its deadline"
            ) as caught:
                await limiter.acquire(deadline=2.0)
            assert now() == 0.0
            assert caught.value.retry_after is not None
            assert caught.value.retry_after == pytest.approx(3.48, rel=0.01)
            lease = await limiter.acquire(deadline=3.5)
            assert lease.granted_at == pytest.approx(caught.value.retry_after)
            await asyncio.gather(*tasks)

        run_virtual(main())

    def test_a_call_without_tokens_waits_for_the_tokens_of_those_before_it(self) -> None:
        async def main() -> None:
            limiter = Limiter(tokens=Quota(100, 1.0))
            tasks = [start(limiter, 100) for _ in range(5)]
            await settled()
            with pytest.raises(DeadlineExceededError):
                await limiter.acquire(0, deadline=3.9)
            assert (await limiter.acquire(0, deadline=4.1)).granted_at == pytest.approx(4 * 1.01)
            await asyncio.gather(*tasks)

        run_virtual(main())

    def test_what_stands_before_a_retry_is_only_the_other_retries(self) -> None:
        async def main() -> None:
            limiter = Limiter(requests=Quota(10, 1.0))
            tasks = [start(limiter) for _ in range(35)]
            await settled()
            lease = await limiter.acquire(front=True, deadline=1.5)
            assert lease.granted_at == pytest.approx(1.01)
            await asyncio.gather(*tasks)

        run_virtual(main())

    def test_a_pause_beyond_the_deadline_refuses(self) -> None:
        async def main() -> None:
            limiter = Limiter()
            limiter.pause_until(60.0)
            with pytest.raises(DeadlineExceededError):
                await limiter.acquire(deadline=59.0)
            assert (await limiter.acquire(deadline=61.0)).granted_at == 60.0

        run_virtual(main())

    def test_one_that_has_passed_is_refused_even_if_there_is_room(self) -> None:
        async def main() -> None:
            limiter = Limiter()
            await asyncio.sleep(5)
            with pytest.raises(DeadlineExceededError):
                await limiter.acquire(deadline=5.0)
            assert limiter.in_flight == 0

        run_virtual(main())

    def test_no_call_waits_past_its_deadline_when_the_wait_was_not_predictable(self) -> None:
        async def main() -> None:
            limiter = Limiter(concurrency=1)
            lease = await limiter.acquire()
            waiting = [start(limiter, deadline=deadline) for deadline in (9.0, 3.0, 6.0)]
            with pytest.raises(DeadlineExceededError, match="passed while it waited"):
                await waiting[1]
            assert now() == 3.0
            await asyncio.wait(waiting)
            assert now() == 9.0
            assert limiter.waiting == 0
            lease.release()
            assert limiter.in_flight == 0

        run_virtual(main())

    def test_no_call_waits_past_its_deadline_because_of_a_later_pause(self) -> None:
        async def main() -> None:
            limiter = Limiter(requests=Quota(1, 1.0))
            await limiter.acquire()
            waiting = start(limiter, deadline=5.0)
            await settled()
            limiter.pause_until(60.0)
            with pytest.raises(DeadlineExceededError, match="passed while it waited"):
                await waiting
            assert now() == 5.0

        run_virtual(main())

    @pytest.mark.parametrize("first", ["deadline", "cancellation"])
    def test_a_deadline_and_a_cancellation_at_one_moment_end_the_call_once(self, first: str) -> None:
        async def main() -> None:
            limiter = Limiter(concurrency=1)
            await limiter.acquire()
            loop = asyncio.get_running_loop()
            told: list[dict[str, Any]] = []
            loop.set_exception_handler(lambda _, context: told.append(context))
            if first == "cancellation":
                loop.call_at(3.0, lambda: waiting.cancel())
            waiting = start(limiter, deadline=3.0)
            other = start(limiter, deadline=3.0)
            await settled()
            if first == "deadline":
                loop.call_at(3.0, waiting.cancel)
            await asyncio.wait([waiting, other])
            assert waiting.cancelled()
            assert isinstance(other.exception(), DeadlineExceededError)
            assert limiter.waiting == 0
            gc.collect()  # an exception that nobody fetched would be told of now
            assert told == []

        run_virtual(main())

    def test_a_cancelled_one_before_its_deadline_leaves_no_timer_behind(self) -> None:
        async def main() -> None:
            limiter = Limiter(concurrency=1)
            await limiter.acquire()
            waiting = start(limiter, deadline=1000.0)
            await settled()
            waiting.cancel()
            await settled()
            loop = asyncio.get_running_loop()
            assert not [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]

        run_virtual(main())


class TestCancellation:
    def test_granted_and_then_cancelled_gives_all_back_and_the_next_goes(self) -> None:
        async def main() -> None:
            limiter = Limiter(concurrency=1, requests=Quota(10, 1.0), tokens=Quota(100, 1.0))
            lease = await limiter.acquire(40)
            first, second = start(limiter, 60), start(limiter, 60)
            await settled()
            lease.release()  # hands over to the first
            first.cancel()  # whose task has not run since
            assert (await second).granted_at == 0.0
            assert first.cancelled()
            state = limiter.snapshot()
            assert state.tokens is not None
            assert state.requests is not None
            assert (state.in_flight, state.tokens.used, state.requests.used) == (1, 100, 2)

        run_virtual(main())

    def test_a_cancelled_head_lets_a_smaller_call_go_at_once(self) -> None:
        async def main() -> None:
            limiter = Limiter(tokens=Quota(100, 1.0))
            await limiter.acquire(50)
            large, small = start(limiter, 90), start(limiter, 40)
            await settled()
            large.cancel()
            assert (await small).granted_at == 0.0

        run_virtual(main())

    def test_the_dead_are_not_kept_behind_a_head_that_waits_long(self) -> None:
        async def main() -> None:
            limiter = Limiter(concurrency=1)
            await limiter.acquire()
            head = start(limiter)
            await settled()
            for _ in range(20):
                tasks = [start(limiter, front=bool(number % 2), deadline=1e6) for number in range(100)]
                await settled()
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
                waiters = limiter._queue.waiters
                assert limiter.waiting == 1
                assert sum(map(len, waiters._lanes.values())) <= 100
                assert len(waiters._deadlines) <= 200
            head.cancel()

        run_virtual(main())

    def test_close_fails_the_waiting_calls_only(self) -> None:
        async def main() -> None:
            limiter = Limiter(concurrency=1)
            limiter.close(CallCancelledError("nobody is there"))
            lease = await limiter.acquire()
            waiting = [start(limiter, front=bool(number)) for number in range(3)]
            await settled()
            waiting[1].cancel()
            limiter.close(CallCancelledError("stopped"))
            assert limiter.waiting == 0
            results = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(result) for result in results] == [
                CallCancelledError,
                asyncio.CancelledError,
                CallCancelledError,
            ]
            lease.release()
            assert (await limiter.acquire()).order == 2

        run_virtual(main())

    def test_close_and_a_cancellation_at_one_moment_end_the_call_once(self) -> None:
        async def main() -> None:
            limiter = Limiter(concurrency=1)
            await limiter.acquire()
            waiting = start(limiter)
            await settled()
            limiter.close(CallCancelledError("stopped"))
            waiting.cancel()
            await asyncio.wait([waiting])
            assert waiting.cancelled()
            assert (limiter.waiting, limiter.in_flight) == (0, 1)
            gc.collect()  # an error that nobody fetched would be told of now

        run_virtual(main())


class TestHead:
    def test_on_head_is_called_once_at_the_head_or_on_admission(self) -> None:
        async def main() -> None:
            limiter = Limiter(requests=Quota(1, 1.0))
            heard: list[tuple[str, float]] = []

            def listen(name: str) -> Callable[[float], None]:
                return lambda at: heard.append((name, round(at, 3)))

            await limiter.acquire(on_head=listen("at once"))
            tasks = [start(limiter, on_head=listen(name)) for name in ("second", "third")]
            await settled()
            retry = start(limiter, front=True, on_head=listen("retry"))
            await asyncio.gather(*tasks, retry)
            assert heard == [("at once", 0.0), ("second", 0.0), ("retry", 0.0), ("third", 2.02)]

        run_virtual(main())

    def test_a_callback_that_raises_does_not_affect_other_calls(self) -> None:
        async def main() -> None:
            loop = asyncio.get_running_loop()
            told: list[dict[str, Any]] = []
            loop.set_exception_handler(lambda _, context: told.append(context))
            limiter = Limiter(concurrency=1)

            def broken(_: float) -> None:
                raise ValueError("broken")

            lease = await limiter.acquire(on_head=broken)
            first, second = start(limiter, on_head=broken), start(limiter)
            await settled()
            lease.release()
            (await first).release()
            (await second).release()
            assert [str(context["exception"]) for context in told] == ["broken", "broken"]
            assert limiter.in_flight == 0

        run_virtual(main())

    def test_a_callback_may_cancel_its_own_call(self) -> None:
        async def main() -> None:
            limiter = Limiter(requests=Quota(2, 1.0, capacity=2))
            await limiter.acquire()
            await limiter.acquire()
            tasks: list[asyncio.Task[Lease]] = [start(limiter)]

            def give_up(_: float) -> None:
                tasks[1].cancel()

            tasks.append(start(limiter, on_head=give_up))
            tasks.append(start(limiter))
            leases = [await tasks[0], await tasks[2]]
            assert [lease.order for lease in leases] == [3, 4]
            assert [lease.granted_at for lease in leases] == [pytest.approx(1.004)] * 2
            assert tasks[1].cancelled()

        run_virtual(main())


class TestListeners:
    def test_an_admission_is_reported_once_the_call_has_left_the_queue(self) -> None:
        async def main() -> None:
            limiter = Limiter(concurrency=1)
            heard: list[tuple[Event, int, int]] = []
            unsubscribe = limiter.subscribe(
                lambda event: heard.append((event, limiter.waiting, limiter.in_flight))
            )
            lease = limiter.try_acquire()
            assert lease is not None
            waiting = start(limiter)
            await settled()
            lease.release()
            assert heard == [("admitted", 0, 1), ("changed", 1, 0), ("admitted", 0, 1)]
            unsubscribe()
            (await waiting).release()
            (await limiter.acquire()).release()
            assert len(heard) == 3

        run_virtual(main())

    def test_a_call_admitted_without_waiting_is_reported_too(self) -> None:
        async def main() -> None:
            limiter = Limiter()
            heard: list[Event] = []
            limiter.subscribe(heard.append)
            await limiter.acquire()
            limiter.try_acquire()
            assert heard == ["admitted", "admitted"]

        run_virtual(main())


class TestPauses:
    def test_the_latest_moment_rules_and_all_wait_for_it(self) -> None:
        async def main() -> None:
            limiter = Limiter(requests=Quota(10, 1.0))
            limiter.pause_until(5.0)
            limiter.pause_until(3.0)
            limiter.pause_until(math.nan)
            limiter.pause_until(math.inf)
            assert limiter.try_acquire() is None
            waiting = start(limiter)
            await settled()
            assert limiter.bottleneck == "paused"
            assert limiter.snapshot().paused_for == 5.0
            limiter.pause_until(7.0)
            assert (await waiting).granted_at == 7.0
            assert limiter.snapshot().paused_for == 0.0

        run_virtual(main())

    def test_after_it_the_crowd_is_paced_as_ever(self) -> None:
        async def main() -> None:
            limiter = Limiter(requests=Quota(10, 1.0))
            limiter.pause_until(5.0)
            leases = await asyncio.gather(*(limiter.acquire() for _ in range(30)))
            times = [round(lease.granted_at, 3) for lease in leases]
            assert times[:11] == [5.0] * 10 + [6.01]
            assert times[-1] == pytest.approx(6.01 + 18 * 0.101, abs=0.1)

        run_virtual(main())


class TestSettling:
    def test_what_was_overestimated_is_there_for_the_next_at_once(self) -> None:
        async def main() -> None:
            limiter = Limiter(tokens=Quota(100, 1.0))
            lease = await limiter.acquire(100)
            waiting = start(limiter, 60)
            await asyncio.sleep(0.1)
            lease.settle(40)
            assert (await waiting).granted_at == 0.1
            assert lease.tokens == 40

        run_virtual(main())

    def test_what_was_underestimated_is_a_debt(self) -> None:
        async def main() -> None:
            limiter = Limiter(tokens=Quota(100, 1.0))
            lease = await limiter.acquire(10)
            lease.settle(150)
            state = limiter.snapshot().tokens
            assert state is not None
            assert (state.level, state.used) == (-50, 150)
            assert (await limiter.acquire(1)).granted_at >= 1.01

        run_virtual(main())

    def test_a_better_figure_may_come_later(self) -> None:
        async def main() -> None:
            limiter = Limiter(tokens=Quota(100, 1.0))
            lease = await limiter.acquire(10)
            lease.settle(50)
            lease.settle(20)
            state = limiter.snapshot().tokens
            assert state is not None
            assert (lease.tokens, state.used) == (20, 20)

        run_virtual(main())

    @pytest.mark.parametrize("figure", [math.nan, math.inf, -5.0])
    @pytest.mark.parametrize("tokens", [Quota(100, 1.0), None])
    def test_a_figure_that_is_none_leaves_the_estimate_charged(
        self, figure: float, tokens: Quota | None
    ) -> None:
        async def main() -> None:
            lease = await Limiter(tokens=tokens).acquire(10)
            lease.settle(figure)
            assert lease.tokens == 10
            lease.settle(7)
            assert lease.tokens == 7

        run_virtual(main())

    def test_a_refund_gives_back_the_request_too_and_only_once(self) -> None:
        async def main() -> None:
            limiter = Limiter(requests=Quota(1, 1.0), tokens=Quota(100, 1.0))
            lease = await limiter.acquire(100)
            waiting = start(limiter, 100)
            await settled()
            lease.refund()
            assert (await waiting).granted_at == 0.0
            lease.refund()
            state = limiter.snapshot()
            assert state.requests is not None
            assert state.tokens is not None
            assert (state.requests.used, state.tokens.used) == (1, 100)

        run_virtual(main())
