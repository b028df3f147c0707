"""From `-m`, `--api-key-env` and `--base-url` to what is called: one model, or several in its place."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from callgate.cache.sqlite import SqliteCache
from callgate.caller import Caller
from callgate.cli.run import RunOptions
from callgate.control.backoff import RetryConfig
from callgate.errors import InputError
from callgate.model import iModel
from callgate.spread import Spread

__all__ = ["Target", "make_caller", "read_targets"]

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


def read_targets(options: RunOptions) -> list[Target]:
    """The endpoints that the command line names.

    `-m`, `--api-key-env` and `--base-url` may each name several, separated by commas; one stands for all.

    Raises:
        InputError: when they do not match in number, a provider is missing, or a key's variable is not set.
    """
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
async def make_caller(options: RunOptions, targets: list[Target]) -> AsyncGenerator[Caller, None]:
    """One model for each target, with the limits of the command line each; several become one.

    Raises:
        ConfigurationError: when a provider is unknown, a setting cannot work, or the cache cannot be opened.
    """
    # One cache for all: what one has on its way, the others do not ask for.
    cache = None if options.cache is None else SqliteCache(options.cache)
    try:
        models = [
            iModel(**_settings(options, target), cache=cache, name=_name(targets, place))
            for place, target in enumerate(targets)
        ]
        async with models[0] if len(models) == 1 else Spread(models) as caller:
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
    }
    settings = {name: value for name, value in settings.items() if value is not None}
    if options.retries is not None:
        # No retries are said by None, which is not the same as leaving the default.
        settings["retry_config"] = RetryConfig(max_retries=options.retries) if options.retries else None
    return settings


def _several(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _at(given: list[str], place: int) -> str | None:
    if not given:
        return None
    return given[0] if len(given) == 1 else given[place]


def _split_model(text: str) -> tuple[str, str | None]:
    """The provider is what stands before the first slash; a model's name may hold more of them."""
    provider, _, model = text.partition("/")
    if not provider:
        raise InputError(
            f"names no provider: {text!r}; write PROVIDER/MODEL, as in openai/gpt-4o-mini", source="-m"
        )
    return provider, model or None


def _key(variable: str) -> str:
    """The variable's name where the model reads it itself, else its value."""
    value = os.environ.get(variable)
    if not value:
        raise InputError(f"the variable {variable} is not set; export {variable}=...", source="--api-key-env")
    return variable if _VARIABLE.fullmatch(variable) else value
