"""The report says of failed rows what the run said: what they cost, why they failed, which were refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from callgate.testing import Simulator
from tests.cli.conftest import CommandResult, prompts, read_lines, write_rows

Run = Callable[..., CommandResult]
Simulate = Callable[..., Simulator]

PRICES: dict[str, Any] = {"input_price": 150.0, "output_price": 600.0}


def command(sim: Simulator, model: str = "openai/m") -> list[str]:
    options = ["-m", model, "-o", "out.jsonl", "--base-url", sim.base_url, "--price", "150,600", "--json"]
    return ["run", "in.jsonl", *options, "--max-tokens", "30"]


def report(callgate: Run) -> Any:
    return orjson.loads(callgate("report", "out.jsonl", "--json").out)


def test_rows_that_never_match_their_schema_have_a_cost(
    folder: Path, simulate: Simulate, callgate: Run
) -> None:
    (folder / "schema.json").write_bytes(b'{"type": "object", "required": ["moons"]}')
    sim = simulate(answers=lambda ask: '{"moons": 2}' if "What is 1 " in str(ask.body) else "none", **PRICES)
    write_rows("in.jsonl", prompts(3))
    facts = orjson.loads(callgate(*command(sim), "--schema", "schema.json").out)
    assert (facts["answered"], facts["failed"], facts["calls"]) == (1, 2, 7)
    again = report(callgate)
    usage = again["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (facts["input_tokens"], facts["output_tokens"])
    assert again["cost_usd"] == pytest.approx(facts["cost_usd"]) == pytest.approx(sim.stats.bill)
    lines = [*read_lines("out.jsonl"), *read_lines("out.jsonl.errors.jsonl")]
    assert sum(line["cost_usd"] for line in lines) == pytest.approx(sim.stats.bill)
    assert sum(line["usage"]["output_tokens"] for line in lines) == sim.stats.output_tokens


def test_failures_are_grouped_as_the_run_groups_them(folder: Path, simulate: Simulate, callgate: Run) -> None:
    def answer(ask: Any) -> int:
        return 422 if int(ask.text.split()[2]) % 3 else 404

    sim = simulate(answers=answer)
    write_rows("in.jsonl", prompts(12))
    facts = orjson.loads(callgate(*command(sim), "--limit", "9", "--concurrency", "1").out)
    assert len(facts["errors"]) == 2
    groups = report(callgate)["errors"]
    assert [group["count"] for group in groups] == [group["count"] for group in facts["errors"]]
    assert [group["example"] for group in groups] == [group["example"] for group in facts["errors"]]


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini"])
def test_a_withheld_answer_counts_as_refused(
    folder: Path, simulate: Simulate, callgate: Run, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ANTHROPIC_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(name, "sk-x")
    sim = simulate(content_filter=True, **PRICES)
    write_rows("in.jsonl", prompts(30))
    # Gemini's own path begins behind the host.
    address = sim.url if provider == "gemini" else sim.base_url
    ended = callgate(*command(sim, f"{provider}/m"), "--base-url", address)
    facts = orjson.loads(ended.out)
    assert (ended.code, facts["answered"], facts["failed"], facts["refused"]) == (1, 0, 30, 30)
    assert (facts["ending"], sim.stats.requests) == ("failures", 30)  # no measure of failing in the same way
    assert read_lines("out.jsonl") == []
    for line in read_lines("out.jsonl.errors.jsonl"):
        assert line["error"]["type"] == "ContentFilterError"
        assert line["error"]["refused"] is True
        assert line["response"]["status_code"] == 200
    facts = report(callgate)
    assert (facts["answered"], facts["failed"], facts["refused"]) == (0, 30, 30)
    assert facts["cost_usd"] == pytest.approx(sim.stats.bill)
    assert [(each["count"], each["refused"]) for each in facts["errors"]] == [(30, True)]
    assert "30 failed (30 rejected by the provider" in callgate("report", "out.jsonl").out


def test_a_refused_row_is_retried_by_each_run_and_paid_once_with_a_cache(
    folder: Path, simulate: Simulate, callgate: Run
) -> None:
    sim = simulate(content_filter=True)
    write_rows("in.jsonl", prompts(3))
    assert callgate(*command(sim)).code == 1
    assert callgate(*command(sim)).code == 1
    assert sim.stats.requests == 6
    for _ in range(2):
        ended = callgate(*command(sim), "--cache", "cache")
        assert (ended.code, orjson.loads(ended.out)["refused"]) == (1, 3)
    assert sim.stats.requests == 9


def test_a_withheld_answer_to_a_schema_counts_as_refused(
    folder: Path, simulate: Simulate, callgate: Run
) -> None:
    (folder / "schema.json").write_bytes(b'{"type": "object", "required": ["moons"]}')
    sim = simulate(content_filter=True)
    write_rows("in.jsonl", prompts(3))
    facts = orjson.loads(callgate(*command(sim), "--schema", "schema.json").out)
    assert (facts["failed"], facts["refused"], facts["calls"]) == (3, 3, 3)


def test_the_report_of_a_batch_without_an_answer_states_it(
    folder: Path, simulate: Simulate, callgate: Run
) -> None:
    sim = simulate(answers=lambda _: 422)
    write_rows("in.jsonl", prompts(3))
    assert callgate(*command(sim)).code == 1
    assert callgate("report", "out.jsonl", "--html", "report.html").code == 0
    page = Path("report.html").read_text()
    assert "No call was answered." in page
    assert "Nothing was called" not in page
