"""From `model`, `api_key_env` and `base_url` to what is called: one model, or several that share the rows."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from typing import Any

from callgate.batch.input.fingerprint import Defaults, Fingerprints
from callgate.batch.options import RunOptions, model_settings
from callgate.errors import APIClientError, ConfigurationError
from callgate.model.base import Caller
from callgate.model.model import iModel
from callgate.model.spread import Spread
from callgate.policies.cache.sqlite import SqliteCache
from callgate.policies.retry.config import RetryConfig
from callgate.providers.guess import split_model
from callgate.schema.answer import AnswerSchema

__all__ = ["Target", "fingerprints_of", "open_model", "read_targets"]

_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
# Certainly no key: a key of capitals only has no underscores between them.
_SHOWABLE = re.compile(r"[A-Z][A-Z0-9]{0,20}(_[A-Z0-9]{1,20})+")


@dataclass(frozen=True, slots=True)
class Target:
    """One endpoint to call.

    Attributes:
        provider: The provider's name.
        model: The model's name; None: each row names its own.
        api_key: A key, or the name of the variable that holds it; None: the provider's usual variable.
        base_url: The address, or None for the provider's own.

    >>> Target("openai", "gpt-4o-mini", "sk-12ab34cd", None).name
    'openai/gpt-4o-mini'
    """

    provider: str
    model: str | None
    api_key: str | None
    base_url: str | None

    @property
    def name(self) -> str:
        """The name in messages; never a key."""
        model = self.provider if self.model is None else f"{self.provider}/{self.model}"
        return model if self.base_url is None else f"{model} at {self.base_url}"

    def __repr__(self) -> str:
        return f"Target({self.name!r})"


def read_targets(options: RunOptions) -> list[Target]:
    """The endpoints that the options name.

    `model`, `api_key_env` and `base_url` may each name several; one stands for all.

    Raises:
        ConfigurationError: when they do not match in number, a provider is missing, or a key's variable is
            not set.
    """
    given = {"model": options.model, "api_key_env": options.api_key_env, "base_url": options.base_url}
    count = max(map(len, given.values()))
    for setting, several in given.items():
        if len(several) not in (0, 1, count):
            raise ConfigurationError(
                f"{setting} names {len(several)} where another option names {count}; give one, or {count}",
                setting=setting,
            )
    targets = []
    for index in range(max(count, 1)):
        provider, model = split_model(_at(options.model, index) or "")
        variable = _at(options.api_key_env, index)
        key = None if variable is None else _key(variable)
        targets.append(Target(provider, model, key, _at(options.base_url, index)))
    return targets


@asynccontextmanager
async def open_model(
    options: RunOptions,
    targets: list[Target],
    on_ejected: Callable[[Caller, APIClientError], None] | None = None,
) -> AsyncGenerator[Caller, None]:
    """One model for each target, each with the options' limits; several become a `Spread`.

    Args:
        options: The options of the run.
        targets: What is called.
        on_ejected: As of `Spread`.

    Raises:
        ConfigurationError: when a provider is unknown, a setting cannot work, or the cache cannot be opened.
    """
    # One cache for all targets, so that a request in flight at one is not repeated at another.
    cache = None if options.cache is None else SqliteCache(options.cache, ttl=options.cache_ttl)
    try:
        shared = {"limit_concurrency": "auto", **_settings(options), "cache": cache}
        models = [
            iModel(**shared, **_settings_of(target), name=_unique_name(targets, index))
            for index, target in enumerate(targets)
        ]
        async with models[0] if len(models) == 1 else Spread(models, on_ejected=on_ejected) as model:
            yield model
    finally:
        if cache is not None:
            await cache.close()


def fingerprints_of(model: Caller, schema: AnswerSchema | None) -> Fingerprints:
    """The fingerprints of rows that a model is called for, as they are kept with its answers."""
    first = model.targets()
    models = [
        # As the route turns a call to an endpoint that is one of several.
        Defaults(
            target.info.defaults, wins=not target.keeps_model and (len(first) > 1 or index >= len(first))
        )
        for index, target in enumerate(model.all_targets())
    ]
    return Fingerprints(models, None if schema is None else schema.format)


def _settings_of(target: Target) -> dict[str, Any]:
    settings = {each.name: getattr(target, each.name) for each in fields(target)}
    return {name: value for name, value in settings.items() if value is not None}


def _unique_name(targets: list[Target], index: int) -> str:
    """The target's name, numbered where several have the same (two keys of one provider)."""
    name = targets[index].name
    same = sum(other.name == name for other in targets)
    return name if same == 1 else f"{name} #{index + 1}"


def _settings(options: RunOptions) -> dict[str, Any]:
    settings = model_settings(options)
    retry = settings.pop("retry_config", None)
    if retry is None:
        return settings
    if retry.get("max_retries") == 0:
        return {**settings, "retry_config": None}
    usual = RetryConfig()
    # A call that may wait that long once must be able to.
    longest = max(usual.max_quota_wait, 2 * retry.get("max_retry_after", 0.0))
    return {**settings, "retry_config": RetryConfig(**retry, max_quota_wait=longest)}


def _at(given: tuple[str, ...], index: int) -> str | None:
    if not given:
        return None
    return given[0] if len(given) == 1 else given[index]


def _key(variable: str) -> str:
    """The variable's name where the model reads it itself, else its value."""
    value = os.environ.get(variable)
    if value:
        return variable if _VARIABLE.fullmatch(variable) else value
    if _SHOWABLE.fullmatch(variable):
        message = f"the environment variable {variable} is not set; export {variable}=..."
    else:
        message = (
            "api_key_env takes the name of an environment variable, such as OPENAI_API_KEY; no variable of"
            " the given name is set (the name is not shown, as it may be a key)"
        )
    raise ConfigurationError(message, setting="api_key_env")
