"""`callgate run`: how rows end, the tail, and several endpoints, as issue 5 describes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from callgate.testing import Answer, Ask, Simulator
from tests.issues.desk import KEY, MINI, PRICES, Desk, every, ids


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(tmp_path, capsys, monkeypatch)


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator(**PRICES) as running:
        yield running


# Outcomes


def test_every_row_is_answered_once_in_the_format_of_openais_batches(desk: Desk, sim: Simulator) -> None:
    desk.rows(25)
    told = desk.summary(sim)
    assert (told["answered"], told["failed"], told["calls"]) == (25, 0, 25)
    assert ids(desk.answered) == every(25)
    for each in desk.answered:
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
    assert told["cost_usd"] == pytest.approx(sim.stats.bill)


def test_started_again_it_calls_for_nothing_that_was_answered(desk: Desk, sim: Simulator) -> None:
    desk.rows(20)
    assert desk.run(sim, "--limit", "8") == 0
    assert sim.stats.requests == 8
    before = desk.answered
    told = desk.summary(sim)
    assert (told["answered_before"], told["answered"], sim.stats.requests) == (8, 12, 20)
    assert desk.answered[:8] == before
    assert ids(desk.answered) == every(20)
    assert desk.summary(sim)["calls"] == 0
    assert desk.run(sim, "--overwrite") == 0
    assert sim.stats.requests == 40
    assert ids(desk.answered) == every(20)


def test_failed_rows_have_a_file_of_their_own_and_are_tried_again_next_time(desk: Desk) -> None:
    broken = True

    def answers(ask: Ask) -> Answer | None:
        return Answer(status=400, message="odd row") if broken and int(ask.text.split()[-1]) % 2 else None

    desk.rows(30)
    with Simulator(answers=answers) as sim:
        assert desk.summary(sim, code=1)["failed"] == 15
        assert ids(desk.answered) + ids(desk.failed) == every(30)
        assert {each["response"]["status_code"] for each in desk.failed if each["response"]} <= {400}
        assert all(each["error"] and "odd row" in json.dumps(each["error"]) for each in desk.failed)
        asked = sim.stats.requests
        broken = False
        assert desk.summary(sim)["answered"] == 15
        assert sim.stats.requests == asked + 15
        assert ids(desk.answered) == every(30)
        assert desk.failed == []


def test_rows_end_once_each_whatever_the_network_does(desk: Desk) -> None:
    desk.rows(120)
    faults = {"500": 0.15, "reset": 0.1, "truncated": 0.1, "garbage": 0.1}
    with Simulator(faults=faults, seed=3) as sim:
        told = desk.summary(sim, "--retries", "0", code=1)
        assert told["answered"] + told["failed"] == 120
        assert 20 < told["failed"] < 90
        assert ids(desk.answered) + ids(desk.failed) == every(120)
        assert told["calls"] == sim.stats.requests == 120


def test_the_same_failure_of_all_ends_the_run_with_one_message(desk: Desk) -> None:
    desk.rows(500)
    with Simulator(keys=["another-key"]) as sim:
        told = desk.summary(sim, code=1)
        assert sim.stats.requests <= 10
    assert told["left"] > 400
    assert told["answered"] == 0
    assert told["message"]
    assert "401" in told["message"] or "key" in told["message"].lower()
    assert KEY not in desk.stderr + desk.stdout
    [group] = told["errors"]
    assert group["count"] == told["failed"] <= 10


def test_a_model_that_is_not_there_is_found_out_just_as_quickly(desk: Desk) -> None:
    desk.rows(300)
    with Simulator(models=["another"]) as sim:
        assert desk.run(sim, "-q") == 1
        assert sim.stats.requests <= 10
    assert len([line for line in desk.stderr.splitlines() if line.strip()]) <= 3
    assert "gpt-4o-mini" in desk.stderr


def test_errors_are_grouped_by_what_they_say_and_not_by_the_numbers_in_it(desk: Desk) -> None:
    def answers(ask: Ask) -> Answer | None:
        number = int(ask.text.split()[-1])
        if number % 5 == 1:
            return Answer(
                status=400, message=f"Request req-{number}f{number * 7919} has an invalid parameter"
            )
        if number % 10 == 3:
            return Answer(status=422, message="The picture is broken")
        return None

    desk.rows(60)
    with Simulator(answers=answers) as sim:
        told = desk.summary(sim, code=1)
    assert [each["count"] for each in told["errors"]] == [12, 6]
    assert "invalid parameter" in json.dumps(told["errors"][0])
    assert "The picture is broken" in json.dumps(told["errors"][1])


def test_max_failures_stops_when_more_than_so_many_have_failed(desk: Desk) -> None:
    def answers(ask: Ask) -> Answer | None:
        number = int(ask.text.split()[-1])
        words = ("alpha", "beta", "gamma", "delta", "epsilon")
        return Answer(status=400, message=f"{words[number // 4 % 5]} is wrong") if number % 4 == 3 else None

    desk.rows(200)
    with Simulator(answers=answers) as sim:
        told = desk.summary(sim, "--max-failures", "6", "--concurrency", "1", code=1)
        assert told["failed"] == 7
        assert 20 <= told["answered"] <= 25
        assert told["left"] == 200 - told["failed"] - told["answered"]
        assert ids(desk.answered + desk.failed).most_common(1)[0][1] == 1
        assert desk.summary(sim, "--max-failures", "50", code=1)["failed"] == 50


def test_what_the_provider_refuses_is_told_from_what_failed(desk: Desk) -> None:
    desk.rows([{"prompt": f"Question {n} " + "word " * (900 if n % 10 == 4 else 1)} for n in range(40)])

    def answers(ask: Ask) -> Answer | None:
        return (
            Answer(status=400, message="an ordinary failure") if ask.text.startswith("Question 7 ") else None
        )

    with Simulator(answers=answers, context_tokens=600) as sim:
        told = desk.summary(sim, "--max-tokens", "50", code=1)
        assert told["refused"] == 4
        assert told["answered"] == 35
        assert sim.stats.requests == 40  # neither is tried a second time
    refused = {each["custom_id"] for each in desk.failed if each["error"]["refused"]}
    assert refused == {"r4", "r14", "r24", "r34"}
    assert ids(desk.answered) + ids(desk.failed) == every(40)


# The tail


def test_silence_ends_an_attempt_and_the_next_one_answers(desk: Desk) -> None:
    desk.rows(40)
    with Simulator(faults={"stall": 0.1}, stall_seconds=300, seed=2) as sim:
        told = desk.summary(sim, "--no-bytes-timeout", "0.3")
        assert told["answered"] == 40
        assert told["retries"] >= 1
        assert told["calls"] == 40 + told["retries"] == sim.stats.requests


def test_hedging_asks_the_slowest_twice_takes_the_first_and_counts_both(desk: Desk) -> None:
    desk.rows(300)
    with Simulator(latency=0.01, faults={"slow": 0.02}, slow_seconds=1.5, seed=2, **PRICES) as sim:
        told = desk.summary(sim, "--hedge", "0.05", "--concurrency", "20")
        again = sim.stats.requests - 300
        assert told["answered"] == 300
        assert 1 <= again <= 0.05 * sim.stats.requests + 1
        assert told["calls"] == sim.stats.requests
        assert sim.stats.as_dict()["abandoned"] >= 1  # the losers were cancelled
    assert ids(desk.answered) == every(300)
    assert sum(each["attempts"] for each in desk.answered) == told["calls"]


# Several keys and endpoints


def test_a_broken_endpoint_is_left_out_and_no_row_is_lost(desk: Desk, sim: Simulator) -> None:
    desk.rows(80)
    desk.setenv("GROQ_API_KEY", KEY)
    with Simulator(faults={"500": 1.0}) as broken:
        desk.setenv("GROQ_BASE_URL", broken.base_url)
        told = desk.summary(sim, "--retries", "0", model=f"{MINI},groq/llama-3.3-70b-versatile")
        assert told["answered"] == 80
        assert sim.stats.answered == 80
        assert 0 < broken.stats.requests < 40
    assert ids(desk.answered) == every(80)


def test_the_work_is_spread_over_several_endpoints(desk: Desk, sim: Simulator) -> None:
    desk.rows(100)
    desk.setenv("GROQ_API_KEY", KEY)
    with Simulator(latency=0.01) as other:
        desk.setenv("GROQ_BASE_URL", other.base_url)
        assert desk.run(sim, "--rpm", "3000", model=f"{MINI},groq/llama-3.3-70b-versatile") == 0
        assert sim.stats.requests + other.stats.requests == 100
        assert 30 <= sim.stats.requests <= 70  # each admits as many as the other
    assert ids(desk.answered) == every(100)


def test_several_keys_share_the_work_and_a_refused_one_is_left_out(desk: Desk) -> None:
    desk.rows(60)
    desk.setenv("KEY_A", "sk-good-a-000000")
    desk.setenv("KEY_B", "sk-good-b-000000")
    desk.setenv("KEY_C", "sk-bad-c-0000000")
    with Simulator(keys=["sk-good-a-000000", "sk-good-b-000000"], latency=0.01) as sim:
        assert desk.summary(sim, "--api-key-env", "KEY_A,KEY_C,KEY_B")["answered"] == 60
        assert sim.stats.by_status[200] == 60
        assert sim.stats.by_status[401] <= 8
        assert sim.stats.key("sk-good-a-000000").accepted >= 15
        assert sim.stats.key("sk-good-b-000000").accepted >= 15
    assert "sk-bad" not in desk.stdout + desk.stderr
