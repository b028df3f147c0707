"""Common first mistakes: each error names the remedy."""

from __future__ import annotations

import gzip
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from callgate.testing import Simulator
from tests.cli.conftest import CommandResult, prompts, read_lines, write_rows

Run = Callable[..., CommandResult]
Simulate = Callable[..., Simulator]
Spawn = Callable[..., "subprocess.Popen[str]"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["-m", "gpt-4o-mini"],
            "'gpt-4o-mini' is a model without its provider; did you mean openai/gpt-4o-mini? (--model)",
        ),
        (
            ["-m", "opnai/m"],
            "unknown provider 'opnai'; did you mean openai?; for a server of your own, give --base-url",
        ),
        (
            ["-m", "openai/m", "-o", "x.xlsx"],
            "x.xlsx: .xlsx is not read or written; use .csv, .tsv, .parquet",
        ),
    ],
)
def test_a_mistaken_option_names_the_remedy(
    folder: Path, callgate: Run, arguments: list[str], says: str
) -> None:
    write_rows("in.jsonl", prompts(1))
    ended = callgate("run", "in.jsonl", "-o", "out.jsonl", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert says in ended.err
    assert len(ended.err) < 200


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (
            "list.jsonl",
            b'[{"prompt": "a"}]',
            "list.jsonl:1: is one JSON list, not one object a line; convert it",
        ),
        (
            "list.jsonl",
            b'[\n{"prompt": "a"}]',
            "list.jsonl:1: is one JSON list, not one object a line; convert",
        ),
        (
            "zipped.jsonl",
            gzip.compress(b"{}", mtime=0),
            "is gzip, but its name does not end so",
        ),
        ("table.jsonl", b"PAR1....", "is Parquet, but its name does not end so"),
        ("table.csv", b"prompt;id\na;1\n", "table.csv:1: the columns seem to be separated by semicolons"),
        ("table.csv", b"prompt\tid\na\t1\n", "table.csv:1: the columns seem to be separated by tabs"),
        ("table.xlsx", b"PK\x03\x04", "table.xlsx: .xlsx is not read or written"),
    ],
)
def test_a_mistaken_input_names_the_remedy(
    folder: Path, callgate: Run, name: str, content: bytes, says: str
) -> None:
    Path(name).write_bytes(content)
    ended = callgate("run", name, "-o", "out.jsonl", "-m", "openai/m")
    assert (ended.code, ended.out) == (2, "")
    assert says in ended.err


def test_compressed_standard_input_names_the_remedy(folder: Path, spawn: Spawn) -> None:
    Path("in.gz").write_bytes(gzip.compress(b'{"prompt": "a"}\n'))
    with open("in.gz") as stdin:
        process = spawn("run", "-", "-o", "out.jsonl", "-m", "openai/m", stdin=stdin)
        _, err = process.communicate(timeout=30)
    assert "standard input: is gzip, but its name does not end so" in err
    assert "UTF-8" not in err


def test_an_input_without_rows_is_reported(folder: Path, callgate: Run) -> None:
    Path("in.jsonl").write_text("\n")
    ended = callgate("run", "in.jsonl", "-o", "out.jsonl", "-m", "openai/m")
    assert ended.code == 0
    assert "callgate: there are no rows in in.jsonl\n" in ended.err


FULL = "callgate: standard output: cannot be written: No space left on device"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        ["run", "in.jsonl", "-o", "out.jsonl", "-m", "openai/gpt-4o-mini", "--json"],
        ["report", "out.jsonl"],
        ["report", "out.jsonl", "--html", "-"],
    ],
)
def test_a_full_standard_output_is_reported_in_one_line(
    folder: Path, simulate: Simulate, callgate: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", simulate().base_url)
    write_rows("in.jsonl", prompts(1))
    assert callgate("run", "in.jsonl", "-o", "out.jsonl", "-m", "openai/gpt-4o-mini").code == 0
    with open("/dev/full", "w") as full, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", full)
        ended = callgate(*arguments)
    assert ended.code == 2
    assert [line for line in ended.err.splitlines() if not line.startswith("Answers: ")] == [FULL]


def test_a_process_with_a_full_standard_output_ends_with_that_line_too(
    folder: Path, simulate: Simulate, spawn: Spawn
) -> None:
    """The interpreter writes what is left when it ends, and would report it a second time."""
    write_rows("in.jsonl", prompts(1))
    target = ("-m", "openai/gpt-4o-mini", "--base-url", simulate().base_url)
    with open("/dev/full", "w") as full:
        process = spawn("run", "in.jsonl", "-o", "out.jsonl", *target, stdout=full)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert [line for line in err.splitlines() if not line.startswith("Answers: ")] == [FULL]


def test_the_html_report_can_go_to_standard_output(folder: Path, simulate: Simulate, callgate: Run) -> None:
    write_rows("in.jsonl", prompts(1))
    target = ("-m", "openai/gpt-4o-mini", "--base-url", simulate().base_url)
    assert callgate("run", "in.jsonl", "-o", "out.jsonl", *target).code == 0
    page = callgate("report", "out.jsonl", "--html", "-")
    assert page.out.startswith("<!")
    assert page.out.rstrip().endswith("</html>")
    assert not Path("-").exists()
    assert callgate("report", "out.jsonl", "--html", "-", "--json").code == 2


def test_the_summary_has_no_trailing_blanks(folder: Path, simulate: Simulate, callgate: Run) -> None:
    write_rows("in.jsonl", prompts(1))
    target = ("-m", "openai/gpt-4o-mini", "--base-url", simulate().base_url)
    ended = callgate("run", "in.jsonl", "-o", "out.jsonl", *target, "--price", "0.00001,0.00001")
    lines = ended.out.splitlines()
    assert lines == [line.rstrip() for line in lines]
    assert "calls   1: 0 retries, 0 x 429" in lines
    assert "$0.0000" not in ended.out.replace("$0.00000", "")
    forecast = callgate("run", "in.jsonl", "-o", "o2.jsonl", *target, "--dry-run").out.splitlines()
    assert forecast == [line.rstrip() for line in forecast]


def test_hedges_are_counted_in_the_summary(folder: Path, simulate: Simulate, callgate: Run) -> None:
    sim = simulate(latency=0.01, faults={"slow": 0.05}, slow_seconds=1.5)
    write_rows("in.jsonl", prompts(300))
    target = ("-m", "openai/gpt-4o-mini", "--base-url", sim.base_url, "--hedge", "0.1")
    facts = orjson.loads(callgate("run", "in.jsonl", "-o", "out.jsonl", *target, "--json").out)
    assert facts["hedges"] == facts["calls"] - 300
    assert facts["hedges"] > 0


def test_a_lost_terminal_finishes_the_requests_in_flight(
    folder: Path, simulate: Simulate, spawn: Spawn
) -> None:
    begun = []
    sim = simulate(latency=0.5, answers=lambda ask: begun.append(ask))
    write_rows("in.jsonl", prompts(200))
    process = spawn(
        "run",
        "in.jsonl",
        "-o",
        "out.jsonl",
        "-m",
        "openai/m",
        "--base-url",
        sim.base_url,
        "--concurrency",
        "4",
    )
    assert process.stderr is not None
    while not begun:
        assert process.poll() is None
    process.send_signal(signal.SIGHUP)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "requests in flight and sending no more" in err
    assert len(read_lines("out.jsonl")) == len(begun) == sim.stats.requests


def test_a_port_out_of_range_is_refused(callgate: Run) -> None:
    ended = callgate("simulate", "--port", "80000", "--for", "0.1")
    assert ended.code == 2
    assert "--port" in ended.err
    assert "65535" in ended.err


def test_the_help_names_defaults_and_shows_examples(callgate: Run) -> None:
    text = " ".join(callgate("run", "--help").out.replace("│", " ").split())
    for default in ("(default: 3)", "(default: 300)", "(default: 120)"):
        assert default in text
    for example in ("--rpm", "--template", "--base-url", "azure/", "run - "):
        assert example in text.split("Examples", 1)[1].split("Arguments", 1)[0]
    for command in ("stats", "clear", "export", "explain"):
        assert "Example" in callgate("cache", command, "--help").out


def test_loading_the_embedded_model_is_announced(callgate: Run, folder: Path) -> None:
    write_rows("in.jsonl", prompts(1))
    command = ("run", "in.jsonl", "-m", "local/none.gguf", "-o", "out.jsonl")
    missing = f"callgate: there is no model file {folder / 'none.gguf'}\n"
    assert callgate(*command).err == f"callgate: loading the model\n{missing}"
    assert callgate(*command, "--quiet").err == missing
