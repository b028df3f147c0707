"""The cache is outside retry and the limiter: a hit costs nothing and does not wait."""

from __future__ import annotations

import asyncio
from typing import Any

from callgate.errors import DeadlineExceededError, ServerError
from callgate.model.model import iModel
from callgate.policies.breaker.breaker import CircuitState
from callgate.policies.cache.layer import key_of
from callgate.policies.cache.memory import MemoryCache
from callgate.testing.clock import run_virtual
from tests.composition.scripted_model import assert_nothing_left, breaker, make_model, used
from tests.policies.scripted_service import After, now

DOWN = ServerError("down", status_code=500)
AZURE = "https://example.openai.azure.com/openai/deployments/mine"


def test_a_cache_hit_costs_nothing_and_is_answered_while_the_queue_is_full() -> None:
    model, backend = make_model(
        "kept",
        After(100, "slow"),
        model={"cache": MemoryCache(), "limit_concurrency": 1, "limit_requests": 100, "limit_tokens": 1000},
    )

    async def main() -> None:
        await model.invoke(prompt="known", num_api_tokens_needed=10)
        running = asyncio.ensure_future(model.invoke(prompt="new", num_api_tokens_needed=10))
        await asyncio.sleep(1)
        hit = await model.invoke(prompt="known", num_api_tokens_needed=10)
        assert (hit.cached, hit.response.text, len(hit.attempts)) == (True, "kept", 0)
        assert now() == 1.0
        assert (used(model, "requests"), used(model, "tokens")) == (2, 20)
        await running
        await assert_nothing_left(model)

    run_virtual(main())
    assert len(backend.at) == 2


def test_identical_calls_in_flight_share_one_request_and_its_retries() -> None:
    model, backend = make_model(
        After(1, DOWN), After(1, "shared"), model={"cache": MemoryCache(), "limit_requests": 100}
    )

    async def main() -> None:
        callings = await asyncio.gather(*(model.invoke(prompt="the same") for _ in range(10)))
        assert {calling.response.text for calling in callings} == {"shared"}
        assert sum(len(calling.attempts) for calling in callings) == 2
        assert sum(calling.cached for calling in callings) == 9
        assert used(model, "requests") == 2
        await assert_nothing_left(model)

    run_virtual(main())
    assert len(backend.at) == 2


def test_a_failure_is_not_kept() -> None:
    model, backend = make_model(DOWN, "well again", retry=None, model={"cache": MemoryCache()})

    async def main() -> None:
        assert (await model.invoke(prompt="x")).error is DOWN
        again = await model.invoke(prompt="x")
        assert (again.cached, again.response.text) == (False, "well again")

    run_virtual(main())
    assert len(backend.at) == 2


def test_a_hit_is_given_although_the_breaker_is_open() -> None:
    opened = breaker(failure_threshold=1)
    model, _ = make_model("kept", DOWN, retry=None, circuit_breaker=opened, model={"cache": MemoryCache()})

    async def main() -> None:
        await model.invoke(prompt="known")
        await model.invoke(prompt="trips it")
        assert opened.state is CircuitState.OPEN
        assert (await model.invoke(prompt="known")).response.text == "kept"

    run_virtual(main())


def test_a_call_that_waits_for_a_shared_answer_keeps_its_own_deadline() -> None:
    model, backend = make_model(After(100, "late"), model={"cache": MemoryCache()})

    async def main() -> None:
        leading = asyncio.ensure_future(model.invoke(prompt="the same"))
        await asyncio.sleep(1)
        impatient = await model.invoke(prompt="the same", poll_timeout=9.0)
        assert isinstance(impatient.error, DeadlineExceededError)
        assert now() == 10.0
        assert (await leading).response.text == "late"
        await assert_nothing_left(model)

    run_virtual(main())
    assert len(backend.at) == 1


def test_endpoints_that_may_answer_otherwise_share_no_answers() -> None:
    usual = {
        "provider": "openai",
        "model": "m",
        "base_url": "https://api.example.com/v1",
        "api_key": "sk-one",
    }
    same = [
        {**usual, "api_key": "sk-another"},
        {**usual, "headers": {"Authorization": "Bearer sk-third"}},
    ]
    others = [
        {**usual, "headers": {"X-Beta": "long-context"}},
        {**usual, "provider": "azure", "base_url": f"{AZURE}?api-version=2024-10-21"},
        {**usual, "provider": "azure", "base_url": f"{AZURE}?api-version=2024-06-01"},
        {**usual, "endpoint": "other/completions"},
        {"base_url": "https://api.example.com/v1", "endpoint": "classify", "model": "m", "api_key": "sk-one"},
        {"base_url": "https://api.example.com/v1", "endpoint": "rank", "model": "m", "api_key": "sk-one"},
    ]

    async def digest(settings: dict[str, Any]) -> bytes:
        async with iModel(**settings) as model:
            key = key_of(await model.create_calling(messages=[{"role": "user", "content": "Hi"}]))
            assert key is not None
            assert b"sk-" not in key.request
            return key.digest

    async def main() -> None:
        first = await digest(usual)
        assert {await digest(settings) for settings in same} == {first}
        assert len({first, *[await digest(settings) for settings in others]}) == len(others) + 1

    run_virtual(main())
