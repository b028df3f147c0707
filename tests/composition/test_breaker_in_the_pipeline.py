"""The breaker is inside the limiter: it decides at dispatch, and a refused call costs nothing."""

from __future__ import annotations

import asyncio

from callgate.errors import CircuitBreakerOpenError, DeadlineExceededError, RateLimitError, ServerError
from callgate.policies.breaker.breaker import CircuitState
from callgate.testing.clock import run_virtual
from tests.composition.scripted_model import assert_nothing_left, breaker, make_model, used
from tests.policies.scripted_service import After, now

DOWN = ServerError("down", status_code=500)


def test_queued_calls_do_not_pass_a_breaker_that_opened_meanwhile() -> None:
    model, backend = make_model(
        After(1, DOWN),
        retry=None,
        circuit_breaker=breaker(failure_threshold=3),
        model={"limit_concurrency": 3},
    )

    async def main() -> None:
        callings = await asyncio.gather(*(model.invoke(prompt=str(n)) for n in range(50)))
        kinds = [calling.error_type for calling in callings]
        assert kinds == ["ServerError"] * 3 + ["CircuitBreakerOpenError"] * 47
        await assert_nothing_left(model)

    run_virtual(main())
    assert len(backend.at) == 3


def test_what_the_breaker_refuses_is_refunded_in_full() -> None:
    model, _ = make_model(
        DOWN,
        retry=None,
        circuit_breaker=breaker(failure_threshold=1),
        model={"limit_requests": 100, "limit_tokens": 1000},
    )

    async def main() -> None:
        for _ in range(10):
            await model.invoke(prompt="x", num_api_tokens_needed=10)
        assert (used(model, "requests"), used(model, "tokens")) == (1, 10)

    run_virtual(main())


def test_a_refusal_is_not_retried() -> None:
    model, backend = make_model(DOWN, circuit_breaker=breaker(failure_threshold=2))

    async def main() -> None:
        calling = await model.invoke(prompt="x")
        assert isinstance(calling.error, CircuitBreakerOpenError)
        assert len(calling.attempts) == 3  # two were sent, the third was refused
        assert now() == 3.0

    run_virtual(main())
    assert len(backend.at) == 2


def test_every_attempt_counts_for_the_breaker() -> None:
    opened = breaker(failure_threshold=4)
    model, _ = make_model(DOWN, circuit_breaker=opened)

    async def main() -> None:
        await model.invoke(prompt="x")
        assert opened.state is CircuitState.OPEN

    run_virtual(main())


def test_429s_and_refusals_of_our_own_do_not_open_it() -> None:
    closed = breaker(failure_threshold=1)
    pushed_back = RateLimitError("429", status_code=429, retry_after=1.0)
    model, _ = make_model(
        pushed_back,
        pushed_back,
        After(5, "fine"),
        circuit_breaker=closed,
        model={"limit_requests": 4, "limit_concurrency": 1},
    )

    async def main() -> None:
        first = asyncio.ensure_future(model.invoke(prompt="x"))
        await asyncio.sleep(4)
        late = await model.invoke(prompt="x", poll_timeout=1.0)
        assert isinstance(late.error, DeadlineExceededError)
        assert (await first).response.text == "fine"
        assert closed.state is CircuitState.CLOSED

    run_virtual(main())


def test_a_probe_that_is_cancelled_lets_the_next_call_probe() -> None:
    tripped = breaker(failure_threshold=1, recovery_time=10.0)
    model, _ = make_model(DOWN, After(3600, "never"), "well again", retry=None, circuit_breaker=tripped)

    async def main() -> None:
        await model.invoke(prompt="x")
        await asyncio.sleep(10)
        probe = model.submit(prompt="probe")
        await asyncio.sleep(1)
        assert tripped.state.value == "half_open"
        probe.cancel()
        await probe
        assert (await model.invoke(prompt="x")).response.text == "well again"
        assert tripped.state is CircuitState.CLOSED
        await assert_nothing_left(model)

    run_virtual(main())


def test_a_timed_out_attempt_is_a_failure_but_waiting_in_the_queue_is_not() -> None:
    slow = breaker(failure_threshold=2)
    model, _ = make_model(
        After(20, "fine"),
        retry=None,
        circuit_breaker=slow,
        timeout=30.0,
        model={"limit_concurrency": 1},
    )

    async def main() -> None:
        callings = await asyncio.gather(*(model.invoke(prompt=str(n)) for n in range(5)))
        assert all(calling.response.text == "fine" for calling in callings)
        assert now() == 100.0
        for _ in range(2):
            assert (await model.invoke(prompt="x", timeout=5.0)).error_type == "APITimeoutError"
        assert slow.state is CircuitState.OPEN

    run_virtual(main())
