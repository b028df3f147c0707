"""Dialects (how requests and answers are written) and hosts (address, key, quota).

The batch document imports its provider classes from here. They stand above this package (in `batch/`), so
they are looked up on first use: an import at the top would point upwards and be circular.
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
