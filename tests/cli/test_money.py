"""`--budget` is a hard cap by the provider's own bill; `--dry-run` foretells it without a call."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from callgate.testing import Answer, Simulator
from tests.cli.conftest import CommandResult, prompts, read_lines, write_rows

Run = Callable[..., CommandResult]
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
    assert "To resume with a larger --budget than 1: callgate" in ended.err
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
    # With enough it comes to its end, and asks for nothing that is finished.
    finished = {line["custom_id"] for line in lines}
    sim.reset()
    assert callgate("run", "in.jsonl", *against(sim), "--budget", "50", "--quiet").code == 0
    assert {line["custom_id"] for line in read_lines("out.jsonl")} == {f"r{i}" for i in range(400)}
    for row in prompts(400):
        sent = {"model": "m", "messages": [{"role": "user", "content": row["prompt"]}], "max_tokens": 30}
        assert (sim.stats.received(sent) == 0) == (row["custom_id"] in finished)


def test_a_budget_that_is_enough_ends_like_any_run(folder: Any, simulate: Simulate, callgate: Run) -> None:
    sim = simulate(**PRICES)
    write_rows("in.jsonl", prompts(20))
    assert callgate("run", "in.jsonl", *against(sim), "--budget", "50").code == 0
    assert len(read_lines("out.jsonl")) == 20
    charged = sum(line["charged_usd"] for line in read_lines("out.jsonl"))
    assert charged == pytest.approx(sim.stats.bill)


def test_a_budget_holds_over_runs_whose_rows_fail_again_and_again(
    folder: Any, simulate: Simulate, callgate: Run
) -> None:
    def answer(ask: Any) -> Answer | None:
        # Every other answer breaks off when it has been paid for.
        return Answer("word " * 30, fault="truncated") if int(ask.text.split()[2]) % 2 else None

    sim = simulate(answers=answer, **PRICES)
    write_rows("in.jsonl", prompts(20))
    once = [*against(sim), "--retries", "0", "--budget", "1.00", "--quiet"]
    codes = [callgate("run", "in.jsonl", *once).code]
    first = sim.stats.bill
    while codes[-1] == 1 and len(codes) < 20:
        codes.append(callgate("run", "in.jsonl", *once).code)
    assert codes[-1] == 3
    assert len(codes) > 2
    assert 1.5 * first < sim.stats.bill <= 1.0
    assert callgate("run", "in.jsonl", *once, "--overwrite").code == 1  # another output, another budget


def test_answers_that_never_fit_their_schema_take_of_the_budget_what_they_cost(
    folder: Any, simulate: Simulate, callgate: Run
) -> None:
    (folder / "schema.json").write_bytes(b'{"type": "object", "required": ["moons"]}')
    sim = simulate(answers=lambda _: "none", **PRICES)
    write_rows("in.jsonl", prompts(15))
    told = ["--budget", "50", "--schema", "schema.json"]
    ended = callgate("run", "in.jsonl", *against(sim), *told, "--json")
    facts = orjson.loads(ended.out)
    assert (ended.code, facts["failed"]) == (1, 15)
    charged = sum(line["charged_usd"] for line in read_lines("out.jsonl.errors.jsonl"))
    assert charged == pytest.approx(sim.stats.bill)


def test_a_budget_that_no_row_fits_calls_nothing(folder: Any, simulate: Simulate, callgate: Run) -> None:
    sim = simulate(**PRICES)
    write_rows("in.jsonl", prompts(20))
    assert callgate("run", "in.jsonl", *against(sim), "--budget", "0.001").code == 3
    assert sim.stats.requests == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            ["--budget", "1"],
            "a budget needs to know the longest answer; give --max-tokens",
        ),
        (
            ["--budget", "1", "--max-tokens", "5"],
            "a budget needs to know the price of m; give it in dollars per million tokens with --price",
        ),
        (["--budget", "0"], "budget must be above 0, got 0 (--budget)"),
        (["--price", "1"], "prices takes two prices, such as 0.15,0.6, got '1' (--price)"),
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
    # The output is not touched, and the same command is not said to go on.
    assert os.listdir() == ["in.jsonl"]
    assert "o go on" not in ended.err


def test_what_a_budget_needs_is_looked_for_in_every_kind_of_row(
    folder: Any, simulate: Simulate, callgate: Run
) -> None:
    sim = simulate()
    write_rows("in.jsonl", [{"prompt": "a", "max_tokens": 5}] * 50 + [{"prompt": "b", "model": "m"}])
    arguments = ["-m", "openai", "-o", "out.jsonl", "--base-url", sim.base_url, "--price", "1,2"]
    ended = callgate("run", "in.jsonl", *arguments, "--budget", "1", "--param", "model=m")
    assert (ended.code, sim.stats.requests) == (2, 0)
    assert "in.jsonl:51: a budget needs to know the longest answer" in ended.err
    assert "; give --max-tokens" in ended.err


def test_the_same_budget_is_not_said_to_go_on(
    folder: Any, simulate: Simulate, callgate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim = simulate(**PRICES)
    write_rows("in.jsonl", prompts(20))
    for words in (["--budget", "0.001"], ["--budget=0.001"]):
        command = ["run", "in.jsonl", *against(sim), *words]
        monkeypatch.setattr(sys, "argv", ["callgate", *command])
        ended = callgate(*command)
        assert ended.code == 3
        assert "the budget of $0.001 is used up" in ended.err
        assert "with a larger --budget than 0.001: callgate run in.jsonl" in ended.err
        assert words[-1] not in ended.err.rsplit("callgate run", 1)[1]
        assert "..." in ended.err.rsplit("callgate run", 1)[1]


def dry(callgate: Run, *arguments: str) -> Any:
    ended = callgate("run", "in.jsonl", *arguments, "--dry-run", "--json")
    assert ended.code == 0
    return orjson.loads(ended.out)


def test_a_dry_run_calls_nothing_and_writes_nothing(folder: Any, simulate: Simulate, callgate: Run) -> None:
    sim = simulate()
    write_rows("in.jsonl", prompts(100))
    before = sorted(folder.iterdir())
    told = dry(callgate, *against(sim), "--rpm", "60", "--cache", "cache")
    assert (told["rows"], told["answered_before"], told["learned_from"]) == (100, 0, 0)
    assert told["output_tokens_most"] == 3000
    assert told["cost_least_usd"] < told["cost_usd"] < told["cost_most_usd"]
    assert told["seconds"] == pytest.approx(90.0)  # ten go at once
    assert told["bottleneck"] == "requests per minute"
    assert sim.stats.requests == 0
    assert sorted(folder.iterdir()) == before
    text = callgate("run", "in.jsonl", *against(sim), "--dry-run").out
    assert "100 to call" in text
    assert "run with --limit 50 first" in text


def test_a_dry_run_agrees_with_the_real_one(folder: Any, simulate: Simulate, callgate: Run) -> None:
    sim = simulate(latency=0.02, output_tokens=20, output_sigma=0.3, **PRICES)
    write_rows("in.jsonl", [{"prompt": f"Tell me {'really ' * (i % 9)}all about {i}."} for i in range(900)])
    limits = [*against(sim), "--rpm", "12000"]
    assert callgate("run", "in.jsonl", *limits, "--limit", "100", "--quiet").code == 0
    told = dry(callgate, *limits)
    assert (told["rows"], told["answered_before"], told["learned_from"]) == (800, 100, 100)
    real = orjson.loads(callgate("run", "in.jsonl", *limits, "--json").out)
    assert told["input_tokens"] == pytest.approx(real["input_tokens"], rel=0.15)
    assert told["output_tokens"] == pytest.approx(real["output_tokens"], rel=0.15)
    assert told["cost_usd"] == pytest.approx(real["cost_usd"], rel=0.15)
    assert told["bottleneck"] == "requests per minute"


def test_over_several_endpoints_the_cost_lies_between_the_cheapest_and_the_dearest(
    folder: Any, simulate: Simulate, callgate: Run
) -> None:
    cheap = simulate(latency=0.01, input_price=0.15, output_price=0.6)
    dear = simulate(latency=0.01, input_price=2.5, output_price=10.0)
    write_rows("in.jsonl", prompts(200))
    models = ["openai/gpt-4o-mini", "openai/gpt-4o"]
    alone = [dry(callgate, "-m", model, "-o", "out.jsonl", "--max-tokens", "30") for model in models]
    both = ["-m", ",".join(models), "-o", "out.jsonl", "--max-tokens", "30"]
    both += ["--base-url", f"{cheap.base_url},{dear.base_url}", "--rpm", "12000"]
    told = dry(callgate, *both)
    assert told["cost_least_usd"] == alone[0]["cost_least_usd"]
    assert told["cost_most_usd"] == alone[1]["cost_most_usd"]
    # Equal limits: half of the rows each.
    assert told["cost_usd"] == pytest.approx((alone[0]["cost_usd"] + alone[1]["cost_usd"]) / 2)
    real = orjson.loads(callgate("run", "in.jsonl", *both, "--json").out)
    assert real["cost_usd"] == pytest.approx(cheap.stats.bill + dear.stats.bill)
    assert told["cost_least_usd"] < real["cost_usd"] < told["cost_most_usd"]
    assert cheap.stats.requests > 0
    assert dear.stats.requests > 0


@pytest.mark.parametrize(
    ("limits", "bottleneck"),
    [
        (["--tpm", "100"], "tokens per minute"),
        (["--rpm", "1", "--tpm", "1000000"], "requests per minute"),
        (["--concurrency", "4"], "not known: no latency has been measured"),
        ([], "not known: no limits are given"),
    ],
)
def test_what_will_hold_it_back(
    folder: Any, simulate: Simulate, callgate: Run, limits: list[str], bottleneck: str
) -> None:
    sim = simulate()
    write_rows("in.jsonl", prompts(50))
    told = dry(callgate, *against(sim), *limits)
    assert told["bottleneck"] == bottleneck
    assert (told["seconds"] is None) == bottleneck.startswith("not known")


def test_what_a_dry_run_does_not_know_it_says(folder: Any, simulate: Simulate, callgate: Run) -> None:
    sim = simulate()
    write_rows("in.jsonl", prompts(50))
    unpriced = ["-m", "openai/m", "-o", "out.jsonl", "--base-url", sim.base_url]
    told = dry(callgate, *unpriced)
    assert (told["cost_usd"], told["output_tokens_most"]) == (None, None)
    text = callgate("run", "in.jsonl", *unpriced, "--dry-run").out
    assert "the price of this model is not known" in text
    assert "no upper bound" in text
    priced = callgate("run", "in.jsonl", *unpriced, "--price", "1,2", "--dry-run").out
    assert "no upper bound" in priced
    assert callgate("run", "in.jsonl", *unpriced, "--quiet", "--concurrency", "2").code == 0
    told = dry(callgate, *against(sim), "--concurrency", "2")
    assert (told["rows"], told["cost_usd"], told["seconds"], told["bottleneck"]) == (0, 0.0, 0.0, "nothing")
    write_rows("in.jsonl", prompts(80))
    told = dry(callgate, *against(sim), "--concurrency", "2")
    assert (told["rows"], told["bottleneck"]) == (30, "concurrency, 2 at once")
    assert "50 answered before" in callgate("run", "in.jsonl", *against(sim), "--dry-run").out


def test_a_dry_run_finds_bad_rows_anywhere(folder: Any, simulate: Simulate, callgate: Run) -> None:
    sim = simulate()
    write_rows("in.jsonl", [*prompts(3000), {"x": 1}])
    ended = callgate("run", "in.jsonl", *against(sim), "--dry-run")
    assert ended.code == 2
    assert "in.jsonl:3001: the row has no prompt" in ended.err


def test_a_dry_run_leaves_out_what_the_cache_answers(folder: Any, simulate: Simulate, callgate: Run) -> None:
    sim = simulate(**PRICES)
    write_rows("in.jsonl", prompts(30))
    cached = [*against(sim), "--cache", "cache"]
    first = ["run", "in.jsonl", *cached, "-o", "first.jsonl", "--quiet"]
    assert callgate(*first, "--limit", "20").code == 0
    told = dry(callgate, *cached)
    assert (told["rows"], told["cached"], told["answered_before"]) == (10, 20, 0)
    without = dry(callgate, *against(sim))
    assert (without["rows"], without["cached"]) == (30, 0)
    assert told["output_tokens_most"] == without["output_tokens_most"] / 3
    assert 0 < told["cost_usd"] < without["cost_usd"] / 2
    assert dry(callgate, *cached, "--temperature", "0.5")["cached"] == 0
    assert "10 to call, 20 in the cache" in callgate("run", "in.jsonl", *cached, "--dry-run").out
    assert callgate(*first).code == 0
    told = dry(callgate, *cached)
    assert (told["rows"], told["cached"], told["cost_usd"], told["seconds"]) == (0, 30, 0.0, 0.0)
    assert "rough estimate" not in callgate("run", "in.jsonl", *cached, "--dry-run").out
    before = sim.stats.requests
    assert callgate("run", "in.jsonl", *cached, "--quiet").code == 0
    assert sim.stats.requests == before == 30


def test_a_dry_run_makes_no_cache(folder: Any, simulate: Simulate, callgate: Run) -> None:
    sim = simulate()
    write_rows("in.jsonl", prompts(3))
    assert dry(callgate, *against(sim), "--cache", "cache")["cached"] == 0
    assert os.listdir() == ["in.jsonl"]


@pytest.mark.parametrize("model", ["openai/gpt-4o-mini", "anthropic/claude-haiku-4-5", "nobody/m"])
def test_a_dry_run_needs_no_key(
    folder: Any, callgate: Run, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    write_rows("in.jsonl", prompts(3))
    ended = callgate("run", "in.jsonl", "-m", model, "-o", "out.jsonl", "--dry-run", "--json")
    if model.startswith("nobody"):
        assert (ended.code, "unknown provider" in ended.err) == (2, True)
    else:
        assert (ended.code, orjson.loads(ended.out)["rows"]) == (0, 3)


@pytest.mark.parametrize(
    ("budget", "says"),
    [("50", "enough, without retries"), ("0.05", "probably enough"), ("0.001", "not enough")],
)
def test_a_dry_run_says_whether_the_budget_is_enough(
    folder: Any, simulate: Simulate, callgate: Run, budget: str, says: str
) -> None:
    sim = simulate(**PRICES)
    write_rows("in.jsonl", prompts(4))
    told = dry(callgate, *against(sim), "--budget", budget)
    assert (told["enough"], told["budget_left_usd"]) == (says, float(budget))
    text = callgate("run", "in.jsonl", *against(sim), "--budget", budget, "--dry-run").out
    assert f"left: {says}" in text
    assert callgate("run", "in.jsonl", *against(sim), "--budget", "50", "--quiet", "--limit", "2").code == 0
    told = dry(callgate, *against(sim), "--budget", "50", "--limit", "2")
    assert told["budget_left_usd"] == pytest.approx(50 - sim.stats.bill)
    unknown = ["-m", "openai/nobody-prices-this", "-o", "other.jsonl", "--base-url", sim.base_url]
    assert (
        "cannot be compared with the cost"
        in callgate("run", "in.jsonl", *unknown, "--budget", "5", "--dry-run").out
    )
