"""Rejects likely typos of options, because any unknown option is sent to the provider."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Final

from callgate.errors import ConfigurationError

__all__ = [
    "MODEL_SETTINGS",
    "problem_with_field",
    "refuse_misspelt",
    "refuse_unknown",
]

MODEL_SETTINGS = (
    "backend", "provider", "endpoint", "rate_limiter", "executor", "hook_registry", "queue_capacity",
    "capacity_refresh_time", "limit_burst", "limit_requests", "limit_tokens", "limit_concurrency", "cache",
    "fallbacks", "hedge", "layers", "prices", "name", "tags", "headers",
)  # fmt: skip
"""The keywords of a model that are not settings of its endpoint."""

# Names in other libraries -> names here.
_OTHER_NAMES: Final = {
    "retries": "max_retries",
    "max_retry": "max_retries",
    "num_retries": "max_retries",
    "rpm": "limit_requests",
    "requests_per_minute": "limit_requests",
    "tpm": "limit_tokens",
    "tokens_per_minute": "limit_tokens",
    "max_concurrency": "limit_concurrency",
    "max_parallel_requests": "limit_concurrency",
    "api_base": "base_url",
    "request_timeout": "timeout",
    "default_headers": "headers",
}
_REQUEST_FIELDS: Final = (
    "messages", "prompt", "system", "model", "temperature", "max_tokens", "max_completion_tokens",
    "response_format", "tools", "tool_choice", "parallel_tool_calls", "reasoning_effort",
    "frequency_penalty", "presence_penalty", "logit_bias", "stream_options", "service_tier",
    "reasoning_format", "extra_body", "extra_headers",
)  # fmt: skip
"""Fields of a request, for suggestions."""
_NOT_IN_A_REQUEST: Final = frozenset(
    {"num_retries", "max_retries", "api_key", "api_base", "base_url", "request_timeout", "default_headers"}
)
_OF_HTTPX: Final = {
    "cookies": "send them as headers={'Cookie': ...}",
    "event_hooks": "use a HookRegistry",
    "extensions": "leave it out",
    "follow_redirects": "leave it out: no redirect is followed, as it would take the key along",
    "http1": "leave it out",
    "http2": "leave it out: it sends HTTP/1.1",
    "mounts": "use proxy=",
}
"""Settings of httpx -> what takes their place."""
_KEY = re.compile(
    r"^(key|keys|token|auth)$|api_?key|access_?key|secret|password|bearer|auth_?token|authorization|credential",
    re.IGNORECASE,
)
# Shorter names are similar to too many others: `top_k`, `n`, `user`, `store`.
_SHORTEST: Final = 6
_NEAR: Final = 0.85


def refuse_misspelt(names: Iterable[str], settings: Iterable[str]) -> None:
    """Refuse likely typos of settings, and names that would send a key with every request.

    Unknown parameters of providers are accepted, because none of their names is that similar to a setting.

    Args:
        names: The names of the defaults that are sent with every request.
        settings: The names of the settings of an endpoint.

    Raises:
        ConfigurationError: (a ValueError) a name is a likely typo; the message suggests the right one.

    >>> refuse_misspelt(["top_k", "reasoning_effort"], [])
    >>> refuse_misspelt(["limit_request"], [])
    Traceback (most recent call last):
        ...
    callgate.errors.ConfigurationError: unknown setting limit_request; did you mean limit_requests=?
    """
    known = (*MODEL_SETTINGS, *settings)
    for name in names:
        if _KEY.search(name):
            raise ConfigurationError(
                f"{name}= would be sent with every request, and looks like a key; did you mean api_key=?"
                " (For several keys, make a model of each and a Spread of the models.)",
                setting=name,
            )
        meant = _OTHER_NAMES.get(name) or _nearest(name, known)
        if meant is not None:
            raise ConfigurationError(f"unknown setting {name}; did you mean {meant}=?", setting=name)
        if problem := problem_with_field(name):
            raise ConfigurationError(problem, setting=name)


@lru_cache(maxsize=512)
def problem_with_field(name: str) -> str | None:
    """The error message for a field of a request that is a likely typo or a setting of the model; else None.

    >>> problem_with_field("top_k") is None
    True
    """
    if name in _NOT_IN_A_REQUEST:
        meant = _OTHER_NAMES.get(name, name)
        return f"{name} is a setting of the model, not of one request: set {meant}= on the model"
    if name in _OF_HTTPX:
        return f"{name} is a setting of httpx, which callgate does not use; {_OF_HTTPX[name]}"
    near = _nearest(name, _REQUEST_FIELDS)
    if near is None:
        return None
    escape = f"extra_body={{{name!r}: ...}} sends it as it is"
    return f"unknown field {name} of the request; did you mean {near}? {escape}"


def refuse_unknown(setting: str, names: Iterable[str], known: Collection[str]) -> None:
    """Refuse unknown names in a setting that is a mapping.

    Raises:
        ConfigurationError: (a ValueError) a name is unknown; the message has the most similar one, or all.

    >>> refuse_unknown("client_kwargs", ["regoin"], ["region", "verify"])
    Traceback (most recent call last):
        ...
    callgate.errors.ConfigurationError: client_kwargs: unknown setting regoin; did you mean region?
    """
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
            raise ConfigurationError(f"{setting}: unknown setting {name}; {hint}", setting=setting)


def _nearest(name: str, known: Collection[str]) -> str | None:
    """The known name that `name` is a likely typo of; None if it is known or similar to none."""
    if name in known or len(name) < _SHORTEST:
        return None
    candidates = [each for each in known if len(each) >= _SHORTEST]
    return next(iter(difflib.get_close_matches(name, candidates, n=1, cutoff=_NEAR)), None)
