"""What reaches the terminal, and standard streams that are closed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from callgate.cli.terminal import printable, write_json, write_line
from callgate.testing import Simulator
from tests.cli.conftest import CommandResult, prompts, read_lines, write_rows

Run = Callable[..., CommandResult]
Simulate = Callable[..., Simulator]

EVIL = "\x1b]0;title\x07 \x9b2J \x7f \u202e \u2066 \r"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, grüß 行 👩\u200d💻\ttab\nline", "plain, grüß 行 👩\u200d💻\ttab\nline"),
        ("\x1b[31mred", "\\u001b[31mred"),
        ("\x9b2J\r\x00", "\\u009b2J\\u000d\\u0000"),
        ("abc\u202edef\u2028", "abc\\u202edef\\u2028"),
        ("half \ud800 a letter", "half \\ud800 a letter"),
    ],
)
def test_control_characters_are_shown_as_escapes(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_json_on_a_terminal_keeps_its_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    write_json({"text": EVIL})
    written = capsys.readouterr().out
    assert printable(written) == written
    assert orjson.loads(written) == {"text": EVIL}


def test_lines_go_where_they_are_sent(capsys: pytest.CaptureFixture[str]) -> None:
    write_line("out")
    write_line("err", err=True)
    assert capsys.readouterr() == ("out\n", "err\n")


def test_texts_of_others_are_escaped_wherever_the_command_prints_them(
    folder: Path, simulate: Simulate, callgate: Run
) -> None:
    """A provider's error in the summary, the report and the JSON; an id, a model and a finish reason."""
    body = {"error": {"message": f"no {EVIL} such model", "code": EVIL}}
    sim = simulate(answers=lambda ask: (400, body) if "0 plus" in ask.text else None)
    write_rows("in.jsonl", [{**row, "custom_id": f"{EVIL}{row['custom_id']}"} for row in prompts(3)])
    target = ["-m", f"openai/{EVIL.strip()}", "--base-url", sim.base_url, "--cache", "cache"]
    printed = [callgate("run", "in.jsonl", "-o", "out.jsonl", *target)]
    printed.append(callgate("run", "in.jsonl", "-o", "out2.jsonl", *target, "--json"))
    printed.append(callgate("report", "out.jsonl"))
    printed.append(callgate("report", "out.jsonl", "--json"))
    printed.append(callgate("cache", "stats", "cache"))
    printed.append(callgate("cache", "explain", "in.jsonl", *target, "--line", "1"))
    printed.append(callgate("cache", "explain", "in.jsonl", *target, "--id", EVIL))
    printed.append(callgate("run", f"{EVIL}.jsonl", "-o", "out.jsonl", *target))
    printed.append(callgate("run", "in.jsonl", "-o", "out.jsonl", *target, f"--{EVIL}"))
    Path("bad.jsonl").write_text(f'{{"prompt": "{EVIL} \n')
    printed.append(callgate("run", "bad.jsonl", "-o", "out.jsonl", *target))
    Path("bad.csv").write_text(f"{EVIL},text\na,b\n")
    printed.append(callgate("run", "bad.csv", "-o", "out.jsonl", *target))
    printed.append(callgate("run", "bad.csv", "-o", "out.jsonl", *target, "--template", f"{{{EVIL}x}}"))
    assert any("u001b" in ended.out + ended.err for ended in printed)
    for ended in printed:
        text = ended.out + ended.err
        assert printable(text.replace("\r", "\\r")) == text


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_cost_no_row(folder: Path, simulate: Simulate, closed: str) -> None:
    sim = simulate()
    write_rows("in.jsonl", prompts(20))
    ended = shell(closed, "run", "in.jsonl", "-m", "openai/m", "-o", "out.jsonl", "--base-url", sim.base_url)
    assert ended.returncode == 0
    assert len(read_lines("out.jsonl")) == 20
    assert {line.keys() for line in read_lines("out.jsonl") if "text" not in line} == set()


@pytest.mark.parametrize(
    ("closed", "arguments"),
    [
        ("stdout", ["run", "in.jsonl", "-m", "openai/m", "-o", "-"]),
        ("stdin", ["run", "-", "-m", "openai/m", "-o", "out.jsonl"]),
        ("stdout", ["cache", "export", "cache"]),
    ],
)
def test_a_closed_stream_that_is_asked_for_is_an_error_before_any_call(
    folder: Path,
    simulate: Simulate,
    callgate: Run,
    monkeypatch: pytest.MonkeyPatch,
    closed: str,
    arguments: list[str],
) -> None:
    sim = simulate()
    write_rows("in.jsonl", prompts(2))
    target = ["-m", "openai/m", "--base-url", sim.base_url, "--cache", "cache"]
    assert callgate("run", "in.jsonl", "-o", "first.jsonl", *target).code == 0
    called = sim.stats.requests
    more = ["--base-url", sim.base_url] if arguments[0] == "run" else []
    with monkeypatch.context() as patch:
        patch.setattr(sys, closed, None)  # as Python starts where that stream is closed
        ended = callgate(*arguments, *more)
    assert ended.code == 2
    assert "closed" in ended.err
    assert sim.stats.requests == called


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["--version"], ["report", "none.jsonl"]]
)
def test_other_commands_run_without_standard_streams(
    folder: Path, callgate: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    for stream in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, stream, None)
    assert callgate(*arguments).code in (0, 2)


def test_an_output_file_never_gets_the_number_of_a_standard_stream(folder: Path, simulate: Simulate) -> None:
    """Otherwise the summary would be written into the answers."""
    write_rows("in.jsonl", prompts(3))
    arguments = ["run", "in.jsonl", "-m", "openai/m", "-o", "out.csv", "--base-url", simulate().base_url]
    assert shell(">&- 2>&-", *arguments).returncode == 0
    assert b"answered" not in Path("out.csv").read_bytes()
    assert len(read_lines("out.csv.journal.jsonl")) == 3


def test_a_reader_that_leaves_ends_an_export_quietly(folder: Path, simulate: Simulate, callgate: Run) -> None:
    write_rows("in.jsonl", prompts(1000))
    target = ["-m", "openai/m", "--base-url", simulate(quick=True).base_url, "--cache", "cache"]
    assert callgate("run", "in.jsonl", "-o", "out.jsonl", *target, "-q").code == 0
    command = f"{sys.executable} -m callgate cache export cache | head -n 1"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert ended.stderr == ""
    assert len(ended.stdout.splitlines()) == 1


def shell(redirection: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a shell that closes some of its streams."""
    return subprocess.run(
        ["bash", "-c", f'ulimit -c 0; "$@" {redirection}', "-", sys.executable, "-m", "callgate", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ,
    )
