"""Spent plus reserved never passes the limit, whatever becomes of the calls."""

from __future__ import annotations

import asyncio
import random

import pytest

from callgate.batch.cost.budget import Budget, charge
from callgate.call.calling import Calling
from callgate.errors import (
    APIConnectionError,
    APITimeoutError,
    BudgetExceededError,
    ContentFilterError,
    ContextLengthError,
    InputError,
    InvalidAnswerError,
    InvalidRequestError,
    RateLimitError,
    SDKError,
    ServerError,
    error_for_status,
)
from callgate.response import Cost, Response, Usage


def test_what_fits_is_reserved_and_what_was_not_used_comes_back() -> None:
    async def main() -> None:
        budget = Budget(1.0)
        assert await budget.reserve(0.6)
        assert repr(budget) == "<Budget $1.00: $0.00 spent, $0.60 reserved>"
        waiting = asyncio.ensure_future(budget.reserve(0.6))
        await asyncio.sleep(0)
        assert not waiting.done()
        budget.settle(0.6, 0.1)
        assert await waiting
        assert (budget.spent, budget.reserved) == (0.1, 0.6)

    asyncio.run(main())


def test_it_is_exhausted_when_nothing_can_come_back() -> None:
    async def main() -> None:
        budget = Budget(1.0, spent=0.5)
        assert await budget.reserve(0.4)
        waiting = [asyncio.ensure_future(budget.reserve(0.3)) for _ in range(3)]
        await asyncio.sleep(0)
        budget.settle(0.4, 0.4)
        assert [await place for place in waiting] == [False, False, False]
        assert isinstance(budget.refusal, BudgetExceededError)
        assert "$1.00 is used up: $0.90 are spent, and the next row could cost up to $0.30" in str(
            budget.refusal
        )
        assert not await budget.reserve(0.01)

    asyncio.run(main())


def test_a_row_that_never_fits_is_refused_at_once() -> None:
    budget = Budget(1.0)
    assert not asyncio.run(budget.reserve(1.5))
    assert budget.refusal is not None


def test_small_budgets_are_told_with_their_digits() -> None:
    budget = Budget(0.002, spent=0.00193)
    assert not asyncio.run(budget.reserve(0.0001))
    assert "the budget of $0.002 is used up: $0.00193 are spent" in str(budget.refusal)


def test_a_small_row_does_not_overtake_a_large_one() -> None:
    async def main() -> None:
        budget = Budget(1.0)
        await budget.reserve(0.5)
        large = asyncio.ensure_future(budget.reserve(0.8))
        small = asyncio.ensure_future(budget.reserve(0.1))
        await asyncio.sleep(0)
        assert not small.done()
        budget.settle(0.5, 0.0)
        assert await large
        assert await small

    asyncio.run(main())


def test_cancelled_while_waiting_or_just_served() -> None:
    async def main() -> None:
        budget = Budget(1.0)
        await budget.reserve(0.9)
        first, second = (asyncio.ensure_future(budget.reserve(0.9)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        budget.settle(0.9, 0.0)
        second.cancel()  # it has been served, and does not know yet
        await asyncio.gather(first, second, return_exceptions=True)
        assert budget.reserved == 0.0
        third = asyncio.ensure_future(budget.reserve(0.95))
        assert await third
        fourth = asyncio.ensure_future(budget.reserve(0.95))
        await asyncio.sleep(0)
        fourth.cancel()
        budget.settle(0.95, 0.9)  # exhausts it, with nobody left to be told
        with pytest.raises(asyncio.CancelledError):
            await fourth

    asyncio.run(main())


@pytest.mark.parametrize("seed", range(5))
def test_never_more_than_the_limit(seed: int) -> None:
    rng = random.Random(seed)

    async def main() -> None:
        budget = Budget(1.0)
        most = 0.0

        async def row() -> None:
            nonlocal most
            worst = rng.uniform(0.001, 0.05)
            if not await budget.reserve(worst):
                return
            try:
                most = max(most, budget.spent + budget.reserved)
                await asyncio.sleep(0)
            finally:
                budget.settle(worst, rng.choice([0.0, worst / 2, worst]))

        tasks = [asyncio.ensure_future(row()) for _ in range(400)]
        for task in tasks:
            if rng.random() < 0.1:
                await asyncio.sleep(0)
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert most <= 1.0 + 1e-9
        assert budget.spent <= 1.0 + 1e-9
        assert budget.reserved == pytest.approx(0.0)

    asyncio.run(main())


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan"), float("inf")])
def test_a_limit_that_makes_no_sense(limit: float) -> None:
    with pytest.raises(InputError, match="an amount of US dollars above 0"):
        Budget(limit)


OK = Response(text="ok", usage=Usage(3, 4))
PAID = Cost(0.1, 0.2)


def attempted(*ends: Response | BaseException, cost: Cost | None = PAID) -> Calling:
    """A call whose attempts ended so; `cost` is the price of each of its responses."""
    calling = Calling({}, now=10.0)
    calling.pricer = lambda response, payload: cost
    for end in ends:
        attempt = calling.begin_attempt("model", 10.5)
        if isinstance(end, Response):
            attempt.succeed(end, 11.0)
        else:
            attempt.fail(end, 11.0)
    return calling


@pytest.mark.parametrize(
    ("calling", "charged"),
    [
        (attempted(OK), 0.3),
        (attempted(OK, cost=None), 1.0),
        (attempted(Response(text="no usage reported")), 1.0),
        (attempted(), 0.0),
        (attempted(ServerError("x", status_code=500), OK), 1.3),
        (attempted(RateLimitError("x", status_code=429), OK), 0.3),
        (attempted(APIConnectionError("x", surely_unsent=True), OK), 0.3),
        (attempted(asyncio.CancelledError(), OK), 1.3),
        (attempted(OK, OK, OK), 0.9),
        (attempted(OK, Response(text="no usage reported")), 1.3),
        (attempted(*[APITimeoutError("x")] * 3), 3.0),
        (attempted(InvalidRequestError("x", status_code=400)), 0.0),
        (attempted(ZeroDivisionError()), 1.0),
    ],
)
def test_each_attempt_is_charged_its_cost_or_the_worst_case(calling: Calling, charged: float) -> None:
    assert charge(calling, 1.0) == pytest.approx(charged)


def test_an_attempt_in_flight_is_charged_in_full() -> None:
    calling = Calling({}, now=10.0)
    calling.begin_attempt("model", 10.5)
    assert charge(calling, 1.0) == 1.0


class FromSDK(Exception):
    status_code = 429


@pytest.mark.parametrize(
    ("error", "free"),
    [
        *((error_for_status(status, "x"), True) for status in (400, 401, 402, 403, 404, 405, 413, 422, 429)),
        *((error_for_status(status, "x"), False) for status in (408, 409, 418, 500, 529)),
        (ContentFilterError("x", status_code=400), False),
        (ContentFilterError("x", status_code=403), False),
        (ContextLengthError("x", status_code=400), False),
        (InvalidAnswerError("a tool call that does not fit", status_code=400), False),
        (InvalidRequestError("x"), False),
        (InvalidRequestError("x", surely_unsent=True), True),
        (SDKError("x", original=FromSDK()), True),
        (SDKError("x"), False),
        (KeyError("x"), False),
    ],
)
def test_what_is_billed_without_an_answer(error: BaseException, free: bool) -> None:
    assert charge(attempted(error, error), 1.0) == (0.0 if free else 2.0)
