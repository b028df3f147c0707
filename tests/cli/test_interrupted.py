"""Ctrl-C, SIGTERM and SIGKILL: whatever ends a run, what was answered is kept and paid for once."""

from __future__ import annotations

import random
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from callgate.testing import Simulator
from tests.cli.conftest import CommandResult, prompts, read_lines, write_rows

Run = Callable[..., CommandResult]
Spawn = Callable[..., "subprocess.Popen[str]"]
Simulate = Callable[..., Simulator]


class Arrivals:
    """An answer script that lets a test wait for the n-th request."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = threading.Condition()

    def __call__(self, ask: object) -> None:
        with self._changed:
            self.count += 1
            self._changed.notify_all()

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.count >= count, timeout=30)


def command(sim: Simulator, *more: str) -> list[str]:
    return ["run", "in.jsonl", "-m", "openai/m", "-o", "out.jsonl", "--base-url", sim.base_url, *more]


def names() -> Counter[str]:
    return Counter(line["custom_id"] for line in read_lines("out.jsonl"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_finishes_the_requests_in_flight(
    folder: Path, simulate: Simulate, spawn: Spawn, number: signal.Signals
) -> None:
    arrivals = Arrivals()
    sim = simulate(answers=arrivals, latency=0.2)
    write_rows("in.jsonl", prompts(400))
    process = spawn(*command(sim, "--concurrency", "5", "--overwrite"))
    arrivals.wait_for(12)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Ctrl-C again cancels them" in err
    assert "To resume: callgate run in.jsonl" in err
    assert "--overwrite" not in err
    lines = read_lines("out.jsonl")
    # Everything that was sent has been answered and written; nothing was thrown away.
    assert len(lines) == sim.stats.requests < 400
    assert sim.stats.abandoned == 0
    assert f"{400 - len(lines)} are not" in err
    assert f"{400 - len(lines)} left" in out


def test_the_first_signal_drops_rows_that_wait_for_their_quota(
    folder: Path, simulate: Simulate, spawn: Spawn
) -> None:
    arrivals = Arrivals()
    sim = simulate(answers=arrivals)
    write_rows("in.jsonl", prompts(400))
    process = spawn(*command(sim, "--rpm", "1", "--json"))
    arrivals.wait_for(1)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)  # the next row has its turn a minute later
    assert process.returncode == 130
    assert '"answered": 1,' in out
    assert sim.stats.requests == 1


def test_the_second_signal_cancels_the_requests_in_flight(
    folder: Path, simulate: Simulate, spawn: Spawn
) -> None:
    arrivals = Arrivals()
    sim = simulate(answers=lambda ask: arrivals(ask), latency=60.0)
    write_rows("in.jsonl", prompts(50))
    process = spawn(*command(sim, "--concurrency", "4", "--json"))
    arrivals.wait_for(4)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert "Finishing 4 requests in flight" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Cancelling the requests in flight" in err
    assert '"abandoned": 4' in out
    assert '"ending": "interrupted"' in out
    assert read_lines("out.jsonl") == []


def test_an_interrupted_run_resumes(folder: Path, simulate: Simulate, spawn: Spawn, callgate: Run) -> None:
    arrivals = Arrivals()
    sim = simulate(answers=arrivals, latency=0.02)
    write_rows("in.jsonl", prompts(300))
    process = spawn(*command(sim, "--quiet"))
    arrivals.wait_for(50)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert 50 <= len(read_lines("out.jsonl")) < 300
    assert callgate(*command(sim, "--quiet")).code == 0
    assert names() == Counter(f"r{i}" for i in range(300))
    assert sim.stats.paid_again == 0


def test_a_killed_run_loses_no_row_and_pays_again_only_for_requests_in_flight(
    folder: Path, simulate: Simulate, spawn: Spawn, callgate: Run
) -> None:
    rng = random.Random(11)
    arrivals = Arrivals()
    sim = simulate(answers=arrivals, latency=0.01, latency_sigma=0.5)
    write_rows("in.jsonl", prompts(600))
    in_flight = 0
    for _ in range(3):
        process = spawn(*command(sim, "--quiet", "--concurrency", "16"))
        arrivals.wait_for(arrivals.count + rng.randrange(20, 180))
        process.kill()
        process.wait()
        in_flight += 16
    assert callgate(*command(sim, "--quiet", "--concurrency", "16")).code == 0
    assert names() == Counter(f"r{i}" for i in range(600))
    assert sim.stats.requests <= 600 + in_flight


def test_rows_of_a_pipe_are_answered_as_they_come(folder: Path, simulate: Simulate, spawn: Spawn) -> None:
    arrivals = Arrivals()
    sim = simulate(answers=arrivals)
    arguments = ["-m", "openai/m", "-o", "-", "--base-url", sim.base_url, "--quiet"]
    process = spawn("run", "-", *arguments, stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    for number, name in enumerate(("one", "two", "three"), 1):
        process.stdin.write('{"prompt": "' + name + '"}\n')
        process.stdin.flush()
        arrivals.wait_for(number)
        assert name in process.stdout.readline()
    process.stdin.close()
    assert process.wait(timeout=30) == 0


def test_a_signal_ends_a_run_that_waits_for_input(folder: Path, simulate: Simulate, spawn: Spawn) -> None:
    arrivals = Arrivals()
    sim = simulate(answers=arrivals)
    arguments = ["-m", "openai/m", "-o", "out.jsonl", "--base-url", sim.base_url, "--quiet"]
    process = spawn("run", "-", *arguments, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write('{"prompt": "a"}\n')
    process.stdin.flush()
    arrivals.wait_for(1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert len(read_lines("out.jsonl")) == 1


def test_a_second_run_on_the_same_output_is_refused(
    folder: Path, simulate: Simulate, spawn: Spawn, callgate: Run
) -> None:
    arrivals = Arrivals()
    sim = simulate(answers=arrivals, latency=60.0)
    write_rows("in.jsonl", prompts(5))
    spawn(*command(sim))
    arrivals.wait_for(1)
    second = callgate(*command(sim))
    assert second.code == 2
    assert second.err == "callgate: out.jsonl: another run is writing to it; wait for its end\n"


def test_a_closed_standard_output_stops_the_run(folder: Path, simulate: Simulate, spawn: Spawn) -> None:
    sim = simulate(latency=0.01)
    write_rows("in.jsonl", prompts(2000))
    arguments = ["-m", "openai/m", "-o", "-", "--base-url", sim.base_url, "--concurrency", "8"]
    process = spawn("run", "in.jsonl", *arguments)
    assert process.stdout is not None
    assert "r" in process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()
    assert process.wait(timeout=30) == 1
    assert "standard output: cannot be written: Broken pipe" in err
    assert "Traceback" not in err
    assert sim.stats.requests < 2000
