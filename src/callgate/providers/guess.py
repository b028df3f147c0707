"""The provider that a name of a model or a misspelt provider stands for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from callgate.errors import ConfigurationError

__all__ = ["FAMILY_OWNERS", "did_you_mean", "provider_of", "split_model"]

# By how the names of their models begin; only prefixes that are unique to a provider.
_FAMILIES = (
    ("gpt-", "openai"), ("chatgpt-", "openai"), ("o1", "openai"), ("o3", "openai"), ("o4", "openai"),
    ("claude-", "anthropic"), ("gemini-", "gemini"), ("mistral-", "mistral"), ("codestral", "mistral"),
    ("deepseek-", "deepseek"), ("grok-", "xai"), ("smollm", "local"),
)  # fmt: skip
FAMILY_OWNERS = frozenset(owner for _, owner in _FAMILIES)
"""The providers whose models are found by their names."""


def provider_of(model: str) -> str | None:
    """The provider whose models have such names, or None.

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


def split_model(text: str) -> tuple[str, str | None]:
    """Provider and model of "PROVIDER/MODEL"; the model may hold further slashes, and is None without one.

    Raises:
        ConfigurationError: the provider is missing.

    >>> split_model("openrouter/meta-llama/llama-3.3-70b"), split_model("vllm")
    (('openrouter', 'meta-llama/llama-3.3-70b'), ('vllm', None))
    """
    provider, _, model = text.partition("/")
    if not provider:
        raise ConfigurationError(
            f"model {text!r} names no provider; write PROVIDER/MODEL, such as openai/gpt-4o-mini",
            setting="model",
        )
    if not model and (owner := provider_of(provider)) is not None:
        raise ConfigurationError(
            f"{text!r} is a model without its provider; did you mean {owner}/{text}?", setting="model"
        )
    return provider, model or None
