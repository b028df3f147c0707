"""Dialects (how something is said) and hosts (where it is said, with which key, under which quota).

The batch document's providers are found here too; they are endpoints and live in `backends/`, so they are
imported only when asked for.
"""

from importlib import import_module
from typing import Any

_OF_THE_BATCH_DOCUMENT = frozenset(
    {"AbstractProvider", "AwsAnthropicProvider", "GcpBetaCompletionsProvider", "OpenAICompatibleApiProvider"}
)


def __getattr__(name: str) -> Any:
    if name in _OF_THE_BATCH_DOCUMENT:
        return getattr(import_module("callgate.batch.providers"), name)
    raise AttributeError(f"module 'callgate.providers' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_OF_THE_BATCH_DOCUMENT]
