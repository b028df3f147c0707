"""What is shown while a batch runs and when it has ended."""

from __future__ import annotations

import asyncio
import io
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from callgate.batch.progress import Progress
from callgate.batch.run import Summary
from callgate.batch.stats import ErrorGroup, Stats
from callgate.cli.format import rate_of
from callgate.cli.live import open_display, plain_line, render
from callgate.cli.summary import print_summary
from callgate.policies.limit.quota import Quota
from callgate.policies.limit.snapshot import LimiterSnapshot, RateSnapshot
from callgate.testing import Simulator
from tests.cli.conftest import prompts, write_rows


def progress(**facts: Any) -> Progress:
    requests = RateSnapshot(Quota(600), False, 10.0, 590.0)
    usual: dict[str, Any] = {
        "total": 5000,
        "skipped": 100,
        "stats": Stats(done=900, failed=3, cached=20, calls=950, retries=47, rate_limited=5, cost=0.5),
        "seconds": 75.0,
        "rows_per_second": 9.8,
        "requests_per_minute": 588.0,
        "tokens_per_minute": 45_300.0,
        "limiter": LimiterSnapshot("", 6, 12, 64, 0.0, "requests", requests, None),
        "in_flight": 18,
        "waiting_for": "requests per minute",
        "eta": 408.0,
        "projected_cost": 2.77,
        "budget": 5.0,
        "longest": [("r17", 42.0), ("line 9", 11.0), ("r3", 1.0)],
    }
    return Progress(**{**usual, **facts})


def shown(state: Progress, doing: str = "") -> str:
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    console.print(render(state, doing))
    assert isinstance(console.file, io.StringIO)
    return " ".join(console.file.getvalue().split())


@pytest.mark.parametrize(
    ("quota", "used", "text"),
    [
        (Quota(10, 1.0), 8.0, "8 of 10/s"),
        (Quota(90_000), 45_250.0, "45.2k of 90.0k/min"),
        (Quota(5_000, 86_400.0), 12.0, "12 of 5,000/day"),
        (Quota(40, 10.0), 7.0, "7 of 40/10 s"),
        (Quota(0.5, 1.0), 1.0, "1 of 1/2 s"),
    ],
)
def test_what_a_limits_window_holds(quota: Quota, used: float, text: str) -> None:
    assert rate_of(1_000_000.0, RateSnapshot(quota, False, 0.0, used)) == text


def test_what_is_done_when_the_calls_have_ended() -> None:
    for text in (plain_line(progress(), "writing out.csv"), shown(progress(), "writing out.csv")):
        assert "writing out.csv" in text
        assert "waiting for" not in text


@pytest.mark.parametrize("show", [plain_line, shown])
def test_everything_there_is_to_know(show: Callable[[Progress], str]) -> None:
    text = show(progress())
    for figure in (
        "1,003/5,000",
        "9.8 rows/s",
        "590 of 600/min",
        "45.3k/min",
        "in flight 12",
        "queued 6",
        "retries 47",
        "429s 5",
        "cached 20",
        "failed 3",
        "$0.50 of about $2.77, at most $5.00",
        "6m48s",
        "waiting for: requests per minute",
        "waited for longest: r17 (42s), line 9 (11s)",
    ):
        assert figure in text


@pytest.mark.parametrize("show", [plain_line, shown])
def test_what_is_not_known_is_not_invented(show: Callable[[Progress], str]) -> None:
    stats = Stats(done=5, unpriced=5)
    text = show(progress(total=None, stats=stats, eta=None, projected_cost=None, budget=None))
    assert "105/?" in text
    assert "cost unknown" in text
    assert "left ?" in text
    assert "waited for" not in shown(progress(longest=[("r3", 1.0)]))


def test_it_fits_a_terminal() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    console.print(render(progress()))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 6
    assert max(map(len, lines)) <= 80


class Batch:
    """A batch that does not move."""

    def progress(self) -> Progress:
        return progress()


def test_a_plain_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("callgate.cli.live._PLAIN_SECONDS", 0.02)
    monkeypatch.setattr("callgate.cli.live._LIVE_SECONDS", 0.005)

    async def main(quiet: bool) -> None:
        with open_display(Batch(), quiet=quiet) as display:  # type: ignore[arg-type]
            await asyncio.sleep(0.2)
            display.say("hello")

    asyncio.run(main(quiet=False))
    lines = capsys.readouterr().err.splitlines()
    assert 2 <= len(lines) <= 12
    assert all("1,003/5,000 rows" in line for line in lines[:-1])
    assert lines[-1] == "hello"
    asyncio.run(main(quiet=True))
    assert capsys.readouterr().err == "hello\n"


def test_on_a_terminal_it_is_drawn_in_place(folder: Path) -> None:
    """The real command on a pseudo-terminal: the display is drawn, redrawn, and gone at the end."""
    write_rows("in.jsonl", prompts(60))
    ours, theirs = pty.openpty()
    with Simulator(latency=0.05) as sim:
        command = [sys.executable, "-m", "callgate", "run", "in.jsonl", "-m", "openai/gpt-4o-mini"]
        command += ["-o", "out.jsonl", "--base-url", sim.base_url, "--concurrency", "2"]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
        )
        os.close(theirs)
        drawn = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:
                break
            drawn += piece
        assert process.stdout is not None
        out = process.stdout.read().decode()
        process.stdout.close()
        assert process.wait() == 0
    os.close(ours)
    text = drawn.decode()
    assert "waiting for" in text
    assert text.count("rows/s") >= 3
    assert "concurrency" in text or "provider" in text
    assert "60 answered, 0 failed" in out


def test_the_summary_says_what_is_not_known_and_groups_failures(capsys: pytest.CaptureFixture[str]) -> None:
    stats = Stats(done=5, failed=700, unpriced=5)
    for number in range(7):
        stats.errors[str(number)] = ErrorGroup("ServerError", 100, f"boom {number}", 3, number % 2 == 0)
    print_summary(Summary("failures", None, progress(stats=stats), 0), "out.jsonl")
    text = capsys.readouterr().out
    assert "unknown: the price of this model is not known" in text
    assert text.count("100 x boom") == 5
    assert "and 2 other kinds of errors" in text
    assert "worth another try" in text
    assert "will fail again unless something is changed" in text


def test_the_summary_names_the_answers_without_a_price(capsys: pytest.CaptureFixture[str]) -> None:
    stats = Stats(done=5, unpriced=2, cost=1.5)
    print_summary(Summary("done", None, progress(stats=stats), 0), "-")
    assert "$1.50 without 2 answers whose price is not known" in capsys.readouterr().err
