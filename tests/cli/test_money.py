"""`--budget` is a hard cap, by the provider's own bill."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from callgate.testing import Simulator
from tests.cli.conftest import Ended, prompts, read_lines, write_rows

Run = Callable[..., Ended]
Simulate = Callable[..., Simulator]

# Dear, so that a few rows cost a dollar.
PRICES: dict[str, Any] = {
    "input_price": 150.0,
    "output_price": 600.0,
}
TOLD = ["--price", "150,600", "--max-tokens", "30"]


def against(sim: Simulator) -> list[str]:
    return ["-m", "openai/m", "-o", "out.jsonl", "--base-url", sim.base_url, *TOLD]


def test_the_bill_stays_below_the_budget_with_faults_and_the_run_goes_on_with_a_larger_one(
    folder: Any, simulate: Simulate, callgate: Run
) -> None:
    faults = {"500": 0.03, "529": 0.02, "truncated": 0.02, "garbage": 0.02, "reset": 0.01}
    sim = simulate(faults=faults, latency=0.002, **PRICES)
    write_rows("in.jsonl", prompts(400))
    ended = callgate("run", "in.jsonl", *against(sim), "--budget", "1.00", "--json")
    facts = orjson.loads(ended.out)
    assert (ended.code, facts["ending"]) == (3, "budget")
    assert "the budget of $1.00 is used up" in ended.err
    assert "To go on: callgate" in ended.err
    assert sim.stats.bill <= 1.0
    assert sim.stats.bill > 0.5  # and it is used
    assert 0 < facts["answered"] < 400
    first = sim.stats.bill
    ended = callgate("run", "in.jsonl", *against(sim), "--budget", "2.00", "--quiet")
    assert ended.code == 3
    assert first < sim.stats.bill <= 2.0
    assert sim.stats.paid_again <= sum(faults.values()) * sim.stats.requests * 2
    lines = read_lines("out.jsonl")
    assert len({line["custom_id"] for line in lines}) == len(lines)


def test_a_budget_that_is_enough_ends_like_any_run(folder: Any, simulate: Simulate, callgate: Run) -> None:
    sim = simulate(**PRICES)
    write_rows("in.jsonl", prompts(20))
    assert callgate("run", "in.jsonl", *against(sim), "--budget", "50").code == 0
    assert len(read_lines("out.jsonl")) == 20
    charged = sum(line["charged_usd"] for line in read_lines("out.jsonl"))
    assert charged == pytest.approx(sim.stats.bill)


def test_a_budget_that_no_row_fits_calls_nothing(folder: Any, simulate: Simulate, callgate: Run) -> None:
    sim = simulate(**PRICES)
    write_rows("in.jsonl", prompts(20))
    assert callgate("run", "in.jsonl", *against(sim), "--budget", "0.001").code == 3
    assert sim.stats.requests == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--budget", "1"], "a budget needs to know the longest answer; use --max-tokens"),
        (["--budget", "1", "--max-tokens", "5"], "a budget needs to know the price of m; give it"),
        (["--budget", "0"], "--budget: must be above 0, not 0"),
        (["--price", "1"], "--price: takes two prices, as in 0.15,0.6, not '1'"),
        (["--price", "1,x"], "takes two prices"),
        (["--price", "-1,2"], "takes two prices"),
    ],
)
def test_what_a_budget_needs_to_know(
    folder: Any, simulate: Simulate, callgate: Run, options: list[str], says: str
) -> None:
    sim = simulate()
    write_rows("in.jsonl", prompts(5))
    arguments = ["-m", "openai/m", "-o", "out.jsonl", "--base-url", sim.base_url]
    ended = callgate("run", "in.jsonl", *arguments, *options)
    assert ended.code == 2
    assert says in ended.err
    assert sim.stats.requests == 0
