"""What a Claude model can, told from its name: names put the version after the family or before it, and
hosts put prefixes and dates around both."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from callgate.providers.canonical.messages import refuse

__all__ = [
    "DEFAULT_MAX_TOKENS",
    "claude_version",
    "is_claude",
    "takes_output_format",
    "thinking_fields",
    "thinks_adaptively",
]

DEFAULT_MAX_TOKENS = 4096
"""What is asked for when the caller says nothing and the provider requires a number: the most that every
Claude model can write, the oldest included."""

_LEAST_BUDGET = 1024
_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16_384, "xhigh": 24_576, "max": 24_576}
"""Tokens to think with, for models that are given a budget. With the default on top, the largest still fits
into the 32,000 that Claude 4 models can write."""
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
    """Whether the name is that of a Claude model, whatever the host puts around it."""
    return "claude" in model.lower()


@lru_cache(maxsize=256)
def claude_version(model: str) -> tuple[int, int] | None:
    """Major and minor version; None when the name tells none.

    >>> claude_version("us.anthropic.claude-sonnet-4-5-20250929-v1:0")
    (4, 5)
    >>> claude_version("claude-3-haiku-20240307")
    (3, 0)
    """
    _, claude, rest = model.lower().partition("claude")
    found = _VERSION.search(rest) if claude else None
    return (int(found[1]), int(found[2] or 0)) if found else None


def thinks_adaptively(model: str) -> bool:
    """Whether it takes an effort, not a budget of tokens to think with.

    So do Claude 4.6 and all later ones, and from 4.7 on they refuse a budget. A Claude without a version in
    its name is taken for a new one; what is no Claude but speaks the dialect knows budgets.
    """
    return _at_least(model, (4, 6))


def takes_output_format(model: str) -> bool:
    """Whether it can be held to a JSON schema by the provider (Claude 4.5 and later)."""
    return _at_least(model, (4, 5))


def thinking_fields(model: str, effort: Any, max_tokens: int | None) -> tuple[dict[str, Any], int | None]:
    """What `reasoning_effort` becomes: fields of the body, and `max_tokens` with room to think.

    Args:
        model: Its name.
        effort: "none", "minimal", "low", "medium", "high", "xhigh" or "max".
        max_tokens: What the caller asked for; thinking counts towards it. None: nothing was asked for.

    Raises:
        InvalidRequestError: when the effort is unknown, or max_tokens leaves no room to think.

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
        told = _EFFORTS[effort]
        if told == "xhigh" and claude_version(model) == (4, 6):
            told = "max"  # 4.6 knows max, and nothing between it and high
        return {"thinking": {"type": "adaptive"}, "output_config": {"effort": told}}, max_tokens
    budget = _BUDGETS[effort]
    if max_tokens is None:
        max_tokens = budget + DEFAULT_MAX_TOKENS
    budget = max(_LEAST_BUDGET, min(budget, max_tokens * 3 // 4))
    if budget >= max_tokens:
        raise refuse(
            f"max_tokens={max_tokens} leaves {model} no room for reasoning_effort={effort!r}: thinking takes"
            f" at least {_LEAST_BUDGET} of them; raise max_tokens or leave reasoning_effort out"
        )
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}, max_tokens


def _at_least(model: str, version: tuple[int, int]) -> bool:
    if not is_claude(model):
        return False
    told = claude_version(model)
    return told is None or told >= version
