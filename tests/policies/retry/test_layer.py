from __future__ import annotations

import asyncio
import random
from itertools import pairwise
from typing import Any

import pytest

from callgate.errors import (
    APIClientError,
    APIConnectionError,
    APITimeoutError,
    AuthenticationError,
    ContextLengthError,
    DeadlineExceededError,
    InvalidRequestError,
    QuotaExhaustedError,
    RateLimitError,
    ResponseError,
    RetryAfterTooLongError,
    ServerError,
)
from callgate.pipeline import Service
from callgate.policies.retry.config import RetryBudget, RetryConfig
from callgate.policies.retry.layer import retry_layer
from callgate.response import Response
from callgate.testing.clock import run_virtual
from tests.policies.scripted_service import (
    After,
    Scripted,
    Streamed,
    attempted,
    calling,
    errors,
    now,
    result_of,
)

DOWN = ServerError("down", status_code=500)


def persistent(backend: Service, *, budget: RetryBudget | None = None, **config: Any) -> Service:
    config.setdefault("jitter", False)
    return retry_layer(RetryConfig(**config), now, rng=random.Random(0), budget=budget)(attempted(backend))


def test_a_call_that_succeeds_is_made_once() -> None:
    backend = Scripted("fine")

    async def main() -> None:
        call = calling()
        assert (await persistent(backend)(call)).text == "fine"
        assert errors(call) == []

    run_virtual(main())
    assert backend.at == [0.0]


@pytest.mark.parametrize(
    "error",
    [DOWN, APIConnectionError("cut"), APITimeoutError("slow"), ResponseError("garbage"), ConnectionError()],
)
def test_what_may_pass_is_tried_again_after_growing_waits(error: Exception) -> None:
    backend = Scripted(error, error, error, "fine")

    async def main() -> None:
        call = calling()
        assert (await persistent(backend)(call)).text == "fine"
        assert [attempt.ended_at for attempt in call.attempts if attempt.error] == [0.0, 1.0, 3.0]
        assert set(errors(call)) == {error}

    run_virtual(main())
    assert backend.at == [0.0, 1.0, 3.0, 7.0]


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequestError("400"),
        AuthenticationError("401"),
        ContextLengthError("long"),
        QuotaExhaustedError("no credit"),
        DeadlineExceededError("refused"),
        KeyError("bug"),
    ],
)
def test_what_will_not_pass_is_raised_at_once(error: Exception) -> None:
    backend = Scripted(error)

    async def main() -> None:
        call = calling()
        assert await result_of(persistent(backend), call) is error
        assert len(errors(call)) == 1

    run_virtual(main())
    assert backend.at == [0.0]


def test_after_max_retries_the_last_error_is_raised() -> None:
    errors = [ServerError(f"{n}") for n in range(5)]
    backend = Scripted(*errors)

    async def main() -> None:
        assert await result_of(persistent(backend, max_retries=2), calling()) is errors[2]

    run_virtual(main())
    assert len(backend.at) == 3


def test_jitter_draws_each_wait_between_nothing_and_its_full_length() -> None:
    async def main() -> None:
        waits = []
        for seed in range(100):
            backend = Scripted(DOWN, "fine")
            started = now()
            config = RetryConfig(base_delay=10.0)
            await retry_layer(config, now, rng=random.Random(seed))(backend)(calling())
            waits.append(now() - started)
        assert all(0 <= wait <= 10 for wait in waits)
        assert min(waits) < 1
        assert max(waits) > 9

    run_virtual(main())


def test_the_word_of_the_service_when_to_come_back_is_a_floor() -> None:
    backend = Scripted(ServerError("down", retry_after=30.0), "fine")

    async def main() -> None:
        await persistent(backend)(calling())

    run_virtual(main())
    assert backend.at == [0.0, 30.0]


def test_a_cancellation_is_never_retried_nor_while_backing_off() -> None:
    backend = Scripted(After(5, DOWN))

    async def main() -> None:
        for moment in (2, 5.5):
            task = asyncio.ensure_future(persistent(backend)(calling()))
            await asyncio.sleep(moment)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()

    run_virtual(main())
    assert len(backend.at) == 2


def test_nothing_is_tried_again_once_a_piece_has_been_delivered() -> None:
    broken = ServerError("broke off")
    backend = Scripted(Streamed(("Once upon",), broken))

    async def sink(_: object) -> None:
        pass

    async def main() -> None:
        call = calling()
        call.sink = sink
        assert await result_of(persistent(backend), call) is broken

    run_virtual(main())
    assert len(backend.at) == 1


def test_a_stream_that_broke_before_its_first_piece_is_tried_again() -> None:
    backend = Scripted(ServerError("broke off"), Streamed(("Once",), "Once"))

    async def sink(_: object) -> None:
        pass

    async def main() -> None:
        call = calling()
        call.sink = sink
        assert (await persistent(backend)(call)).text == "Once"

    run_virtual(main())


def test_a_wait_that_would_pass_the_deadline_is_not_begun() -> None:
    backend = Scripted(DOWN)

    async def main() -> None:
        assert await result_of(persistent(backend), calling(deadline=2.0)) is DOWN
        assert now() == 1.0  # the second wait would have ended at 3

    run_virtual(main())
    assert backend.at == [0.0, 1.0]


def test_when_the_budget_is_spent_calls_end_with_their_first_error() -> None:
    backend = Scripted(DOWN)

    async def main() -> None:
        budget = RetryBudget(ratio=0.2, per_second=0.0, clock=now)
        service = persistent(backend, budget=budget)
        outcomes = await asyncio.gather(*(result_of(service, calling()) for _ in range(100)))
        assert outcomes == [DOWN] * 100

    run_virtual(main())
    assert len(backend.at) == 120  # 100 calls, and a retry for every fifth


# --- 429 ------------------------------------------------------------------------------------------------


def test_a_429_uses_up_no_attempts_and_backs_off_as_after_any_failure() -> None:
    backend = Scripted(*[RateLimitError("429", status_code=429)] * 4, "fine")

    async def main() -> None:
        assert isinstance(await result_of(persistent(backend, max_retries=1), calling()), Response)

    run_virtual(main())
    assert backend.at == [0.0, 1.0, 3.0, 7.0, 15.0]


def test_the_first_retry_after_is_taken_at_its_word() -> None:
    backend = Scripted(RateLimitError("429", retry_after=0.25), "fine")

    async def main() -> None:
        await persistent(backend)(calling())

    run_virtual(main())
    assert backend.at == [0.0, 0.25]


def test_a_call_is_never_sent_before_its_retry_after() -> None:
    backend = Scripted(*[RateLimitError("429", retry_after=20.0)] * 8, "fine")

    async def main() -> None:
        await persistent(backend, jitter=True)(calling())

    run_virtual(main())
    assert all(later - earlier >= 20.0 for earlier, later in pairwise(backend.at))


@pytest.mark.parametrize(("asked", "most"), [(None, 20), (0.0, 20), (-3.0, 20), (0.001, 180)])
def test_a_retry_after_of_nothing_makes_no_storm(asked: float | None, most: int) -> None:
    backend = Scripted(RateLimitError("429", retry_after=asked))

    async def main() -> None:
        await result_of(persistent(backend, jitter=True, max_quota_wait=60.0), calling())

    run_virtual(main())
    assert 3 <= len(backend.at) <= most  # in a minute


def test_after_another_failure_the_row_of_429s_begins_anew() -> None:
    pushed_back = RateLimitError("429", retry_after=0.5)
    backend = Scripted(*[pushed_back] * 3, DOWN, pushed_back, "fine")

    async def main() -> None:
        await persistent(backend)(calling())

    run_virtual(main())
    assert [later - earlier for earlier, later in pairwise(backend.at)] == [0.5, 0.5, 1.0, 1.0, 0.5]


def test_other_failures_between_429s_use_up_attempts_as_ever() -> None:
    pushed_back = RateLimitError("429")
    backend = Scripted(pushed_back, DOWN, pushed_back, DOWN, pushed_back, DOWN)

    async def main() -> None:
        assert await result_of(persistent(backend, max_retries=2), calling()) is DOWN

    run_virtual(main())
    assert len(backend.at) == 6


@pytest.mark.parametrize(("kind", "status"), [(RateLimitError, 429), (ServerError, 503)])
def test_a_retry_after_above_the_limit_ends_the_call_at_once_with_all_facts(
    kind: type[APIClientError], status: int
) -> None:
    told = kind(
        "tomorrow", status_code=status, retry_after=86400.0, response_content={"a": 1}, headers={"b": "2"}
    )
    backend = Scripted(told, "never reached")

    async def main() -> None:
        call = calling()
        outcome = await result_of(persistent(backend), call)
        assert isinstance(outcome, RetryAfterTooLongError)
        assert (outcome.status_code, outcome.retry_after) == (status, 86400.0)
        assert (outcome.response_content, outcome.headers) == ({"a": 1}, {"b": "2"})
        assert outcome.__cause__ is told
        assert call.request_id in str(outcome)
        assert "max_retry_after" in str(outcome)
        assert now() == 0.0

    run_virtual(main())
    assert len(backend.at) == 1


def test_a_failure_of_a_users_own_may_ask_for_too_long_a_wait_as_well() -> None:
    class BusyError(ConnectionError):
        retry_after = 86400.0

    async def main() -> None:
        call = calling()
        outcome = await result_of(persistent(Scripted(BusyError(), "never reached")), call)
        assert isinstance(outcome, RetryAfterTooLongError)
        assert (outcome.retry_after, outcome.status_code) == (86400.0, None)
        assert call.request_id in str(outcome)

    run_virtual(main())


def test_exactly_the_longest_wait_is_still_obeyed() -> None:
    backend = Scripted(RateLimitError("429", retry_after=120.0), "fine")

    async def main() -> None:
        assert isinstance(await result_of(persistent(backend), calling()), Response)

    run_virtual(main())


def test_the_time_spent_on_429s_is_bounded() -> None:
    pushed_back = RateLimitError("429")
    backend = Scripted(*[After(50, pushed_back)] * 30, "never reached")

    async def main() -> None:
        assert await result_of(persistent(backend, max_quota_wait=600.0), calling()) is pushed_back

    run_virtual(main())
    # The first push-back came at 50 s, the last one above 650 s; the call backs off for 1, 2, 4 ... 60 s.
    assert backend.at == [0.0, 51.0, 103.0, 157.0, 215.0, 281.0, 363.0, 473.0, 583.0, 693.0]


def test_after_a_429_the_loop_gets_a_turn_before_the_next_attempt() -> None:
    """Else a service that refuses without waiting would never let anybody else run."""
    turns = 0

    async def main() -> None:
        def turn() -> None:
            nonlocal turns
            turns += 1
            asyncio.get_running_loop().call_soon(turn)

        turn()
        await persistent(Scripted(*[RateLimitError("429")] * 50, "fine"), base_delay=0.0)(calling())

    run_virtual(main())
    assert turns >= 50
