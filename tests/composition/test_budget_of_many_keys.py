"""A budget neither slows a batch over many keys down nor stops it long before it is spent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from callgate.batch.cost.budget import Budget
from callgate.batch.engine import Engine
from callgate.call.calling import Calling
from callgate.errors import BatchStoppedError
from callgate.model.base import Caller
from callgate.model.model import iModel
from callgate.model.spread import Spread
from callgate.response import Response, Usage
from callgate.testing import VirtualClock

PRICES = {"input": 10.0, "output": 40.0}
USAGE = Usage(25, 30)
COST = (USAGE.input_tokens * PRICES["input"] + USAGE.output_tokens * PRICES["output"]) / 1e6
"""US dollars of one answer: $0.29 for 200."""
SCHEMA = {"type": "object", "required": ["moons"]}


class Backend:
    """Answers everything in one second."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.defaults = {"model": "m"}
        self.sent = 0

    async def call(self, calling: Calling) -> Response:
        self.sent += 1
        await asyncio.sleep(1.0)
        return Response(text='{"moons": 2}', usage=USAGE)


def keys(count: int) -> Caller:
    models = [
        iModel(Backend(f"key {number}"), prices=PRICES, limit_concurrency=16) for number in range(count)
    ]
    return models[0] if count == 1 else Spread(models)


def run(
    model: Caller, budget: Budget | None, rows: int, *, max_tokens: int, schema: Any = None
) -> tuple[int, float]:
    """The rows that were answered, and the virtual seconds that it took."""
    clock = VirtualClock()

    async def main() -> int:
        engine = Engine(model, None, 1000, response_schema=schema)
        records = ({"prompt": f"How many moons? {n}", "max_tokens": max_tokens} for n in range(rows))
        answered = 0
        try:
            async for result in engine.run(records, budget=budget):
                answered += result.error is None
        except BatchStoppedError:
            assert budget is not None
        await model.close()
        return answered

    began = clock.time()
    answered = clock.run(main())
    return answered, clock.time() - began


def test_with_a_budget_more_keys_are_never_slower() -> None:
    seconds = {}
    for count in (1, 2, 4, 8):
        budget = Budget(1.0)
        answered, seconds[count] = run(keys(count), budget, 200, max_tokens=100)
        assert answered == 200
        assert budget.spent == pytest.approx(200 * COST)
    assert seconds[1] <= 15.0
    assert list(seconds.values()) == sorted(seconds.values(), reverse=True)


@pytest.mark.parametrize("count", [1, 8])
def test_a_schema_whose_answers_may_be_asked_for_anew_is_no_reason_to_stop(count: int) -> None:
    answered, _ = run(keys(count), Budget(1.0), 200, max_tokens=100, schema=SCHEMA)
    assert answered == 200


@pytest.mark.parametrize("count", [1, 8])
def test_at_least_nine_tenths_are_spent_where_answers_are_a_tenth_of_max_tokens(count: int) -> None:
    budget = Budget(1.0)
    answered, _ = run(keys(count), budget, 2000, max_tokens=10 * USAGE.output_tokens)
    assert 0.9 <= budget.spent <= 1.0
    assert answered == round(budget.spent / COST)
