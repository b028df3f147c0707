"""Hooks are outermost: they see every call begin and end once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from callgate.call.calling import Calling
from callgate.errors import InvalidRequestError, QuotaTooSmallError, ServerError
from callgate.model.model import iModel
from callgate.policies.cache.memory import MemoryCache
from callgate.policies.observe.hooks import HookPhase, HookRegistry
from callgate.response import Response, Usage
from callgate.testing.clock import run_virtual
from tests.composition.scripted_model import breaker, make_backend, make_model
from tests.policies.scripted_service import After, Streamed

DOWN = ServerError("down", status_code=500)
BEGUN, ANSWERED, FAILED = ["PreEventCreate", "PreInvocation"], ["PostInvocation"], ["ErrorHandling"]


def watching() -> tuple[HookRegistry, list[str]]:
    """Hooks in every phase, and the phases they saw."""
    seen: list[str] = []

    async def note(event: Calling, phase: HookPhase, **_: Any) -> None:
        await asyncio.sleep(0)
        seen.append(phase.name)

    return HookRegistry(dict.fromkeys(HookPhase, note)), seen


@pytest.mark.parametrize(
    ("steps", "end"),
    [
        (["fine"], ANSWERED),
        ([DOWN, DOWN, "fine"], ANSWERED),
        ([DOWN], FAILED),
        ([InvalidRequestError("400")], FAILED),
        ([KeyError("bug")], FAILED),
    ],
)
def test_a_call_is_seen_to_begin_and_to_end_once_however_many_attempts_it_took(
    steps: list[Any], end: list[str]
) -> None:
    hooks, seen = watching()
    model, _ = make_model(*steps, model={"hook_registry": hooks})

    async def main() -> None:
        await model.invoke(prompt="x")

    run_virtual(main())
    assert seen == BEGUN + end


@pytest.mark.parametrize("submitted", [False, True])
def test_a_call_that_is_submitted_is_seen_like_one_that_is_invoked(submitted: bool) -> None:
    hooks, seen = watching()
    model, _ = make_model("fine", model={"hook_registry": hooks})

    async def main() -> None:
        if submitted:
            await model.submit(prompt="x")
        else:
            await model.invoke(await model.create_calling(prompt="x"))

    run_virtual(main())
    assert seen == BEGUN + ANSWERED


def test_a_cache_hit_and_a_shared_request_are_seen_too() -> None:
    hooks, seen = watching()
    model, backend = make_model(After(1, "x"), model={"hook_registry": hooks, "cache": MemoryCache()})

    async def main() -> None:
        await asyncio.gather(*(model.invoke(prompt="the same") for _ in range(3)))
        await model.invoke(prompt="the same")

    run_virtual(main())
    assert len(backend.at) == 1
    assert sorted(seen) == sorted((BEGUN + ANSWERED) * 4)


def test_a_refusal_is_seen_as_a_failure() -> None:
    hooks, seen = watching()
    model, _ = make_model("fine", model={"hook_registry": hooks, "limit_tokens": 100})

    async def main() -> None:
        calling = await model.invoke(prompt="x", num_api_tokens_needed=101)
        assert isinstance(calling.error, QuotaTooSmallError)

    run_virtual(main())
    assert seen == BEGUN + FAILED


def test_a_refusal_by_the_breaker_is_seen_as_a_failure() -> None:
    hooks, seen = watching()
    model, _ = make_model(DOWN, retry=None, circuit_breaker=breaker(failure_threshold=1))
    model.hooks = hooks

    async def main() -> None:
        await model.invoke(prompt="x")
        await model.invoke(prompt="x")

    run_virtual(main())
    assert seen == (BEGUN + FAILED) * 2


def test_a_cancelled_call_is_seen_to_end_once() -> None:
    hooks, seen = watching()
    model, _ = make_model(After(3600, "late"), model={"hook_registry": hooks})

    async def main() -> None:
        calling = model.submit(prompt="x")
        await asyncio.sleep(1)
        calling.cancel()
        await calling
        await asyncio.sleep(1)

    run_virtual(main())
    assert seen == BEGUN + FAILED


def test_a_call_that_another_model_answers_is_seen_by_the_hooks_of_the_first_only() -> None:
    hooks, seen = watching()
    others, seen_by_others = watching()
    second = iModel(backend=make_backend("fine"), hook_registry=others)
    first, _ = make_model(DOWN, retry=None, model={"hook_registry": hooks, "fallbacks": [second]})

    async def main() -> None:
        assert (await first.invoke(prompt="x")).completed_by == second.name

    run_virtual(main())
    assert seen == BEGUN + ANSWERED
    assert seen_by_others == []


def test_a_stream_is_seen_when_it_begins_and_when_all_of_it_is_there() -> None:
    answer = Response(text="Once upon", usage=Usage(1, 2))
    seen: list[tuple[str, Any]] = []

    def note(event: Calling, phase: HookPhase, **_: Any) -> None:
        seen.append((phase.name, event.usage))

    hooks = HookRegistry({HookPhase.PreInvocation: note, HookPhase.PostInvocation: note})
    model, _ = make_model(Streamed(("Once ", "upon"), answer), model={"hook_registry": hooks})

    async def main() -> None:
        async for _ in model.invoke_stream(prompt="x"):
            pass

    run_virtual(main())
    assert seen == [("PreInvocation", None), ("PostInvocation", Usage(1, 2))]


def test_a_hook_sees_the_answer_that_its_caller_gets() -> None:
    seen: list[Any] = []

    def note(event: Calling, **_: Any) -> None:
        seen.append(event.execution.response)

    model, _ = make_model(
        DOWN, "fine", model={"hook_registry": HookRegistry({HookPhase.PostInvocation: note})}
    )

    async def main() -> None:
        calling = await model.invoke(prompt="x")
        assert seen == [calling.response]

    run_virtual(main())


def test_a_stream_is_seen_to_be_made_as_well() -> None:
    hooks, seen = watching()
    model, _ = make_model(Streamed(("Once",), "Once"), model={"hook_registry": hooks})

    async def main() -> None:
        async for _ in model.invoke_stream(prompt="x"):
            pass
        channel = await model.invoke_stream_with_channel(prompt="x")
        async for _ in channel:
            pass

    run_virtual(main())
    assert seen == (BEGUN + ANSWERED) * 2


@pytest.mark.parametrize("way", ["invoke", "submit", "create_calling", "stream"])
def test_a_hook_that_refuses_the_making_of_a_call_fails_it_and_nothing_is_sent(way: str) -> None:
    refusal = PermissionError("not on Sundays")

    def refuse(event: Calling, **_: Any) -> None:
        raise refusal

    hooks = HookRegistry({HookPhase.PreEventCreate: refuse})
    model, backend = make_model("fine", model={"hook_registry": hooks})

    async def main() -> None:
        if way == "stream":
            with pytest.raises(PermissionError) as raised:
                await anext(model.invoke_stream(prompt="x"))
            assert raised.value is refusal
            return
        if way == "invoke":
            calling = await model.invoke(prompt="x")
        elif way == "submit":
            calling = await model.submit(prompt="x")
        else:
            calling = await model.invoke(await model.create_calling(prompt="x"))
        assert calling.error is refusal
        assert calling.status.value == "failed"

    run_virtual(main())
    assert backend.at == []
