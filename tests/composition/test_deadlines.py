"""The deadline is outside all layers but the hooks: it bounds queueing, backoff and fallbacks."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from callgate.errors import (
    APITimeoutError,
    ConfigurationError,
    DeadlineExceededError,
    RateLimitError,
    ServerError,
)
from callgate.testing.clock import run_virtual
from tests.composition.scripted_model import NO_JITTER, assert_nothing_left, make_model, used
from tests.policies.scripted_service import After, errors, now

DOWN = ServerError("down", status_code=500)


def test_it_bounds_the_wait_for_a_place() -> None:
    model, backend = make_model(After(100, "late"), model={"limit_concurrency": 1, "limit_tokens": 1000})

    async def main() -> None:
        running = asyncio.ensure_future(model.invoke(prompt="x", num_api_tokens_needed=1))
        await asyncio.sleep(1)
        waiting = await model.invoke(prompt="y", poll_timeout=30.0, num_api_tokens_needed=5)
        assert isinstance(waiting.error, DeadlineExceededError)
        assert (len(waiting.attempts), now()) == (0, 31.0)
        await running
        assert used(model) in (0, 1)  # never the five of the one that waited
        await assert_nothing_left(model)

    run_virtual(main())
    assert len(backend.at) == 1


def test_what_cannot_be_admitted_in_time_is_refused_at_once() -> None:
    model, backend = make_model("fine", model={"limit_requests": 1})

    async def main() -> None:
        await model.invoke(prompt="x")
        refused = await model.invoke(prompt="y", poll_timeout=30.0)
        assert isinstance(refused.error, DeadlineExceededError)
        assert now() == 0.0

    run_virtual(main())
    assert len(backend.at) == 1


def test_it_bounds_backing_off() -> None:
    model, backend = make_model(DOWN)

    async def main() -> None:
        calling = await model.invoke(prompt="x", poll_timeout=2.5)
        assert calling.error is DOWN  # what went wrong is told, not that time is short
        assert now() == 1.0

    run_virtual(main())
    assert backend.at == [0.0, 1.0]


def test_it_bounds_the_wait_after_a_429() -> None:
    model, _ = make_model(RateLimitError("429", status_code=429, retry_after=60.0))

    async def main() -> None:
        calling = await model.invoke(prompt="x", poll_timeout=30.0)
        assert isinstance(calling.error, DeadlineExceededError | RateLimitError)
        assert now() <= 30.0
        await assert_nothing_left(model)

    run_virtual(main())


def test_it_bounds_an_attempt_that_hangs_and_keeps_the_charge() -> None:
    model, backend = make_model(
        After(3600, "late"), model={"limit_tokens": 1000, "capacity_refresh_time": 3600}
    )

    async def main() -> None:
        calling = await model.invoke(prompt="x", poll_timeout=30.0, num_api_tokens_needed=10)
        assert isinstance(calling.error, DeadlineExceededError)
        assert isinstance(calling.error, TimeoutError)
        assert now() == 30.0
        assert used(model) == 10
        await assert_nothing_left(model)

    run_virtual(main())
    assert backend.cancelled == 1


def test_the_timeout_of_an_attempt_is_retried_within_the_deadline() -> None:
    model, backend = make_model(After(3600, "late"), retry=NO_JITTER, timeout=10.0)

    async def main() -> None:
        calling = await model.invoke(prompt="x", poll_timeout=25.0)
        assert isinstance(calling.error, DeadlineExceededError)
        assert [type(error) for error in errors(calling)] == [APITimeoutError] * 2
        assert now() == 25.0

    run_virtual(main())
    assert backend.at == [0.0, 11.0, 23.0]


@pytest.mark.parametrize("together", [1, 50])
def test_a_deadline_in_the_moment_of_the_answer_leaves_exactly_one_end(together: int) -> None:
    model, _ = make_model(After(10, "just in time"), model={"limit_concurrency": None})

    async def main() -> None:
        callings = await asyncio.gather(
            *(model.invoke(prompt=str(n), poll_timeout=10.0) for n in range(together))
        )
        for calling in callings:
            assert calling.done
            assert (calling.error is None) == (calling.answer is not None)
        await assert_nothing_left(model)

    run_virtual(main())


def test_it_holds_behind_a_full_queue() -> None:
    model, _ = make_model(After(100, "late"), model={"limit_concurrency": 1, "queue_capacity": 2})

    async def main() -> None:
        callings = [model.submit(prompt=str(n), poll_timeout=30.0) for n in range(10)]
        for calling in callings:
            await calling
            assert isinstance(calling.error, DeadlineExceededError)
        assert now() == 30.0
        await assert_nothing_left(model)

    run_virtual(main())


@pytest.mark.parametrize("name", ["timeout", "poll_timeout"])
@pytest.mark.parametrize("seconds", [math.nan, -1.0, "5", True])
def test_an_invalid_time_is_refused_before_it_delays_others(name: str, seconds: Any) -> None:
    model, backend = make_model(After(100, "late"))

    async def main() -> None:
        for make in (model.invoke, model.create_calling):
            with pytest.raises(ConfigurationError, match=f"^{name}= is a number of seconds"):
                await make(prompt="x", **{name: seconds})
        with pytest.raises(ConfigurationError, match=name):
            model.submit(prompt="x", **{name: seconds})
        assert (await model.invoke(prompt="y", poll_timeout=10.0)).error_type == "DeadlineExceededError"
        assert now() == 10.0

    run_virtual(main())
    assert len(backend.at) == 1
