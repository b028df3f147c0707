"""The dialects by name.

A dialect's module is imported on first use, which keeps `import callgate` quick.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module

from callgate.errors import ConfigurationError
from callgate.providers.dialect import Dialect
from callgate.providers.host import Host
from callgate.providers.openai_chat.quirks import ChatQuirks

__all__ = ["DIALECTS", "dialect_of", "find_dialect"]

DIALECTS: dict[str, tuple[str, str]] = {
    "openai_chat": ("openai_chat.dialect", "OpenAIChat"),
    "openai_responses": ("openai_responses.dialect", "OpenAIResponses"),
    "anthropic": ("anthropic.dialect", "AnthropicMessages"),
    "gemini": ("gemini.dialect", "Gemini"),
    "bedrock": ("bedrock.dialect", "BedrockConverse"),
    "bedrock_invoke": ("bedrock.invoke", "BedrockInvoke"),
    "vertex": ("vertex.dialect", "Vertex"),
    "claude_code": ("claude_code.dialect", "ClaudeCode"),
}
"""Dialect name -> (module under `callgate.providers`, class in it)."""


@cache
def find_dialect(name: str) -> Dialect:
    """The dialect of this name; the same object every time, for it keeps no state.

    Raises:
        ConfigurationError: when there is no such dialect; it lists those there are.

    >>> find_dialect("openai_chat").name
    'openai_chat'
    """
    dialect: Dialect = _dialect_class(name)()
    return dialect


@cache
def dialect_of(host: Host) -> Dialect:
    """The dialect as `host` speaks it: with the deviations that the hosts table notes.

    >>> from callgate.providers.hosts import find_host
    >>> dialect_of(find_host("mistral")).name
    'openai_chat'
    """
    if host.quirks == ChatQuirks():
        return find_dialect(host.dialect)
    dialect: Dialect = _dialect_class(host.dialect)(host.quirks)
    return dialect


def _dialect_class(name: str) -> type:
    try:
        module, attribute = DIALECTS[name]
    except KeyError:
        known = ", ".join(sorted(DIALECTS))
        raise ConfigurationError(f"there is no dialect {name!r}; use one of {known}") from None
    dialect_class: type = getattr(import_module(f"callgate.providers.{module}"), attribute)
    return dialect_class
