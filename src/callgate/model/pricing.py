"""`Pricer`: the cost of responses, and the most that an attempt can cost, in US dollars. See `rates`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from callgate.backends.service import ANY_PROVIDER
from callgate.model.rates import Rates, find_rates, own_rates
from callgate.providers.canonical.billing import STANDARD, Billing, CostBound
from callgate.providers.dialect import AnyDialect
from callgate.response import Cost, Response, Usage

__all__ = ["Pricer", "price", "worst_price"]

_WITH_PROFILES = "aws"
"""The provider with inference profiles; others ignore `base_model`."""
_DEAREST_MODE = 6.0
"""The highest multiple of the standard price that any provider bills for a mode."""
_LONGEST_CALL = timedelta(hours=1)


def price(
    provider: str | None,
    model: str,
    usage: Usage,
    *,
    prices: Mapping[str, float] | None = None,
    billing: Billing = STANDARD,
    at: datetime | None = None,
) -> Cost | None:
    """The cost of these tokens; None if the price is not known, which is logged once for each model.

    Args:
        provider: The provider's id at genai-prices; None: found by the model's name.
        model: As the provider names it.
        usage: Cache reads and writes are part of its input, reasoning of its output, audio of either; each
            has its own price if the provider has one.
        prices: US dollars per million tokens, "input" and "output", instead of the known price; optionally
            "cache_read", "cache_write" and "reasoning". They apply to a mode whose multiple of the standard
            price is not known.
        billing: The mode, its factors, and the number of searches.
        at: The time of the use, for prices that change with the day or the hour; None: now.

    Raises:
        ConfigurationError: `prices` lack "input" or "output", or hold another name or no price.

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
    """The most US dollars that an attempt within a bound can cost; None if no price is known.

    Possible billings without a known price are left out, because a model without a listed price for a mode is
    not sold in it. None if the only billing has no known price; with `prices`, its mode needs a known
    multiple.

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
    """The prices of one backend: of its responses, and of the worst case of an attempt.

    Args:
        provider: The provider's id at genai-prices; `ANY_PROVIDER`: found by the model's name; None: it has
            no prices there.
        prices: The user's own prices; see `price`.
        dialect: Reads how a response is billed; None: by its tokens alone.
        free: True for a backend that costs nothing, such as a model on this machine.

    Raises:
        ConfigurationError: `prices` are invalid.

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
            own_rates(prices)  # raises for invalid prices before a call is paid for
        self._provider = provider
        self._prices = prices
        self._dialect = dialect
        self._free = free

    def __call__(self, response: Response, payload: Any) -> Cost | None:
        """The cost of a response to a payload, in US dollars; None if price or tokens are not known."""
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
        # Some providers do not name the model in their responses.
        model = response.model or self._model_of(payload)
        if model is None:
            return None
        return price(self._listed, model, usage, prices=self._prices, billing=billing)

    def is_billed(self, response: Response) -> bool:
        """False if the token counts of a response cannot be right: some servers report 0 if not counted."""
        usage = response.usage
        if self._free or (
            self._dialect is not None and self._dialect.billing(response, {}).reported is not None
        ):
            return True
        said = response.text or response.tool_calls or response.reasoning
        return usage is not None and usage.input_tokens > 0 and (usage.output_tokens > 0 or not said)

    def surcharge(self, response: Response, payload: Any) -> float:
        """The factor by which a response of unknown cost may exceed the worst case of its request.

        It is above 1.0 for a response in a mode that was not requested and has no listed price.
        """
        if self._dialect is None or not isinstance(payload, Mapping):
            return 1.0
        return _DEAREST_MODE if self._dialect.billing(response, payload).mode else 1.0

    def worst(self, bound: CostBound, payload: Any) -> float | None:
        """The most US dollars that an attempt within a bound can cost; None if the price is not known."""
        if self._free:
            return 0.0
        model = self._model_of(payload)
        if self._prices is None and (self._provider is None or model is None):
            return None
        return worst_price(self._listed, model or "", bound, prices=self._prices)

    def _model_of(self, payload: Any) -> str | None:
        """The model in a payload; for an inference profile, its `base_model`."""
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
) -> tuple[Rates, float] | None:
    """The rates of a billing and their factor; None if they are not known."""
    if prices is not None:
        return own_rates(prices), billing.factor * (billing.mode_factor or 1.0)
    rates = find_rates(provider, model, billing.mode, at)
    if rates is not None:
        return rates, billing.factor
    rates = None if billing.mode_factor is None else find_rates(provider, model, (), at)
    return None if rates is None else (rates, billing.factor * (billing.mode_factor or 1.0))
