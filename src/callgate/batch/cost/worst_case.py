"""The most that one attempt at a call can cost: what `--budget` reserves for it."""

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
    """A function that returns the most US dollars that the next attempt of a call can cost, at the dearest
    endpoint of a model, its fallbacks included.

    Raises (in the function):
        UnboundedBudgetError: when it is not known for one of them.
    """
    every = model.all_targets()
    if len(every) == 1 and every[0].model is model:
        return worst_case  # its callings are turned to the one endpoint already
    targets = list({target.price_identity: target for target in every}.values())

    def worst(calling: Calling) -> float:
        return max(worst_case(turned(calling, target)) for target in targets)

    return worst


def turned(calling: Calling, target: ModelTarget) -> Calling:
    """The call as an endpoint would send it; the call itself stays as it is."""
    fork = calling.fork()
    target.turn(fork)
    return fork


def worst_case(calling: Calling) -> float:
    """The most that one attempt of this call at its endpoint can cost, in US dollars.

    Raises:
        UnboundedBudgetError: when it is not known: the price is not, or nothing bounds the length of the
            answer, or what is to be read.
        InvalidRequestError: when the request cannot be encoded.
    """
    payload = calling.payload
    try:
        bound = _bound(calling)
    except UnboundedOutputError:
        raise UnboundedBudgetError(
            "a budget needs to know the longest answer (with n, a whole number above 0)",
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
    """What the call's backend bounds; a backend of the user's own is taken for a chat endpoint."""
    bound = getattr(calling.backend, "bound", None)
    if bound is not None:
        found: CostBound = bound(calling)
        return found
    return OpenAIChat().bound(WireRequest("/chat/completions", write_json(calling.payload)), {})


def longest_answer(request: Mapping[str, Any]) -> int | None:
    """The most tokens that a request allows to be written, all its choices together; None without a bound.

    Where the bound is set by both of its names, the larger one counts: providers differ in which they obey.
    What is no whole number above 0 bounds nothing: some servers read "200", and -1 as without end.

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
