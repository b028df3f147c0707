"""Another model answers when the first cannot: whole models, over real connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from pydantic import BaseModel

from callgate import (
    AuthenticationError,
    Calling,
    CircuitBreaker,
    HookPhase,
    HookRegistry,
    RetryConfig,
    ServerError,
    iModel,
)
from callgate.testing import Answer, Simulator

HELLO = {"messages": [{"role": "user", "content": "Hello!"}]}
QUICK = RetryConfig(max_retries=1, base_delay=0.001)


class Planet(BaseModel):
    name: str


def claude(sim: Simulator, **settings: Any) -> iModel:
    return iModel(provider="anthropic", base_url=sim.url, api_key="k", model="claude-sonnet-4-5", **settings)


def gpt(sim: Simulator, **settings: Any) -> iModel:
    return iModel(provider="openai", base_url=sim.base_url, api_key="k", model="gpt-4o-mini", **settings)


def between(
    scenario: Callable[[Simulator, Simulator], Coroutine[Any, Any, None]], first: Any, second: Any
) -> None:
    """Run a scenario with two simulators: what the first and the second provider answer."""

    async def main() -> None:
        async with Simulator(answers=lambda _: first) as one, Simulator(answers=lambda _: second) as two:
            await scenario(one, two)

    asyncio.run(main())


def test_the_calling_has_the_answering_model_and_the_cost() -> None:
    async def scenario(one: Simulator, two: Simulator) -> None:
        async with gpt(two) as other, claude(one, fallbacks=[other], retry_config=None) as model:
            calling = await model.invoke(temperature=0.5, **HELLO)
        assert calling.response.text == "from the second"
        assert calling.completed_by == "openai_chat"
        assert calling.response.model == "gpt-4o-mini", "each asks for its own model"
        assert calling.cost is not None
        assert calling.cost.output < 1e-5, "by the prices of the one who answered"

    between(scenario, 500, "from the second")


def test_the_first_answers_while_it_can() -> None:
    async def scenario(one: Simulator, two: Simulator) -> None:
        async with gpt(two) as other, claude(one, fallbacks=[other]) as model:
            calling = await model.invoke(**HELLO)
        assert (calling.response.text, calling.completed_by) == ("from the first", "anthropic_messages")
        assert two.stats.requests == 0

    between(scenario, "from the first", "from the second")


def test_it_is_tried_again_before_another_is_asked() -> None:
    async def scenario(one: Simulator, two: Simulator) -> None:
        async with gpt(two) as other, claude(one, fallbacks=[other], retry_config=QUICK) as model:
            calling = await model.invoke(**HELLO)
        assert calling.response.text == "from the second"
        assert (one.stats.requests, two.stats.requests, len(calling.attempts)) == (2, 1, 3)

    between(scenario, 500, "from the second")


def test_what_fails_for_good_is_not_tried_again_but_asked_of_another() -> None:
    async def scenario(one: Simulator, two: Simulator) -> None:
        async with gpt(two) as other, claude(one, fallbacks=[other], retry_config=QUICK) as model:
            calling = await model.invoke(**HELLO)
        assert calling.completed_by == "openai_chat"
        assert one.stats.requests == 1

    between(scenario, 401, "from the second")


def test_an_open_breaker_falls_back_at_once() -> None:
    async def scenario(one: Simulator, two: Simulator) -> None:
        breaker = CircuitBreaker(failure_threshold=1, recovery_time=600)
        async with gpt(two) as other:
            async with claude(one, fallbacks=[other], retry_config=None, circuit_breaker=breaker) as model:
                callings = [await model.invoke(**HELLO) for _ in range(3)]
        assert [calling.completed_by for calling in callings] == ["openai_chat"] * 3
        assert one.stats.requests == 1, "the breaker let nothing through after the first failure"

    between(scenario, 500, "from the second")


def test_a_quota_beyond_the_deadline_sends_the_call_on_without_waiting() -> None:
    async def scenario(one: Simulator, two: Simulator) -> None:
        async with gpt(two) as other, claude(one, fallbacks=[other], limit_requests=1) as model:
            loop = asyncio.get_running_loop()
            first = await model.invoke(poll_timeout=30, **HELLO)
            before = loop.time()
            second = await model.invoke(poll_timeout=30, **HELLO)
            assert loop.time() - before < 30
        assert (first.completed_by, second.completed_by) == ("anthropic_messages", "openai_chat")
        assert (one.stats.requests, two.stats.requests) == (1, 1)

    between(scenario, "from the first", "from the second")


def test_a_stream_falls_back_until_its_first_piece_has_left() -> None:
    async def scenario(one: Simulator, two: Simulator) -> None:
        async with gpt(two) as other, claude(one, fallbacks=[other], retry_config=None) as model:
            chunks = [chunk async for chunk in model.invoke_stream(**HELLO)]
            assert "".join(map(str, chunks)) == "from the second"
            with pytest.raises(ServerError):
                async for _ in claude(two, fallbacks=[other], retry_config=None).invoke_stream(**HELLO):
                    pass

    async def main() -> None:
        broken = Answer("Once upon a time there was", fault="stream_error")
        answers = iter(["from the second", broken])
        async with Simulator(answers=[500]) as one, Simulator(answers=lambda _: next(answers)) as two:
            await scenario(one, two)

    asyncio.run(main())


def test_when_all_providers_fail_the_last_error_has_the_others_as_notes() -> None:
    async def scenario(one: Simulator, two: Simulator) -> None:
        async with gpt(two, retry_config=None) as other:
            async with claude(one, fallbacks=[other], retry_config=None) as model:
                calling = await model.invoke(**HELLO)
        assert isinstance(calling.error, AuthenticationError)
        assert "ServerError" in "".join(calling.error.__notes__)
        assert calling.completed_by is None

    between(scenario, 500, 401)


def test_hooks_see_one_call_whichever_model_answers() -> None:
    async def scenario(one: Simulator, two: Simulator) -> None:
        seen: list[tuple[str, str | None]] = []

        def note(event: Calling, phase: HookPhase) -> None:
            seen.append((phase.name, event.completed_by))

        hooks = HookRegistry(dict.fromkeys(HookPhase, note))
        async with gpt(two) as other:
            async with claude(one, fallbacks=[other], retry_config=None, hook_registry=hooks) as model:
                await model.invoke(**HELLO)
        assert seen == [
            ("PreEventCreate", None),
            ("PreInvocation", None),
            ("PostInvocation", "openai_chat"),
        ]

    between(scenario, 500, "from the second")


def test_a_structured_answer_falls_back_too_and_every_token_is_counted() -> None:
    async def scenario(one: Simulator, two: Simulator) -> None:
        async with gpt(two) as other, claude(one, fallbacks=[other], retry_config=None) as model:
            calling = await model.invoke(response_model=Planet, **HELLO)
        assert calling.response.parsed == Planet(name="Mars")
        assert calling.completed_by == "openai_chat"
        assert (one.stats.requests, two.stats.requests) == (3, 1)
        assert calling.usage is not None
        assert calling.usage.output_tokens == 3 * 4 + 2
        # Each by its own prices: what the first one answered in vain costs 25 times what the second one does.
        assert calling.cost is not None
        assert calling.cost.output == pytest.approx(3 * 4 * 15e-6 + 2 * 0.6e-6)

    between(scenario, "no JSON at all", '{"name":"Mars"}')
