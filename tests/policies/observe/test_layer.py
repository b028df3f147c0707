from __future__ import annotations

import asyncio
from typing import Any

import pytest

from callgate.call.calling import Calling
from callgate.errors import ServerError
from callgate.policies.observe.hooks import HookPhase, HookRegistry
from callgate.policies.observe.layer import observe_layer
from callgate.response import Response
from callgate.testing.clock import VirtualClock
from tests.policies.scripted_service import After, Scripted, calling, result_of

BEFORE, AFTER, FAILED = HookPhase.PreInvocation, HookPhase.PostInvocation, HookPhase.ErrorHandling


def watching() -> tuple[HookRegistry, list[tuple[HookPhase, str, Any]]]:
    """Hooks that note the phase, the status and what they see of the outcome."""
    seen: list[tuple[HookPhase, str, Any]] = []

    def note(event: Calling, phase: HookPhase, **_: Any) -> None:
        outcome = event.execution.error if event.error is not None else event.execution.response
        seen.append((phase, event.status.value, outcome))

    return HookRegistry(dict.fromkeys((BEFORE, AFTER, FAILED), note)), seen


@pytest.mark.parametrize("hooked", [False, True])
def test_an_answer_completes_the_calling_at_its_moment(hooked: bool) -> None:
    clock = VirtualClock()
    hooks = watching()[0] if hooked else None

    async def main() -> None:
        call = calling()
        response = await observe_layer(clock.time, hooks)(Scripted(After(7, "hello")))(call)
        assert call.status.value == "completed"
        assert call.response is response
        assert call.ended_at == 7.0

    clock.run(main())


@pytest.mark.parametrize("hooked", [False, True])
@pytest.mark.parametrize("error", [ServerError("down"), KeyError("k")])
def test_an_error_fails_the_calling_and_is_raised_as_it_is(hooked: bool, error: Exception) -> None:
    clock = VirtualClock()
    hooks = watching()[0] if hooked else None

    async def main() -> None:
        call = calling()
        assert await result_of(observe_layer(clock.time, hooks)(Scripted(After(7, error))), call) is error
        assert call.status.value == "failed"
        assert call.error is error
        assert call.ended_at == 7.0

    clock.run(main())


def test_hooks_see_a_good_call_begin_and_end_once_with_its_answer() -> None:
    clock = VirtualClock()
    hooks, seen = watching()

    async def main() -> None:
        response = await observe_layer(clock.time, hooks)(Scripted("hello"))(calling())
        assert seen == [(BEFORE, "pending", None), (AFTER, "completed", response)]

    clock.run(main())


def test_hooks_see_a_failed_call_begin_and_end_once_with_its_error() -> None:
    clock = VirtualClock()
    hooks, seen = watching()
    error = ServerError("down")

    async def main() -> None:
        await result_of(observe_layer(clock.time, hooks)(Scripted(error)), calling())

    clock.run(main())
    assert seen == [(BEFORE, "pending", None), (FAILED, "failed", error)]


def test_hooks_see_a_cancelled_call_end_and_it_stays_cancelled() -> None:
    clock = VirtualClock()
    hooks, seen = watching()

    async def main() -> None:
        call = calling()
        task = asyncio.ensure_future(observe_layer(clock.time, hooks)(Scripted(After(100, "")))(call))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert call.cancelled

    clock.run(main())
    assert [phase for phase, _, _ in seen] == [BEFORE, FAILED]


def test_a_hook_that_raises_before_the_call_fails_it_and_nothing_is_sent() -> None:
    clock = VirtualClock()
    hooks, seen = watching()
    refusal = PermissionError("not on Sundays")

    def refuse(event: Calling, **_: Any) -> None:
        raise refusal

    hooks.register(BEFORE, refuse)
    backend = Scripted("hello")

    async def main() -> None:
        call = calling()
        assert await result_of(observe_layer(clock.time, hooks)(backend), call) is refusal
        assert call.error is refusal

    clock.run(main())
    assert backend.at == []
    assert [phase for phase, _, _ in seen] == [BEFORE, FAILED]


def test_a_hook_that_raises_after_the_call_changes_nothing() -> None:
    clock = VirtualClock()

    def broken(event: Calling, **_: Any) -> None:
        raise RuntimeError("broken hook")

    hooks = HookRegistry({AFTER: broken, FAILED: broken})

    async def main() -> None:
        good, bad = calling(), calling()
        assert isinstance(
            await result_of(observe_layer(clock.time, hooks)(Scripted("hello")), good), Response
        )
        error = ServerError("down")
        assert await result_of(observe_layer(clock.time, hooks)(Scripted(error)), bad) is error
        assert (good.status.value, bad.status.value) == ("completed", "failed")

    clock.run(main())


def test_what_is_no_exception_of_a_call_fails_it_and_no_hook_delays_it() -> None:
    clock = VirtualClock()
    hooks, seen = watching()

    class Interrupted(BaseException):
        pass

    async def broken(_: Calling) -> Response:
        raise Interrupted

    async def main() -> None:
        call = calling()
        with pytest.raises(Interrupted):
            await observe_layer(clock.time, hooks)(broken)(call)
        assert isinstance(call.error, Interrupted)

    clock.run(main())
    assert [phase for phase, _, _ in seen] == [BEFORE]
