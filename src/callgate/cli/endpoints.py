"""From `-m`, `--api-key-env` and `--base-url` to what is called: one model, or several in its place."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from callgate.cli.messages import one_line
from callgate.cli.run import RunOptions
from callgate.errors import InputError
from callgate.model.base import Caller
from callgate.model.model import iModel
from callgate.model.spread import Spread
from callgate.policies.cache.sqlite import SqliteCache
from callgate.policies.retry.config import RetryConfig
from callgate.providers.guess import provider_of

__all__ = ["LeftOut", "Target", "make_caller", "read_targets"]

_USUAL_RETRY = RetryConfig()
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")


@dataclass(frozen=True, slots=True)
class Target:
    """One endpoint to call: a provider, its model (None: each row names its own), and how to reach it."""

    provider: str
    model: str | None
    api_key: str | None
    base_url: str | None

    @property
    def name(self) -> str:
        """What it is called in messages; never a key."""
        model = self.provider if self.model is None else f"{self.provider}/{self.model}"
        return model if self.base_url is None else f"{model} at {self.base_url}"


class LeftOut:
    """Says of each endpoint once, when it first gets no calls for a while, and why.

    Args:
        say: Prints one line; set once there is where to print.

    >>> said = []
    >>> note = LeftOut()
    >>> note.say = said.append
    >>> note("openai/m #2", ValueError("no such key"))
    >>> said
    ['callgate: openai/m #2 is left out for now: no such key']
    """

    def __init__(self, say: Callable[[str], None] = lambda text: None) -> None:
        self.say = say
        self._told: set[str] = set()

    def __call__(self, name: str, error: BaseException) -> None:
        if name not in self._told:
            self._told.add(name)
            self.say(f"callgate: {name} is left out for now: {one_line(error)}")


def read_targets(options: RunOptions) -> list[Target]:
    """The endpoints that the command line names.

    `-m`, `--api-key-env` and `--base-url` may each name several; one stands for all.

    Raises:
        InputError: when they do not match in number, a provider is missing, or a key's variable is not set.
    """
    _check_options(options)
    models = _several(options.model) or [""]
    keys = [] if options.api_key_env is None else _several(options.api_key_env)
    urls = [] if options.base_url is None else _several(options.base_url)
    count = max(len(models), len(keys), len(urls))
    for option, given in (("-m", models), ("--api-key-env", keys), ("--base-url", urls)):
        if len(given) not in (0, 1, count):
            raise InputError(
                f"names {len(given)} where the others name {count}; give one, or {count}", source=option
            )
    targets = []
    for place in range(count):
        provider, model = _split_model(_at(models, place) or "")
        key, url = _at(keys, place), _at(urls, place)
        targets.append(Target(provider, model, None if key is None else _key(key), url))
    return targets


@asynccontextmanager
async def make_caller(
    options: RunOptions,
    targets: list[Target],
    left_out: LeftOut | None = None,
) -> AsyncGenerator[Caller, None]:
    """One model for each target, with the limits of the command line each; several become one.

    Args:
        options: The command line.
        targets: What is called.
        left_out: Of several, told of each that gets no calls for a while, and why.

    Raises:
        ConfigurationError: when a provider is unknown, a setting cannot work, or the cache cannot be opened.
    """
    # One cache for all: what one has on its way, the others do not ask for.
    cache = None if options.cache is None else SqliteCache(options.cache, ttl=options.cache_ttl)
    try:
        models = [
            iModel(**_settings(options, target), cache=cache, name=_name(targets, place))
            for place, target in enumerate(targets)
        ]
        note = left_out or LeftOut()
        spread = partial(Spread, on_left_out=lambda model, error: note(model.name, error))
        async with models[0] if len(models) == 1 else spread(models) as caller:
            yield caller
    finally:
        if cache is not None:
            await cache.close()


def _name(targets: list[Target], place: int) -> str:
    """The target's name, numbered where two have the same (two keys of one provider)."""
    name = targets[place].name
    same = [other for other in targets if other.name == name]
    return name if len(same) == 1 else f"{name} #{place + 1}"


def _settings(options: RunOptions, target: Target) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "provider": target.provider,
        "limit_requests": options.rpm,
        "limit_tokens": options.tpm,
        "limit_concurrency": options.concurrency or "auto",
        "hedge": options.hedge,
        "prices": options.prices,
        "model": target.model,
        "base_url": target.base_url,
        "api_key": target.api_key,
        "timeout": options.timeout,
        "read_timeout": options.no_bytes_timeout,
        "allow_http": options.allow_http or None,
    }
    settings = {name: value for name, value in settings.items() if value is not None}
    retry = _retry_config(options)
    if retry is not _USUAL_RETRY:
        settings["retry_config"] = retry
    return settings


def _retry_config(options: RunOptions) -> RetryConfig | None:
    """None for no retries, which is not the same as leaving the default."""
    if options.retries == 0:
        return None
    usual = _USUAL_RETRY
    if options.retries is None and options.max_retry_after is None:
        return usual
    longest = options.max_retry_after or usual.max_retry_after
    return RetryConfig(
        max_retries=usual.max_retries if options.retries is None else options.retries,
        max_retry_after=longest,
        # Who waits so long once must be able to.
        max_quota_wait=max(usual.max_quota_wait, 2 * longest),
    )


def _several(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _at(given: list[str], place: int) -> str | None:
    if not given:
        return None
    return given[0] if len(given) == 1 else given[place]


def _check_options(options: RunOptions) -> None:
    if options.cache is None:
        for option, given in (
            ("--cache-ttl", options.cache_ttl is not None),
            ("--sample", options.sample > 0),
        ):
            if given:
                raise InputError("says something of a cache; name one with --cache DIR", source=option)


def _split_model(text: str) -> tuple[str, str | None]:
    """The provider is what stands before the first slash; a model's name may hold more of them."""
    provider, _, model = text.partition("/")
    if not provider:
        raise InputError(
            f"names no provider: {text!r}; write PROVIDER/MODEL, as in openai/gpt-4o-mini", source="-m"
        )
    if not model and (owner := provider_of(provider)) is not None:
        raise InputError(f"{text!r} is a model, and its provider is missing: {owner}/{text}?", source="-m")
    return provider, model or None


def _key(variable: str) -> str:
    """The variable's name where the model reads it itself, else its value."""
    value = os.environ.get(variable)
    if not value:
        raise InputError(f"the variable {variable} is not set; export {variable}=...", source="--api-key-env")
    return variable if _VARIABLE.fullmatch(variable) else value
