"""One retry policy, one queue and one budget for each call, however many endpoints a model has."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from callgate.errors import (
    AuthenticationError,
    DeadlineExceededError,
    RateLimitError,
    RefusedError,
    ServerError,
)
from callgate.model.model import iModel
from callgate.model.spread import Spread
from callgate.policies.retry.config import RetryConfig
from callgate.testing.clock import run_virtual
from tests.composition.scripted_model import make_backend
from tests.policies.scripted_service import After, Scripted, now

DOWN = ServerError("down", status_code=500)
RETRY = RetryConfig(jitter=False)


def endpoint(name: str, *steps: Any, **model: Any) -> iModel:
    backend = make_backend(*steps, retry=RETRY)
    backend.name = name
    return iModel(backend=backend, **{"limit_concurrency": None, **model})


def sent(model: Any) -> int:
    assert isinstance(model.backend, Scripted)
    return len(model.backend.at)


@pytest.mark.parametrize("keys", [1, 2, 4, 8])
def test_a_request_that_always_fails_is_sent_four_times_with_any_number_of_keys(keys: int) -> None:
    async def main() -> None:
        async with Spread([endpoint(f"key {number}", DOWN) for number in range(keys)]) as model:
            calling = await model.invoke(prompt="x")
            assert isinstance(calling.error, ServerError)
            assert sum(sent(each) for each in model.models) == len(calling.attempts) == 4

    run_virtual(main())


def test_each_retry_goes_to_an_endpoint_that_the_call_has_not_tried() -> None:
    async def main() -> None:
        async with Spread([endpoint(f"key {number}", DOWN) for number in range(8)]) as model:
            calling = await model.invoke(prompt="x")
            assert len({attempt.endpoint for attempt in calling.attempts}) == 4

    run_virtual(main())


def test_a_hedge_goes_to_another_endpoint_where_one_is_idle() -> None:
    hedges: list[tuple[str, str]] = []

    async def main() -> None:
        steps = [*[After(1.0, "usual")] * 9, After(60.0, "slow")] * 100
        models = [endpoint(name, *steps, hedge=0.1, limit_concurrency=20) for name in ("one", "two")]
        async with Spread(models) as model:
            for _ in range(30):
                ended = await asyncio.gather(*(model.invoke(prompt=str(n)) for n in range(10)))
                for calling in ended:
                    if any(attempt.hedge for attempt in calling.attempts):
                        first, second = calling.attempts[:2]
                        hedges.append((first.endpoint, second.endpoint))

    run_virtual(main())
    assert len(hedges) > 5
    assert Counter(first == second for first, second in hedges) == {False: len(hedges)}


def test_a_deadline_that_ends_a_call_in_flight_is_no_refusal() -> None:
    async def main() -> None:
        model = endpoint("slow", After(60.0, "late"))
        calling = await model.invoke(prompt="x", poll_timeout=5.0)
        assert isinstance(calling.error, DeadlineExceededError)
        assert not isinstance(calling.error, RefusedError)
        assert not calling.error.surely_unsent
        assert "nothing was sent" not in str(calling.error)

    run_virtual(main())


def test_a_deadline_that_ends_a_call_in_the_queue_is_a_refusal() -> None:
    async def main() -> None:
        model = endpoint("busy", After(60.0, "late"), limit_concurrency=1)
        running = asyncio.ensure_future(model.invoke(prompt="x"))
        await asyncio.sleep(1.0)
        calling = await model.invoke(prompt="y", poll_timeout=5.0)
        assert isinstance(calling.error, RefusedError)
        assert calling.attempts == []
        await running

    run_virtual(main())


def test_a_429_binds_the_call_at_that_endpoint_only() -> None:
    async def main() -> None:
        told = RateLimitError("slow down", status_code=429, retry_after=30.0)
        busy, other = endpoint("busy", told), endpoint("other", "fine")
        async with Spread([busy, other]) as model:
            calling = await model.invoke(prompt="x")
            assert (calling.completed_by, now()) == ("other", 0.0)

    run_virtual(main())


def test_a_429_of_a_single_endpoint_is_waited_out_by_its_call() -> None:
    async def main() -> None:
        model = endpoint("only", RateLimitError("slow down", status_code=429, retry_after=7.0), "fine")
        calling = await model.invoke(prompt="x")
        assert calling.response.text == "fine"
        first, second = calling.attempts
        assert second.started_at - first.started_at >= 7.0

    run_virtual(main())


def test_after_a_429_and_a_refused_key_the_call_waits_for_the_endpoint_that_works() -> None:
    async def main() -> None:
        told = RateLimitError("slow down", status_code=429, retry_after=7.0)
        wrong = AuthenticationError("no such key", status_code=401)
        async with Spread([endpoint("busy", told, "fine"), endpoint("broken", wrong)]) as model:
            calling = await model.invoke(prompt="x")
            assert calling.completed_by == "busy"
            assert now() >= 7.0

    run_virtual(main())


def test_a_fallback_has_tries_of_its_own_after_the_final_failure() -> None:
    async def main() -> None:
        second = endpoint("second", DOWN, "fine")
        model = endpoint("first", DOWN, fallbacks=[second])
        calling = await model.invoke(prompt="x")
        assert calling.completed_by == "second"
        assert [attempt.endpoint for attempt in calling.attempts] == ["first"] * 4 + ["second"] * 2

    run_virtual(main())


def test_a_slow_endpoint_is_passed_over_while_a_fast_one_is_sooner() -> None:
    async def main() -> None:
        fast = endpoint("fast", After(1.0, "x"), limit_concurrency=1)
        slow = endpoint("slow", After(10.0, "x"), limit_concurrency=1)
        async with Spread([fast, slow]) as model:
            await asyncio.gather(model.invoke(prompt="1"), model.invoke(prompt="2"))  # both are known now
            begun = now()
            ended = await asyncio.gather(*(model.invoke(prompt=str(n)) for n in range(3)))
            assert [calling.completed_by for calling in ended] == ["fast"] * 3
            assert now() - begun == pytest.approx(3.0)

    run_virtual(main())


def test_under_a_lasting_load_the_slow_endpoint_helps() -> None:
    async def main() -> None:
        fast = endpoint("fast", After(1.0, "x"), limit_concurrency=1)
        slow = endpoint("slow", After(10.0, "x"), limit_concurrency=1)
        async with Spread([fast, slow]) as model:
            begun = now()
            await asyncio.gather(*(model.invoke(prompt=str(n)) for n in range(110)))
            assert now() - begun < 115.0
            assert sent(slow) >= 8

    run_virtual(main())


def test_calls_leave_the_queue_of_a_pool_in_their_order() -> None:
    async def main() -> None:
        models = [endpoint(name, After(1.0, "x"), limit_concurrency=1) for name in ("one", "two")]
        async with Spread(models) as model:
            callings = [model.submit(prompt=str(number)) for number in range(20)]
            for calling in callings:
                await calling
            started = [calling.attempts[0].started_at for calling in callings]
            assert started == sorted(started)
            assert now() == pytest.approx(10.0)

    run_virtual(main())


def test_calls_that_wait_for_an_ejected_endpoint_go_to_another() -> None:
    async def main() -> None:
        wrong = AuthenticationError("no such key", status_code=401)
        broken = endpoint("broken", After(5.0, wrong), limit_concurrency=1)
        good = endpoint("good", After(60.0, "fine"), limit_concurrency=50)
        async with Spread([broken, good]) as model:
            ended = await asyncio.gather(*(model.invoke(prompt=str(n)) for n in range(20)))
            assert all(calling.completed_by == "good" for calling in ended)
            assert sent(broken) == 1

    run_virtual(main())


def test_endpoints_of_similar_latency_share_the_calls() -> None:
    async def main() -> None:
        models = [endpoint("one", After(1.0, "x")), endpoint("two", After(1.4, "x"))]
        async with Spread(models) as model:
            for _ in range(10):
                await asyncio.gather(*(model.invoke(prompt=str(n)) for n in range(10)))
            assert [sent(each) for each in model.models] == [50, 50]

    run_virtual(main())
