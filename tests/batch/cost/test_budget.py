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
    RefusedError,
    SDKError,
    ServerError,
)
from callgate.model.pricing import Pricer
from callgate.response import Cost, Response, Usage
from callgate.testing import VirtualClock
from callgate.transport.status import error_for_status


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
        assert "$1.00 is used up: $0.90 are spent, and the next request could cost up to $0.30" in str(
            budget.refusal
        )
        assert not await budget.reserve(0.01)

    asyncio.run(main())


def test_a_row_that_never_fits_is_refused_at_once() -> None:
    budget = Budget(1.0)
    assert not asyncio.run(budget.reserve(1.5))
    assert budget.refusal is not None


def test_small_budgets_are_shown_with_enough_digits() -> None:
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


def charged(end: Response | BaseException | None, cost: Cost | None = PAID) -> float:
    """What an attempt is charged that ended so, of at most 1.0; `cost` is the price of its response."""
    calling = Calling({}, now=10.0)
    calling.pricer = lambda response, payload: cost
    attempt = calling.begin_attempt("model", 10.5)
    if isinstance(end, Response):
        attempt.succeed(end, 11.0)
    elif end is not None:
        attempt.fail(end, 11.0)
    return charge(attempt, calling, 1.0)


@pytest.mark.parametrize(
    ("end", "cost", "amount"),
    [
        (OK, PAID, 0.3),
        (OK, None, 1.0),
        (Response(text="no usage reported"), PAID, 1.0),
        (ServerError("x", status_code=500), PAID, 1.0),
        (RateLimitError("x", status_code=429), PAID, 0.0),
        (APIConnectionError("x", surely_unsent=True), PAID, 0.0),
        (APITimeoutError("x"), PAID, 1.0),
        (asyncio.CancelledError(), PAID, 1.0),
        (None, PAID, 1.0),  # in flight
    ],
)
def test_an_attempt_is_charged_its_cost_or_the_worst_case(
    end: Response | BaseException | None, cost: Cost | None, amount: float
) -> None:
    assert charged(end, cost) == pytest.approx(amount)


@pytest.mark.parametrize(
    ("usage", "amount"),
    [
        (Usage(1000, 1000), 0.002),
        (Usage(1000, 0), 1.0),  # it has answered with a text
        (Usage(0, 1000), 1.0),
        (Usage(0, 0), 1.0),
        (Usage(1000, 1000, is_known=False), 1.0),
        (None, 1.0),
    ],
)
def test_counts_that_cannot_be_believed_are_charged_in_full(usage: Usage | None, amount: float) -> None:
    calling = Calling({"model": "m"}, now=10.0)
    calling.pricer = Pricer(None, {"input": 1.0, "output": 1.0}, None)
    attempt = calling.begin_attempt("model", 10.5)
    attempt.succeed(Response(text="ok", usage=usage), 11.0)
    assert charge(attempt, calling, 1.0) == pytest.approx(amount)


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
    assert charged(error) == (0.0 if free else 1.0)


# -- the layer -------------------------------------------------------------------------------------------


class Attempts:
    """A service whose attempts end as they are told to; it counts those in flight."""

    def __init__(self, seconds: float = 1.0, end: Response | Exception = OK) -> None:
        self.seconds = seconds
        self.end = end
        self.made = 0
        self.in_flight = 0
        self.most = 0

    async def __call__(self, calling: Calling) -> Response:
        attempt = calling.begin_attempt("model", asyncio.get_running_loop().time())
        self.made += 1
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            await asyncio.sleep(self.seconds)
            if isinstance(self.end, Exception):
                raise self.end
        except BaseException as error:
            attempt.fail(error, 0.0)
            raise
        finally:
            self.in_flight -= 1
        attempt.succeed(self.end, 0.0)
        return self.end


def call(cost: Cost | None = PAID) -> Calling:
    calling = Calling({})
    calling.pricer = lambda response, payload: cost
    return calling


def test_an_attempt_waits_until_those_in_flight_are_settled_and_then_the_budget_is_used_up() -> None:
    async def main() -> None:
        budget = Budget(1.0)
        attempts = Attempts()
        service = budget.layer(lambda calling: 0.4).layer(attempts)
        callings = [call() for _ in range(5)]
        ends = await asyncio.gather(*map(service, callings), return_exceptions=True)
        # Two at once; each costs 0.3. A third fits when they have ended.
        assert (attempts.most, attempts.made) == (2, 3)
        assert [isinstance(end, BudgetExceededError) for end in ends] == [False, False, False, True, True]
        assert budget.charged(callings[0]) == pytest.approx(0.3)
        assert budget.charged(callings[0]) == 0.0
        assert budget.charged(callings[4]) == 0.0

    VirtualClock().run(main())


def test_a_call_that_backs_off_holds_no_reservation() -> None:
    async def main() -> None:
        budget = Budget(1.0)
        busy = Attempts(end=RateLimitError("x", status_code=429))
        service = budget.layer(lambda calling: 1.0).layer(busy)
        calling = call()
        for _ in range(3):
            with pytest.raises(RateLimitError):
                await service(calling)
            assert (budget.reserved, budget.spent) == (0.0, 0.0)
        failing = budget.layer(lambda calling: 0.5).layer(Attempts(end=ServerError("x", status_code=500)))
        for _ in range(2):
            with pytest.raises(ServerError):
                await failing(calling)
        assert budget.charged(calling) == 1.0  # of all its attempts

    VirtualClock().run(main())


def test_what_was_never_dispatched_is_charged_nothing() -> None:
    async def main() -> None:
        budget = Budget(1.0)
        calling = call()

        async def queued(calling: Calling) -> Response:
            await asyncio.sleep(60.0)
            return OK

        task = asyncio.ensure_future(budget.layer(lambda calling: 1.0).layer(queued)(calling))
        await asyncio.sleep(1.0)
        assert budget.reserved == 1.0
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (budget.reserved, budget.spent) == (0.0, 0.0)

    VirtualClock().run(main())


def test_an_attempt_that_ended_before_is_not_charged_again() -> None:
    async def main() -> None:
        budget = Budget(1.0)
        calling = call()
        calling.begin_attempt("model", 0.0).fail(ServerError("x", status_code=500), 0.0)

        async def refuse(calling: Calling) -> Response:
            raise RefusedError("the breaker is open")

        with pytest.raises(RefusedError):
            await budget.layer(lambda calling: 0.5).layer(refuse)(calling)
        assert budget.spent == 0.0

    VirtualClock().run(main())


def test_what_costs_more_than_its_worst_case_is_reserved_for_from_then_on() -> None:
    """A provider that adds a prompt of its own, say."""

    async def main() -> None:
        budget = Budget(1.0)
        service = budget.layer(lambda calling: 0.1).layer(Attempts())
        await service(call())
        assert budget.spent == pytest.approx(0.3)
        task = asyncio.ensure_future(service(call()))
        await asyncio.sleep(0.5)
        assert budget.reserved == pytest.approx(0.3)
        await task
        await service(call())
        with pytest.raises(BudgetExceededError):
            await service(call())
        assert budget.spent == pytest.approx(0.9)

    VirtualClock().run(main())
