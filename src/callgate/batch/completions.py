"""The batch document's two functions: conversations in, answers out in their order, and what these cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from copy import copy
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import orjson

from callgate.batch.input.rows import Row
from callgate.call.calling import Calling
from callgate.errors import APIClientError, BatchStoppedError
from callgate.model.base import Caller
from callgate.model.builder import make_pricer
from callgate.policies.cache.layer import key_of
from callgate.response import Cost, Response, Usage

if TYPE_CHECKING:
    from callgate.batch.engine import Engine

__all__ = ["Completion", "schedule", "total_cost"]


class Completion(TypedDict):
    """One conversation's answer.

    `response` is the provider's own JSON, or None when there is no answer; `error` then says why.
    `request_hash` is the same for the same request to the same model, wherever and whenever it is made.

    Example::

        for completion in await engine.schedule_completions(conversations):
            if completion["response"] is None:
                print(completion["request_hash"], completion["error"])
    """

    response: Any
    request_hash: str
    error: NotRequired[str]


async def schedule(
    engine: Engine,
    rows: Sequence[Row],
    temperature: float | None,
    task_name: str | None,
) -> list[Completion]:
    """What `Engine.schedule_completions` does."""
    if temperature is not None:
        rows = [_at_temperature(row, temperature) for row in rows]
    completions: dict[int, Completion] = {}
    # By their place here, whatever index they were given.
    numbered = [Row(i, row.line, None, row.key, row.request, row.columns) for i, row in enumerate(rows)]
    metadata = None if task_name is None else {"task_name": task_name}
    why = "not called: the engine was stopped before"
    try:
        async with aclosing(engine.run(numbered, metadata=metadata)) as results:
            async for result in results:
                completions[result.row.index] = _completion(result.calling)
    except BatchStoppedError as error:
        why = f"not called: {error}"
    for row in numbered:
        if row.index not in completions:
            calling = await engine.model.create_calling(request_payload=row.request)
            completions[row.index] = {"response": None, "request_hash": _hash(calling), "error": why}
    return [completions[row.index] for row in numbered]


def _at_temperature(row: Row, temperature: float) -> Row:
    request = copy(row.request)  # which may be more than a dict: it says where its images are
    request["temperature"] = temperature
    return Row(row.index, row.line, row.custom_id, row.key, request, row.columns)


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
    """What `Engine.get_cost_from_completions` does, by the dialect and the prices of a model."""
    backend: Any = getattr(model, "backend", None)
    pricer = make_pricer(backend, getattr(model, "prices", None))
    usage, cost = Usage(), Cost(0.0, 0.0)
    known = True
    for completion in completions:
        if completion["response"] is None:
            continue
        answer = _read(backend, completion["response"])
        if answer is None or answer.usage is None:
            known = False
            continue
        usage += answer.usage
        paid = pricer(answer.usage, _answered(backend, answer))
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


def _read(backend: Any, raw: Any) -> Response | None:
    """An answer that tells its usage, read again from the provider's own JSON."""
    dialect = getattr(backend, "dialect", None)
    if dialect is None:
        return None
    try:
        answer: Response = dialect.decode(orjson.dumps(raw), {})
    except (APIClientError, TypeError):
        return None
    return answer


def _answered(backend: Any, answer: Response) -> Calling:
    """The call that it answers, for whoever prices it: some providers do not name the model in an answer."""
    calling = Calling({"model": getattr(backend, "defaults", {}).get("model")}, now=0.0)
    calling.complete(answer, 0.0)
    return calling
