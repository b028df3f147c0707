"""Options from `callgate.toml`, job files, the environment and env files."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callgate.batch.options import RunOptions, specifications
from callgate.cli.config import key_of, read_options
from callgate.cli.run import run as run_command
from callgate.testing import Simulator
from tests.cli.conftest import CommandResult, prompts, read_lines, write_rows

Run = Callable[..., CommandResult]

JOB = """
input = "in.jsonl"
output = "out.jsonl"
model = ["openai/a"]
max-tokens = 7
temperature = 0.5
param = {top_p = 0.9, user = "5"}
price = "1,2"
cache = "answers"
cache_ttl = "90m"
quiet = true
"""


@pytest.fixture
def given(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[RunOptions]:
    """The options of each run, which does nothing else."""
    options: list[RunOptions] = []

    def note(given: RunOptions) -> int:
        options.append(given)
        return 0

    monkeypatch.setattr("callgate.cli.batch.run_batch", note)
    return options


def test_a_job_file_holds_the_options_of_a_run(callgate: Run, given: list[RunOptions]) -> None:
    Path("job.toml").write_text(JOB)
    assert callgate("run", "job.toml") == CommandResult(0, "", "")
    assert given == [
        RunOptions(
            input="in.jsonl",
            output="out.jsonl",
            model=("openai/a",),
            max_tokens=7,
            temperature=0.5,
            parameters={"top_p": 0.9, "user": "5"},
            prices={"input": 1.0, "output": 2.0},
            cache="answers",
            cache_ttl=5400.0,
            quiet=True,
        )
    ]


def test_the_command_line_wins_over_the_environment_and_that_over_files(
    callgate: Run, given: list[RunOptions], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("callgate.toml").write_text(
        'model = "openai/a"\noutput = "o"\nrpm = 1\ntpm = 1\nretries = 1\nlimit = 1'
    )
    Path("job.toml").write_text('input = "in.jsonl"\nrpm = 2\ntpm = 2\nretries = 2')
    monkeypatch.setenv("CALLGATE_RPM", "3")
    monkeypatch.setenv("CALLGATE_TPM", "3")
    noted = CommandResult(0, "", "callgate: options from callgate.toml\n")
    assert callgate("run", "job.toml", "--rpm", "4") == noted
    assert callgate("run", "in.jsonl", "--quiet") == CommandResult(0, "", "")
    first, second = given
    assert (first.rpm, first.tpm, first.retries, first.limit) == (4, 3, 2, 1)
    assert (second.rpm, second.retries, second.model) == (3, 1, ("openai/a",))


def test_a_job_runs_and_resumes(
    callgate: Run, folder: Path, simulate: Callable[..., Simulator], monkeypatch: pytest.MonkeyPatch
) -> None:
    sim = simulate()
    monkeypatch.setenv("CALLGATE_BASE_URL", sim.base_url)
    write_rows("in.jsonl", prompts(3))
    Path("job.toml").write_text('input = "in.jsonl"\nmodel = "openai/m"\noutput = "out.jsonl"')
    assert callgate("run", "job.toml").code == callgate("run", "job.toml").code == 0
    assert len(read_lines("out.jsonl")) == sim.stats.requests == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_token = 5", "job.toml: has no option max_token; did you mean max_tokens?"),
        ("x = 5", "job.toml: has no option x; callgate run --help lists them"),
        ('model = "openai/m"', 'job.toml: names no rows; add a line such as input = "rows.csv"'),
        ("x = = 5", "job.toml: is no TOML file: "),
        ('input = "in.jsonl"\nmodel = "openai/m"', "Missing option '-o' / '--output'"),
        ('input = "in.jsonl"\nmodel = "openai/m"\noutput = "o"\nrpm = 0', "rpm must be above 0"),
        ('input = "in.jsonl"\nmodel = "openai/m"\noutput = "o"\nrpm = "fast"', "Invalid value for '--rpm'"),
    ],
)
def test_a_job_that_cannot_be_used_is_refused(
    callgate: Run, given: list[RunOptions], text: str, message: str
) -> None:
    Path("job.toml").write_text(text)
    ended = callgate("run", "job.toml")
    assert ended.code == 2
    assert message in ended.err
    assert given == []


def test_a_file_that_is_not_there_is_named(callgate: Run, folder: Path) -> None:
    assert callgate("run", "none.toml").err == "callgate: none.toml: there is no such file\n"
    ended = callgate("run", "in.jsonl", "-m", "openai/m", "-o", "o", "--env-file", "none.env")
    assert ended.err == "callgate: none.env: cannot be read: No such file or directory\n"


def test_a_wrong_value_is_refused_with_the_place_it_comes_from(
    callgate: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("job.toml").write_text('input = "in.jsonl"\nmodel = "openai/m"\noutput = "o"\nmax_tokens = "five"')
    ended = callgate("run", "job.toml")
    assert "'--max-tokens'" in ended.err
    assert ended.err.endswith(" (in the job file or callgate.toml)\n")
    monkeypatch.setenv("CALLGATE_RPM", "fast")
    ended = callgate("run", "in.jsonl", "-m", "openai/m", "-o", "o")
    assert ended.err.endswith(" (CALLGATE_RPM in the environment)\n")
    ended = callgate("run", "in.jsonl", "-m", "openai/m", "-o", "o", "--rpm", "slow")
    assert not ended.err.endswith(")\n")


def test_a_line_of_an_env_file_that_sets_nothing_is_refused_without_its_text(
    callgate: Run, folder: Path
) -> None:
    Path(".env").write_text("# keys\nOPENAI_API_KEY sk-example\n")
    ended = callgate("run", "in.jsonl", "-m", "openai/m", "-o", "o", "--env-file", ".env")
    assert (ended.code, ended.err) == (2, "callgate: .env:2: is no NAME=VALUE line\n")


def test_every_option_can_be_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "all.toml"
    path.write_text("\n".join(f"{key_of(name)} = 1" for name in specifications()))
    assert read_options(str(path)).keys() == specifications().keys()


def test_an_env_file_sets_what_is_not_set(
    callgate: Run, given: list[RunOptions], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: dict[str, Any] = {}
    monkeypatch.setattr("callgate.cli.batch.run_batch", lambda options: found.update(os.environ) or 0)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.setenv("GROQ_API_KEY", "mine")
    Path(".env").write_text('# keys\nexport MISTRAL_API_KEY="from a file"\nGROQ_API_KEY=other\n')
    assert callgate("run", "in.jsonl", "-m", "openai/m", "-o", "o", "--env-file", ".env").code == 0
    assert (found["MISTRAL_API_KEY"], found["GROQ_API_KEY"]) == ("from a file", "mine")


def test_the_examples_of_the_help_can_be_pasted_at_80_columns(
    callgate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = [line.strip() for line in callgate("run", "--help").out.splitlines()]
    examples = [
        line.strip()
        for line in inspect.getdoc(run_command).splitlines()
        if line.startswith("    ")  # type: ignore[union-attr]
    ]
    assert len(examples) == 5
    assert set(examples) <= set(shown)


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("callgate run --max", ["--max-tokens", "--max-retry-after", "--max-failures"]),
        ("callgate run -m gro", ["groq/"]),
        ("callgate run -m openai/gpt-4o-mini-r", ["openai/gpt-4o-mini-realtime-preview"]),
        ("callgate models mis", ["mistral"]),
    ],
)
def test_a_shell_completes_options_and_models(
    words: str,
    completed: list[str],
    callgate: Run,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("_CALLGATE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    with pytest.raises(SystemExit, match="0"):
        callgate()
    assert capfd.readouterr().out.split() == completed
