"""Hooks watch: in their order, all of them, and without changing what happens."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from callgate.call.calling import Calling
from callgate.errors import ConfigurationError
from callgate.policies.observe.hooks import HookPhase, HookRegistry

BEFORE = [HookPhase.PreEventCreate, HookPhase.PreInvocation]
AFTER = [HookPhase.PostInvocation, HookPhase.ErrorHandling]


def run(hooks: HookRegistry, phase: HookPhase) -> Calling:
    calling = Calling({})
    asyncio.run(hooks.run(phase, calling))
    return calling


def test_many_hooks_a_phase_run_in_the_order_of_registration_sync_or_async() -> None:
    seen: list[Any] = []

    async def second(event: Calling, **facts: Any) -> None:
        await asyncio.sleep(0)
        seen.append(("second", event, facts))

    hooks = HookRegistry()
    hooks.register(HookPhase.PreInvocation, lambda event, **_: seen.append(("first", event)))
    hooks.register(HookPhase.PreInvocation, second)
    hooks.register(HookPhase.PreInvocation, lambda event: seen.append(("third", event)))
    hooks.register(HookPhase.PostInvocation, lambda event, **_: seen.append("not asked for"))
    calling = run(hooks, HookPhase.PreInvocation)
    assert seen == [
        ("first", calling),
        ("second", calling, {"phase": HookPhase.PreInvocation}),
        ("third", calling),
    ]


def test_the_constructor_takes_one_hook_a_phase_or_several() -> None:
    seen: list[int] = []
    hooks = HookRegistry(
        hooks={
            HookPhase.PreInvocation: lambda event, **_: seen.append(1),
            HookPhase.PostInvocation: [
                lambda event, **_: seen.append(2),
                lambda event, phase: seen.append(3),
            ],
        }
    )
    for phase in HookPhase:
        run(hooks, phase)
    assert seen == [1, 2, 3]
    assert repr(hooks) == "<HookRegistry PreInvocation=1, PostInvocation=2>"


@pytest.mark.parametrize("phase", BEFORE)
def test_a_hook_that_raises_before_the_call_stops_it_and_what_comes_after(phase: HookPhase) -> None:
    later: list[Any] = []

    def refuse(event: Calling, **_: Any) -> None:
        raise PermissionError("not today")

    hooks = HookRegistry({phase: [refuse, lambda event, **_: later.append(event)]})
    with pytest.raises(PermissionError, match="not today"):
        run(hooks, phase)
    assert later == []


@pytest.mark.parametrize("phase", AFTER)
def test_a_hook_that_raises_after_it_is_logged_and_the_others_still_run(
    phase: HookPhase, caplog: pytest.LogCaptureFixture
) -> None:
    later: list[Any] = []

    async def fail(event: Calling, **_: Any) -> None:
        raise ZeroDivisionError("my own fault")

    hooks = HookRegistry({phase: [fail, lambda event, **_: later.append(event)]})
    with caplog.at_level(logging.ERROR, "callgate"):
        calling = run(hooks, phase)
    assert later == [calling]
    assert calling.request_id in caplog.text
    assert "my own fault" in caplog.text


def test_a_cancellation_is_no_failure_of_a_hook() -> None:
    async def cancelled(event: Calling, **_: Any) -> None:
        raise asyncio.CancelledError

    async def main() -> None:
        with pytest.raises(asyncio.CancelledError):
            await HookRegistry({HookPhase.PostInvocation: cancelled}).run(
                HookPhase.PostInvocation, Calling({})
            )

    asyncio.run(main())


def test_a_hook_may_be_taken_out_while_the_others_run() -> None:
    hooks = HookRegistry()
    seen: list[str] = []

    def once(event: Calling, **_: Any) -> None:
        seen.append("once")
        assert hooks.unregister(HookPhase.PreInvocation, once)

    hooks.register(HookPhase.PreInvocation, once)
    hooks.register(HookPhase.PreInvocation, lambda event, **_: seen.append("always"))
    run(hooks, HookPhase.PreInvocation)
    run(hooks, HookPhase.PreInvocation)
    assert seen == ["once", "always", "always"]
    assert not hooks.unregister(HookPhase.PreInvocation, once)


def test_has_takes_a_phase_or_its_value() -> None:
    hooks = HookRegistry({HookPhase.PreInvocation: print})
    assert hooks.has(HookPhase.PreInvocation)
    assert hooks.has("pre_invocation")  # type: ignore[arg-type]
    assert not hooks.has(HookPhase.ErrorHandling)


def test_a_callable_that_does_not_tell_its_parameters_is_called_with_the_event_alone() -> None:
    seen: list[Any] = []
    hooks = HookRegistry({HookPhase.PreInvocation: [str, seen.append]})
    calling = run(hooks, HookPhase.PreInvocation)  # a hook that raised would raise here
    assert seen == [calling]


@pytest.mark.parametrize(
    ("phase", "hook", "said"),
    [
        ("before", print, "unknown hook phase 'before'; use one of PreEventCreate"),
        ("pre_invocation", 3, "not int"),
    ],
)
def test_what_is_no_phase_or_no_function_is_refused(phase: Any, hook: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        HookRegistry().register(phase, hook)
