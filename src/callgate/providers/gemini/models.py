"""The abilities of a Gemini model, read from its name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from callgate.providers.canonical.messages import refuse

__all__ = ["is_gemini", "is_third_generation", "thinking_config"]

_VERSION = re.compile(r"gemini-(\d+)(?:\.(\d+))?")
_FIRST_TO_THINK = (2, 5)
_LEAST_OF_PRO = 128
"""Tokens; Gemini 2.5 Pro cannot be kept from thinking."""
_EFFORTS: Mapping[str, tuple[int, str]] = {
    "none": (0, "MINIMAL"),
    "minimal": (1024, "MINIMAL"),
    "low": (1024, "LOW"),
    "medium": (8192, "MEDIUM"),
    "high": (24_576, "HIGH"),
    "xhigh": (24_576, "HIGH"),
    "max": (24_576, "HIGH"),
}
"""Effort -> tokens to think with, and the level; as Google's own OpenAI endpoint translates it."""
# Gemini 3 Pro has two levels, and later ones three.
_LEVELS_OF_PRO = {"MINIMAL": "LOW"}
_LEVELS_OF_3_PRO = {"MINIMAL": "LOW", "MEDIUM": "HIGH"}


def is_gemini(model: str) -> bool:
    """True for the name of a Gemini model."""
    return model.rpartition("/")[2].lower().startswith("gemini")


def is_third_generation(model: str) -> bool:
    """True for Gemini 3 and later; a name without a version ("gemini-flash-latest") counts as new.

    These take thinking levels, schemas beside tools, media in tool results, and want signed calls.
    """
    version = _version(model)
    return version[0] >= 3 if version is not None else "gemini" in model


def thinking_config(model: str, effort: Any) -> dict[str, Any]:
    """Translate `reasoning_effort`: a level for Gemini 3 and later, a budget of tokens for 2.5.

    Raises:
        InvalidRequestError: An unknown effort, or a model that does not think.

    >>> thinking_config("gemini-2.5-flash", "low")
    {'thinkingBudget': 1024, 'includeThoughts': True}
    """
    if type(effort) is not str or effort not in _EFFORTS:
        raise refuse(f"unknown reasoning_effort {effort!r}; use {', '.join(_EFFORTS)}")
    budget, level = _EFFORTS[effort]
    version = _version(model)
    if version is not None and version < _FIRST_TO_THINK:
        if effort == "none":
            return {}
        raise refuse(f"{model} does not think; leave reasoning_effort out")
    config: dict[str, Any]
    if is_third_generation(model):
        if "pro" in model:
            level = (_LEVELS_OF_3_PRO if version == (3, 0) else _LEVELS_OF_PRO).get(level, level)
        config = {"thinkingLevel": level}
    else:
        config = {"thinkingBudget": max(budget, _LEAST_OF_PRO) if "pro" in model else budget}
    return config if effort == "none" else {**config, "includeThoughts": True}


def _version(model: str) -> tuple[int, int] | None:
    found = _VERSION.search(model)
    return (int(found[1]), int(found[2] or 0)) if found else None
