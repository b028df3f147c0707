"""Providers: hosts (address, key, quota) as data, and dialects (the formats of requests and responses).

- A provider that speaks a dialect of callgate is a row in `hosts.py`. What it does not accept of OpenAI's
  chat format is a `ChatQuirks` in `openai_chat/quirks.py`.
- A new dialect is a package with a class that implements `dialect.Dialect`, a line in `catalog.DIALECTS`, and
  a row in `hosts.py`. In each package `request.py` encodes, `response.py` and `stream.py` decode, `errors.py`
  classifies errors, and `bounds.py` bounds the cost; `canonical/` holds what the dialects share.
- Quota headers of other names are a family in `quota_headers.FAMILIES`, which a host selects.

`AbstractProvider` and the ready-made provider classes can be imported from here. They are defined in
`callgate.batch.providers`, a layer above, and are therefore imported on first use.
"""

from importlib import import_module
from typing import Any

_DEFINED_IN_BATCH = frozenset(
    {"AbstractProvider", "AwsAnthropicProvider", "GcpBetaCompletionsProvider", "OpenAICompatibleApiProvider"}
)


def __getattr__(name: str) -> Any:
    if name in _DEFINED_IN_BATCH:
        return getattr(import_module("callgate.batch.providers"), name)
    raise AttributeError(f"module 'callgate.providers' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_DEFINED_IN_BATCH]
