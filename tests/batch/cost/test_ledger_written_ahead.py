"""What calls may cost stands on the disk before they go out, whoever sends them and however often."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callgate.batch.cost.budget import Budget
from callgate.batch.cost.ledger import Ledger, read_account, read_spent
from callgate.batch.engine import Engine
from callgate.batch.output.journal import Journal
from callgate.batch.output.paths import ledger_path
from callgate.batch.output.results import RowResult
from callgate.call.calling import Calling
from callgate.errors import InputError
from callgate.model.spread import Spread
from callgate.response import Response
from callgate.testing import Ask, VirtualClock
from tests.batch.simulation import Simulation

PRICES: dict[str, Any] = {"input": 1.0, "output": 10.0}


@pytest.fixture
def output(tmp_path: Path) -> str:
    return str(tmp_path / "out.jsonl")


def test_it_is_raised_before_and_in_few_steps(output: str) -> None:
    ledger = Ledger(output)
    for number in range(1000):
        ledger.sent(f"call-{number}", 0.001)
        assert 0.001 * (number + 1) <= read_account(output).reserved_usd <= 0.001 * (number + 1) * 1.13
    for number in range(1000, 20_000):
        ledger.written(f"call-{number - 1000}")
        ledger.sent(f"call-{number}", 0.001)
    assert read_account(output).reserved_usd >= 0.999
    assert Path(ledger_path(output)).read_bytes().count(b"\n") < 70
    for number in range(19_000, 20_000):
        ledger.written(f"call-{number}")
    ledger.settle()
    ledger.end()
    assert not os.path.exists(ledger_path(output))


def test_what_was_cut_off_is_charged_at_the_end(output: str) -> None:
    ledger = Ledger(output)
    for name in ("written", "cut off", "never sent", "nobody knows"):
        ledger.sent(name, 1.0)
    ledger.sent("nobody knows", 1.0)
    ledger.settled("written", 1.0, 0.5)
    ledger.written("written")
    ledger.settled("cut off", 1.0, 0.25)
    ledger.settled("never sent", 1.0, 0.0)
    assert read_spent(output) >= 5.0
    ledger.settle()
    assert read_spent(output) == 2.25
    ledger.settle()
    assert read_spent(output) == 2.25


def test_what_cannot_be_written_down_does_not_go_out(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(output)
    ledger.sent("a", 1.0)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(InputError, match=r"ledger\.jsonl: cannot be written: No space left"):
            ledger.sent("b", 1.0)
        with pytest.raises(InputError, match=r"ledger\.jsonl: cannot be written: No space left"):
            ledger.settle()
    assert 1.0 <= read_account(output).reserved_usd < 2.0
    ledger.settle()
    assert read_spent(output) == 2.0  # that it did not go out is not known here


def models(kind: str, sim: Simulation) -> Any:
    first = sim.model(prices=PRICES, name="one")
    if kind == "one":
        return first
    other = sim.model(prices=PRICES, name="two")
    return Spread([first, other]) if kind == "spread" else sim.model(prices=PRICES, fallbacks=[other])


@pytest.mark.parametrize("kind", ["one", "spread", "fallback"])
def test_every_attempt_is_covered_when_it_arrives(output: str, kind: str) -> None:
    rows = [{"prompt": "a", "max_tokens": 100}]
    worst = 100 * 10 / 1e6
    seen: list[float] = []

    def answer(ask: Ask) -> int | None:
        seen.append(read_account(output).reserved_usd)
        return 500 if len(seen) < 6 else None

    sim = Simulation(answers=answer)
    spent: list[float] = []

    async def main() -> None:
        async with models(kind, sim) as model, Journal(output) as journal:
            budget = Budget(1.0, ledger=journal.ledger)

            def write(result: RowResult) -> None:
                journal.write(result)
                assert result.charged is not None
                spent.append(result.charged)

            await Engine(model).run_into(rows, write, budget=budget)

    sim.run(main())
    assert len(seen) >= 4
    for number, written in enumerate(seen, 1):
        assert number * worst <= written <= 1.25 * number * worst
    assert read_spent(output) == pytest.approx(sum(spent))


def test_a_second_attempt_beside_a_slow_one_is_covered_too(output: str) -> None:
    async def main() -> None:
        budget = Budget(2.0, ledger=Ledger(output))

        async def attempt(calling: Calling) -> Response:
            budget.dispatched(calling)
            budget.dispatched(calling)  # once for each attempt, however often it is reported
            budget.dispatched(Calling({}))  # of another user
            await asyncio.sleep(1.0)
            return Response()

        service = budget.layer(lambda calling: 0.5).layer(attempt)
        calling = Calling({})
        attempts = [asyncio.ensure_future(service(each)) for each in (calling, calling.fork())]
        await asyncio.sleep(0.5)
        assert 1.0 <= read_account(output).reserved_usd < 1.2
        await asyncio.gather(*attempts)

    VirtualClock().run(main())


def test_rows_that_are_given_up_are_charged_for_what_went_out(output: str) -> None:
    sim = Simulation(latency=100.0)
    rows = [{"prompt": str(number), "max_tokens": 100} for number in range(20)]

    async def main() -> Budget:
        async with sim.model(prices=PRICES) as model, Journal(output) as journal:
            budget = Budget(1.0, ledger=journal.ledger)
            engine = Engine(model)
            task = asyncio.ensure_future(engine.run_into(rows, journal.write, budget=budget))
            await asyncio.sleep(10.0)
            engine.abort()
            await task
            return budget

    budget = sim.run(main())
    assert sim.stats.requests == 4
    assert read_spent(output) == pytest.approx(budget.spent)
    assert 4 * 100 * 10 / 1e6 <= budget.spent <= 1.25 * 4 * 100 * 10 / 1e6


def test_a_result_that_cannot_be_written_stays_charged(
    output: str, result: Callable[..., RowResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(output)
    assert journal.ledger is not None
    one = result(0)
    one.charged = 0.25
    journal.ledger.sent(one.calling.request_id, 1.0)
    with monkeypatch.context() as patch:

        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr(os, "write", full)
        with pytest.raises(InputError, match="No space left"):
            journal.write(one)
        with pytest.raises(InputError, match="1 results are lost"):
            journal.close()
    assert 1.0 <= read_spent(output) <= 1.125  # the ledger cannot be written either: all that was reserved
