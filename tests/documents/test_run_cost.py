"""`callgate run`: budgets, forecasts, images and schemas."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from callgate.testing import Answer, Ask, Simulator
from tests.documents.run_command import PRICES, RunCommand, count_ids, each_once

PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture
def command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> RunCommand:
    return RunCommand(tmp_path, capsys, monkeypatch)


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator(**PRICES) as running:
        yield running


# Money


def test_a_budget_is_never_passed_and_the_run_goes_on_with_a_larger_one(command: RunCommand) -> None:
    # Every tenth answer is cut off: it is on the bill all the same, and so is the one that is asked for then.
    def answers(ask: Ask) -> Answer | None:
        cut = ask.attempt == 1 and int(ask.text.split()[-1]) % 10 == 3
        return Answer("word " * 50, fault="truncated") if cut else None

    command.rows(150)
    with Simulator(answers=answers, **PRICES) as sim:
        summary = command.summary(sim, "--budget", "0.002", "--max-tokens", "60", code=3)
        assert sim.stats.bill <= 0.002
        assert sim.stats.bill >= 0.0014  # and it is used
        assert summary["left"] > 0
        first = count_ids(command.answered)
        summary = command.summary(sim, "--budget", "0.003", "--max-tokens", "60", code=3)
        assert 0.002 < sim.stats.bill <= 0.003
        assert count_ids(command.answered) > first
        summary = command.summary(sim, "--budget", "5", "--max-tokens", "60")
        assert summary["left"] == 0
        assert count_ids(command.answered) == each_once(150)


def test_a_budget_remembers_what_failed_rows_took_in_every_run(command: RunCommand) -> None:
    command.rows(8)
    with Simulator(answers=lambda _: Answer("word " * 50, fault="truncated"), **PRICES) as sim:
        codes = [
            command.run(sim, "--budget", "0.001", "--max-tokens", "60", "--retries", "0", "-q")
            for _ in range(6)
        ]
        assert sim.stats.bill <= 0.001
    assert codes[0] == 1
    assert codes[-1] == 3


def test_a_budget_needs_a_price(command: RunCommand, sim: Simulator) -> None:
    command.rows(10)
    options = ["--budget", "1", "--max-tokens", "50"]
    assert command.run(sim, *options, model="openai/nobody-sells-this-one") == 2
    assert "--price" in command.stderr
    assert sim.stats.requests == 0
    assert command.run(sim, *options, "--price", "0.15,0.6", model="openai/nobody-sells-this-one") == 0
    assert sum(each["cost_usd"] for each in command.answered) == pytest.approx(sim.stats.bill)


def test_a_model_without_a_price_has_no_cost_and_the_summary_reports_it(
    command: RunCommand, sim: Simulator
) -> None:
    command.rows(10)
    summary = command.summary(sim, model="openai/nobody-sells-this-one")
    assert summary["unpriced"] == 10
    assert {each["cost_usd"] for each in command.answered} == {None}
    assert command.report()["unpriced"] == 10


def test_what_identical_rows_share_is_paid_once(command: RunCommand, sim: Simulator) -> None:
    command.rows([{"prompt": f"Question {number % 4}"} for number in range(40)])
    summary = command.summary(sim, "--cache", "cache")
    assert sim.stats.requests == summary["calls"] == 4
    assert summary["cost_usd"] == pytest.approx(sim.stats.bill)
    assert sum(each["cost_usd"] for each in command.answered) == pytest.approx(sim.stats.bill)
    assert command.report()["cost_usd"] == pytest.approx(sim.stats.bill)


@pytest.mark.parametrize(
    ("limit", "seconds", "bottleneck"),
    [(("--rpm", "60"), 600, "request"), (("--rpm", "6000", "--tpm", "6120"), 600, "token")],
)
def test_a_dry_run_forecasts_and_calls_nothing(
    command: RunCommand, sim: Simulator, limit: tuple[str, str], seconds: float, bottleneck: str
) -> None:
    command.rows(600)
    summary = command.summary(sim, "--dry-run", "--max-tokens", "100", *limit)
    assert sim.stats.requests == 0
    assert not (command.path / "out.jsonl").exists()
    assert summary["rows"] == 600
    assert bottleneck in summary["bottleneck"]
    assert summary["cost_least_usd"] < summary["cost_usd"] <= summary["cost_most_usd"]
    assert summary["seconds"] == pytest.approx(seconds, rel=0.15)


def test_a_dry_run_after_some_answers_predicts_the_run(command: RunCommand, sim: Simulator) -> None:
    command.rows([{"prompt": f"Question {number}: what follows from it? " * 12} for number in range(400)])
    assert command.run(sim, "--limit", "100") == 0
    summary = command.summary(sim, "--dry-run")
    assert (summary["rows"], summary["answered_before"], summary["learned_from"]) == (300, 100, 100)
    before = (sim.stats.input_tokens, sim.stats.output_tokens, sim.stats.bill)
    assert command.run(sim) == 0
    after = (sim.stats.input_tokens, sim.stats.output_tokens, sim.stats.bill)
    real = [late - early for early, late in zip(before, after, strict=True)]
    foretold = [summary["input_tokens"], summary["output_tokens"], summary["cost_usd"]]
    assert foretold == [pytest.approx(each, rel=0.15) for each in real]


# Pictures and schemas


def seen(asked: list[Ask]) -> list[str]:
    return [
        part["image_url"]["url"]
        for ask in asked
        for message in ask.body["messages"]
        if isinstance(message["content"], list)
        for part in message["content"]
        if part["type"] == "image_url"
    ]


def test_pictures_are_sent_by_path_and_by_url(command: RunCommand) -> None:
    (command.path / "pictures").mkdir()
    (command.path / "pictures" / "dot.png").write_bytes(PICTURE)
    web = "https://example.com/moon.png"
    command.rows(
        [
            {"prompt": "What is it?", "image": "pictures/dot.png"},
            {"prompt": "What is it?", "image": web},
            {"prompt": "What are they?", "images": ["pictures/dot.png", web]},
        ]
    )
    asked: list[Ask] = []
    with Simulator(answers=asked.append) as sim:
        assert command.run(sim) == 0
    inline = "data:image/png;base64," + base64.b64encode(PICTURE).decode()
    assert Counter(seen(asked)) == {inline: 2, web: 2}


def test_a_missing_image_is_reported_with_its_row(command: RunCommand, sim: Simulator) -> None:
    command.rows([{"prompt": "a"}, {"prompt": "What is it?", "image": "nowhere.png"}])
    assert command.run(sim) in (1, 2)
    assert "nowhere.png" in command.stderr + json.dumps(command.failed)


SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "moons": {"type": "integer"}},
    "required": ["name", "moons"],
}


def test_answers_that_do_not_fit_the_schema_are_asked_for_again_and_all_are_paid(command: RunCommand) -> None:
    (command.path / "planet.json").write_text(json.dumps(SCHEMA))
    command.rows(1)
    script = ["no JSON", '{"name": "Mars", "moons": "two"}', '{"name": "Mars", "moons": 2}']
    with Simulator(answers=script, **PRICES) as sim:
        summary = command.summary(sim, "--schema", "planet.json")
        assert sim.stats.requests == summary["calls"] == 3
        [line] = command.answered
        assert json.loads(line["text"]) == {"name": "Mars", "moons": 2}
        assert line["usage"]["output_tokens"] == sim.stats.output_tokens
        assert line["cost_usd"] == pytest.approx(sim.stats.bill)
        assert summary["cost_usd"] == pytest.approx(sim.stats.bill)


def test_an_answer_that_never_fits_fails_its_row_after_three(command: RunCommand) -> None:
    (command.path / "planet.json").write_text(json.dumps(SCHEMA))
    command.rows(3)

    def answers(ask: Ask) -> str | None:
        return "never" if "Question 1" in json.dumps(ask.body) else None

    with Simulator(answers=answers, **PRICES) as sim:
        summary = command.summary(sim, "--schema", "planet.json", code=1)
        assert sim.stats.requests == 5
        assert summary["cost_usd"] == pytest.approx(sim.stats.bill)  # what did not fit was paid all the same
    assert count_ids(command.failed) == {"r1": 1}
    for each in command.answered:
        answer = json.loads(each["text"])
        assert isinstance(answer["name"], str)
        assert isinstance(answer["moons"], int)


@pytest.mark.parametrize("text", ["{", '{"type": "no such type"}', '{"type": "array"}'])
def test_a_schema_that_is_not_an_object_schema_is_a_usage_error(
    command: RunCommand, sim: Simulator, text: str
) -> None:
    (command.path / "bad.json").write_text(text)
    command.rows(3)
    assert command.run(sim, "--schema", "bad.json") == 2
    assert command.stderr.strip()
    assert "Traceback" not in command.stderr
    assert sim.stats.requests == 0
