"""`callgate run`: what is paid, foretold, sent and required, as issue 5 describes it."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from callgate.testing import Answer, Ask, Simulator
from tests.issues.desk import PRICES, Desk, every, ids

PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(tmp_path, capsys, monkeypatch)


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator(**PRICES) as running:
        yield running


# Money


def test_a_budget_is_never_passed_and_the_run_goes_on_with_a_larger_one(desk: Desk) -> None:
    # Every tenth answer is cut off: it is on the bill all the same, and so is the one that is asked for then.
    def answers(ask: Ask) -> Answer | None:
        cut = ask.attempt == 1 and int(ask.text.split()[-1]) % 10 == 3
        return Answer("word " * 50, fault="truncated") if cut else None

    desk.rows(150)
    with Simulator(answers=answers, **PRICES) as sim:
        told = desk.summary(sim, "--budget", "0.002", "--max-tokens", "60", code=3)
        assert sim.stats.bill <= 0.002
        assert sim.stats.bill >= 0.0014  # and it is used
        assert told["left"] > 0
        first = ids(desk.answered)
        told = desk.summary(sim, "--budget", "0.003", "--max-tokens", "60", code=3)
        assert 0.002 < sim.stats.bill <= 0.003
        assert ids(desk.answered) > first
        told = desk.summary(sim, "--budget", "5", "--max-tokens", "60")
        assert told["left"] == 0
        assert ids(desk.answered) == every(150)


def test_a_budget_remembers_what_failed_rows_took_in_every_run(desk: Desk) -> None:
    desk.rows(8)
    with Simulator(answers=lambda _: Answer("word " * 50, fault="truncated"), **PRICES) as sim:
        codes = [
            desk.run(sim, "--budget", "0.001", "--max-tokens", "60", "--retries", "0", "-q") for _ in range(6)
        ]
        assert sim.stats.bill <= 0.001
    assert codes[0] == 1
    assert codes[-1] == 3


def test_a_budget_needs_a_price(desk: Desk, sim: Simulator) -> None:
    desk.rows(10)
    options = ["--budget", "1", "--max-tokens", "50"]
    assert desk.run(sim, *options, model="openai/nobody-sells-this-one") == 2
    assert "--price" in desk.stderr
    assert sim.stats.requests == 0
    assert desk.run(sim, *options, "--price", "0.15,0.6", model="openai/nobody-sells-this-one") == 0
    assert sum(each["cost_usd"] for each in desk.answered) == pytest.approx(sim.stats.bill)


def test_what_has_no_price_costs_none_and_that_is_said(desk: Desk, sim: Simulator) -> None:
    desk.rows(10)
    told = desk.summary(sim, model="openai/nobody-sells-this-one")
    assert told["unpriced"] == 10
    assert {each["cost_usd"] for each in desk.answered} == {None}
    assert desk.report()["unpriced"] == 10


def test_what_identical_rows_share_is_paid_once(desk: Desk, sim: Simulator) -> None:
    desk.rows([{"prompt": f"Question {number % 4}"} for number in range(40)])
    told = desk.summary(sim, "--cache", "cache")
    assert sim.stats.requests == told["calls"] == 4
    assert told["cost_usd"] == pytest.approx(sim.stats.bill)
    assert sum(each["cost_usd"] for each in desk.answered) == pytest.approx(sim.stats.bill)
    assert desk.report()["cost_usd"] == pytest.approx(sim.stats.bill)


@pytest.mark.parametrize(
    ("limit", "seconds", "bottleneck"),
    [(("--rpm", "60"), 600, "request"), (("--rpm", "6000", "--tpm", "6120"), 600, "token")],
)
def test_a_dry_run_foretells_and_calls_nothing(
    desk: Desk, sim: Simulator, limit: tuple[str, str], seconds: float, bottleneck: str
) -> None:
    desk.rows(600)
    told = desk.summary(sim, "--dry-run", "--max-tokens", "100", *limit)
    assert sim.stats.requests == 0
    assert not (desk.path / "out.jsonl").exists()
    assert told["rows"] == 600
    assert bottleneck in told["bottleneck"]
    assert told["cost_least_usd"] < told["cost_usd"] <= told["cost_most_usd"]
    assert told["seconds"] == pytest.approx(seconds, rel=0.15)


def test_a_dry_run_that_has_seen_some_answers_comes_true(desk: Desk, sim: Simulator) -> None:
    desk.rows([{"prompt": f"Question {number}: what follows from it? " * 12} for number in range(400)])
    assert desk.run(sim, "--limit", "100") == 0
    told = desk.summary(sim, "--dry-run")
    assert (told["rows"], told["answered_before"], told["learned_from"]) == (300, 100, 100)
    before = (sim.stats.input_tokens, sim.stats.output_tokens, sim.stats.bill)
    assert desk.run(sim) == 0
    after = (sim.stats.input_tokens, sim.stats.output_tokens, sim.stats.bill)
    real = [late - early for early, late in zip(before, after, strict=True)]
    foretold = [told["input_tokens"], told["output_tokens"], told["cost_usd"]]
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


def test_pictures_are_sent_by_path_and_by_url(desk: Desk) -> None:
    (desk.path / "pictures").mkdir()
    (desk.path / "pictures" / "dot.png").write_bytes(PICTURE)
    web = "https://example.com/moon.png"
    desk.rows(
        [
            {"prompt": "What is it?", "image": "pictures/dot.png"},
            {"prompt": "What is it?", "image": web},
            {"prompt": "What are they?", "images": ["pictures/dot.png", web]},
        ]
    )
    asked: list[Ask] = []
    with Simulator(answers=asked.append) as sim:
        assert desk.run(sim) == 0
    inline = "data:image/png;base64," + base64.b64encode(PICTURE).decode()
    assert Counter(seen(asked)) == {inline: 2, web: 2}


def test_a_picture_that_is_not_there_is_said_with_its_row(desk: Desk, sim: Simulator) -> None:
    desk.rows([{"prompt": "a"}, {"prompt": "What is it?", "image": "nowhere.png"}])
    assert desk.run(sim) in (1, 2)
    assert "nowhere.png" in desk.stderr + json.dumps(desk.failed)


SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "moons": {"type": "integer"}},
    "required": ["name", "moons"],
}


def test_answers_that_do_not_fit_the_schema_are_asked_for_again_and_all_are_paid(desk: Desk) -> None:
    (desk.path / "planet.json").write_text(json.dumps(SCHEMA))
    desk.rows(1)
    script = ["no JSON", '{"name": "Mars", "moons": "two"}', '{"name": "Mars", "moons": 2}']
    with Simulator(answers=script, **PRICES) as sim:
        told = desk.summary(sim, "--schema", "planet.json")
        assert sim.stats.requests == told["calls"] == 3
        [line] = desk.answered
        assert json.loads(line["text"]) == {"name": "Mars", "moons": 2}
        assert line["usage"]["output_tokens"] == sim.stats.output_tokens
        assert line["cost_usd"] == pytest.approx(sim.stats.bill)
        assert told["cost_usd"] == pytest.approx(sim.stats.bill)


def test_an_answer_that_never_fits_fails_its_row_after_three(desk: Desk) -> None:
    (desk.path / "planet.json").write_text(json.dumps(SCHEMA))
    desk.rows(3)

    def answers(ask: Ask) -> str | None:
        return "never" if "Question 1" in json.dumps(ask.body) else None

    with Simulator(answers=answers, **PRICES) as sim:
        told = desk.summary(sim, "--schema", "planet.json", code=1)
        assert sim.stats.requests == 5
        assert told["cost_usd"] == pytest.approx(sim.stats.bill)  # what did not fit was paid all the same
    assert ids(desk.failed) == {"r1": 1}
    for each in desk.answered:
        answer = json.loads(each["text"])
        assert isinstance(answer["name"], str)
        assert isinstance(answer["moons"], int)


@pytest.mark.parametrize("text", ["{", '{"type": "no such type"}', '{"type": "array"}'])
def test_what_is_no_schema_of_an_object_is_wrong_usage(desk: Desk, sim: Simulator, text: str) -> None:
    (desk.path / "bad.json").write_text(text)
    desk.rows(3)
    assert desk.run(sim, "--schema", "bad.json") == 2
    assert desk.stderr.strip()
    assert "Traceback" not in desk.stderr
    assert sim.stats.requests == 0
