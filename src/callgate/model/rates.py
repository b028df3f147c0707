"""Rates: US dollars per token of a model, from genai-prices or from the user's own prices.

genai-prices is kept current by its makers; its data is on disk, so nothing is sent. A lookup takes 0.2 ms, so
the rates of a model in a mode are cached.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from importlib import import_module
from typing import Any

from callgate.errors import ConfigurationError
from callgate.providers.canonical.billing import CostBound
from callgate.response import Cost, Usage

__all__ = ["Mode", "Rates", "find_rates", "own_rates"]

_log = logging.getLogger("callgate")
_MILLION = 1_000_000.0
_NAMES = ("input", "output", "cache_read", "cache_write", "reasoning")
_HOUR_FACTOR = 2.0
"""Anthropic's price of an hour in the prompt cache, as a multiple of the input price, at all hosts."""

Mode = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Rates:
    """US dollars per token, request and search. Above a threshold of input tokens `then` applies."""

    input: float
    output: float
    cache_read: float
    cache_write: float
    cache_write_1h: float
    reasoning: float
    input_audio: float
    output_audio: float
    output_image: float
    request: float = 0.0
    search: float = 0.0
    above: int | None = None
    """With more input tokens than this, all tokens are priced by `then`."""
    then: Rates | None = None

    def cost(self, usage: Usage) -> Cost:
        """The cost of the tokens of one response, without searches."""
        if self.then is not None and self.above is not None and usage.input_tokens > self.above:
            return self.then.cost(usage)
        read, written, thought = usage.cache_read_tokens, usage.cache_write_tokens, usage.reasoning_tokens
        hour = min(written, usage.cache_write_1h_tokens)
        # Not below 0, because some providers count cached tokens in addition to the input.
        plain = max(0, usage.input_tokens - read - written)
        said = max(0, usage.output_tokens - thought)
        # Audio that was read from the cache has the price of cache reads.
        heard, spoken = min(plain, usage.input_audio_tokens), min(said, usage.output_audio_tokens)
        drawn = min(said - spoken, usage.output_image_tokens)
        return Cost(
            (plain - heard) * self.input
            + heard * self.input_audio
            + read * self.cache_read
            + (written - hour) * self.cache_write
            + hour * self.cache_write_1h
            + self.request,
            (said - spoken - drawn) * self.output
            + spoken * self.output_audio
            + drawn * self.output_image
            + thought * self.reasoning,
        )

    def worst(self, bound: CostBound) -> float:
        """The most that tokens within a bound can cost, of any kind."""
        if self.then is not None and self.above is not None and bound.input_tokens > self.above:
            return max(self.then.worst(bound), replace(self, then=None).worst(bound))
        reading = [self.input, self.cache_read]
        if bound.cache_writes is not None:
            reading.append(self.cache_write)
        if bound.cache_writes == "1h":
            reading.append(self.cache_write_1h)
        writing = [self.output, self.reasoning]
        if not bound.text_only:
            writing += [self.output_audio, self.output_image]
        return bound.input_tokens * max(reading) + bound.output_tokens * max(writing) + self.request


def own_rates(prices: Mapping[str, float]) -> Rates:
    """The rates of a user's own prices, in US dollars per million tokens.

    Raises:
        ConfigurationError: `prices` lack "input" or "output", or hold another name or no price.
    """
    if not isinstance(prices, Mapping):
        raise ConfigurationError(
            'prices must be a mapping, such as {"input": 0.15, "output": 0.6} in US dollars per million'
            f" tokens, got {prices!r}",
            setting="prices",
        )
    unknown = [name for name in prices if name not in _NAMES]
    if unknown or "input" not in prices or "output" not in prices:
        wrong = (
            f"not {', '.join(map(repr, unknown))}"
            if unknown
            else f"not only {', '.join(prices) or 'nothing'}"
        )
        raise ConfigurationError(
            'prices are "input" and "output" in US dollars per million tokens, perhaps "cache_read",'
            f' "cache_write" and "reasoning" too; {wrong}',
            setting="prices",
        )
    for name, dollars in prices.items():
        if type(dollars) not in (int, float) or not 0 <= dollars < math.inf:
            raise ConfigurationError(
                f"the price {name!r} must be US dollars from 0, got {dollars!r}", setting="prices"
            )
    per_token = {name: dollars / _MILLION for name, dollars in prices.items()}
    return _with_defaults(per_token)


def _with_defaults(rates: Mapping[str, float], **more: Any) -> Rates:
    """Rates in which a kind of token without a price has that of all input or all output."""
    reading, writing = rates.get("input", 0.0), rates.get("output", 0.0)
    cache_write = rates.get("cache_write", reading)
    return Rates(
        reading,
        writing,
        rates.get("cache_read", reading),
        cache_write,
        rates.get("cache_write_1h", max(cache_write, _HOUR_FACTOR * reading)),
        rates.get("reasoning", writing),
        rates.get("input_audio", reading),
        rates.get("output_audio", writing),
        rates.get("output_image", writing),
        **more,
    )


# Name here -> name at genai-prices.
_FIELDS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "reasoning": "output_reasoning_mtok",
    "input_audio": "input_audio_mtok",
    "output_audio": "output_audio_mtok",
    "output_image": "output_image_mtok",
}
_UNLISTED: Mapping[tuple[str | None, str], Mapping[str, float]] = {
    # cloud.google.com/vertex-ai/generative-ai/pricing, Llama 3.1 405B
    ("google", "meta/llama3-405b-instruct-maas"): {"input": 5.0, "output": 16.0},
}
"""Prices that genai-prices does not list."""


def find_rates(provider: str | None, model: str, mode: Mode, at: datetime | None) -> Rates | None:
    """The rates of a model in a mode, by genai-prices; None if it lists none.

    Args:
        provider: The provider's id there; None: found by the model's name.
        model: As the provider names it.
        mode: Keys of a price context, in pairs; see `Billing.mode`.
        at: The time of the use, for prices that change with it; None: now.
    """
    unlisted = _UNLISTED.get((provider, model))
    if unlisted is not None:
        return None if mode else own_rates(unlisted)
    found = _find(provider, model)
    if found is None:
        return None
    info, changes = found
    moment = at or datetime.now(UTC)
    # Rounded to minutes for the cache; some prices change with the hour.
    return _read_rates(_ById(info), mode, moment.replace(second=0, microsecond=0) if changes else None)


class _ById:
    """A key, by identity, for an object that cannot be hashed."""

    __slots__ = ("thing",)

    def __init__(self, thing: Any) -> None:
        self.thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ById) and self.thing is other.thing

    def __hash__(self) -> int:
        return id(self.thing)


@lru_cache(maxsize=4096)
def _find(provider: str | None, model: str) -> tuple[Any, bool] | None:
    """The entry of genai-prices with prices of tokens, and whether these change with the time.

    It is looked up by the model's name with and without its publisher.
    """
    # The import takes 0.3 s, so it is made on first use.
    snapshot: Any = import_module("genai_prices.data_snapshot").get_snapshot()
    for name in dict.fromkeys((model, model.rsplit("/", 1)[-1])):
        try:
            _, found = snapshot.find_provider_model(name, None, provider, None)
        except LookupError:
            continue
        by_time = isinstance(found.prices, list)
        prices = found.prices[0].prices if by_time else found.prices
        if prices.input_mtok is not None or prices.output_mtok is not None:
            return found, by_time or any(variant.constraint for variant in found.price_variants or ())
    _log.warning("no price is known for the model %s; its cost is not counted", model)
    return None


@lru_cache(maxsize=4096)
def _read_rates(entry: _ById, mode: Mode, moment: datetime | None) -> Rates | None:
    info, context = entry.thing, dict(mode)
    moment = moment or datetime.now(UTC)
    if context and not any(_applies(variant, context, moment) for variant in info.price_variants or ()):
        return None
    return _read(info.get_prices(moment, context or None))


def _applies(variant: Any, context: Mapping[str, str], moment: datetime) -> bool:
    active = variant.constraint is None or variant.constraint.active(moment)
    return bool(active and variant.when == context)


def _read(prices: Any) -> Rates:
    """Rates from a `ModelPrice`: one set, or one for each of its tiers."""
    given = {name: getattr(prices, field, None) for name, field in _FIELDS.items()}
    given = {name: value for name, value in given.items() if value is not None}
    request = float(prices.requests_kcount or 0) / 1000.0
    search = getattr(prices, "web_searches_kcount", None)
    each = {"request": request, "search": float(getattr(search, "base", search) or 0) / 1000.0}
    starts = sorted({tier.start for value in given.values() for tier in getattr(value, "tiers", ())})
    rates: Rates | None = None
    for above, then in zip([*reversed(starts), None], [None, *reversed(starts)], strict=True):
        at_least = {name: float(_step(value, above)) / _MILLION for name, value in given.items()}
        rates = _with_defaults(at_least, **each, above=then, then=rates)
    assert rates is not None
    return rates


def _step(value: Any, above: int | None) -> Any:
    """The price for input tokens above a threshold; None: below all thresholds."""
    if not hasattr(value, "tiers"):
        return value
    reached = [tier.price for tier in value.tiers if above is not None and tier.start <= above]
    return reached[-1] if reached else value.base
