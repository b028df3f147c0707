"""Usage to US dollars, by genai-prices, whose makers keep it current. Offline: its data is on disk.

Looking a price up takes 0.2 ms and happens for every answer of a batch, so the prices of a model in a mode
are read once into plain rates.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib import import_module
from typing import Any

from callgate.backends.service import ANY_PROVIDER
from callgate.errors import ConfigurationError
from callgate.providers.canonical.billing import STANDARD, Billing, CostBound
from callgate.providers.dialect import AnyDialect
from callgate.response import Cost, Response, Usage

__all__ = ["Pricer", "price", "worst_price"]

_log = logging.getLogger("callgate")
_MILLION = 1_000_000.0
_NAMES = ("input", "output", "cache_read", "cache_write", "reasoning")
_WITH_PROFILES = "aws"
"""Other providers leave `base_model` out: a cheap one there is no model that is asked."""
_DEAREST_MODE = 6.0
"""No provider bills a mode at more than so many times its standard price."""
_LONGEST_CALL = timedelta(hours=1)

_HOUR_FACTOR = 2.0
"""What Anthropic bills for an hour in the prompt cache, in prices of input, at whatever host."""

Mode = tuple[tuple[str, str], ...]


def price(
    provider: str | None,
    model: str,
    usage: Usage,
    *,
    prices: Mapping[str, float] | None = None,
    billing: Billing = STANDARD,
    at: datetime | None = None,
) -> Cost | None:
    """What these tokens cost; None when the price is not known, which is logged once for each model.

    Args:
        provider: The provider's id at genai-prices; None: found by the model's name.
        model: As the provider names it.
        usage: Cache reads and writes are part of its input, reasoning of its output, sound of either; each
            has its own price where the provider gives it one.
        prices: US dollars per million tokens, "input" and "output", instead of the known price; optionally
            "cache_read", "cache_write" and "reasoning". They hold for every mode whose multiple of the
            standard price is not known.
        billing: The mode, its factors, and what is billed besides tokens.
        at: When it was used, for prices that change with the day or the hour; None: now.

    Raises:
        ConfigurationError: when `prices` lacks "input" or "output", or holds something else.

    >>> price(None, "mine", Usage(1_000_000, 1_000_000), prices={"input": 1.0, "output": 2.0})
    Cost(input=1.0, output=2.0)
    """
    if billing.reported is not None:
        return billing.reported
    found = _rates_in(provider, model, prices, billing, at)
    if found is None:
        return None
    rates, factor = found
    cost = rates.cost(usage)
    if factor != 1.0:
        cost = Cost(cost.input * factor, cost.output * factor)
    return Cost(cost.input + billing.searches * rates.search, cost.output) if billing.searches else cost


def worst_price(
    provider: str | None, model: str, bound: CostBound, *, prices: Mapping[str, float] | None = None
) -> float | None:
    """The most US dollars that an attempt within a bound can cost; None when no price is known.

    Of the ways in which it may be billed, those without a known price are left out: a model without a listed
    price for a mode is not sold in it. If it is certain to be billed in such a mode, the price is not known.
    With `prices` of one's own, a mode that is certain needs a known multiple.

    >>> worst_price(None, "mine", CostBound(1_000_000, 1_000_000), prices={"input": 1.0, "output": 2.0})
    3.0
    """
    certain = bound.billings[0] if len(bound.billings) == 1 else None
    if prices is not None and certain is not None and certain.mode and certain.mode_factor is None:
        return None
    now = datetime.now(UTC)
    costs = []
    for billing in bound.billings:
        for moment in (now, now + _LONGEST_CALL):
            found = _rates_in(provider, model, prices, billing, moment)
            if found is not None:
                costs.append(found[0].worst(bound) * found[1])
    return max(costs, default=None)


class Pricer:
    """The prices of one model's backend: of its answers, and of what an attempt may come to.

    Args:
        provider: The provider's id at genai-prices; `ANY_PROVIDER`: the one that the model's name finds;
            None: it has no prices there.
        prices: The user's own prices; see `price`.
        dialect: Reads how an answer is billed; None: by its tokens alone.
        free: Whether it costs nothing, as a model on this machine.

    Raises:
        ConfigurationError: when `prices` are no prices.

    Example::

        pricer = Pricer("openai", None, OpenAIChat())
        cost = pricer(calling.response, calling.payload)
    """

    __slots__ = ("_dialect", "_free", "_prices", "_provider")

    def __init__(
        self,
        provider: str | None,
        prices: Mapping[str, float] | None,
        dialect: AnyDialect | None,
        *,
        free: bool = False,
    ) -> None:
        if prices is not None:
            _own_rates(prices)  # refuses what is no price, before a call is paid for
        self._provider = provider
        self._prices = prices
        self._dialect = dialect
        self._free = free

    def __call__(self, response: Response, payload: Any) -> Cost | None:
        """What an answer to a payload cost, in US dollars; None if the price or its tokens are not known."""
        if self._free:
            return Cost(0.0, 0.0)
        billing = STANDARD
        if self._dialect is not None:
            billing = self._dialect.billing(response, payload if isinstance(payload, Mapping) else {})
            if billing.reported is not None:
                return billing.reported
        usage = response.usage
        if usage is None or not usage.is_known or (self._provider is None and self._prices is None):
            return None
        # Some providers do not name the model in their answers.
        model = response.model or self._model_of(payload)
        if model is None:
            return None
        return price(self._listed, model, usage, prices=self._prices, billing=billing)

    def is_billed(self, response: Response) -> bool:
        """Whether an answer's counts are of tokens that were used, so that its cost can be believed: some
        servers report zeros for what they do not count."""
        usage = response.usage
        if self._free or (
            self._dialect is not None and self._dialect.billing(response, {}).reported is not None
        ):
            return True
        said = response.text or response.tool_calls or response.reasoning
        return usage is not None and usage.input_tokens > 0 and (usage.output_tokens > 0 or not said)

    def surcharge(self, response: Response, payload: Any) -> float:
        """By how much an answer whose cost is not known may pass the worst case of its request: above 1 when
        it names a mode that was not asked for, and whose price is not listed."""
        if self._dialect is None or not isinstance(payload, Mapping):
            return 1.0
        return _DEAREST_MODE if self._dialect.billing(response, payload).mode else 1.0

    def worst(self, bound: CostBound, payload: Any) -> float | None:
        """The most US dollars that an attempt within a bound can cost; None when the price is not known."""
        if self._free:
            return 0.0
        model = self._model_of(payload)
        if self._prices is None and (self._provider is None or model is None):
            return None
        return worst_price(self._listed, model or "", bound, prices=self._prices)

    def _model_of(self, payload: Any) -> str | None:
        """The model that a payload asks for: the one behind an inference profile, where that is named."""
        if not isinstance(payload, Mapping):
            return None
        behind = payload.get("base_model") if self._provider == _WITH_PROFILES else None
        model = behind or payload.get("model")
        return model if isinstance(model, str) else None

    @property
    def _listed(self) -> str | None:
        return None if self._provider == ANY_PROVIDER else self._provider


def _rates_in(
    provider: str | None,
    model: str,
    prices: Mapping[str, float] | None,
    billing: Billing,
    at: datetime | None,
) -> tuple[_Rates, float] | None:
    """The rates that hold for a billing, and what multiplies them; None when they are not known."""
    if prices is not None:
        return _own_rates(prices), billing.factor * (billing.mode_factor or 1.0)
    rates = _rates(provider, model, billing.mode, at)
    if rates is not None:
        return rates, billing.factor
    rates = None if billing.mode_factor is None else _rates(provider, model, (), at)
    return None if rates is None else (rates, billing.factor * (billing.mode_factor or 1.0))


@dataclass(frozen=True, slots=True)
class _Rates:
    """US dollars per token, request and search. Above a threshold of input tokens another set holds."""

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
    """More input tokens than these are priced by `then`, all of them."""
    then: _Rates | None = None

    def cost(self, usage: Usage) -> Cost:
        if self.then is not None and self.above is not None and usage.input_tokens > self.above:
            return self.then.cost(usage)
        read, written, thought = usage.cache_read_tokens, usage.cache_write_tokens, usage.reasoning_tokens
        hour = min(written, usage.cache_write_1h_tokens)
        # Not below nothing: some providers count what they cached beside the input.
        plain = max(0, usage.input_tokens - read - written)
        said = max(0, usage.output_tokens - thought)
        # Sound that was read from the cache is priced as what is.
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
        """The most that tokens within a bound can cost, of whichever kind they are."""
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


def _own_rates(prices: Mapping[str, float]) -> _Rates:
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


def _with_defaults(rates: Mapping[str, float], **more: Any) -> _Rates:
    """What has no price of its own is priced as what it is part of; an hour in the cache as Claude's."""
    reading, writing = rates.get("input", 0.0), rates.get("output", 0.0)
    cache_write = rates.get("cache_write", reading)
    return _Rates(
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


# The names of genai-prices for ours.
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


def _rates(provider: str | None, model: str, mode: Mode, at: datetime | None) -> _Rates | None:
    """The rates of a model in a mode; None when it has none."""
    unlisted = _UNLISTED.get((provider, model))
    if unlisted is not None:
        return None if mode else _own_rates(unlisted)
    found = _find(provider, model)
    if found is None:
        return None
    info, changes = found
    moment = at or datetime.now(UTC)
    # By the minute, as some prices change with the hour.
    return _read_rates(_ById(info), mode, moment.replace(second=0, microsecond=0) if changes else None)


class _ById:
    """A key for what cannot be hashed."""

    __slots__ = ("thing",)

    def __init__(self, thing: Any) -> None:
        self.thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ById) and self.thing is other.thing

    def __hash__(self) -> int:
        return id(self.thing)


@lru_cache(maxsize=4096)
def _find(provider: str | None, model: str) -> tuple[Any, bool] | None:
    """The entry of genai-prices that prices tokens, also under the name without its publisher; and whether
    its prices change with the time."""
    # 0.3 s to import, so only when a price is first asked for.
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
def _read_rates(entry: _ById, mode: Mode, moment: datetime | None) -> _Rates | None:
    info, context = entry.thing, dict(mode)
    moment = moment or datetime.now(UTC)
    if context and not any(_applies(variant, context, moment) for variant in info.price_variants or ()):
        return None
    return _read(info.get_prices(moment, context or None))


def _applies(variant: Any, context: Mapping[str, str], moment: datetime) -> bool:
    active = variant.constraint is None or variant.constraint.active(moment)
    return bool(active and variant.when == context)


def _read(prices: Any) -> _Rates:
    """Rates from a `ModelPrice`: one set, or one for each step of its tiers."""
    given = {name: getattr(prices, field, None) for name, field in _FIELDS.items()}
    given = {name: value for name, value in given.items() if value is not None}
    request = float(prices.requests_kcount or 0) / 1000.0
    search = getattr(prices, "web_searches_kcount", None)
    each = {"request": request, "search": float(getattr(search, "base", search) or 0) / 1000.0}
    starts = sorted({tier.start for value in given.values() for tier in getattr(value, "tiers", ())})
    rates: _Rates | None = None
    for above, then in zip([*reversed(starts), None], [None, *reversed(starts)], strict=True):
        at_least = {name: float(_step(value, above)) / _MILLION for name, value in given.items()}
        rates = _with_defaults(at_least, **each, above=then, then=rates)
    assert rates is not None
    return rates


def _step(value: Any, above: int | None) -> Any:
    """The price once the input is above a threshold; None: below all of them."""
    if not hasattr(value, "tiers"):
        return value
    reached = [tier.price for tier in value.tiers if above is not None and tier.start <= above]
    return reached[-1] if reached else value.base
