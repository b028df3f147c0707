"""The abilities of a Claude model, read from its name.

The name holds a family and a version, in either order; hosts add prefixes and dates around both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeGuard

from callgate.providers.canonical.messages import refuse

__all__ = [
    "DEFAULT_MAX_TOKENS",
    "check_sampling",
    "claude_version",
    "is_claude",
    "takes_forced_tool",
    "takes_output_format",
    "takes_system_turns",
    "thinking_fields",
    "thinks_adaptively",
]

DEFAULT_MAX_TOKENS = 4096
"""`max_tokens` where the caller sets none and the provider requires one: the oldest Claude's largest."""

_LEAST_BUDGET = 1024
_LEAST_TOP_P = 0.95
_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16_384, "xhigh": 24_576, "max": 24_576}
"""Effort -> tokens to think with. With the default on top, the largest fits into Claude 4's 32,000."""
_EFFORTS = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "max",
}

_VERSION = re.compile(r"(?<!\d)(\d{1,2})(?!\d)(?:[-.](\d{1,2})(?!\d))?")


def is_claude(model: str) -> bool:
    """True for the name of a Claude model, with whatever a host adds to it."""
    return "claude" in model.lower()


@lru_cache(maxsize=256)
def claude_version(model: str) -> tuple[int, int] | None:
    """Major and minor version; None when the name has none.

    >>> claude_version("us.anthropic.claude-sonnet-4-5-20250929-v1:0")
    (4, 5)
    >>> claude_version("claude-3-haiku-20240307")
    (3, 0)
    """
    _, claude, rest = model.lower().partition("claude")
    found = _VERSION.search(rest) if claude else None
    return (int(found[1]), int(found[2] or 0)) if found else None


def thinks_adaptively(model: str) -> bool:
    """True when the model takes an effort, not a budget of tokens for its thoughts.

    Claude 4.6 and later take an effort, and from 4.7 on refuse a budget. A Claude without a version in its
    name counts as new; other models that speak this dialect take budgets.
    """
    return _at_least(model, (4, 6))


def takes_output_format(model: str) -> bool:
    """True when the provider can hold its answers to a JSON schema (Claude 4.5 and later)."""
    return _at_least(model, (4, 5))


def takes_forced_tool(model: str) -> bool:
    """True when `tool_choice` may force a call, and `temperature` may differ from 1 (until Claude 5.5)."""
    version = claude_version(model)
    return version is None or version < (5, 5)


def takes_system_turns(model: str) -> bool:
    """True when `messages` may hold the role "system" (Opus 4.8 and later, Fable, Mythos; not Sonnet 5)."""
    version, name = claude_version(model), model.lower()
    return ("opus" in name and version is not None and version >= (4, 8)) or any(
        f"claude-{family}" in name for family in ("fable", "mythos")
    )


def thinking_fields(
    model: str, effort: Any, max_tokens: int | None, *, forced_tool: bool = False
) -> tuple[dict[str, Any], int | None]:
    """Translate `reasoning_effort`: fields of the body, and `max_tokens` with room for the thoughts.

    Args:
        model: Its name.
        effort: "none", "minimal", "low", "medium", "high", "xhigh" or "max".
        max_tokens: The caller's limit, which the thoughts count towards; None for none.
        forced_tool: True when the model must call a tool: it then cannot think, and an effort alone is sent.

    Raises:
        InvalidRequestError: An unknown effort; no room for thoughts; a budget beside a forced tool.

    >>> thinking_fields("claude-opus-5", "low", None)
    ({'thinking': {'type': 'adaptive'}, 'output_config': {'effort': 'low'}}, None)
    >>> thinking_fields("claude-sonnet-4-5", "low", 4000)
    ({'thinking': {'type': 'enabled', 'budget_tokens': 2048}}, 4000)
    """
    if effort is None or effort == "none":
        return {}, max_tokens
    if type(effort) is not str or effort not in _BUDGETS:
        raise refuse(f"unknown reasoning_effort {effort!r}; use none, {', '.join(_BUDGETS)}")
    if thinks_adaptively(model):
        level = _EFFORTS[effort]
        if level == "xhigh" and claude_version(model) == (4, 6):
            level = "max"  # 4.6 has max, and nothing between it and high
        thinking = {} if forced_tool else {"thinking": {"type": "adaptive"}}
        return {**thinking, "output_config": {"effort": level}}, max_tokens
    if forced_tool:
        raise refuse(
            f"{model} cannot think before a forced tool call; leave reasoning_effort or tool_choice out"
        )
    budget = _BUDGETS[effort]
    if max_tokens is None:
        max_tokens = budget + DEFAULT_MAX_TOKENS
    budget = max(_LEAST_BUDGET, min(budget, max_tokens * 3 // 4))
    if budget >= max_tokens:
        raise refuse(
            f"max_tokens={max_tokens} leaves {model} no room for reasoning_effort={effort!r}: thoughts take"
            f" at least {_LEAST_BUDGET} of them",
            setting="max_tokens",
            remedy="leave reasoning_effort out, or raise",
        )
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}, max_tokens


def check_sampling(model: str, request: Mapping[str, Any], *, thinks: bool) -> None:
    """Refuse sampling settings that the model would refuse.

    Args:
        model: Its name.
        request: The canonical request.
        thinks: True when the request turns thinking on.

    Raises:
        InvalidRequestError: A temperature above 1; another temperature, a low `top_p` or a `top_k` beside
            thinking; any of these for a model with fixed sampling.
    """
    temperature, top_p = request.get("temperature"), request.get("top_p")
    if _is_number(temperature) and temperature > 1:
        raise refuse(f"temperature is at most 1 for Claude, got {temperature}")
    why = f"{model} has a fixed temperature"
    if takes_forced_tool(model):
        if not thinks:
            return
        why = f"{model} cannot think with another temperature"
    if _is_number(temperature) and temperature != 1:
        raise refuse(f"{why}; leave temperature={temperature} out, or reasoning_effort")
    if request.get("top_k") is not None or (_is_number(top_p) and top_p < _LEAST_TOP_P):
        raise refuse(f"{why}; leave top_k out and top_p at {_LEAST_TOP_P} or above, or reasoning_effort out")


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float)


def _at_least(model: str, version: tuple[int, int]) -> bool:
    if not is_claude(model):
        return False
    own = claude_version(model)
    return own is None or own >= version
