"""Whom `callgate run` calls: one provider and model, or several that share the rows."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from callgate.cache.sqlite import SqliteCache
from callgate.caller import Caller
from callgate.errors import InputError
from callgate.model import iModel
from callgate.spread import Spread

__all__ = ["Target", "model_of_all", "open_model", "read_targets"]

_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")


@dataclass(frozen=True, slots=True)
class Target:
    """One provider, model, key and address; what is None is left to the rows or the provider.

    Attributes:
        provider: A provider's name.
        model: A model's name at this provider.
        key_variable: The environment variable that holds the key.
        base_url: Instead of the provider's own.
    """

    provider: str
    model: str | None = None
    key_variable: str | None = None
    base_url: str | None = None

    def settings(self) -> dict[str, Any]:
        """The keywords of `iModel`.

        Raises:
            InputError: when the variable of the key is not set.
        """
        settings: dict[str, Any] = {"provider": self.provider}
        if self.model is not None:
            settings["model"] = self.model
        if self.base_url is not None:
            settings["base_url"] = self.base_url
        if self.key_variable is not None:
            settings["api_key"] = _key(self.key_variable)
        return settings

    def __str__(self) -> str:
        name = self.provider if self.model is None else f"{self.provider}/{self.model}"
        beside = [each for each in (self.key_variable, self.base_url) if each is not None]
        return f"{name} ({', '.join(beside)})" if beside else name


def read_targets(models: str, keys: Sequence[str] = (), base_urls: Sequence[str] = ()) -> list[Target]:
    """What `-m`, `--api-key-env` and `--base-url` say together.

    One of a kind holds for all; several are taken side by side, so there must be as many of each.

    Args:
        models: PROVIDER/MODEL, several separated by commas.
        keys: Names of variables.
        base_urls: Addresses.

    Raises:
        InputError: when a provider is missing, or the numbers do not match.

    >>> [str(target) for target in read_targets("openai/gpt-4o-mini", ["KEY_1", "KEY_2"])]
    ['openai/gpt-4o-mini (KEY_1)', 'openai/gpt-4o-mini (KEY_2)']
    """
    named = [_split(text.strip()) for text in models.split(",")]
    if len({model is None for _, model in named}) > 1:
        raise InputError("name a model for each provider, or for none and in the rows", source="-m")
    kinds: dict[str, Sequence[Any]] = {"-m": named, "--api-key-env": keys, "--base-url": base_urls}
    count = max(len(values) for values in kinds.values())
    for option, values in kinds.items():
        if len(values) not in (0, 1, count):
            raise InputError(
                f"is given {len(values)} times beside {count} of another kind; give one for all, or one each",
                source=option,
            )
    columns = (_for_each(values, count) for values in kinds.values())
    targets = [
        Target(provider, model, key, address)
        for (provider, model), key, address in zip(*columns, strict=True)
    ]
    if len(set(targets)) < count:
        raise InputError("the same model with the same key is given twice", source="-m")
    return targets


def model_of_all(targets: Sequence[Target]) -> str | None:
    """The model's name that every row gets; None when each target, or each row, has its own."""
    return targets[0].model if len(targets) == 1 else None


@asynccontextmanager
async def open_model(targets: Sequence[Target], cache: str | None, **settings: Any) -> AsyncIterator[Caller]:
    """One model, or a spread of them with one cache; closed on leaving.

    Args:
        targets: At least one.
        cache: The path of the cache; None: no cache.
        settings: Further keywords of `iModel`, for each; limits are each one's own.

    Raises:
        InputError: when the variable of a key is not set.
        ConfigurationError: as `iModel` does.
    """
    async with AsyncExitStack() as stack:
        if len(targets) == 1:
            yield await stack.enter_async_context(iModel(**targets[0].settings(), cache=cache, **settings))
            return
        store = None
        if cache is not None:
            store = SqliteCache(cache)
            stack.push_async_callback(store.close)
        models = [
            iModel(**target.settings(), name=str(target), cache=store, **settings) for target in targets
        ]
        yield await stack.enter_async_context(Spread(models))


def _split(text: str) -> tuple[str, str | None]:
    """The provider is what stands before the first slash; a model's name may hold more of them."""
    provider, _, model = text.partition("/")
    if not provider:
        raise InputError(
            f"names no provider: {text!r}; write PROVIDER/MODEL, as in openai/gpt-4o-mini", source="-m"
        )
    return provider, model or None


def _for_each(values: Sequence[Any], count: int) -> Sequence[Any]:
    return values if len(values) == count else [values[0] if values else None] * count


def _key(variable: str) -> str:
    """The variable's name where the model reads it itself, else its value."""
    value = os.environ.get(variable)
    if not value:
        raise InputError(f"the variable {variable} is not set; export {variable}=...", source="--api-key-env")
    return variable if _VARIABLE.fullmatch(variable) else value
