"""Who may answer a row, and what the row is then: each model sends it in its own way, at its own price."""

from __future__ import annotations

from callgate.call.calling import Calling
from callgate.model.base import Caller
from callgate.model.model import iModel
from callgate.model.spread import Spread
from callgate.policies.structured.layer import MOST_ASKS

__all__ = ["fallbacks_of", "most_attempts", "possible_calls", "shared_calls"]


def shared_calls(model: Caller, calling: Calling) -> list[tuple[Caller, Calling]]:
    """The models that answer while nothing fails, each with the call as it would send it.

    Args:
        model: One model, which is then the only one, or a `Spread` of several.
        calling: A call made by `model`. It is not touched.

    Example::

        for member, call in shared_calls(spread, await spread.create_calling(messages=messages)):
            print(member.name, call.payload["model"])
    """
    if isinstance(model, Spread):
        return [(member, _turned(calling, member)) for member in _members(model)]
    return [(model, calling)]


def possible_calls(model: Caller, calling: Calling) -> list[Calling]:
    """The call as each model would send it that may ever answer it, the fallbacks included."""
    found = [call for _, call in shared_calls(model, calling)]
    # Whoever answers in the place of another brings no fallbacks of its own.
    for other in fallbacks_of(model):
        found += [_turned(calling, member) for member in _members(other)]
    return found


def most_attempts(model: Caller, calling: Calling) -> int:
    """How often a call is sent at most: by everybody who may answer it, with retries, second attempts, and
    anew for each answer that does not fit its schema. What a 429 answers is not counted: nobody bills it."""
    sent = model.most_attempts
    return sent if calling.answer_type is None else sent * MOST_ASKS


def fallbacks_of(model: Caller) -> tuple[Caller, ...]:
    """Who answers in its place when it cannot."""
    return model.fallbacks if isinstance(model, iModel) else ()


def _members(model: Caller) -> list[Caller]:
    """The models of a spread, and of the spreads in it; of any other model, itself."""
    if not isinstance(model, Spread):
        return [model]
    return [member for each in model.models for member in _members(each)]


def _turned(calling: Calling, member: Caller) -> Calling:
    fork = calling.fork()
    for target in member.targets():
        target.turn(fork)
    return fork
