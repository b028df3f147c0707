"""`callgate run` against the simulated provider: every row once, whatever happens in between."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from callgate.testing import Answer, Simulator
from tests.cli.conftest import KEY, CommandResult, prompts, read_lines, write_rows

Run = Callable[..., CommandResult]
Simulate = Callable[..., Simulator]


def against(sim: Simulator, output: str = "out.jsonl") -> list[str]:
    return ["-m", "openai/gpt-4o-mini", "-o", output, "--base-url", sim.base_url]


def names(output: str) -> Counter[str]:
    return Counter(line["custom_id"] for line in read_lines(output))


def test_every_row_is_answered_in_batch_format(folder: Path, simulate: Simulate, callgate: Run) -> None:
    sim = simulate(echo=True)
    write_rows("in.jsonl", prompts(30))
    ended = callgate("run", "in.jsonl", *against(sim))
    assert ended.code == 0
    assert "30 answered, 0 failed" in ended.out
    assert "out.jsonl" in ended.err
    lines = read_lines("out.jsonl")
    assert sorted(line["custom_id"] for line in lines) == sorted(f"r{i}" for i in range(30))
    for line in lines:
        assert line["text"] == line["prompt"]
        assert line["response"]["status_code"] == 200
        assert line["response"]["body"]["choices"][0]["message"]["content"] == line["text"]
        assert line["error"] is None
        assert line["usage"]["output_tokens"] > 0
        assert line["cost_usd"] > 0
        assert (line["attempts"], line["cached"]) == (1, False)
    assert sim.stats.requests == 30
    assert not Path("out.jsonl.errors.jsonl").exists()


def test_resuming_a_finished_run_calls_nothing(folder: Path, simulate: Simulate, callgate: Run) -> None:
    sim = simulate()
    write_rows("in.jsonl", prompts(30))
    callgate("run", "in.jsonl", *against(sim))
    before = Path("out.jsonl").read_bytes()
    ended = callgate("run", "in.jsonl", *against(sim))
    assert ended.code == 0
    assert "30 answered before" in ended.out
    assert sim.stats.requests == 30
    assert Path("out.jsonl").read_bytes() == before


def test_resuming_with_another_model_stops_before_the_first_call_and_offers_both_ways(
    folder: Path, simulate: Simulate, callgate: Run
) -> None:
    sim = simulate()
    write_rows("in.jsonl", prompts(3))
    assert callgate("run", "in.jsonl", *against(sim)).code == 0
    other = ["in.jsonl", "-m", "openai/gpt-4o", "-o", "out.jsonl", "--base-url", sim.base_url]
    write_rows("in.jsonl", prompts(4))
    ended = callgate("run", *other)
    assert (ended.code, sim.stats.requests) == (2, 3)
    assert "3 finished rows would be asked differently now: model gpt-4o-mini -> gpt-4o;" in ended.err
    assert ended.err.endswith("--on-change keep|reask\n")
    assert "3 would be asked differently now" in callgate("run", *other, "--dry-run").out
    assert callgate("run", *other, "--on-change", "keep").code == 0
    assert [line["model"] for line in read_lines("out.jsonl")] == ["gpt-4o-mini"] * 3 + ["gpt-4o"]
    again = callgate("run", *other, "--on-change", "reask")
    assert "kept as out.old-1.jsonl" in again.err
    assert [line["model"] for line in read_lines("out.old-1.jsonl")] == ["gpt-4o-mini"] * 3
    assert [line["model"] for line in read_lines("out.jsonl")] == ["gpt-4o"] * 4
    assert callgate("run", *other).code == 0
    assert sim.stats.requests == 7


def test_a_column_that_is_not_sent_and_another_key_change_nothing(
    folder: Path, simulate: Simulate, callgate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim = simulate()
    write_rows("in.jsonl", prompts(3))
    assert callgate("run", "in.jsonl", *against(sim)).code == 0
    write_rows("in.jsonl", [{**row, "topic": "sums"} for row in prompts(3)])
    monkeypatch.setenv("ANOTHER_KEY", "sk-2")
    more = ["--api-key-env", "ANOTHER_KEY", "--rpm", "500", "--timeout", "9", "--retries", "1"]
    assert callgate("run", "in.jsonl", *against(sim), *more).code == 0
    assert sim.stats.requests == 3


def test_rows_may_be_reordered_added_and_removed_between_runs(
    folder: Path, simulate: Simulate, callgate: Run
) -> None:
    sim = simulate()
    rows: list[Any] = [{"prompt": f"p{i}"} for i in range(30)]
    write_rows("in.jsonl", rows[:20])
    callgate("run", "in.jsonl", *against(sim))
    changed = rows[5:]
    random.Random(4).shuffle(changed)
    write_rows("in.jsonl", changed)
    assert callgate("run", "in.jsonl", *against(sim)).code == 0
    assert Counter(line["prompt"] for line in read_lines("out.jsonl")) == Counter(f"p{i}" for i in range(30))
    assert sim.stats.paid_again == 0


def test_equal_rows_are_each_answered_and_none_twice(folder: Path, simulate: Simulate, callgate: Run) -> None:
    sim = simulate()
    write_rows("in.jsonl", [{"prompt": "same"}] * 3 + [{"custom_id": "c", "prompt": "x"}] * 2)
    assert callgate("run", "in.jsonl", *against(sim)).code == 0
    write_rows("in.jsonl", [{"prompt": "same"}] * 5 + [{"custom_id": "c", "prompt": "x"}] * 3)
    assert callgate("run", "in.jsonl", *against(sim)).code == 0
    assert Counter(line["prompt"] for line in read_lines("out.jsonl")) == Counter(same=5, x=3)
    assert sim.stats.requests == 8


def test_failed_rows_are_kept_and_tried_again(folder: Path, simulate: Simulate, callgate: Run) -> None:
    answers = {"What is 3 plus 3?": 422, "What is 7 plus 7?": 422}
    sim = simulate(answers=lambda ask: answers.get(ask.text))
    write_rows("in.jsonl", prompts(10))
    ended = callgate("run", "in.jsonl", *against(sim))
    assert ended.code == 1
    assert "8 answered, 2 failed" in ended.out
    assert "out.jsonl.errors.jsonl" in ended.err
    failures = read_lines("out.jsonl.errors.jsonl")
    assert sorted(line["custom_id"] for line in failures) == ["r3", "r7"]
    assert all(line["response"]["status_code"] == 422 for line in failures)
    assert all(line["error"]["type"] == "InvalidRequestError" for line in failures)
    answers.clear()
    assert callgate("run", "in.jsonl", *against(sim)).code == 0
    assert sorted(line["custom_id"] for line in read_lines("out.jsonl")) == sorted(f"r{i}" for i in range(10))
    assert not Path("out.jsonl.errors.jsonl").exists()
    assert sim.stats.requests == 12


def test_the_row_of_a_torn_last_line_is_called_again(folder: Path, simulate: Simulate, callgate: Run) -> None:
    sim = simulate()
    write_rows("in.jsonl", prompts(5))
    callgate("run", "in.jsonl", *against(sim))
    whole = Path("out.jsonl").read_bytes()
    Path("out.jsonl").write_bytes(whole[:-40])
    assert callgate("run", "in.jsonl", *against(sim)).code == 0
    assert Counter(line["custom_id"] for line in read_lines("out.jsonl")) == Counter(
        f"r{i}" for i in range(5)
    )
    assert sim.stats.requests == 6


def test_overwrite_starts_again(folder: Path, simulate: Simulate, callgate: Run) -> None:
    sim = simulate()
    write_rows("in.jsonl", prompts(5))
    callgate("run", "in.jsonl", *against(sim))
    assert callgate("run", "in.jsonl", *against(sim), "--overwrite").code == 0
    assert len(read_lines("out.jsonl")) == 5
    assert sim.stats.requests == 10


def test_options_of_the_request_are_sent(folder: Path, simulate: Simulate, callgate: Run) -> None:
    sent: list[Any] = []
    sim = simulate(answers=lambda ask: sent.append(ask.body))
    write_rows("in.jsonl", [{"text": "Hund", "model": "beetle"}, {"text": "Katze"}])
    options = [
        "--template",
        "Translate: {text}",
        "--system",
        "Short.",
        "--max-tokens",
        "9",
        "--temperature",
        "0",
    ]
    ended = callgate("run", "in.jsonl", *against(sim), *options, "--param", "top_p=0.5", "--param", "user=me")
    assert ended.code == 0
    assert len(sent) == 2
    for body in sent:
        assert body["model"] == "gpt-4o-mini"
        assert body["messages"][0] == {"role": "system", "content": "Short."}
        assert body["messages"][1]["content"] in ("Translate: Hund", "Translate: Katze")
        assert (body["temperature"], body["top_p"], body["user"]) == (0, 0.5, "me")
        assert 9 in (body.get("max_tokens"), body.get("max_completion_tokens"))
    beetle = next(line for line in read_lines("out.jsonl") if line["input_text"] == "Hund")
    assert (beetle["model"], beetle["input_model"]) == ("gpt-4o-mini", "beetle")


def test_a_provider_alone_leaves_the_model_to_rows(folder: Path, simulate: Simulate, callgate: Run) -> None:
    sent: list[str] = []
    sim = simulate(answers=lambda ask: sent.append(ask.body["model"]))
    write_rows("in.jsonl", [{"prompt": "a", "model": "m1"}, {"prompt": "b", "model": "m2"}])
    arguments = ["run", "in.jsonl", "-m", "openai", "-o", "out.jsonl", "--base-url", sim.base_url]
    assert callgate(*arguments).code == 0
    assert sorted(sent) == ["m1", "m2"]
    write_rows("in.jsonl", [{"prompt": "a"}])
    ended = callgate(*arguments)
    assert ended.code == 2
    assert "in.jsonl:1: the row names no model" in ended.err


def test_limit_takes_the_first_rows(folder: Path, simulate: Simulate, callgate: Run) -> None:
    sim = simulate()
    write_rows("in.jsonl", prompts(10))
    assert callgate("run", "in.jsonl", *against(sim), "--limit", "3").code == 0
    assert {line["custom_id"] for line in read_lines("out.jsonl")} == {"r0", "r1", "r2"}


def test_an_input_without_rows_is_done(folder: Path, simulate: Simulate, callgate: Run) -> None:
    sim = simulate()
    Path("in.jsonl").write_text("\n")
    ended = callgate("run", "in.jsonl", *against(sim))
    assert ended.code == 0
    assert "0 answered, 0 failed" in ended.out


def test_answers_to_standard_output(folder: Path, simulate: Simulate, callgate: Run) -> None:
    sim = simulate()
    write_rows("in.jsonl", prompts(3))
    ended = callgate("run", "in.jsonl", *against(sim, "-"))
    assert ended.code == 0
    assert {orjson.loads(line)["custom_id"] for line in ended.out.splitlines()} == {"r0", "r1", "r2"}
    assert "3 answered" in ended.err


def test_quiet_prints_nothing(folder: Path, simulate: Simulate, callgate: Run) -> None:
    sim = simulate()
    write_rows("in.jsonl", prompts(3))
    ended = callgate("run", "in.jsonl", *against(sim), "--quiet")
    assert (ended.code, ended.out, ended.err) == (0, "", "")


def test_json_summary(folder: Path, simulate: Simulate, callgate: Run) -> None:
    sim = simulate(answers=lambda ask: 422 if ask.text == "What is 3 plus 3?" else None)
    write_rows("in.jsonl", prompts(10))
    ended = callgate("run", "in.jsonl", *against(sim), "--json")
    assert ended.code == 1
    facts = orjson.loads(ended.out)
    expected = {
        "ending": "failures", "message": None, "output": "out.jsonl",
        "errors_file": "out.jsonl.errors.jsonl", "total": 10, "answered_before": 0, "answered": 9,
        "failed": 1,
        "left": 0, "abandoned": 0, "cached": 0, "calls": 10, "retries": 0, "rate_limited": 0, "unpriced": 0,
    }  # fmt: skip
    assert {name: facts[name] for name in expected} == expected
    assert facts["input_tokens"] == sim.stats.input_tokens
    assert facts["output_tokens"] == sim.stats.output_tokens
    assert facts["cost_usd"] > 0
    assert [(error["kind"], error["count"], error["line"]) for error in facts["errors"]] == [
        ("InvalidRequestError", 1, 4)
    ]


def test_retries_limits_the_attempts(folder: Path, simulate: Simulate, callgate: Run) -> None:
    sim = simulate(answers=[500, "fine"])
    write_rows("in.jsonl", prompts(1))
    facts = orjson.loads(callgate("run", "in.jsonl", *against(sim), "--json").out)
    assert (facts["answered"], facts["calls"], facts["retries"]) == (1, 2, 1)
    sim = simulate(answers=[500, "fine"])
    ended = callgate("run", "in.jsonl", *against(sim), "--overwrite", "--retries", "0")
    assert ended.code == 1
    assert sim.stats.requests == 1


def test_the_key_is_in_no_output(folder: Path, simulate: Simulate, callgate: Run) -> None:
    sim = simulate(keys=["another"])
    write_rows("in.jsonl", prompts(10))
    ended = callgate("run", "in.jsonl", *against(sim))
    assert ended.code == 1
    everything = ended.out + ended.err + "".join(path.read_text() for path in folder.iterdir())
    assert KEY not in everything
    assert sim.stats.requests > 0


def test_a_key_from_another_variable(
    folder: Path, simulate: Simulate, callgate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim = simulate(keys=["second-key"])
    write_rows("in.jsonl", prompts(2))
    for variable in ("OTHER_KEY", "other_key"):
        ended = callgate("run", "in.jsonl", *against(sim), "--api-key-env", variable)
        assert ended.code == 2
        assert (
            "variable OTHER_KEY is not set" if variable == "OTHER_KEY" else "it may be a key"
        ) in ended.err
        monkeypatch.setenv(variable, "second-key")
        assert callgate("run", "in.jsonl", *against(sim), "--api-key-env", variable, "--overwrite").code == 0


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"keys": ["another"]}, "401"),
        ({"models": ["another"]}, "404"),
    ],
)
def test_an_error_of_every_row_stops_the_run_after_a_few_calls(
    folder: Path, simulate: Simulate, callgate: Run, options: dict[str, Any], fault: str
) -> None:
    sim = simulate(**options)
    write_rows("in.jsonl", prompts(500))
    ended = callgate("run", "in.jsonl", *against(sim))
    assert ended.code == 1
    assert sim.stats.requests <= 6
    assert ended.err.count("failed in the same way and none was answered") == 1
    assert fault in ended.err
    assert "500 are not. To resume: callgate" in ended.err
    assert read_lines("out.jsonl") == []


def test_an_unreachable_server_stops_the_run_after_a_few_calls(folder: Path, callgate: Run) -> None:
    write_rows("in.jsonl", prompts(500))
    arguments = ["-m", "openai/m", "-o", "out.jsonl", "--base-url", "http://127.0.0.1:9/v1", "--retries", "1"]
    ended = callgate("run", "in.jsonl", *arguments, "--json")
    assert ended.code == 1
    facts = orjson.loads(ended.out)
    assert facts["ending"] == "stopped"
    assert facts["failed"] <= 8
    assert len(facts["errors"]) == 1


def test_a_key_revoked_in_mid_run_stops_it_and_keeps_what_was_answered(
    folder: Path, simulate: Simulate, callgate: Run
) -> None:
    sim = simulate(answers=lambda ask: None if len(ask.text) < len("What is 100 plus 100?") else 401)
    write_rows("in.jsonl", prompts(3000))
    ended = callgate("run", "in.jsonl", *against(sim), "--concurrency", "8", "--json")
    facts = orjson.loads(ended.out)
    assert facts["ending"] == "stopped"
    assert facts["answered"] == 100
    assert facts["failed"] < 50
    assert "since the last answer" in facts["message"]


def test_too_many_failures_stop_the_run(folder: Path, simulate: Simulate, callgate: Run) -> None:
    sim = simulate(answers=lambda ask: 422 if int(ask.text.split()[2]) % 2 else None)
    write_rows("in.jsonl", prompts(500))
    ended = callgate("run", "in.jsonl", *against(sim), "--max-failures", "10", "--concurrency", "2")
    assert ended.code == 1
    assert "more than 10 rows failed, the last with: 422" in ended.err
    assert sim.stats.requests < 40


def test_refused_rows_are_counted_apart(folder: Path, simulate: Simulate, callgate: Run) -> None:
    sim = simulate(context_tokens=2000)
    write_rows("in.jsonl", [*prompts(3), {"custom_id": "long", "prompt": "word " * 5000}])
    facts = orjson.loads(callgate("run", "in.jsonl", *against(sim), "--json").out)
    assert (facts["answered"], facts["failed"], facts["refused"]) == (3, 1, 1)
    assert read_lines("out.jsonl.errors.jsonl")[0]["error"]["refused"] is True
    assert "(1 rejected by the provider" in callgate("run", "in.jsonl", *against(sim)).out


SCHEMA = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}


def test_answers_that_do_not_match_the_schema_are_asked_for_again(
    folder: Path, simulate: Simulate, callgate: Run
) -> None:
    sent: list[Any] = []

    def answer(ask: Any) -> str:
        sent.append(ask.body)
        if "3 plus 3" in ask.body["messages"][0]["content"]:
            return "never JSON"
        return '{"sum": 4}' if len(ask.body["messages"]) > 1 else '{"sum": "four"}'

    sim = simulate(answers=answer)
    write_rows("in.jsonl", prompts(4))
    Path("schema.json").write_bytes(orjson.dumps(SCHEMA))
    ended = callgate("run", "in.jsonl", *against(sim), "--schema", "schema.json", "--json")
    assert ended.code == 1
    facts = orjson.loads(ended.out)
    assert (facts["answered"], facts["failed"]) == (3, 1)
    assert all(orjson.loads(line["text"]) == {"sum": 4} for line in read_lines("out.jsonl"))
    assert read_lines("out.jsonl.errors.jsonl")[0]["error"]["type"] == "InvalidAnswerError"
    assert all("response_format" in body for body in sent)
    # What the discarded answers used is counted too.
    assert facts["output_tokens"] == sim.stats.output_tokens


def test_an_attempt_without_bytes_times_out(folder: Path, simulate: Simulate, callgate: Run) -> None:
    def answer(ask: Any) -> Answer | None:
        return Answer("never " * 50, fault="stall") if ask.attempt == 1 else None

    sim = simulate(answers=answer, stall_seconds=60.0)
    write_rows("in.jsonl", prompts(2))
    ended = callgate("run", "in.jsonl", *against(sim), "--no-bytes-timeout", "0.2", "--json")
    assert ended.code == 0
    assert orjson.loads(ended.out)["retries"] == 2


def test_the_slowest_requests_are_hedged(folder: Path, simulate: Simulate, callgate: Run) -> None:
    slow = {f"What is {i} plus {i}?" for i in (120, 150, 180)}

    def answer(ask: Any) -> Answer | None:
        return Answer("late", fault="slow") if ask.text in slow and ask.attempt == 1 else None

    sim = simulate(answers=answer, latency=0.01, slow_seconds=2.0)
    write_rows("in.jsonl", prompts(300))
    # Few at once: enough answers have been seen when the slow rows begin.
    options = ["--hedge", "0.2", "--concurrency", "8"]
    assert callgate("run", "in.jsonl", *against(sim), *options).code == 0
    assert names("out.jsonl") == Counter(f"r{i}" for i in range(300))
    assert 300 < sim.stats.requests <= 360
    assert len([line for line in read_lines("out.jsonl") if line["text"] == "late"]) < len(slow)


def test_a_limit_that_no_row_fits_is_an_input_error(folder: Path, simulate: Simulate, callgate: Run) -> None:
    sim = simulate()
    write_rows("in.jsonl", prompts(50))
    ended = callgate("run", "in.jsonl", *against(sim), "--tpm", "3")
    assert ended.code == 2
    assert "3" in ended.err
    assert sim.stats.requests == 0


def test_one_row_that_exceeds_the_limit_fails_alone(folder: Path, simulate: Simulate, callgate: Run) -> None:
    sim = simulate()
    write_rows("in.jsonl", [*prompts(5), {"prompt": "word " * 20_000}, *prompts(5, start=5)])
    ended = callgate("run", "in.jsonl", *against(sim), "--tpm", "20000", "--max-tokens", "50")
    assert ended.code == 1
    assert len(read_lines("out.jsonl")) == 10
    assert read_lines("out.jsonl.errors.jsonl")[0]["error"]["type"] == "QuotaTooSmallError"


def test_a_bad_row_far_into_the_input_loses_no_answer(
    folder: Path, simulate: Simulate, callgate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callgate.batch.run._CHECKED_BYTES", 1)
    monkeypatch.setattr("callgate.batch.input.records._CHUNK", 200)
    sim = simulate()
    Path("in.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in prompts(20)) + b"bad\n")
    ended = callgate("run", "in.jsonl", *against(sim))
    assert ended.code == 2
    assert "in.jsonl:21: is no JSON" in ended.err
    answered = len(read_lines("out.jsonl"))
    assert 0 < answered == sim.stats.requests <= 20
    write_rows("in.jsonl", prompts(21))
    assert callgate("run", "in.jsonl", *against(sim)).code == 0
    assert Counter(line["custom_id"] for line in read_lines("out.jsonl")) == Counter(
        f"r{i}" for i in range(21)
    )
    assert sim.stats.requests == 21


def test_the_cache_serves_answers_of_another_output(folder: Path, simulate: Simulate, callgate: Run) -> None:
    sim = simulate()
    write_rows("in.jsonl", prompts(10))
    assert callgate("run", "in.jsonl", *against(sim), "--cache", "cache").code == 0
    facts = orjson.loads(
        callgate("run", "in.jsonl", *against(sim, "b.jsonl"), "--cache", "cache", "--json").out
    )
    assert (facts["answered"], facts["cached"], facts["calls"], facts["cost_usd"]) == (10, 10, 0, 0.0)
    assert all(line["cached"] for line in read_lines("b.jsonl"))
    assert sim.stats.requests == 10
    options = ["--cache", "cache", "--no-cache"]
    assert callgate("run", "in.jsonl", *against(sim, "c.jsonl"), *options).code == 0
    assert sim.stats.requests == 20
