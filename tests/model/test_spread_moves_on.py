"""A call that would be tried again at a model of a spread goes to another one, where that is better."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from callgate.errors import (
    APIClientError,
    APIConnectionError,
    AuthenticationError,
    RateLimitError,
    ServerError,
)
from callgate.model.base import Caller
from callgate.model.spread import Spread
from callgate.policies.retry.config import RetryConfig
from callgate.testing import Options, SimulatedProvider, VirtualClock
from callgate.testing.clock import run_virtual
from tests.model.test_spread import ask, at_simulator, calls_of, member
from tests.policies.scripted_service import After, now

UNREACHABLE = APIConnectionError("connection refused", surely_unsent=True)
BUSY = RateLimitError("too many requests", status_code=429)
DOWN = ServerError("down", status_code=500)
WRONG_KEY = AuthenticationError("wrong key", status_code=401)


def trying(name: str, *steps: Any, **model: Any) -> Any:
    return member(name, *steps, retry=RetryConfig(), model=model)


def test_an_endpoint_that_cannot_be_reached_costs_what_was_in_flight_and_a_handful_more() -> None:
    async def main() -> None:
        broken, good = trying("broken", After(0.001, UNREACHABLE)), trying("good", After(0.05, "fine"))
        async with Spread([broken, good]) as model:
            ended = await ask(model, 200, at_once=8)
            assert all(calling.answer is not None for calling in ended)
            assert calls_of(broken) <= 4 + 3
            assert list(model.ejected) == [broken]
            # None backs off towards an endpoint that is left out: but for two that failed before it was.
            assert now() < 0.05 * 200 / 8 + 1.0

    run_virtual(main())


def test_calls_that_fail_in_passing_at_a_model_that_is_left_out_are_not_tried_again_there() -> None:
    async def main() -> None:
        broken = trying("broken", *[After(1.0, WRONG_KEY)], *[After(2.0, DOWN)] * 50)
        good = trying("good", After(1.0, "fine"))
        async with Spread([broken, good]) as model:
            ended = await asyncio.gather(*(model.invoke(prompt=str(n)) for n in range(20)))
            assert all(calling.answer is not None for calling in ended)
            assert calls_of(broken) == 10
            assert now() == pytest.approx(3.0)

    run_virtual(main())


def test_calls_are_retried_while_no_endpoint_can_be_reached() -> None:
    async def main() -> None:
        models = [trying(name, *[UNREACHABLE] * 3, "fine") for name in ("one", "two")]
        async with Spread(models) as model:
            ended = await ask(model, 20, at_once=4)
            assert all(calling.answer is not None for calling in ended)

    run_virtual(main())


def test_a_call_that_meets_a_429_goes_where_it_need_not_wait() -> None:
    async def main() -> None:
        busy, good = trying("busy", BUSY), trying("good", After(0.1, "fine"))
        async with Spread([busy, good]) as model:
            for each in (busy, good, model):
                each._rng.seed(1)  # of the waits before a probe, which are jittered
            ended = await ask(model, 100, at_once=8)
            assert all(calling.completed_by == "good" for calling in ended)
            assert calls_of(busy) <= 10
            assert now() == pytest.approx(0.1 * 100 / 8, abs=0.3)
            assert not model.ejected

    run_virtual(main())


def test_with_nowhere_else_to_go_a_429_is_waited_out() -> None:
    async def main() -> None:
        told = RateLimitError("slow down", status_code=429, retry_after=2.0)
        busy = trying("busy", *[told] * 3, "fine")
        async with Spread([busy, trying("broken", WRONG_KEY)]) as model:
            ended = await ask(model, 3, at_once=1)
            assert [calling.completed_by for calling in ended] == ["busy"] * 3

    run_virtual(main())


def test_where_all_answer_with_429_a_call_goes_round_and_ends() -> None:
    async def main() -> None:
        models = [trying("one", BUSY), trying("two", BUSY)]
        async with Spread(models) as model:
            ended = await ask(model, 4, at_once=2)
            assert [type(calling.error) for calling in ended] == [RateLimitError] * 4
            assert max(len(calling.attempts) for calling in ended) < 60

    run_virtual(main())


def test_a_minute_of_nothing_but_429s_leaves_a_model_out_and_an_answer_between_them_does_not() -> None:
    async def run(*steps: Any) -> list[str]:
        told: list[str] = []
        busy = trying("busy", *steps)
        good = trying("good", After(0.5, "fine"))
        async with Spread([busy, good], on_ejected=lambda model, error: told.append(model.name)) as model:
            for _ in range(600):
                await model.invoke(prompt="x")
        return told

    async def main() -> None:
        assert set(await run(BUSY)) == {"busy"}
        assert await run(*[BUSY, BUSY, "fine"] * 50) == []

    run_virtual(main())


def test_each_ejection_is_reported_once_with_the_health_of_each_model() -> None:
    told: list[tuple[Caller, APIClientError]] = []

    async def main() -> None:
        broken, good = trying("broken", WRONG_KEY), trying("good", After(1.0, "fine"))
        spread = Spread([broken, good], on_ejected=lambda model, error: told.append((model, error)))
        async with spread as model:
            await ask(model, 20, at_once=4)
            assert told == [(broken, WRONG_KEY)]
            await asyncio.sleep(301.0)
            await ask(model, 4, at_once=2)
            assert told == [(broken, WRONG_KEY)] * 2
            assert [(each.name, each.answered, each.ejections, each.error) for each in model.health] == [
                ("broken", 0, 2, WRONG_KEY),
                ("good", 24, 0, None),
            ]

    run_virtual(main())


def test_a_model_that_takes_long_is_given_fewer_calls_than_a_quick_one() -> None:
    clock = VirtualClock()
    slow, quick = (SimulatedProvider(Options(latency=each), clock=clock.time) for each in (4.0, 1.0))

    async def main() -> None:
        async with Spread([at_simulator(slow, "a"), at_simulator(quick, "b")]) as model:
            await ask(model, 1000, at_once=100)
        # By calls in flight alone it were as many at once: one to four. By their times it is one to sixteen.
        assert slow.stats.requests < quick.stats.requests / 5

    clock.run(main())


def test_the_line_of_a_quick_model_is_better_than_a_slow_one_that_is_free() -> None:
    async def main() -> None:
        slow = member("slow", After(60.0, "x"), model={"limit_concurrency": 4})
        quick = member("quick", After(0.1, "x"), model={"limit_concurrency": 4})
        async with Spread([slow, quick]) as model:
            await ask(model, 200, at_once=16)
        # It got its share while nothing was known of it; who waited in its line went on to the quick one.
        assert calls_of(slow) == 4
        assert now() == pytest.approx(60.0)

    run_virtual(main())


def test_calls_for_the_only_endpoint_keep_their_places_while_it_cannot_be_reached() -> None:
    async def main() -> None:
        only = trying("only", *[After(0.1, UNREACHABLE)] * 4, After(0.1, "fine"), limit_concurrency=1)
        async with Spread([only]) as model:
            ended = await asyncio.gather(*(model.invoke(prompt=str(n)) for n in range(10)))
            assert all(calling.answer is not None for calling in ended)

    run_virtual(main())


def test_a_call_that_is_sent_on_from_lines_is_attempted_no_more_often_than_is_said() -> None:
    async def main() -> None:
        models = [
            trying(name, *[After(0.1, DOWN), After(0.3, "fine"), After(0.2, DOWN)] * 400, limit_concurrency=1)
            for name in ("one", "two", "three")
        ]
        async with Spread(models) as model:
            ended = await ask(model, 300, at_once=40)
            assert max(len(calling.attempts) for calling in ended) <= model.most_attempts

    run_virtual(main())


def test_a_retry_goes_to_a_model_that_the_call_has_not_tried() -> None:
    async def main() -> None:
        shaky = trying("shaky", DOWN, DOWN, "fine")
        async with Spread([shaky, trying("good", After(60.0, "late"))]) as model:
            calling = await model.invoke(prompt="x")
            assert (calling.completed_by, len(calling.attempts)) == ("good", 2)

    run_virtual(main())


def test_a_retry_after_an_error_of_a_users_own_backend_goes_to_another_model() -> None:
    async def main() -> None:
        shaky = trying("shaky", ConnectionError("reset"), "fine")
        async with Spread([shaky, trying("good", After(60.0, "late"))]) as model:
            calling = await model.invoke(prompt="x")
            assert (calling.completed_by, len(calling.attempts)) == ("good", 2)

    run_virtual(main())
