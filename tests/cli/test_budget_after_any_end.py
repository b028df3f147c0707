"""`--budget` over all runs on an output, however these end: by the provider's own bill."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callgate.batch.cost.ledger import read_spent
from callgate.testing import Simulator
from tests.cli.conftest import CommandResult, prompts, read_lines, write_rows
from tests.cli.test_interrupted import Arrivals

Run = Callable[..., CommandResult]
Simulate = Callable[..., Simulator]
Spawn = Callable[..., "subprocess.Popen[str]"]

ROUNDS = 4
PRICES: dict[str, Any] = {"input_price": 150.0, "output_price": 600.0}
# What one attempt may cost: 30 tokens, and some 150 bytes.
ATTEMPT = 30 * 600 / 1e6 + 150 * 150 / 1e6


def command(sim: Simulator, budget: float) -> list[str]:
    options = ["-m", "openai/m", "-o", "out.jsonl", "--base-url", sim.base_url, "--concurrency", "4"]
    return ["run", "in.jsonl", *options, "--price", "150,600", "--max-tokens", "30", "--budget", f"{budget}"]


@pytest.mark.parametrize("end", ["SIGKILL", "Ctrl-C twice"])
def test_the_bill_stays_below_it(
    folder: Path, simulate: Simulate, spawn: Spawn, callgate: Run, end: str
) -> None:
    arrivals = Arrivals()
    sim = simulate(answers=arrivals, latency=0.3, **PRICES)
    write_rows("in.jsonl", prompts(60))
    budget = ATTEMPT * 12
    codes: list[int] = []
    told = ""
    for number in range(ROUNDS):
        process = spawn(*command(sim, budget))
        # A few are answered, the next few are on the wire.
        while process.poll() is None and arrivals.count < (number + 1) * 5:
            try:
                process.wait(0.01)
            except subprocess.TimeoutExpired:
                continue
        if process.poll() is None:
            if end == "SIGKILL":
                process.kill()
            else:
                assert process.stderr is not None
                process.send_signal(signal.SIGINT)
                assert "Finishing" in process.stderr.readline()
                process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        codes.append(process.returncode)
        told += err
        assert sim.stats.bill <= min(budget, read_spent("out.jsonl")) + 1e-9
    assert codes[0] == (-9 if end == "SIGKILL" else 130)
    assert codes[-1] == 3  # there is no end to interrupting, but to the money
    assert ("The last run was killed: $" in told) is (end == "SIGKILL")
    assert "of it is on no line of the output" in told
    # Nothing but what may have been on the wire was counted beside the bill.
    assert read_spent("out.jsonl") <= sim.stats.bill + ROUNDS * 1.13 * 4 * ATTEMPT
    assert callgate(*command(sim, 50), "--concurrency", "32", "-q").code == 0
    assert {line["custom_id"] for line in read_lines("out.jsonl")} == {f"r{i}" for i in range(60)}
    assert sim.stats.bill <= read_spent("out.jsonl")


def test_a_run_that_ends_by_itself_leaves_nothing_open(
    folder: Path, simulate: Simulate, callgate: Run
) -> None:
    sim = simulate(**PRICES)
    write_rows("in.jsonl", prompts(10))
    assert callgate(*command(sim, 50), "-q").code == 0
    assert sorted(os.listdir()) == ["in.jsonl", "out.jsonl", "out.jsonl.runs.jsonl"]
    assert read_spent("out.jsonl") == pytest.approx(sim.stats.bill)


def test_failed_rows_stay_in_the_errors_file_until_they_are_tried_again(
    folder: Path, simulate: Simulate, callgate: Run
) -> None:
    down = True
    sim = simulate(answers=lambda _: 500 if down else None, **PRICES)
    write_rows("in.jsonl", prompts(12))
    options = ["--retries", "0", "-q"]
    assert callgate(*command(sim, 50), *options).code == 1

    def failed() -> list[str]:
        return sorted(line["custom_id"] for line in read_lines("out.jsonl.errors.jsonl"))

    assert failed() == sorted(f"r{i}" for i in range(12))
    assert callgate(*command(sim, 50), *options, "--limit", "5").code == 1
    assert failed() == sorted(f"r{i}" for i in range(12))
    down = False
    assert callgate(*command(sim, 50), *options, "--limit", "5").code == 0
    assert failed() == sorted(f"r{i}" for i in range(5, 12))
    assert callgate(*command(sim, 0.0001), *options).code == 3  # not one is called
    assert failed() == sorted(f"r{i}" for i in range(5, 12))
    assert callgate(*command(sim, 50), *options).code == 0
    assert not Path("out.jsonl.errors.jsonl").exists()
