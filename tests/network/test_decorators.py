"""Retry and circuit breaking as decorators: both documents' names, stacked in either order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from callgate.errors import (
    APIConnectionError,
    APITimeoutError,
    AuthenticationError,
    CircuitBreakerOpenError,
    ConfigurationError,
    RateLimitError,
    RetryAfterTooLongError,
    ServerError,
)
from callgate.network.decorators import circuit_breaker, retrying, with_retry
from callgate.policies.breaker.breaker import CircuitBreaker
from callgate.policies.retry.config import RetryConfig
from callgate.testing.clock import run_virtual


def now() -> float:
    return asyncio.get_running_loop().time()


class Flaky:
    """Fails with these errors, one after the other, then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.times: list[float] = []

    async def __call__(self, value: str = "done") -> str:
        self.times.append(now())
        if self._errors:
            raise self._errors.pop(0)
        return value


def decorated(decorate: Callable[..., Any], flaky: Flaky) -> Callable[..., Awaitable[Any]]:
    @decorate
    async def call(value: str = "done") -> str:
        """What it does."""
        return await flaky(value)

    return call  # type: ignore[no-any-return]


# -- with_retry


def test_a_failure_that_passes_is_tried_again_after_growing_delays() -> None:
    async def main() -> None:
        flaky = Flaky(*[APIConnectionError()] * 3)
        call = decorated(with_retry(max_retries=3, base_delay=1.0, backoff_factor=2.0, jitter=False), flaky)
        assert await call("yes") == "yes"
        assert flaky.times == [0.0, 1.0, 3.0, 7.0]

    run_virtual(main())


def test_the_services_documents_names_are_the_same_settings() -> None:
    async def main() -> None:
        flaky = Flaky(KeyError(), KeyError())
        retry = with_retry(initial_delay=3.0, exponential_base=3.0, retry_on=(KeyError,), jitter=False)
        await decorated(retry, flaky)()
        assert flaky.times == [0.0, 3.0, 12.0]

    run_virtual(main())


def test_the_last_error_is_raised_when_retries_are_used_up() -> None:
    async def main() -> None:
        errors = [ServerError(f"{n}", status_code=500) for n in range(3)]
        flaky = Flaky(*errors)
        with pytest.raises(ServerError) as caught:
            await decorated(with_retry(max_retries=2), flaky)()
        assert caught.value is errors[-1]
        assert len(flaky.times) == 3

    run_virtual(main())


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (APIConnectionError(), 2),
        (APITimeoutError(), 2),
        (ConnectionError(), 2),
        (TimeoutError(), 2),
        (ServerError(status_code=503), 2),
        (RateLimitError(status_code=429), 2),
        (AuthenticationError(status_code=401), 1),
        (ValueError(), 1),
        (CircuitBreakerOpenError(), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_only_what_is_worth_it_is_tried_again(error: Exception, attempts: int) -> None:
    async def main() -> None:
        flaky = Flaky(error)
        try:
            await decorated(with_retry(), flaky)()
        except type(error):
            pass
        assert len(flaky.times) == attempts

    run_virtual(main())


def test_what_to_retry_and_what_not_can_be_said() -> None:
    async def main() -> None:
        retry = with_retry(retry_exceptions=(LookupError,), exclude_exceptions=(IndexError,))
        assert await decorated(retry, Flaky(KeyError()))() == "done"
        with pytest.raises(IndexError):
            await decorated(retry, Flaky(IndexError()))()
        with pytest.raises(ConnectionError):
            await decorated(retry, Flaky(ConnectionError()))()

    run_virtual(main())


def test_a_retry_after_is_obeyed_as_a_floor_and_bounded() -> None:
    async def main() -> None:
        flaky = Flaky(RateLimitError(status_code=429, retry_after=20.0))
        await decorated(with_retry(base_delay=0.1), flaky)()
        assert 20.0 <= flaky.times[1] <= 24.0
        with pytest.raises(RetryAfterTooLongError):
            await decorated(with_retry(), Flaky(RateLimitError(status_code=429, retry_after=9999.0)))()

    run_virtual(main())


def test_a_cancellation_is_not_tried_again() -> None:
    async def main() -> None:
        calls = 0

        @with_retry(retry_exceptions=(BaseException,))
        async def call() -> None:
            nonlocal calls
            calls += 1
            await asyncio.sleep(10)

        task = asyncio.create_task(call())  # type: ignore[arg-type]
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert calls == 1

    run_virtual(main())


def test_jitter_spreads_calls_that_failed_together() -> None:
    async def main() -> None:
        second = []
        for seed in range(50):
            flaky = Flaky(ConnectionError())
            begun = now()
            await decorated(with_retry(base_delay=10.0, rng=random.Random(seed)), flaky)()
            second.append(flaky.times[1] - begun)
        assert min(second) < 2 < 8 < max(second) <= 10

    run_virtual(main())


def test_a_429_can_be_waited_out_by_all_together_and_uses_up_no_attempt() -> None:
    async def main() -> None:
        gate = 0.0

        def pause(until: float) -> None:
            nonlocal gate
            gate = until

        async def attempt() -> str:
            await asyncio.sleep(gate - now())
            return await flaky()

        config = RetryConfig(max_retries=1, jitter=False, max_quota_wait=100.0)
        flaky = Flaky(*[RateLimitError(status_code=429, retry_after=5.0)] * 10)
        assert await retrying(attempt, config, pause=pause) == "done"
        assert flaky.times == [5.0 * n for n in range(11)]
        flaky = Flaky(*[RateLimitError(status_code=429, retry_after=60.0)] * 10)
        with pytest.raises(RateLimitError):
            await retrying(attempt, config, pause=pause)
        assert len(flaky.times) == 2  # a second minute would pass max_quota_wait

    run_virtual(main())


def test_the_decorated_function_keeps_its_name_and_shows_its_settings() -> None:
    call = decorated(with_retry(max_retries=7), Flaky())
    assert call.__name__ == "call"
    assert call.__doc__ == "What it does."
    assert call.retry_config.max_retries == 7  # type: ignore[attr-defined]


@pytest.mark.parametrize("decorate", [with_retry, circuit_breaker])
def test_missing_parentheses_are_refused(decorate: Callable[..., Any]) -> None:
    with pytest.raises(ConfigurationError, match="parentheses"):

        @decorate
        async def call() -> None: ...


def test_settings_that_contradict_are_refused_when_decorating() -> None:
    with pytest.raises(ConfigurationError):
        with_retry(base_delay=1.0, initial_delay=2.0)
    with pytest.raises(ConfigurationError):
        with_retry(max_retries=-1)


# -- circuit_breaker


def test_an_open_circuit_refuses_and_closes_again_after_a_good_probe() -> None:
    async def main() -> None:
        flaky = Flaky(*[ServerError(status_code=500)] * 3)
        breaker = CircuitBreaker(failure_threshold=3, recovery_time=10.0, clock=now)
        call = decorated(circuit_breaker(breaker=breaker), flaky)
        for _ in range(3):
            with pytest.raises(ServerError):
                await call()
        with pytest.raises(CircuitBreakerOpenError) as caught:
            await call()
        assert caught.value.retry_after == pytest.approx(10.0)
        assert len(flaky.times) == 3
        await asyncio.sleep(10)
        assert await call() == "done"
        assert breaker.state.value == "closed"

    run_virtual(main())


def test_each_decorated_function_has_a_breaker_of_its_own_named_after_it() -> None:
    one = decorated(circuit_breaker(), Flaky())
    two = decorated(circuit_breaker(name="two"), Flaky())
    assert one.breaker is not two.breaker  # type: ignore[attr-defined]
    assert one.breaker.name.endswith("call")  # type: ignore[attr-defined]
    assert two.breaker.name == "two"  # type: ignore[attr-defined]


def test_an_excluded_exception_in_half_open_does_not_wedge_the_breaker() -> None:
    async def main() -> None:
        breaker = CircuitBreaker(1, 1.0, excluded_exceptions=(KeyError,), clock=now)
        flaky = Flaky(ServerError(status_code=500), KeyError("no such user"))
        call = decorated(circuit_breaker(breaker=breaker), flaky)
        with pytest.raises(ServerError):
            await call()
        await asyncio.sleep(1)
        with pytest.raises(KeyError):
            await call()
        assert await call() == "done"

    run_virtual(main())


# -- both


def test_breaker_around_retry_sees_one_failure_for_all_attempts() -> None:
    async def main() -> None:
        flaky = Flaky(*[ServerError(status_code=500)] * 100)
        call = circuit_breaker(failure_threshold=2)(decorated(with_retry(max_retries=3), flaky))
        for _ in range(2):
            with pytest.raises(ServerError):
                await call()
        with pytest.raises(CircuitBreakerOpenError):
            await call()
        assert len(flaky.times) == 8
        assert call.breaker.metrics["failure_count"] == 2

    run_virtual(main())


def test_retry_around_breaker_stops_once_the_breaker_opens() -> None:
    async def main() -> None:
        flaky = Flaky(*[ServerError(status_code=500)] * 100)
        call = with_retry(max_retries=10)(decorated(circuit_breaker(failure_threshold=2), flaky))
        with pytest.raises(CircuitBreakerOpenError):
            await call()
        assert len(flaky.times) == 2

    run_virtual(main())
