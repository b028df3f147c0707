"""The most that one attempt at a call can cost, which `--budget` reserves for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from callgate.call.calling import Calling
from callgate.errors import InputError
from callgate.model.base import Caller
from callgate.model.pricing import Pricer
from callgate.model.target import ModelTarget
from callgate.providers.canonical.billing import CostBound, UnboundedCostError, UnboundedOutputError
from callgate.providers.canonical.json import write_json
from callgate.providers.dialect import WireRequest
from callgate.providers.openai_chat.dialect import OpenAIChat

__all__ = ["UnboundedBudgetError", "longest_answer", "turned", "worst_case", "worst_of_endpoints"]


class UnboundedBudgetError(InputError):
    """The most that a request can cost is not known, so it is not sent within a budget."""


def worst_of_endpoints(model: Caller) -> Callable[[Calling], float]:
    """A function that returns the most US dollars that the next attempt of a call can cost.

    It is the cost at the dearest endpoint of the model and its fallbacks.

    Raises (in the function):
        UnboundedBudgetError: the cost at one of them has no known bound.
    """
    every = model.all_targets()
    if len(every) == 1 and every[0].model is model:
        return worst_case  # callings of the model are prepared for its one endpoint
    targets = list({target.price_identity: target for target in every}.values())

    def worst(calling: Calling) -> float:
        return max(worst_case(turned(calling, target)) for target in targets)

    return worst


def turned(calling: Calling, target: ModelTarget) -> Calling:
    """A copy of the call, prepared for an endpoint."""
    fork = calling.fork()
    target.turn(fork)
    return fork


def worst_case(calling: Calling) -> float:
    """The most that one attempt of this call at its endpoint can cost, in US dollars.

    Raises:
        UnboundedBudgetError: the price is not known, or the input or output of the request has no bound.
        InvalidRequestError: the request cannot be encoded.
    """
    payload = calling.payload
    try:
        bound = _bound(calling)
    except UnboundedOutputError:
        raise UnboundedBudgetError(
            "a budget needs to know the longest answer",
            setting="max_tokens",
            remedy="give",
        ) from None
    except UnboundedCostError as what:
        raise UnboundedBudgetError(
            f"a budget cannot bound what {what} may cost; leave it out, or run without a budget"
        ) from None
    pricer = calling.pricer
    cost = pricer.worst(bound, payload) if isinstance(pricer, Pricer) else None
    if cost is None:
        model, mode = payload.get("model", "the model"), bound.billings[0].name
        if mode:
            raise UnboundedBudgetError(
                f"a budget needs to know the price of {model} with {mode}, which is not listed; leave it out"
            )
        raise UnboundedBudgetError(
            f"a budget needs to know the price of {model}",
            setting="prices",
            remedy="give it in dollars per million tokens with",
        )
    return cost


def _bound(calling: Calling) -> CostBound:
    """The bound by the call's backend; a user's own backend counts as a chat endpoint."""
    bound = getattr(calling.backend, "bound", None)
    if bound is not None:
        found: CostBound = bound(calling)
        return found
    return OpenAIChat().bound(WireRequest("/chat/completions", write_json(calling.payload)), {})


def longest_answer(request: Mapping[str, Any]) -> int | None:
    """The most output tokens that a request allows, for all its choices together; None without a bound.

    If both names of the bound are given, the larger one counts, because providers differ in which one they
    use. A value that is not an integer above 0 is no bound: some servers read "200", and -1 as unlimited.

    >>> longest_answer({"max_tokens": 100, "n": 2}), longest_answer({}), longest_answer({"max_tokens": -1})
    (200, None, None)
    """
    given = (request.get("max_completion_tokens"), request.get("max_tokens"))
    bounds: list[Any] = [bound for bound in given if bound is not None]
    choices: Any = 1 if request.get("n") is None else request["n"]
    if not bounds or not all(type(count) is int and count > 0 for count in (*bounds, choices)):
        return None
    longest: int = max(bounds) * choices
    return longest
