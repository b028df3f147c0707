"""Several keys or endpoints share a batch, each with its own limits; a broken one is ejected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from callgate.testing import Simulator
from tests.cli.conftest import CommandResult, prompts, read_lines, write_rows

Run = Callable[..., CommandResult]
Simulate = Callable[..., Simulator]


@pytest.fixture(autouse=True)
def keys(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRST_KEY", "sk-first")
    monkeypatch.setenv("SECOND_KEY", "sk-second")


def answered_once(count: int) -> bool:
    return Counter(line["custom_id"] for line in read_lines("out.jsonl")) == Counter(
        f"r{i}" for i in range(count)
    )


def test_two_keys_share_the_rows_each_within_its_own_limit(simulate: Simulate, callgate: Run) -> None:
    sim = simulate(keys=["sk-first", "sk-second"], requests_per_minute=30, window_seconds=60)
    write_rows("in.jsonl", prompts(5))
    target = ["-m", "openai/m", "-o", "out.jsonl", "--base-url", sim.base_url]
    ended = callgate("run", "in.jsonl", *target, "--api-key-env", "FIRST_KEY,SECOND_KEY", "--rpm", "30")
    assert ended.code == 0
    assert answered_once(5)
    assert sim.stats.key("sk-first").accepted > 0
    assert sim.stats.key("sk-second").accepted > 0
    assert sim.stats.refused == 0


def test_several_models_each_with_its_own_name(simulate: Simulate, callgate: Run) -> None:
    asked: Counter[str] = Counter()
    sim = simulate(answers=lambda ask: asked.update([ask.model]), latency=0.01)
    write_rows("in.jsonl", [{**row, "model": "the row's own"} for row in prompts(60)])
    target = ["-m", "openai/one,groq/two", "-o", "out.jsonl", "--base-url", sim.base_url]
    assert callgate("run", "in.jsonl", *target, "--api-key-env", "FIRST_KEY").code == 0
    assert answered_once(60)
    assert set(asked) == {"one", "two"}


def test_several_addresses(simulate: Simulate, callgate: Run) -> None:
    one, two = simulate(latency=0.01), simulate(latency=0.01)
    write_rows("in.jsonl", prompts(60))
    target = ["-m", "openai/m", "-o", "out.jsonl", "--base-url", f"{one.base_url}, {two.base_url}"]
    assert callgate("run", "in.jsonl", *target).code == 0
    assert answered_once(60)
    assert one.stats.requests > 0
    assert two.stats.requests > 0


def test_an_endpoint_whose_key_is_refused_is_ejected_and_no_row_is_lost(
    simulate: Simulate, callgate: Run
) -> None:
    sim = simulate(keys=["sk-first"], latency=0.005)
    write_rows("in.jsonl", prompts(100))
    target = ["-m", "openai/m", "-o", "out.jsonl", "--base-url", sim.base_url]
    ended = callgate("run", "in.jsonl", *target, "--api-key-env", "FIRST_KEY,SECOND_KEY", "--json")
    assert ended.code == 0
    assert answered_once(100)
    assert sim.stats.key("sk-second").requests <= 10
    assert "sk-" not in ended.out + ended.err


def test_a_run_stops_when_all_keys_are_refused(simulate: Simulate, callgate: Run) -> None:
    sim = simulate(keys=["another"])
    write_rows("in.jsonl", prompts(300))
    target = ["-m", "openai/m", "-o", "out.jsonl", "--base-url", sim.base_url]
    ended = callgate("run", "in.jsonl", *target, "--api-key-env", "FIRST_KEY,SECOND_KEY", "--json")
    assert ended.code == 1
    assert orjson.loads(ended.out)["ending"] == "stopped"
    assert sim.stats.requests <= 20


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            ["-m", "openai/a,openai/b,openai/c", "--api-key-env", "FIRST_KEY,SECOND_KEY"],
            "names 2 where",
        ),
        (["-m", "openai/a,/b"], "model '/b' names no provider"),
        (["-m", ","], "model '' names no provider"),
        (["-m", "openai/a,unknown/b"], "unknown"),
        (
            ["-m", "openai/a", "--api-key-env", "FIRST_KEY,NO_SUCH_KEY"],
            "the environment variable NO_SUCH_KEY is not set",
        ),
    ],
)
def test_options_that_differ_in_number_are_refused(callgate: Run, options: list[str], says: str) -> None:
    write_rows("in.jsonl", prompts(3))
    ended = callgate("run", "in.jsonl", "-o", "out.jsonl", *options)
    assert ended.code == 2
    assert says in ended.err


def test_endpoints_share_one_cache_and_one_single_flight(simulate: Simulate, callgate: Run) -> None:
    sims = [simulate(latency=0.02), simulate(latency=0.02)]
    rows = prompts(60)
    # Each row three times, next to each other, so that equal ones are in flight together.
    write_rows(
        "in.jsonl",
        [{**row, "custom_id": f"{row['custom_id']}-{copy}"} for row in rows for copy in range(3)],
    )
    target = ["-m", "openai/m", "--base-url", ",".join(sim.base_url for sim in sims), "--cache", "cache"]
    for output in ("one.jsonl", "two.jsonl"):
        assert callgate("run", "in.jsonl", "-o", output, *target).code == 0
        assert len(read_lines(output)) == 180
        assert all(sim.stats.requests > 0 for sim in sims)
        assert sum(sim.stats.requests for sim in sims) == 60


def test_options_may_be_repeated_or_hold_commas(simulate: Simulate, callgate: Run) -> None:
    sims = [simulate(keys=["sk-first"], latency=0.01), simulate(keys=["sk-second"], latency=0.01)]
    write_rows("in.jsonl", prompts(40))
    target = [word for sim in sims for word in ("--base-url", sim.base_url)]
    keys = ["--api-key-env", "FIRST_KEY", "--api-key-env", "SECOND_KEY"]
    ended = callgate("run", "in.jsonl", "-o", "out.jsonl", "-m", "openai/a", "-m", "groq/b", *target, *keys)
    assert ended.code == 0, ended.err
    assert answered_once(40)
    assert all(sim.stats.accepted > 0 for sim in sims)
    assert "ejected" not in ended.err + ended.out


def test_an_ejected_endpoint_is_named_with_the_reason_once_and_in_the_summary(
    simulate: Simulate, callgate: Run
) -> None:
    sim = simulate(keys=["sk-first"], latency=0.005)
    write_rows("in.jsonl", prompts(60))
    target = ["-m", "openai/m", "--base-url", sim.base_url, "--api-key-env", "FIRST_KEY,SECOND_KEY"]
    ended = callgate("run", "in.jsonl", "-o", "out.jsonl", *target)
    assert ended.code == 0
    name = f"openai/m at {sim.base_url}"
    (said,) = [line for line in ended.err.splitlines() if "is ejected" in line]
    assert said.startswith(f"callgate: {name} #2 is ejected for now: 401: ")
    lines = [line.split(None, 1)[1] for line in ended.out.splitlines() if line.startswith("endpoint ")]
    assert lines[0] == f"{name} #1: 60 answered"
    assert lines[1].startswith(f"{name} #2: 0 answered, ejected: 401: ")
    assert "sk-" not in ended.out + ended.err
    ended = callgate("run", "in.jsonl", "-o", "again.jsonl", *target, "--json")
    first, second = orjson.loads(ended.out)["endpoints"]
    assert first == {"name": f"{name} #1", "answered": 60, "ejections": 0, "ejected_for": None}
    assert (second["answered"], second["ejections"]) == (0, 1)
    assert second["ejected_for"].startswith("401: ")
    quiet = callgate("run", "in.jsonl", "-o", "third.jsonl", *target, "--quiet")
    assert (quiet.out, quiet.err) == ("", "")


def test_an_unreachable_endpoint_costs_a_handful_of_attempts(simulate: Simulate, callgate: Run) -> None:
    sim = simulate(latency=0.02)
    write_rows("in.jsonl", prompts(200))
    target = ["-m", "openai/m", "--base-url", f"http://127.0.0.1:1,{sim.base_url}"]
    ended = callgate("run", "in.jsonl", "-o", "out.jsonl", *target, "--json")
    assert ended.code == 0
    assert answered_once(200)
    facts = orjson.loads(ended.out)
    assert facts["calls"] - 200 <= 8
    assert facts["endpoints"][0]["ejections"] >= 1
    assert "127.0.0.1:1 is ejected for now: " in ended.err
    assert [each["answered"] for each in facts["endpoints"]] == [0, 200]


def test_an_endpoint_that_returns_only_429_delays_no_row(simulate: Simulate, callgate: Run) -> None:
    busy, good = simulate(faults={"429": 1.0}, fault_retry_after=60.0), simulate(latency=0.01)
    write_rows("in.jsonl", prompts(100))
    target = ["-m", "openai/m", "--base-url", f"{busy.base_url},{good.base_url}"]
    ended = callgate("run", "in.jsonl", "-o", "out.jsonl", *target, "--json")
    assert ended.code == 0
    assert answered_once(100)
    facts = orjson.loads(ended.out)
    assert busy.stats.requests <= 4
    assert facts["seconds"] < 60.0
    assert [each["answered"] for each in facts["endpoints"]] == [0, 100]
