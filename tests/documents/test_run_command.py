"""`callgate run`: how rows end, slow rows, and several endpoints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from callgate.testing import Answer, Ask, Simulator
from tests.documents.run_command import KEY, MINI, PRICES, RunCommand, count_ids, each_once


@pytest.fixture
def command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> RunCommand:
    return RunCommand(tmp_path, capsys, monkeypatch)


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator(**PRICES) as running:
        yield running


# Outcomes


def test_every_row_is_answered_once_in_the_format_of_openais_batches(
    command: RunCommand, sim: Simulator
) -> None:
    command.rows(25)
    summary = command.summary(sim)
    assert (summary["answered"], summary["failed"], summary["calls"]) == (25, 0, 25)
    assert count_ids(command.answered) == each_once(25)
    for each in command.answered:
        assert each["response"]["status_code"] == 200
        assert each["response"]["body"]["object"] == "chat.completion"
        assert each["error"] is None
        assert each["text"] == each["response"]["body"]["choices"][0]["message"]["content"]
        used = each["response"]["body"]["usage"]
        assert each["usage"]["input_tokens"] == used["prompt_tokens"]
        assert each["usage"]["output_tokens"] == used["completion_tokens"]
        assert (each["attempts"], each["cached"]) == (1, False)
        assert each["latency_s"] >= 0
        dollars = (used["prompt_tokens"] * 0.15 + used["completion_tokens"] * 0.6) / 1e6
        assert each["cost_usd"] == pytest.approx(dollars)
    assert summary["cost_usd"] == pytest.approx(sim.stats.bill)


def test_started_again_it_calls_for_nothing_that_was_answered(command: RunCommand, sim: Simulator) -> None:
    command.rows(20)
    assert command.run(sim, "--limit", "8") == 0
    assert sim.stats.requests == 8
    before = command.answered
    summary = command.summary(sim)
    assert (summary["answered_before"], summary["answered"], sim.stats.requests) == (8, 12, 20)
    assert command.answered[:8] == before
    assert count_ids(command.answered) == each_once(20)
    assert command.summary(sim)["calls"] == 0
    assert command.run(sim, "--overwrite") == 0
    assert sim.stats.requests == 40
    assert count_ids(command.answered) == each_once(20)


def test_failed_rows_have_a_file_of_their_own_and_are_tried_again_next_time(command: RunCommand) -> None:
    broken = True

    def answers(ask: Ask) -> Answer | None:
        return Answer(status=400, message="odd row") if broken and int(ask.text.split()[-1]) % 2 else None

    command.rows(30)
    with Simulator(answers=answers) as sim:
        assert command.summary(sim, code=1)["failed"] == 15
        assert count_ids(command.answered) + count_ids(command.failed) == each_once(30)
        assert {each["response"]["status_code"] for each in command.failed if each["response"]} <= {400}
        assert all(each["error"] and "odd row" in json.dumps(each["error"]) for each in command.failed)
        asked = sim.stats.requests
        broken = False
        assert command.summary(sim)["answered"] == 15
        assert sim.stats.requests == asked + 15
        assert count_ids(command.answered) == each_once(30)
        assert command.failed == []


def test_rows_end_once_each_whatever_the_network_does(command: RunCommand) -> None:
    command.rows(120)
    faults = {"500": 0.15, "reset": 0.1, "truncated": 0.1, "garbage": 0.1}
    with Simulator(faults=faults, seed=3) as sim:
        summary = command.summary(sim, "--retries", "0", code=1)
        assert summary["answered"] + summary["failed"] == 120
        assert 20 < summary["failed"] < 90
        assert count_ids(command.answered) + count_ids(command.failed) == each_once(120)
        assert summary["calls"] == sim.stats.requests == 120


def test_the_same_failure_of_all_ends_the_run_with_one_message(command: RunCommand) -> None:
    command.rows(500)
    with Simulator(keys=["another-key"]) as sim:
        summary = command.summary(sim, code=1)
        assert sim.stats.requests <= 10
    assert summary["left"] > 400
    assert summary["answered"] == 0
    assert summary["message"]
    assert "401" in summary["message"] or "key" in summary["message"].lower()
    assert KEY not in command.stderr + command.stdout
    [group] = summary["errors"]
    assert group["count"] == summary["failed"] <= 10


def test_an_unknown_model_ends_the_run_as_quickly(command: RunCommand) -> None:
    command.rows(300)
    with Simulator(models=["another"]) as sim:
        assert command.run(sim, "-q") == 1
        assert sim.stats.requests <= 10
    assert len([line for line in command.stderr.splitlines() if line.strip()]) <= 3
    assert "gpt-4o-mini" in command.stderr


def test_errors_are_grouped_by_message_ignoring_numbers(command: RunCommand) -> None:
    def answers(ask: Ask) -> Answer | None:
        number = int(ask.text.split()[-1])
        if number % 5 == 1:
            return Answer(
                status=400, message=f"Request req-{number}f{number * 7919} has an invalid parameter"
            )
        if number % 10 == 3:
            return Answer(status=422, message="The picture is broken")
        return None

    command.rows(60)
    with Simulator(answers=answers) as sim:
        summary = command.summary(sim, code=1)
    assert [each["count"] for each in summary["errors"]] == [12, 6]
    assert "invalid parameter" in json.dumps(summary["errors"][0])
    assert "The picture is broken" in json.dumps(summary["errors"][1])


def test_max_failures_stops_when_more_than_so_many_have_failed(command: RunCommand) -> None:
    def answers(ask: Ask) -> Answer | None:
        number = int(ask.text.split()[-1])
        words = ("alpha", "beta", "gamma", "delta", "epsilon")
        return Answer(status=400, message=f"{words[number // 4 % 5]} is wrong") if number % 4 == 3 else None

    command.rows(200)
    with Simulator(answers=answers) as sim:
        summary = command.summary(sim, "--max-failures", "6", "--concurrency", "1", code=1)
        assert summary["failed"] == 7
        assert 20 <= summary["answered"] <= 25
        assert summary["left"] == 200 - summary["failed"] - summary["answered"]
        assert count_ids(command.answered + command.failed).most_common(1)[0][1] == 1
        assert command.summary(sim, "--max-failures", "50", code=1)["failed"] == 50


def test_refused_rows_are_distinguished_from_failed_ones(command: RunCommand) -> None:
    command.rows([{"prompt": f"Question {n} " + "word " * (900 if n % 10 == 4 else 1)} for n in range(40)])

    def answers(ask: Ask) -> Answer | None:
        return (
            Answer(status=400, message="an ordinary failure") if ask.text.startswith("Question 7 ") else None
        )

    with Simulator(answers=answers, context_tokens=600) as sim:
        summary = command.summary(sim, "--max-tokens", "50", code=1)
        assert summary["refused"] == 4
        assert summary["answered"] == 35
        assert sim.stats.requests == 40  # neither is tried a second time
    refused = {each["custom_id"] for each in command.failed if each["error"]["refused"]}
    assert refused == {"r4", "r14", "r24", "r34"}
    assert count_ids(command.answered) + count_ids(command.failed) == each_once(40)


# The tail


def test_silence_ends_an_attempt_and_the_next_one_answers(command: RunCommand) -> None:
    command.rows(40)
    with Simulator(faults={"stall": 0.1}, stall_seconds=300, seed=2) as sim:
        summary = command.summary(sim, "--no-bytes-timeout", "0.3")
        assert summary["answered"] == 40
        assert summary["retries"] >= 1
        assert summary["calls"] == 40 + summary["retries"] == sim.stats.requests


def test_hedging_asks_the_slowest_twice_takes_the_first_and_counts_both(command: RunCommand) -> None:
    command.rows(300)
    with Simulator(latency=0.01, faults={"slow": 0.02}, slow_seconds=1.5, seed=2, **PRICES) as sim:
        summary = command.summary(sim, "--hedge", "0.05", "--concurrency", "20")
        again = sim.stats.requests - 300
        assert summary["answered"] == 300
        assert 1 <= again <= 0.05 * sim.stats.requests + 1
        assert summary["calls"] == sim.stats.requests
        assert sim.stats.as_dict()["abandoned"] >= 1  # the losers were cancelled
    assert count_ids(command.answered) == each_once(300)
    assert sum(each["attempts"] for each in command.answered) == summary["calls"]


# Several keys and endpoints


def test_a_broken_endpoint_is_ejected_and_no_row_is_lost(command: RunCommand, sim: Simulator) -> None:
    command.rows(80)
    command.setenv("GROQ_API_KEY", KEY)
    with Simulator(faults={"500": 1.0}) as broken:
        command.setenv("GROQ_BASE_URL", broken.base_url)
        summary = command.summary(sim, "--retries", "0", model=f"{MINI},groq/llama-3.3-70b-versatile")
        assert summary["answered"] == 80
        assert sim.stats.answered == 80
        assert 0 < broken.stats.requests < 40
    assert count_ids(command.answered) == each_once(80)


def test_the_work_is_spread_over_several_endpoints(command: RunCommand) -> None:
    command.rows(100)
    command.setenv("GROQ_API_KEY", KEY)
    with Simulator(latency=0.01) as first, Simulator(latency=0.01) as other:
        command.setenv("GROQ_BASE_URL", other.base_url)
        assert command.run(first, "--rpm", "3000", model=f"{MINI},groq/llama-3.3-70b-versatile") == 0
        assert first.stats.requests + other.stats.requests == 100
        # Which one answers faster is up to the machine; equal shares are tested on the virtual clock.
        assert 20 <= first.stats.requests <= 80
    assert count_ids(command.answered) == each_once(100)


def test_several_keys_share_the_work_and_a_refused_one_is_ejected(command: RunCommand) -> None:
    command.rows(60)
    command.setenv("KEY_A", "sk-good-a-000000")
    command.setenv("KEY_B", "sk-good-b-000000")
    command.setenv("KEY_C", "sk-bad-c-0000000")
    with Simulator(keys=["sk-good-a-000000", "sk-good-b-000000"], latency=0.01) as sim:
        assert command.summary(sim, "--api-key-env", "KEY_A,KEY_C,KEY_B")["answered"] == 60
        assert sim.stats.by_status[200] == 60
        assert sim.stats.by_status[401] <= 8
        assert sim.stats.key("sk-good-a-000000").accepted >= 15
        assert sim.stats.key("sk-good-b-000000").accepted >= 15
    assert "sk-bad" not in command.stdout + command.stderr
