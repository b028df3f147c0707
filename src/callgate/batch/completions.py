"""`Engine.schedule_completions` and `get_cost_from_completions`: answers in the order of conversations."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from copy import copy
from hashlib import sha256
from typing import Any, NotRequired, TypedDict

from callgate.batch.input.rows import Row
from callgate.batch.output.results import RowResult
from callgate.call.calling import Calling
from callgate.errors import APIClientError, BatchStoppedError
from callgate.exact_json import dumps
from callgate.model.base import Caller
from callgate.model.builder import make_pricer
from callgate.policies.cache.layer import key_of
from callgate.response import Cost, Response, Usage

__all__ = ["Completion", "complete_all", "total_cost"]


class Completion(TypedDict):
    """One conversation's answer.

    `response` is the provider's own JSON, or None when there is no answer; `error` then holds the reason.
    `request_hash` is the same for the same request to the same model, in every process and at any time.

    Example::

        for completion in await engine.schedule_completions(conversations):
            if completion["response"] is None:
                print(completion["request_hash"], completion["error"])
    """

    response: Any
    request_hash: str
    error: NotRequired[str]


async def complete_all(
    rows: Sequence[Row],
    run: Callable[[Sequence[Row], Callable[[RowResult], None]], Awaitable[None]],
    make_calling: Callable[[Row], Awaitable[Calling]],
    temperature: float | None,
) -> list[Completion]:
    """Call for all rows and return their completions in the order of the rows.

    Args:
        rows: The rows; their `index` is ignored.
        run: Calls for the rows and passes each result on.
        make_calling: Makes the calling of a row that was not called, for its hash.
        temperature: For every request; None: each one's own.
    """
    completions: dict[int, Completion] = {}
    numbered = [_renumbered(row, index, temperature) for index, row in enumerate(rows)]

    def keep(result: RowResult) -> None:
        completions[result.row.index] = _completion(result.calling)

    why = "not called: the engine was stopped before"
    try:
        await run(numbered, keep)
    except BatchStoppedError as error:
        why = f"not called: {error}"
    for row in numbered:
        if row.index not in completions:
            calling = await make_calling(row)
            completions[row.index] = {"response": None, "request_hash": _hash(calling), "error": why}
    return [completions[row.index] for row in numbered]


def _renumbered(row: Row, index: int, temperature: float | None) -> Row:
    request = row.request
    if temperature is not None:
        request = copy(request)  # of its own class: it may name files
        request["temperature"] = temperature
    return Row(index, row.line, row.custom_id, row.key, request, row.columns, row.path)


def _completion(calling: Calling) -> Completion:
    answer = calling.answer
    if answer is not None:
        return {"response": answer.raw, "request_hash": _hash(calling)}
    return {"response": None, "request_hash": _hash(calling), "error": calling.error_message or "failed"}


def _hash(calling: Calling) -> str:
    key = key_of(calling)
    canonical = repr(calling.payload).encode() if key is None else key.request
    return sha256(canonical).hexdigest()


def total_cost(model: Caller, completions: Iterable[Mapping[str, Any]]) -> dict[str, float | None]:
    """Token counts of completions, and their cost in US dollars by the dialect and the prices of a model."""
    backend: Any = getattr(model, "backend", None)
    pricer = make_pricer(backend, getattr(model, "prices", None))
    # Some providers do not name the model in their responses.
    asked = {"model": getattr(backend, "defaults", {}).get("model")}
    usage, cost = Usage(), Cost(0.0, 0.0)
    known = True
    for completion in completions:
        if completion["response"] is None:
            continue
        answer = _decode(backend, completion["response"])
        if answer is None or answer.usage is None:
            known = False
            continue
        usage += answer.usage
        paid = pricer(answer, asked)
        if paid is None:
            known = False
        else:
            cost += paid
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "input_cost": cost.input if known else None,
        "output_cost": cost.output if known else None,
        "total_tokens_cost": cost.total if known else None,
    }


def _decode(backend: Any, raw: Any) -> Response | None:
    """The answer, decoded again from the provider's own JSON."""
    dialect = getattr(backend, "dialect", None)
    if dialect is None:
        return None
    try:
        answer: Response = dialect.decode(dumps(raw), {})
    except (APIClientError, TypeError):
        return None
    return answer
