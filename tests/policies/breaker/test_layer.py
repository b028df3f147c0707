from __future__ import annotations

import asyncio

import pytest

from callgate.errors import CircuitBreakerOpenError, RateLimitError, ServerError
from callgate.policies.breaker.breaker import CircuitBreaker, CircuitState
from callgate.policies.breaker.layer import breaker_layer
from callgate.testing.clock import VirtualClock, run_virtual
from tests.policies.scripted_service import After, Scripted, calling, result_of


def test_an_answer_passes_through_and_is_counted_as_a_success() -> None:
    breaker = CircuitBreaker(failure_threshold=1)
    backend = Scripted("hello")

    async def main() -> None:
        assert (await breaker_layer(breaker)(backend)(calling())).text == "hello"

    run_virtual(main())
    assert breaker.metrics["success_count"] == 1


def test_an_open_breaker_refuses_and_the_backend_is_not_called() -> None:
    breaker = CircuitBreaker(failure_threshold=2)
    backend = Scripted(ServerError("down", status_code=500))

    async def main() -> None:
        service = breaker_layer(breaker)(backend)
        outcomes = [await result_of(service, calling()) for _ in range(3)]
        assert [type(outcome) for outcome in outcomes] == [ServerError, ServerError, CircuitBreakerOpenError]

    run_virtual(main())
    assert len(backend.at) == 2


def test_what_says_nothing_of_the_service_is_raised_and_opens_nothing() -> None:
    breaker = CircuitBreaker(failure_threshold=1)
    backend = Scripted(RateLimitError("slow down", status_code=429))

    async def main() -> None:
        for _ in range(3):
            assert isinstance(await result_of(breaker_layer(breaker)(backend), calling()), RateLimitError)

    run_virtual(main())
    assert breaker.state is CircuitState.CLOSED
    assert len(backend.at) == 3


def test_a_cancelled_probe_gives_its_place_to_the_next() -> None:
    clock = VirtualClock()
    breaker = CircuitBreaker(failure_threshold=1, recovery_time=10, clock=clock.time)
    backend = Scripted(ServerError("down", status_code=500), After(3600, "never"), "well again")

    async def main() -> None:
        service = breaker_layer(breaker)(backend)
        await result_of(service, calling())
        await asyncio.sleep(10)
        probe = asyncio.ensure_future(service(calling()))
        await asyncio.sleep(1)
        assert isinstance(await result_of(service, calling()), CircuitBreakerOpenError)
        probe.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probe
        assert breaker.state is CircuitState.HALF_OPEN
        assert (await service(calling())).text == "well again"

    clock.run(main())
    assert breaker.state is CircuitState.CLOSED
