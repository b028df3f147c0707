"""Wrong usage and bad input: one clear line, exit code 2, and nothing called or touched."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from callgate.testing import Simulator
from tests.cli.conftest import CommandResult, prompts, write_rows

Run = Callable[..., CommandResult]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run"], "INPUT"),
        (["run", "in.jsonl", "-o", "o"], "--model"),
        (["run", "in.jsonl", "-m", "openai/m"], "--output"),
        (
            ["run", "in.jsonl", "-m", "openai/m", "-o", "o", "--rpm", "0"],
            "rpm must be above 0, got 0 (--rpm)",
        ),
        (
            ["run", "in.jsonl", "-m", "openai/m", "-o", "o", "--tpm", "inf"],
            "tpm must be above 0, got inf (--tpm)",
        ),
        (
            ["run", "in.jsonl", "-m", "openai/m", "-o", "o", "--timeout", "nan"],
            "timeout must be above 0, got nan",
        ),
        (["run", "in.jsonl", "-m", "openai/m", "-o", "o", "--concurrency", "0"], "--concurrency"),
        (["run", "in.jsonl", "-m", "openai/m", "-o", "o", "--temperature", "nan"], "--temperature"),
        (
            ["run", "in.jsonl", "-m", "openai/m", "-o", "o", "--param", "x"],
            "parameters takes NAME=VALUE, got 'x' (--param)",
        ),
        (["run", "in.jsonl", "-m", "/m", "-o", "o"], "model '/m' names no provider; write PROVIDER/MODEL"),
        (["run", "in.jsonl", "-m", "opnai/m", "-o", "o"], "openai"),
        (["run", "in.jsonl", "-m", "openai/m", "-o", "-", "--json"], "both write to standard output"),
        (["run", "in.jsonl", "-m", "openai/m", "-o", "in.jsonl"], "are the same file"),
        (["run", "none.jsonl", "-m", "openai/m", "-o", "o"], "none.jsonl: there is no such file"),
        (["run", ".", "-m", "openai/m", "-o", "o"], ".: is a directory"),
        (["run", "in.jsonl", "-m", "openai/m", "-o", "."], ".: is a directory"),
        (["run", "in.jsonl", "-m", "openai/m", "-o", "no/o.jsonl"], "there is no folder no"),
        (["run", "in.jsonl", "-m", "openai/m", "-o", "notes.txt"], "notes.txt:1: is no output of callgate"),
        (["run", "bad.jsonl", "-m", "openai/m", "-o", "o"], "bad.jsonl:2: is no JSON"),
        (["run", "other.jsonl", "-m", "openai/m", "-o", "o"], "other.jsonl:1: the row has no prompt"),
        (
            ["run", "other.jsonl", "-m", "openai/m", "-o", "o", "--template", "{txt}"],
            "other.jsonl:1: the template wants {txt}, which the row does not have (it has text); did",
        ),
        (
            ["run", "in.jsonl", "-m", "openai/m", "-o", "o", "--template", "{text"],
            "the template has a { without a }",
        ),
        (
            ["run", "in.jsonl", "-m", "openai/m", "-o", "o", "--schema", "none.json"],
            "none.json: there is no such file",
        ),
        (
            ["run", "in.jsonl", "-m", "openai/m", "-o", "o", "--schema", "notes.txt"],
            "notes.txt: is no JSON",
        ),
        (
            ["run", "in.jsonl", "-m", "openai/m", "-o", "o", "--schema", "list.json"],
            "list.json: this is no JSON schema",
        ),
        (["run", "table.csv", "-m", "openai/m", "-o", "o"], "table.csv:1: the row has no prompt"),
        (["runn"], "runn"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_two(
    folder: Path, callgate: Run, arguments: list[str], says: str
) -> None:
    write_rows("in.jsonl", prompts(3))
    write_rows("other.jsonl", [{"text": "Hund"}])
    Path("bad.jsonl").write_text('{"prompt": "a"}\nnot json\n')
    Path("table.csv").write_text("a,b\n1,2\n")
    Path("notes.txt").write_text("notes\n")
    Path("list.json").write_text("[]")
    before = sorted(folder.iterdir())
    ended = callgate(*arguments)
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err.startswith("callgate: ")
    assert ended.err.count("\n") == 1
    assert says in ended.err
    assert sorted(folder.iterdir()) == before
    assert Path("notes.txt").read_text() == "notes\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "in.jsonl", "sk-canary-5f2e91ab", "-m", "openai/m", "-o", "o"],
        ["run", "in.jsonl", "-m", "openai/m", "-o", "o", "--api-key-env", "sk-canary-5f2e91ab"],
        ["run", "in.jsonl", "-m", "openai/m", "-o", "o", "--rpm", "sk-canary-5f2e91ab"],
        ["sk-canary-5f2e91ab"],
    ],
)
def test_a_key_in_a_wrong_place_is_not_shown(folder: Path, callgate: Run, arguments: list[str]) -> None:
    write_rows("in.jsonl", prompts(1))
    ended = callgate(*arguments)
    assert ended.code == 2
    assert "5f2e91" not in ended.out + ended.err


def test_a_password_of_a_proxy_is_not_in_the_command_to_resume(
    folder: Path, callgate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows("in.jsonl", prompts(1))
    arguments = [
        "run",
        "in.jsonl",
        "-m",
        "openai/m",
        "-o",
        "o",
        "--proxy",
        "http://me:canary@127.0.0.1:9",
        "--retries=0",
    ]
    monkeypatch.setattr("sys.argv", ["callgate", *arguments])
    ended = callgate(*arguments)
    assert ended.code == 1
    assert "through the proxy 127.0.0.1:9" in ended.out
    assert "--proxy http://...@127.0.0.1:9" in ended.err
    assert "canary" not in ended.out + ended.err


def test_a_missing_key_is_named_before_anything_is_called(
    folder: Path, callgate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    write_rows("in.jsonl", prompts(3))
    ended = callgate("run", "in.jsonl", "-m", "openai/m", "-o", "o")
    assert ended.code == 2
    assert "OPENAI_API_KEY" in ended.err
    assert not Path("o").exists()


def test_bad_input_leaves_an_earlier_output_as_it_is(folder: Path, callgate: Run) -> None:
    write_rows("in.jsonl", prompts(3))
    with Simulator(answers=[422]) as sim:
        arguments = ["-m", "openai/m", "-o", "o.jsonl", "--base-url", sim.base_url]
        assert callgate("run", "in.jsonl", *arguments).code == 1
        before = (Path("o.jsonl").read_bytes(), Path("o.jsonl.errors.jsonl").read_bytes())
        Path("in.jsonl").write_text("bad\n")
        assert callgate("run", "in.jsonl", *arguments, "--overwrite").code == 2
    assert before == (Path("o.jsonl").read_bytes(), Path("o.jsonl.errors.jsonl").read_bytes())


def test_help_names_the_commands_and_loads_little(callgate: Run) -> None:
    ended = callgate("--help")
    assert ended.code == 0
    assert "run" in ended.out
    assert "simulate" in ended.out
    assert "--template" in callgate("run", "--help").out
    assert callgate("--version").out.startswith("callgate 0.")
    heavy = "import sys, callgate.cli; print({'callgate.model.model', 'rich.live'} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "set()"


def test_the_module_is_the_command() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "callgate", "runn"], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("callgate: ")
