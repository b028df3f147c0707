"""Retry is outside the limiter: every attempt is charged, and backoff holds no permit."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from callgate.errors import APIConnectionError, RateLimitError, RetryAfterTooLongError, ServerError
from callgate.policies.retry.config import RetryConfig
from callgate.response import Response, Usage
from callgate.testing.clock import run_virtual
from tests.composition.scripted_model import assert_nothing_left, make_model, used
from tests.policies.scripted_service import After, now

DOWN = ServerError("down", status_code=500)


def slow_down(retry_after: float | None = None) -> RateLimitError:
    return RateLimitError("slow down", status_code=429, retry_after=retry_after)


def test_every_attempt_pays_requests_and_tokens() -> None:
    model, backend = make_model(DOWN, DOWN, "fine", model={"limit_requests": 100, "limit_tokens": 1000})

    async def main() -> None:
        calling = await model.invoke(prompt="x", num_api_tokens_needed=10)
        assert calling.response.text == "fine"
        assert len(calling.attempts) == 3
        assert (used(model, "requests"), used(model, "tokens")) == (3, 30)
        await assert_nothing_left(model)

    run_virtual(main())
    assert backend.at == [0.0, 1.0, 3.0]


def test_an_attempt_that_surely_was_not_sent_is_given_back() -> None:
    refused = APIConnectionError("connection refused", surely_unsent=True)
    model, _ = make_model(refused, "fine", model={"limit_requests": 100, "limit_tokens": 1000})

    async def main() -> None:
        await model.invoke(prompt="x", num_api_tokens_needed=10)
        assert (used(model, "requests"), used(model, "tokens")) == (1, 10)

    run_virtual(main())


def test_only_the_attempt_that_answered_is_settled_with_the_actual() -> None:
    answer = Response(text="fine", usage=Usage(3, 4))
    model, _ = make_model(DOWN, answer, model={"limit_tokens": 1000})

    async def main() -> None:
        await model.invoke(prompt="x", num_api_tokens_needed=10)
        assert used(model) == 10 + 7

    run_virtual(main())


def test_backing_off_holds_no_permit() -> None:
    model, backend = make_model(DOWN, "another", "again", model={"limit_concurrency": 1})

    async def main() -> None:
        failing = asyncio.ensure_future(model.invoke(prompt="fails once"))
        await asyncio.sleep(0.5)
        assert model.limiter.in_flight == 0
        assert (await model.invoke(prompt="meanwhile")).response.text == "another"
        assert now() == 0.5
        assert (await failing).response.text == "again"

    run_virtual(main())
    assert backend.at == [0.0, 0.5, 1.0]


def test_a_retry_queues_ahead_of_new_calls() -> None:
    model, backend = make_model(DOWN, After(10, "x"), model={"limit_concurrency": 1})

    async def main() -> None:
        failing: Any = model.submit(prompt="fails once")
        others = [model.submit(prompt=str(n)) for n in range(3)]
        await asyncio.gather(*map(wait_end, [failing, *others]))

    run_virtual(main())
    # The first of the others is on its way when the retry comes back at 1 s.
    assert [payload["prompt"] for payload in backend.payloads] == [
        "fails once",
        "0",
        "fails once",
        "1",
        "2",
    ]


async def wait_end(calling: Any) -> None:
    await calling


def test_429s_pause_the_queue_and_use_no_attempts() -> None:
    steps = [*[slow_down(20.0)] * 4, "fine"]
    model, backend = make_model(*steps, retry=RetryConfig(max_retries=0, jitter=False))

    async def main() -> None:
        first = asyncio.ensure_future(model.invoke(prompt="first"))
        await asyncio.sleep(1)
        second = asyncio.ensure_future(model.invoke(prompt="second"))
        assert (await first).response.text == "fine"
        assert (await second).response.text == "fine"

    run_virtual(main())
    assert backend.at[:2] == [0.0, 1.0]  # the second call has shown that it was not about the first alone
    assert all(at >= 21.0 for at in backend.at[2:])


def test_many_calls_that_get_429s_wait_and_are_all_answered() -> None:
    pushed_back = [After(1, slow_down(10.0))] * 5
    model, backend = make_model(*pushed_back, "fine", model={"limit_concurrency": 5})

    async def main() -> None:
        callings = await asyncio.gather(*(model.invoke(prompt=str(n)) for n in range(20)))
        assert [calling.response.text for calling in callings] == ["fine"] * 20
        assert sum(len(calling.attempts) for calling in callings) == 25
        await assert_nothing_left(model)

    run_virtual(main())
    assert backend.at[:5] == [0.0] * 5
    assert backend.at[5] == 1.0  # the one that shows whether it is so for all
    assert all(11.0 <= at <= 12.0 for at in backend.at[6:])


def test_a_retry_after_beyond_the_deadline_ends_the_call_at_once() -> None:
    model, backend = make_model(slow_down(36000.0), "fine")

    async def main() -> None:
        told = await model.invoke(prompt="first")
        assert isinstance(told.error, RetryAfterTooLongError)
        assert len(told.attempts) == 1
        assert now() == 0.0
        assert (await model.invoke(prompt="second")).response.text == "fine"
        assert now() <= 1.0
        await assert_nothing_left(model)

    run_virtual(main())
    assert len(backend.at) == 2


def test_a_429_keeps_its_quota_charge() -> None:
    model, _ = make_model(slow_down(5.0), "fine", model={"limit_tokens": 1000})

    async def main() -> None:
        await model.invoke(prompt="x", num_api_tokens_needed=10)
        assert used(model) == 20

    run_virtual(main())


@pytest.mark.parametrize("calls", [1, 200])
def test_retries_of_an_outage_are_bounded_for_the_whole_model(calls: int) -> None:
    """Each alone is tried four times; all together get a retry for every fifth call, and 100 for free."""
    model, backend = make_model(DOWN)

    async def main() -> None:
        callings = await asyncio.gather(*(model.invoke(prompt=str(n)) for n in range(calls)))
        assert all(calling.error is not None for calling in callings)

    run_virtual(main())
    assert len(backend.at) <= min(4 * calls, calls + 0.2 * calls + 100)
