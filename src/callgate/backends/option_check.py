"""Settings that somebody meant for us and that would go to the provider, as whatever we do not know does."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from callgate.errors import ConfigurationError

__all__ = ["MODEL_SETTINGS", "refuse_misspelt"]

MODEL_SETTINGS = (
    "backend", "provider", "endpoint", "rate_limiter", "executor", "hook_registry", "queue_capacity",
    "capacity_refresh_time", "limit_requests", "limit_tokens", "limit_concurrency", "cache", "fallbacks",
    "hedge", "prices", "name", "tags", "headers",
)  # fmt: skip
"""The keywords of a model that are no setting of its endpoint."""

# What others call them.
_OTHER_NAMES = {
    "retries": "max_retries",
    "max_retry": "max_retries",
    "rpm": "limit_requests",
    "requests_per_minute": "limit_requests",
    "tpm": "limit_tokens",
    "tokens_per_minute": "limit_tokens",
    "max_concurrency": "limit_concurrency",
    "api_base": "base_url",
    "request_timeout": "timeout",
    "extra_headers": "headers",
}
_KEY = re.compile(
    r"^(key|keys|token|auth)$|api_?key|access_?key|secret|password|bearer|auth_?token|authorization|credential",
    re.IGNORECASE,
)
# A shorter name is too near to too many others: `top_k`, `n`, `user`, `store`.
_SHORTEST = 6
_NEAR = 0.85


def refuse_misspelt(names: Iterable[str], settings: Iterable[str]) -> None:
    """Refuse names that are nearly those of settings, and any that would put a key into the request.

    Parameters of a provider that we do not know pass: no name of theirs is that near to one of ours.

    Args:
        names: What would be sent with every request.
        settings: The names that an endpoint takes itself.

    Raises:
        ConfigurationError: (a ValueError) naming what may be meant.

    >>> refuse_misspelt(["top_k", "reasoning_effort"], [])
    >>> refuse_misspelt(["limit_request"], [])
    Traceback (most recent call last):
        ...
    callgate.errors.ConfigurationError: there is no setting limit_request; did you mean limit_requests=?
    """
    known = [name for name in (*MODEL_SETTINGS, *settings) if len(name) >= _SHORTEST]
    for name in names:
        if _KEY.search(name):
            raise ConfigurationError(
                f"{name}= would be sent with every request, and looks like a key; did you mean api_key=?"
                " (Of several keys, each is a model of its own in a Spread.)"
            )
        meant = _OTHER_NAMES.get(name)
        if meant is None and len(name) >= _SHORTEST:
            meant = next(iter(difflib.get_close_matches(name, known, n=1, cutoff=_NEAR)), None)
        if meant is not None:
            raise ConfigurationError(f"there is no setting {name}; did you mean {meant}=?")
