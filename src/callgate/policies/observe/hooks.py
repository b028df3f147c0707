"""Hooks: functions that are called when something happens to a call. They cannot change its result.

Only a hook that runs before the call may stop it, by raising.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any

from callgate.call.calling import Calling
from callgate.errors import ConfigurationError

__all__ = ["Hook", "HookPhase", "HookRegistry"]

Hook = Callable[..., Any]
"""`fn(event, **kwargs)` or `fn(event)`, sync or async; `event` is the calling, the kwargs hold `phase`."""

_log = logging.getLogger("callgate")


class HookPhase(str, Enum):  # noqa: UP042  compared as strings by existing programs
    """When a hook runs."""

    PreEventCreate = "pre_event_create"
    """The calling was created; raising stops it."""
    PreInvocation = "pre_invocation"
    """The call begins; raising fails it with that error."""
    PostInvocation = "post_invocation"
    """It has a response; `event.execution.response` is set."""
    ErrorHandling = "error_handling"
    """It failed or was cancelled; `event.error` is set."""


_BEFORE = frozenset({HookPhase.PreEventCreate, HookPhase.PreInvocation})


class HookRegistry:
    """Hooks by phase, run in the order they were registered.

    Args:
        hooks: For each phase a function, or several.

    Raises:
        ConfigurationError: (a ValueError) for an unknown phase or something that cannot be called.

    >>> seen = []
    >>> hooks = HookRegistry({HookPhase.PostInvocation: lambda event, **_: seen.append(event)})
    >>> hooks.has(HookPhase.PostInvocation), hooks.has(HookPhase.PreInvocation)
    (True, False)
    """

    __slots__ = ("_hooks",)

    def __init__(self, hooks: Mapping[HookPhase, Hook | Iterable[Hook]] | None = None) -> None:
        # Each with whether it takes `phase`.
        self._hooks: dict[HookPhase, list[tuple[Hook, bool]]] = {phase: [] for phase in HookPhase}
        for phase, given in (hooks or {}).items():
            for hook in [given] if callable(given) else given:
                self.register(phase, hook)

    def register(self, phase: HookPhase | str, hook: Hook) -> None:
        """Add a hook to a phase, also by its name ("PreInvocation"); there may be many.

        Raises:
            ConfigurationError: for an unknown phase or something that cannot be called.
        """
        try:
            known = HookPhase.__members__[phase] if phase in HookPhase.__members__ else HookPhase(phase)
        except ValueError:
            phases = ", ".join(each.name for each in HookPhase)
            raise ConfigurationError(f"unknown hook phase {phase!r}; use one of {phases}") from None
        if not callable(hook):
            raise ConfigurationError(f"a hook is a function, not {type(hook).__name__}")
        self._hooks[known].append((hook, _takes_phase(hook)))

    def unregister(self, phase: HookPhase, hook: Hook) -> bool:
        """Remove a hook; False when it was not there."""
        for index, (known, _) in enumerate(self._hooks[phase]):
            if known == hook:
                del self._hooks[phase][index]
                return True
        return False

    def has(self, phase: HookPhase) -> bool:
        """True if a hook is registered for this phase."""
        return bool(self._hooks[phase])

    async def run(self, phase: HookPhase, event: Calling) -> None:
        """Run every hook of a phase.

        Raises:
            Exception: raised by a hook in a phase before the call. After the call, errors are logged, and the
                other hooks still run.
        """
        for hook, takes_phase in tuple(self._hooks[phase]):
            try:
                result = hook(event, phase=phase) if takes_phase else hook(event)
                if inspect.isawaitable(result):
                    await result
            except Exception:
                if phase in _BEFORE:
                    raise
                _log.exception("a %s hook raised on call %s", phase.name, event.request_id)

    def __repr__(self) -> str:
        counts = ", ".join(f"{phase.name}={len(found)}" for phase, found in self._hooks.items() if found)
        return f"<HookRegistry {counts or 'empty'}>"


def _takes_phase(hook: Hook) -> bool:
    try:
        parameters = inspect.signature(hook).parameters
    except (TypeError, ValueError):  # a builtin without a signature, such as `print`
        return False
    return "phase" in parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())
