"""Usage to US dollars, by genai-prices, whose makers keep it current. Its data is on disk; nothing is fetched."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import Any

from callgate.errors import ConfigurationError
from callgate.response import Cost, Usage

__all__ = ["price"]

_log = logging.getLogger("callgate")
_MILLION = 1_000_000.0


def price(
    provider: str | None, model: str, usage: Usage, *, prices: Mapping[str, float] | None = None
) -> Cost | None:
    """What these tokens cost; None when the model's price is not known, which is said once in the log.

    Args:
        provider: The provider's id at genai-prices; None: found by the model's name.
        model: As the provider names it.
        usage: Cache reads and writes are part of its input, reasoning of its output; each has its own price
            where the provider gives it one.
        prices: US dollars per million tokens, "input" and "output", instead of the known price; optionally
            "cache_read" and "cache_write".

    Raises:
        ConfigurationError: when `prices` lacks "input" or "output".

    >>> price(None, "mine", Usage(1_000_000, 1_000_000), prices={"input": 1.0, "output": 2.0})
    Cost(input=1.0, output=2.0)
    """
    if prices is not None:
        return _own_price(prices, usage)
    calculate = _calculator(provider, model)
    return None if calculate is None else calculate(usage)


def _own_price(prices: Mapping[str, float], usage: Usage) -> Cost:
    try:
        per_input, per_output = prices["input"], prices["output"]
    except KeyError as error:
        raise ConfigurationError(f'prices need "input" and "output", in dollars per million; no {error}') from None
    read, written = usage.cache_read_tokens, usage.cache_write_tokens
    plain = max(0, usage.input_tokens - read - written)
    spent = (
        plain * per_input
        + read * prices.get("cache_read", per_input)
        + written * prices.get("cache_write", per_input)
    )
    return Cost(spent / _MILLION, usage.output_tokens * per_output / _MILLION)


@cache
def _calculator(provider: str | None, model: str) -> Callable[[Usage], Cost] | None:
    # 0.3 s to import, so only when a price is first asked for.
    prices: Any = import_module("genai_prices")
    types: Any = import_module("genai_prices.types")
    try:
        found, ref = prices.data_snapshot.get_snapshot().find_provider_model(model, None, provider, None)
    except LookupError:
        _log.warning("no price is known for the model %s; its cost is not counted", model)
        return None

    def calculate(usage: Usage) -> Cost | None:
        answer = prices.calc_price(
            types.Usage(
                input_tokens=usage.input_tokens,
                cache_read_tokens=usage.cache_read_tokens or None,
                cache_write_tokens=usage.cache_write_tokens or None,
                output_tokens=usage.output_tokens,
            ),
            model_ref=ref.id,
            provider_id=found.id,
        )
        return Cost(float(answer.input_price), float(answer.output_price))

    return calculate
