"""The documents' limiters, judged by the same independent checker as the executor, on the virtual clock."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, strategies as st

from callgate.errors import ConfigurationError, QuotaTooSmallError
from callgate.network.rate_limiters import (
    AdaptiveRateLimiter,
    EndpointRateLimiter,
    RateLimitConfig,
    TokenBucket,
    TokenBucketRateLimiter,
)
from callgate.network.reservations import RateQueue
from callgate.policies.limit.quota import Quota
from callgate.testing.clock import VirtualClock, run_virtual
from tests.effort import examples
from tests.policies.limit.window_checker import Admission, fullest_window, inversions, utilisation


def now() -> float:
    return asyncio.get_running_loop().time()


class Log:
    """Notes who was admitted when, with how many tokens."""

    def __init__(self) -> None:
        self.admissions: list[Admission] = []
        self.order: list[int] = []

    def enter(self, number: int, tokens: float) -> None:
        self.admissions.append(Admission(now(), tokens))
        self.order.append(number)

    async def enter_async(self, number: int, tokens: float) -> None:
        self.enter(number, tokens)


async def run_callers(
    execute: Callable[..., Awaitable[Any]], log: Log, costs: list[float], start: int = 0
) -> None:
    """One task for each cost, all at once, in this order."""
    calls = (execute(log.enter_async, number, cost, tokens=cost) for number, cost in enumerate(costs, start))
    await asyncio.gather(*(asyncio.create_task(call) for call in calls))  # type: ignore[arg-type]


# -- TokenBucketRateLimiter


def test_a_hundred_calls_at_ten_a_second_take_nine_seconds_and_not_a_fifth_of_one() -> None:
    """The original debited only once the wait was over: all who waited went together."""

    async def main() -> None:
        log = Log()
        await run_callers(TokenBucketRateLimiter(rate=10).execute, log, [1.0] * 100)
        assert fullest_window(log.admissions, 1.0).amount <= 10
        assert 9.0 <= now() < 9.1
        assert inversions(log.order) == 0

    run_virtual(main())


@examples(40)
@given(
    rate=st.floats(0.2, 200),
    period=st.floats(0.1, 120),
    burst=st.one_of(st.none(), st.floats(0.3, 3)),
    seed=st.integers(0, 2**32),
)
def test_no_window_ever_holds_more_than_the_promise(
    rate: float, period: float, burst: float | None, seed: int
) -> None:
    rng = random.Random(seed)

    async def main() -> None:
        limiter = TokenBucketRateLimiter(rate, period, None if burst is None else max(rate * burst, 0.5))
        log = Log()
        promise = max(math.ceil(limiter.rate), limiter.max_tokens, 1.0)
        largest = max(limiter.rate, limiter.max_tokens, 1.0)
        costs = [rng.choice([1.0, rng.uniform(0.1, 1.0), largest * rng.random()]) for _ in range(150)]
        half = len(costs) // 2
        await run_callers(limiter.execute, log, costs[:half])
        await asyncio.sleep(rng.uniform(0.0, 3.0) * period)
        await run_callers(limiter.execute, log, costs[half:], start=half)
        span = period if rate >= 1.0 else period / rate  # half a call a second is one in two seconds
        assert fullest_window(log.admissions, span).amount <= promise * (1 + 1e-6)
        assert inversions(log.order) == 0

    run_virtual(main())


@pytest.mark.parametrize("rate", [1.5, 7.5])
def test_a_rate_that_is_no_whole_number_is_used_exactly(rate: float) -> None:
    async def main() -> None:
        log = Log()
        await run_callers(TokenBucketRateLimiter(rate=rate).execute, log, [1.0] * 600)
        assert utilisation(log.admissions, rate, 0.0, 550 / rate) == pytest.approx(1.0, abs=0.01)
        assert fullest_window(log.admissions, 2.0).amount <= 2 * rate

    run_virtual(main())


def test_under_full_demand_the_rate_is_used() -> None:
    async def main() -> None:
        log = Log()
        await run_callers(TokenBucketRateLimiter(rate=50, period=1.0).execute, log, [1.0] * 2500)
        assert utilisation(log.admissions, 50, 0.0, 45.0) >= 0.99

    run_virtual(main())


@examples(40)
@given(rate=st.floats(1, 100), period=st.floats(0.1, 60), costs=st.lists(st.floats(0.1, 1.0), max_size=150))
def test_callers_that_sleep_for_the_returned_time_keep_the_rate(
    rate: float, period: float, costs: list[float]
) -> None:
    async def main() -> None:
        limiter = TokenBucketRateLimiter(rate, period)
        told = [Admission(now() + await limiter.acquire(cost), cost) for cost in costs]
        assert now() == 0.0  # telling takes no time
        assert [one.at for one in told] == sorted(one.at for one in told)
        assert fullest_window(told, period).amount <= math.ceil(rate) * (1 + 1e-6)

    run_virtual(main())


def test_the_first_calls_wait_zero_seconds_and_later_ones_longer() -> None:
    async def main() -> None:
        limiter = TokenBucketRateLimiter(rate=2, period=1.0)
        waits = [await limiter.acquire() for _ in range(4)]
        assert waits[:2] == [0.0, 0.0]
        assert waits[2] == waits[3] == pytest.approx(1.0, rel=0.01)

    run_virtual(main())


@pytest.mark.parametrize("seed", range(20))
def test_reserved_and_awaited_calls_share_one_rate(seed: int) -> None:
    rng = random.Random(seed)

    async def main() -> None:
        limiter = TokenBucketRateLimiter(rate=10, period=1.0)
        log = Log()

        async def told() -> None:
            await asyncio.sleep(await limiter.acquire())
            log.enter(0, 1.0)

        async def waited(patience: float) -> None:
            try:
                async with asyncio.timeout(patience):
                    await limiter.execute(log.enter_async, 0, 1.0)
            except TimeoutError:
                pass

        async with asyncio.TaskGroup() as group:
            for _ in range(200):
                kind = rng.choice([told, partial(waited, 100.0), partial(waited, rng.uniform(0.0, 3.0))])
                group.create_task(kind())
                if rng.random() < 0.2:
                    await asyncio.sleep(rng.uniform(0.0, 0.5))
        assert fullest_window(log.admissions, 1.0).amount <= 10

    run_virtual(main())


def test_a_cancelled_call_gives_its_place_to_the_next() -> None:
    async def main() -> None:
        limiter = TokenBucketRateLimiter(rate=1, period=1.0)
        log = Log()
        await limiter.execute(log.enter, 0, 1.0)
        tasks = [asyncio.create_task(limiter.execute(log.enter_async, n, 1.0)) for n in range(1, 1001)]
        await asyncio.sleep(0.5)
        for task in tasks[:-1]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert log.order == [0, 1000]
        assert now() == pytest.approx(1.0, rel=0.01)

    run_virtual(main())


def test_a_call_cancelled_after_its_admission_gives_its_tokens_back() -> None:
    async def main() -> None:
        queue = RateQueue(Quota(1, 1000.0, 1))
        charge = await queue.wait(1)
        waiting, next_one = (asyncio.create_task(queue.wait(1)) for _ in range(2))
        await asyncio.sleep(0)
        queue.give_back(charge, 1)  # the turn is handed over at once, and its task has not run yet
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await next_one
        assert now() == 0.0

    run_virtual(main())


def test_a_thousand_waiting_calls_have_one_timer() -> None:
    async def main() -> None:
        limiter = TokenBucketRateLimiter(rate=1, period=1000.0)
        tasks = [asyncio.create_task(limiter.execute(lambda: None)) for _ in range(1000)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        timers = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
        assert sum(not timer.cancelled() for timer in timers) == 1
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    run_virtual(main())


def test_cancelled_calls_are_dropped_while_the_head_waits() -> None:
    async def main() -> None:
        queue = RateQueue(Quota(1, 1000.0, 1))
        await queue.wait(1)
        head = asyncio.create_task(queue.wait(1))
        for _ in range(50):
            tasks = [asyncio.create_task(queue.wait(1)) for _ in range(100)]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert queue.waiting == 1
        assert len(queue._queue) < 200
        head.cancel()
        await asyncio.gather(head, return_exceptions=True)
        assert queue.waiting == 0

    run_virtual(main())


def test_execute_takes_any_callable() -> None:
    class Caller:
        async def __call__(self, x: int) -> int:
            return x + 1

    async def add(x: int, y: int) -> int:
        return x + y

    async def main() -> None:
        limiter = TokenBucketRateLimiter(rate=10)
        assert await limiter.execute(add, 1, y=2) == 3
        assert await limiter.execute(partial(add, 1), 2) == 3
        assert await limiter.execute(lambda: 5) == 5
        assert await limiter.execute(Caller(), 1) == 2
        with pytest.raises(ZeroDivisionError):
            await limiter.execute(lambda: 1 / 0)

    run_virtual(main())


def test_a_cost_that_can_never_fit_is_refused_at_once() -> None:
    async def main() -> None:
        limiter = TokenBucketRateLimiter(rate=5)
        with pytest.raises(QuotaTooSmallError):
            await limiter.acquire(6)
        with pytest.raises(ValueError, match="at most 5"):
            await limiter.execute(lambda: None, tokens=6)
        with pytest.raises(ConfigurationError):
            await limiter.acquire(-1)
        assert await limiter.acquire(5) == 0.0

    run_virtual(main())


def test_it_starts_with_the_tokens_it_is_given() -> None:
    async def main() -> None:
        assert await TokenBucketRateLimiter(10, initial_tokens=0).acquire() == pytest.approx(0.1, rel=0.01)
        assert await TokenBucketRateLimiter(10, initial_tokens=1).acquire() == 0.0

    run_virtual(main())


@pytest.mark.parametrize(
    "settings",
    [
        {"rate": 0},
        {"rate": -1},
        {"rate": float("nan")},
        {"rate": 1, "period": 0},
        {"rate": 1, "max_tokens": 0},
        {"rate": 1, "initial_tokens": -1},
    ],
)
def test_a_limit_that_cannot_work_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        TokenBucketRateLimiter(**settings)


def test_it_serves_one_loop_after_the_other_but_not_two_at_once() -> None:
    limiter = TokenBucketRateLimiter(rate=1, period=100.0)
    clock = VirtualClock()

    async def wait_for_ever() -> None:
        await limiter.acquire()
        async with asyncio.timeout(1):
            await limiter.execute(lambda: None)

    with pytest.raises(TimeoutError):
        clock.run(wait_for_ever())
    assert clock.run(limiter.acquire()) == pytest.approx(99.4, rel=0.01)  # the window is remembered

    async def on_another_loop() -> None:
        await limiter.acquire(0)
        await asyncio.to_thread(asyncio.run, limiter.acquire(0))

    with pytest.raises(RuntimeError, match="another event loop"):
        asyncio.run(on_another_loop())


def test_its_repr_shows_the_state() -> None:
    async def main() -> None:
        limiter = TokenBucketRateLimiter(rate=5)
        assert repr(limiter) == "<TokenBucketRateLimiter 5 in 1 s, 0 waiting>"

    run_virtual(main())


# -- TokenBucket


def test_a_bucket_gives_its_capacity_and_then_what_comes_back() -> None:
    async def main() -> None:
        bucket = TokenBucket(RateLimitConfig(capacity=10, refill_rate=2.0))
        assert await bucket.acquire(10)
        assert not await bucket.try_acquire(1)
        assert await bucket.acquire(4)
        assert now() == pytest.approx(2.0, rel=0.01)

    run_virtual(main())


@examples(40)
@given(capacity=st.integers(1, 50), refill=st.floats(0.1, 100), seed=st.integers(0, 2**32))
def test_a_bucket_never_overruns(capacity: int, refill: float, seed: int) -> None:
    rng = random.Random(seed)

    async def main() -> None:
        bucket = TokenBucket(RateLimitConfig(capacity, refill))
        log = Log()

        async def take(cost: int) -> None:
            if await bucket.acquire(cost):
                log.enter(0, cost)

        await asyncio.gather(*(take(rng.randint(1, capacity)) for _ in range(100)))
        most = capacity + refill  # of a bucket that refills steadily
        assert fullest_window(log.admissions, 1.0).amount <= most * (1 + 1e-6)
        # And in the long run no more than the refill comes on top of what was there.
        span = log.admissions[-1].at - log.admissions[0].at
        assert sum(one.amount for one in log.admissions) <= capacity + refill * span + capacity

    run_virtual(main())


def test_a_timeout_gives_false_and_takes_nothing() -> None:
    async def main() -> None:
        bucket = TokenBucket(RateLimitConfig(capacity=2, refill_rate=1.0))
        assert await bucket.acquire(2)
        assert not await bucket.acquire(2, timeout=0.5)
        assert now() == 0.5
        assert not await bucket.acquire(1, timeout=0)
        assert await bucket.acquire(2, timeout=2.0)
        assert now() == pytest.approx(2.0, rel=0.01)

    run_virtual(main())


def test_a_cost_over_the_capacity_is_false_with_a_timeout_and_an_error_without() -> None:
    async def main() -> None:
        bucket = TokenBucket(RateLimitConfig(capacity=2, refill_rate=1.0))
        assert not await bucket.acquire(3, timeout=100.0)
        assert now() == 0.0
        with pytest.raises(QuotaTooSmallError):
            await bucket.acquire(3)

    run_virtual(main())


def test_what_is_given_back_can_be_had_again_and_no_more() -> None:
    async def main() -> None:
        bucket = TokenBucket(RateLimitConfig(capacity=5, refill_rate=0.001))
        assert await bucket.acquire(2)
        assert await bucket.acquire(3)
        await bucket.release(4)
        assert await bucket.try_acquire(4)
        assert not await bucket.try_acquire(1)
        await bucket.release(100)
        assert await bucket.try_acquire(5)
        assert not await bucket.try_acquire(1)

    run_virtual(main())


def test_released_tokens_admit_waiting_calls() -> None:
    async def main() -> None:
        bucket = TokenBucket(RateLimitConfig(capacity=1, refill_rate=0.001))
        await bucket.acquire()
        waiting = asyncio.create_task(bucket.acquire())
        await asyncio.sleep(1)
        await bucket.release()
        assert await waiting
        assert now() == 1.0

    run_virtual(main())


def test_reset_fills_the_bucket_and_admits_waiting_calls() -> None:
    async def main() -> None:
        bucket = TokenBucket(RateLimitConfig(capacity=3, refill_rate=0.001))
        await bucket.acquire(3)
        waiting = asyncio.create_task(bucket.acquire(2))
        await asyncio.sleep(0)
        await bucket.reset()
        assert await waiting
        assert await bucket.try_acquire(1)
        assert not await bucket.try_acquire(1)
        assert now() == 0.0

    run_virtual(main())


def test_a_bucket_serves_in_fifo_order() -> None:
    async def main() -> None:
        bucket = TokenBucket(RateLimitConfig(capacity=5, refill_rate=1.0))
        await bucket.acquire(5)
        large = asyncio.create_task(bucket.acquire(5))
        await asyncio.sleep(2)
        assert not await bucket.try_acquire(1)  # there is one, and it is the large one's
        small = asyncio.create_task(bucket.acquire(1))
        await large
        assert not small.done()
        await small

    run_virtual(main())


def test_the_settings_of_a_bucket_are_json() -> None:
    bucket = TokenBucket(RateLimitConfig(capacity=3, refill_rate=0.5, initial_tokens=1))
    assert bucket.to_dict() == {"capacity": 3, "refill_rate": 0.5}
    for wrong in ({"capacity": 0}, {"refill_rate": -1}, {"initial_tokens": -1}):
        with pytest.raises(ConfigurationError):
            RateLimitConfig(**{"capacity": 1, "refill_rate": 1, **wrong})


# -- EndpointRateLimiter


def test_every_endpoint_has_a_line_of_its_own() -> None:
    async def main() -> None:
        limiter = EndpointRateLimiter(default_rate=10.0)
        await limiter.update_rate_limit("orders", rate=2.0)
        users, orders = Log(), Log()
        await asyncio.gather(
            run_callers(partial(limiter.execute, "users"), users, [1.0] * 50),
            run_callers(partial(limiter.execute, "orders"), orders, [1.0] * 50),
        )
        assert fullest_window(users.admissions, 1.0).amount == 10
        assert fullest_window(orders.admissions, 1.0).amount == 2
        assert limiter.get_limiter("users") is limiter.get_limiter("users")
        assert limiter.get_limiter("orders").rate == 2.0

    run_virtual(main())


@pytest.mark.parametrize("seed", range(30))
def test_changing_rates_never_exceed_the_old_or_the_new_promise(seed: int) -> None:
    rng = random.Random(seed)

    async def main() -> None:
        limiter = EndpointRateLimiter(default_rate=20.0)
        log = Log()
        promises = [(0.0, 20.0)]

        async def change() -> None:
            for _ in range(8):
                await asyncio.sleep(rng.uniform(0.0, 2.0))
                rate = rng.choice([1.0, 5.0, 20.0, 80.0])
                await limiter.update_rate_limit("a", rate)
                promises.append((now(), rate))

        await asyncio.gather(change(), run_callers(partial(limiter.execute, "a"), log, [1.0] * 300))
        for admission in log.admissions:
            window = [one for one in log.admissions if admission.at - 1.0 <= one.at <= admission.at]
            before = [rate for at, rate in promises if at <= admission.at - 1.0][-1:]
            within = [rate for at, rate in promises if admission.at - 1.0 < at <= admission.at]
            assert len(window) <= max(before + within)
            if not within:  # it lies wholly under one promise
                assert len(window) <= before[0]
        assert inversions(log.order) == 0

    run_virtual(main())


def test_a_lower_rate_applies_to_waiting_calls() -> None:
    async def main() -> None:
        limiter = EndpointRateLimiter(default_rate=100.0)
        log = Log()
        task = asyncio.create_task(run_callers(partial(limiter.execute, "a"), log, [1.0] * 210))
        await asyncio.sleep(1.5)
        await limiter.update_rate_limit("a", rate=1.0)
        await asyncio.sleep(8.5)
        assert len(log.admissions) == 200 + 8  # one a second, once the window has emptied
        await limiter.update_rate_limit("a", rate=100.0)
        await task
        assert now() == pytest.approx(10.0, abs=0.02)

    run_virtual(main())


def test_a_waiting_call_that_no_longer_fits_fails() -> None:
    async def main() -> None:
        limiter = EndpointRateLimiter(default_rate=10.0)
        await limiter.execute("a", lambda: None, tokens=10)
        large = asyncio.create_task(limiter.execute("a", lambda: None, tokens=8))
        small = asyncio.create_task(limiter.execute("a", lambda: "served", tokens=2))
        await asyncio.sleep(0)
        await limiter.update_rate_limit("a", rate=5.0)
        with pytest.raises(QuotaTooSmallError):
            await large
        assert await small == "served"

    run_virtual(main())


def test_update_keeps_the_period_and_can_fill_the_bucket() -> None:
    async def main() -> None:
        limiter = EndpointRateLimiter(default_rate=2.0, default_period=60.0)
        await limiter.execute("a", lambda: None, tokens=2)
        await limiter.update_rate_limit("a", rate=3.0, reset_tokens=True)
        await limiter.execute("a", lambda: None, tokens=3)
        assert now() == 0.0
        one = limiter.get_limiter("a")
        assert (one.rate, one.period, one.max_tokens) == (3.0, 60.0, 3.0)
        await limiter.update_rate_limit("a", rate=3.0, period=1.0, max_tokens=9.0)
        assert (one.rate, one.period, one.max_tokens) == (3.0, 1.0, 9.0)

    run_virtual(main())


# -- AdaptiveRateLimiter


DATE = "Wed, 21 Oct 2026 07:28:00 GMT"


@pytest.mark.parametrize(
    ("headers", "rate"),
    [
        pytest.param({"x-ratelimit-limit-requests": "600"}, 8.0, id="openai"),
        pytest.param({"X-RateLimit-Limit-Requests": "600"}, 8.0, id="in any case"),
        pytest.param({"anthropic-ratelimit-requests-limit": "60"}, 1.0, id="anthropic, never below min_rate"),
        pytest.param({"x-ratelimit-limit-req-10-second": "50"}, 4.0, id="mistral"),
        pytest.param(
            {"x-ratelimit-limit-requests": "600", "x-ratelimit-remaining-requests": "90",
             "x-ratelimit-reset-requests": "30s"}, 2.4, id="what remains lasts until the reset"),
        pytest.param(
            {"anthropic-ratelimit-requests-limit": "600", "anthropic-ratelimit-requests-remaining": "90",
             "anthropic-ratelimit-requests-reset": "2026-10-21T07:28:30Z", "date": DATE}, 2.4, id="a moment"),
        pytest.param(
            {"x-ratelimit-limit": "100", "x-ratelimit-remaining": "50", "x-ratelimit-reset": "10"}, 4.0,
            id="plain"),
        pytest.param({"x-ratelimit-limit-requests": "nonsense"}, 10.0, id="nonsense changes nothing"),
        pytest.param({"x-ratelimit-limit-tokens": "60"}, 10.0, id="another resource changes nothing"),
        pytest.param({}, 10.0, id="nothing said"),
    ],
)  # fmt: skip
def test_the_rate_follows_the_headers(headers: dict[str, str], rate: float) -> None:
    async def main() -> None:
        limiter = AdaptiveRateLimiter(initial_rate=10.0, safety_factor=0.8)
        limiter.update_from_headers(headers)
        assert limiter.rate == pytest.approx(rate)

    run_virtual(main())
    outside = AdaptiveRateLimiter(initial_rate=10.0, safety_factor=0.8)
    outside.update_from_headers(headers)  # also before any event loop runs
    assert outside.rate == pytest.approx(rate)


def test_the_rate_rises_again_when_the_headers_say_so() -> None:
    async def main() -> None:
        limiter = AdaptiveRateLimiter(initial_rate=1.0, safety_factor=1.0)
        limiter.update_from_headers({"x-ratelimit-limit-requests": "600"})
        log = Log()
        await run_callers(limiter.execute, log, [1.0] * 50)
        assert fullest_window(log.admissions, 1.0).amount == 10

    run_virtual(main())


def test_no_more_is_admitted_than_what_remains_until_the_reset() -> None:
    async def main() -> None:
        limiter = AdaptiveRateLimiter(initial_rate=100.0, min_rate=0.1)
        limiter.update_from_headers(
            {"x-ratelimit-limit-requests": "6000", "x-ratelimit-remaining-requests": "3",
             "x-ratelimit-reset-requests": "20s"}
        )  # fmt: skip
        log = Log()
        task = asyncio.create_task(run_callers(limiter.execute, log, [1.0] * 50))
        await asyncio.sleep(19.9)
        assert 3 <= len(log.admissions) <= 3 + 0.15 * 19.9
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run_virtual(main())


def test_an_adaptive_limiter_keeps_its_promise_while_the_headers_change() -> None:
    rng = random.Random(7)

    async def main() -> None:
        limiter = AdaptiveRateLimiter(initial_rate=50.0, safety_factor=1.0)
        log = Log()

        async def hear() -> None:
            for _ in range(30):
                await asyncio.sleep(rng.uniform(0.1, 1.0))
                limiter.update_from_headers({"x-ratelimit-limit-requests": str(rng.randint(60, 3000))})

        await asyncio.gather(hear(), run_callers(limiter.execute, log, [1.0] * 400))
        assert fullest_window(log.admissions, 1.0).amount <= 50

    run_virtual(main())


def test_adaptive_settings_that_cannot_work_are_refused() -> None:
    for wrong in ({"safety_factor": 0}, {"safety_factor": 1.5}, {"min_rate": 0}, {"quota_headers": "acme"}):
        with pytest.raises(ConfigurationError):
            AdaptiveRateLimiter(10.0, **wrong)  # type: ignore[arg-type]


def test_a_bucket_refills_steadily() -> None:
    async def main() -> None:
        bucket = TokenBucket(RateLimitConfig(capacity=10, refill_rate=2.0))
        moments = []
        for _ in range(14):
            await bucket.acquire()
            moments.append(now())
        assert moments[:10] == [0.0] * 10
        assert moments[10:] == pytest.approx([0.5, 1.0, 1.5, 2.0], abs=0.01)

    run_virtual(main())


@pytest.mark.parametrize("tokens", [0, -1, float("nan"), float("inf")])
def test_a_bucket_refuses_what_is_no_positive_number_of_tokens(tokens: float) -> None:
    async def main() -> None:
        bucket = TokenBucket(RateLimitConfig(capacity=2, refill_rate=1.0))
        for take in (bucket.acquire(tokens), bucket.try_acquire(tokens), bucket.acquire(tokens, timeout=0)):
            with pytest.raises(ValueError, match="tokens"):
                await take

    run_virtual(main())


@pytest.mark.parametrize(
    ("headers", "waits"),
    [
        ({"Retry-After": "3"}, 3.0),
        ({"RateLimit-Limit": "10", "RateLimit-Remaining": "0", "RateLimit-Reset": "3"}, 1.0),
        ({"X-Rate-Limit-Limit": "10", "X-Rate-Limit-Remaining": "0", "X-Rate-Limit-Reset": "3"}, 1.0),
        ({"X-RL-Limit": "10", "X-RL-Remaining": "0", "X-RL-Reset": "3"}, 1.0),
    ],
)
def test_an_adaptive_limiter_obeys_every_family_of_headers(headers: dict[str, str], waits: float) -> None:
    """Where nothing remains the least rate holds, one a second; a Retry-After is waited out."""

    async def main() -> None:
        limiter = AdaptiveRateLimiter(initial_rate=10.0)
        await limiter.execute(lambda: None)
        limiter.update_from_headers(headers)
        await limiter.execute(lambda: None)
        assert now() == pytest.approx(waits, abs=0.05)
        if waits == 3.0:
            limiter.update_from_headers(headers)
            assert await limiter.acquire() == pytest.approx(3.0, abs=0.05)

    run_virtual(main())
