"""However often a row is sent, retried, sent beside itself, asked anew or taken over: its budget holds."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from callgate.batch.cost.budget import Budget
from callgate.batch.engine import Engine
from callgate.batch.guard import FailureGuard
from callgate.call.calling import Calling
from callgate.errors import BatchStoppedError, RateLimitError, ServerError
from callgate.model.base import Caller
from callgate.model.model import iModel
from callgate.model.spread import Spread
from callgate.policies.hedge.policy import HedgePolicy
from callgate.policies.retry.config import RetryConfig
from callgate.response import Response, Usage
from callgate.testing import VirtualClock

PRICES = {"input": 1.0, "output": 100.0}
SCHEMA = {"type": "object", "required": ["moons"]}
LONGEST = 1000
WRITTEN = PRICES["output"] * LONGEST / 1e6
"""What one answer of that length costs, in US dollars, its input left aside."""


class Backend:
    """Bills each attempt but those it refuses with a 429: a whole answer, whatever comes of it."""

    def __init__(self, bill: list[float], end: Callable[[int], Any], retries: int | None) -> None:
        self.name = f"backend {id(self)}"
        self.defaults = {"model": "m"}
        self.retry_config = None if retries is None else RetryConfig(max_retries=retries)
        self._bill = bill
        self._end = end

    async def call(self, calling: Calling) -> Response:
        end = self._end(len(self._bill))
        if isinstance(end, RateLimitError):
            raise end
        self._bill.append(WRITTEN)
        await asyncio.sleep(1.0 if end != "slow" else 60.0)
        if isinstance(end, Exception):
            raise end
        return Response(text=end, usage=Usage(10, LONGEST))


def row(number: int) -> dict[str, Any]:
    return {"prompt": f"row {number}", "max_tokens": LONGEST}


def run(model: Caller, budget: Budget, rows: int, schema: Any = None) -> None:
    async def main() -> None:
        engine = Engine(model, None, response_schema=schema)
        results = engine.run(map(row, range(rows)), budget=budget, guard=FailureGuard(max_failures=10_000))
        with pytest.raises(BatchStoppedError, match="the budget"):
            async for _ in results:
                pass
        await model.close()

    VirtualClock().run(main())


def failing(_: int) -> Exception:
    return ServerError("x", status_code=500)


@pytest.mark.parametrize("fitting", [1, 2, 4, 5])
def test_each_retry_is_reserved_by_itself(fitting: int) -> None:
    bill: list[float] = []
    budget = Budget((fitting + 0.5) * WRITTEN)
    run(iModel(Backend(bill, failing, 3), prices=PRICES), budget, 10)
    assert len(bill) == fitting
    assert sum(bill) <= budget.spent <= budget.limit


@pytest.mark.parametrize("seed", range(6))
def test_it_holds_over_all_that_may_send_a_row_once_more(seed: int) -> None:
    rng = random.Random(seed)
    bill: list[float] = []

    def end(_: int) -> Any:
        drawn = rng.random()
        if drawn < 0.15:
            return RateLimitError("x", status_code=429)
        if drawn < 0.5:
            return ServerError("x", status_code=500)
        return "slow" if drawn < 0.6 else "no JSON" if drawn < 0.8 else '{"moons": 2}'

    def member(retries: int | None, **more: Any) -> iModel:
        hedge = HedgePolicy(share=0.5, min_samples=2, window=20)
        return iModel(Backend(bill, end, retries), prices=PRICES, hedge=hedge, **more)

    models: Caller = Spread([member(1), member(2)]) if seed % 2 else member(1, fallbacks=[member(None)])
    budget = Budget(300 * WRITTEN)
    run(models, budget, 300, SCHEMA)
    assert budget.refusal is not None
    assert sum(bill) <= budget.spent + 1e-9
    assert budget.spent <= budget.limit
    assert len(bill) > 100  # and it is used
