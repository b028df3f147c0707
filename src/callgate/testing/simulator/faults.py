"""Faults: draw one for a request, and apply it to the plan of an answer."""

from __future__ import annotations

import random
from collections.abc import Mapping

from callgate.testing.simulator.dialects.base import Dialect, Kind, Refusal
from callgate.testing.simulator.options import Options
from callgate.testing.simulator.plan import Chunk, Ending, Plan

__all__ = ["STATUS_FAULTS", "apply_fault", "draw", "refusal_for"]

STATUS_FAULTS = ("429", "500", "503", "529")

_BLOCK = Chunk(b" " * 65_536)
_GARBAGE = b'<html><head><title>Oops</title></head><body>upstream: {"nothing": </body>'

_MESSAGES: dict[int, tuple[Kind, str]] = {
    400: ("invalid", "The request is not valid."),
    401: ("authentication", "Incorrect API key provided."),
    403: ("permission", "You are not allowed to use this model."),
    404: ("not_found", "There is nothing of that name here."),
    413: ("too_large", "The request is larger than this provider takes."),
    429: ("rate_limit", "Rate limit reached. Please try again later."),
    500: ("server", "The server had an error while processing your request."),
    503: ("unavailable", "The service is unavailable at the moment. Please try again later."),
    529: ("overloaded", "Overloaded"),
}


def draw(rates: Mapping[str, float], rng: random.Random) -> str | None:
    """The fault of the next request, if any.

    >>> draw({"500": 1.0}, random.Random(1))
    '500'
    """
    point = rng.random()
    for name, rate in rates.items():
        point -= rate
        if point < 0:
            return name
    return None


def refusal_for(status: int, message: str = "", wait: float | None = None) -> Refusal:
    """The error for this status, with the provider's usual message when `message` is empty."""
    kind, usual = _MESSAGES.get(status, ("invalid" if status < 500 else "server", f"Status {status}."))
    return Refusal(status, kind, message or usual, wait=wait)


def apply_fault(fault: str, plan: Plan, dialect: Dialect, options: Options) -> None:
    """Apply a fault to the plan of a successful answer. Status faults are raised as Refusal instead."""
    if fault == "slow":
        plan.delay += options.slow_seconds
    elif fault == "reset":
        plan.chunks, plan.ending = (), Ending.RESET
    elif fault == "truncated":
        plan.chunks, plan.ending = _first_half(plan), Ending.TRUNCATED
    elif fault == "stall":
        plan.chunks, plan.ending, plan.hold = _first_half(plan), Ending.STALL, options.stall_seconds
    elif fault == "garbage":
        _garble(plan)
    elif fault == "oversized":
        _swell(plan, options.oversized_bytes, dialect.filler)
    elif fault == "stream_error" and plan.content_length is None:
        plan.chunks = [*_first_half(plan), Chunk(dialect.stream_error())]


def _first_half(plan: Plan) -> list[Chunk]:
    """Half of a stream's events, or half of the bytes of a plain body."""
    if plan.content_length is None and len(plan.chunks) > 1:
        return list(plan.chunks[: len(plan.chunks) // 2])
    body = plan.body
    return [Chunk(body[: len(body) // 2])]


def _garble(plan: Plan) -> None:
    if plan.content_length is None:
        plan.chunks = [*_first_half(plan), Chunk(b"data: " + _GARBAGE + b"\n\n")]
    else:
        plan.chunks, plan.content_length = [Chunk(_GARBAGE)], len(_GARBAGE)


def _swell(plan: Plan, size: int, filler: tuple[bytes, bytes]) -> None:
    """Pad the body with spaces; the valid answer is at its end.

    In a stream the padding is one comment after the first event.
    """
    whole, rest = divmod(size, len(_BLOCK.data))
    padding = [_BLOCK] * whole + ([Chunk(b" " * rest)] if rest else [])
    if plan.content_length is None:
        begin, end = filler
        plan.chunks = [*plan.chunks[:1], Chunk(begin), *padding, Chunk(end), *plan.chunks[1:]]
    else:
        plan.chunks = [*padding, *plan.chunks]
        plan.content_length += size
