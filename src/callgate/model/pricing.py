"""Usage to US dollars, by genai-prices, whose makers keep it current. Offline: its data is on disk.

It takes 0.2 ms to price one answer and is asked once for every answer of a batch, so its prices are read once
a model, into plain rates.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from importlib import import_module
from typing import Any

from callgate.errors import ConfigurationError
from callgate.response import Cost, Usage

__all__ = ["price"]

_log = logging.getLogger("callgate")
_MILLION = 1_000_000.0
_NAMES = ("input", "output", "cache_read", "cache_write", "reasoning")


def price(
    provider: str | None,
    model: str,
    usage: Usage,
    *,
    prices: Mapping[str, float] | None = None,
    at: datetime | None = None,
) -> Cost | None:
    """What these tokens cost; None when the model's price is not known, which is said once in the log.

    Args:
        provider: The provider's id at genai-prices; None: found by the model's name.
        model: As the provider names it.
        usage: Cache reads and writes are part of its input, reasoning of its output, sound of either; each
            has its own price where the provider gives it one. What a service tier or a cache that is kept for
            an hour adds is not known.
        prices: US dollars per million tokens, "input" and "output", instead of the known price; optionally
            "cache_read", "cache_write" and "reasoning".
        at: When it was used, for prices that change with the day or the hour; None: now.

    Raises:
        ConfigurationError: when `prices` lacks "input" or "output", or holds something else.

    >>> price(None, "mine", Usage(1_000_000, 1_000_000), prices={"input": 1.0, "output": 2.0})
    Cost(input=1.0, output=2.0)
    """
    if prices is not None:
        return _own_rates(prices).cost(usage)
    rates = _known_rates(provider, model)
    if rates is None:
        return None
    return (rates if isinstance(rates, _Rates) else rates(at)).cost(usage)


@dataclass(frozen=True, slots=True)
class _Rates:
    """US dollars per token, and per request. Above a threshold of input tokens another set holds."""

    input: float
    output: float
    cache_read: float
    cache_write: float
    reasoning: float
    input_audio: float
    output_audio: float
    request: float = 0.0
    above: int | None = None
    """More input tokens than these are priced by `then`, all of them."""
    then: _Rates | None = None

    def cost(self, usage: Usage) -> Cost:
        if self.then is not None and self.above is not None and usage.input_tokens > self.above:
            return self.then.cost(usage)
        read, written, thought = usage.cache_read_tokens, usage.cache_write_tokens, usage.reasoning_tokens
        # Not below nothing: some providers count what they cached beside the input.
        plain = max(0, usage.input_tokens - read - written)
        said = max(0, usage.output_tokens - thought)
        # Sound that was read from the cache is priced as what is.
        heard, spoken = min(plain, usage.input_audio_tokens), min(said, usage.output_audio_tokens)
        return Cost(
            (plain - heard) * self.input
            + heard * self.input_audio
            + read * self.cache_read
            + written * self.cache_write
            + self.request,
            (said - spoken) * self.output + spoken * self.output_audio + thought * self.reasoning,
        )


def _own_rates(prices: Mapping[str, float]) -> _Rates:
    unknown = [name for name in prices if name not in _NAMES]
    if unknown or "input" not in prices or "output" not in prices:
        wrong = (
            f"not {', '.join(map(repr, unknown))}"
            if unknown
            else f"not only {', '.join(prices) or 'nothing'}"
        )
        raise ConfigurationError(
            'prices are "input" and "output" in US dollars per million tokens, perhaps "cache_read",'
            f' "cache_write" and "reasoning" too; {wrong}'
        )
    per_token = {name: dollars / _MILLION for name, dollars in prices.items()}
    return _with_defaults(per_token)


def _with_defaults(rates: Mapping[str, float], **more: Any) -> _Rates:
    """What has no price of its own is priced as what it is part of."""
    said, told = rates.get("input", 0.0), rates.get("output", 0.0)
    return _Rates(
        said,
        told,
        rates.get("cache_read", said),
        rates.get("cache_write", said),
        rates.get("reasoning", told),
        rates.get("input_audio", said),
        rates.get("output_audio", told),
        **more,
    )


# The names of genai-prices for ours.
_FIELDS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "reasoning": "output_reasoning_mtok",
    "input_audio": "input_audio_mtok",
    "output_audio": "output_audio_mtok",
}


@lru_cache(maxsize=4096)
def _known_rates(provider: str | None, model: str) -> _Rates | Callable[[datetime | None], _Rates] | None:
    """The rates of a model; a function of the time, when they change with it."""
    found = _find(provider, model)
    if found is None:
        _log.warning("no price is known for the model %s; its cost is not counted", model)
        return None
    if not isinstance(found.prices, list):
        return _read(found.prices)
    by_identity: dict[int, _Rates] = {}

    def at(moment: datetime | None) -> _Rates:
        current = found.get_prices(moment or datetime.now(UTC))
        rates = by_identity.get(id(current))
        if rates is None:
            rates = by_identity[id(current)] = _read(current)
        return rates

    return at


def _find(provider: str | None, model: str) -> Any | None:
    """The entry of genai-prices that prices tokens, also under the name without its publisher."""
    # 0.3 s to import, so only when a price is first asked for.
    snapshot: Any = import_module("genai_prices.data_snapshot").get_snapshot()
    for name in dict.fromkeys((model, model.rsplit("/", 1)[-1])):
        try:
            _, found = snapshot.find_provider_model(name, None, provider, None)
        except LookupError:
            continue
        prices = found.prices[0].prices if isinstance(found.prices, list) else found.prices
        if prices.input_mtok is not None or prices.output_mtok is not None:
            return found
    return None


def _read(prices: Any) -> _Rates:
    """Rates from a `ModelPrice`: one set, or one for each step of its tiers."""
    given = {name: getattr(prices, field) for name, field in _FIELDS.items()}
    given = {name: value for name, value in given.items() if value is not None}
    request = float(prices.requests_kcount or 0) / 1000.0
    starts = sorted({tier.start for value in given.values() for tier in getattr(value, "tiers", ())})
    rates: _Rates | None = None
    for above, then in zip([*reversed(starts), None], [None, *reversed(starts)], strict=True):
        at_least = {name: float(_step(value, above)) / _MILLION for name, value in given.items()}
        rates = _with_defaults(at_least, request=request, above=then, then=rates)
    assert rates is not None
    return rates


def _step(value: Any, above: int | None) -> Any:
    """The price once the input is above a threshold; None: below all of them."""
    if not hasattr(value, "tiers"):
        return value
    reached = [tier.price for tier in value.tiers if above is not None and tier.start <= above]
    return reached[-1] if reached else value.base
