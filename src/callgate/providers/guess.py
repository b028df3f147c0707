"""Which provider somebody meant who named none that is known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean", "provider_of"]

# By how the names of their models begin; only those that nobody else's begin with.
_FAMILIES = (
    ("gpt-", "openai"), ("chatgpt-", "openai"), ("o1", "openai"), ("o3", "openai"), ("o4", "openai"),
    ("claude-", "anthropic"), ("gemini-", "gemini"), ("mistral-", "mistral"), ("codestral", "mistral"),
    ("deepseek-", "deepseek"), ("grok-", "xai"), ("smollm", "local"),
)  # fmt: skip


def provider_of(model: str) -> str | None:
    """The provider whose models are named so, or None.

    >>> provider_of("gpt-4o-mini"), provider_of("llama-3.3-70b")
    ('openai', None)
    """
    name = model.strip().lower()
    return next((provider for start, provider in _FAMILIES if name.startswith(start)), None)


def did_you_mean(provider: str, known: Iterable[str]) -> str:
    """A hint for a message, or nothing.

    >>> did_you_mean("opnai", ["openai", "groq"]), did_you_mean("gpt-4o", [])
    ('; did you mean openai?', '; gpt-4o is a model of openai')
    """
    owner = provider_of(provider)
    if owner is not None:
        return f"; {provider} is a model of {owner}"
    close = difflib.get_close_matches(provider.strip().lower(), list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
