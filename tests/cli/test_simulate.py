"""`callgate simulate`: options, summary and counts."""

from __future__ import annotations

import dataclasses
import inspect
import signal
import subprocess
import sys
import urllib.request
from typing import get_args, get_type_hints

import orjson
import pytest
import typer
from typer.testing import CliRunner

from callgate.cli.simulate import simulate
from callgate.testing.simulator import Options

COMMAND = [
    sys.executable,
    "-c",
    "import typer; from callgate.cli.simulate import simulate; typer.run(simulate)",
]


@pytest.fixture
def run():
    app = typer.Typer()
    app.command()(simulate)
    return lambda *arguments: CliRunner().invoke(app, arguments)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_a_summary_and_the_counts(number, tmp_path):
    stats = tmp_path / "stats.json"
    arguments = ["--port", "0", "--rpm", "600", "--stats-file", str(stats)]
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        url = process.stdout.readline().strip()
        body = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "Hello"}]})
        with urllib.request.urlopen(url + "/chat/completions", body) as answer:
            assert answer.headers["x-ratelimit-limit-requests"] == "600"
        process.send_signal(number)
        _, said = process.communicate()
    assert process.returncode == 0
    assert "1 requests, 1 accepted" in said
    assert orjson.loads(stats.read_bytes())["accepted"] == 1


def test_the_command_ends_after_the_given_time(run):
    result = run("--port", "0", "--for", "0.01", "--quiet")
    assert result.exit_code == 0
    assert result.stdout.startswith("http://127.0.0.1:")
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fault", "50=0.1"], "did you mean"),
        (["--fault", "500"], "NAME=VALUE"),
        (["--fault", "500=often"], "has to be a number"),
        (["--window", "slide"], "sliding"),
        (["--rpm", "-3"], "must be above 0"),
        (["--google-account", "me=/no/such/file"], "No such file"),
    ],
)
def test_an_invalid_option_is_one_clear_error(run, arguments, said):
    result = run("--port", "0", "--for", "0.01", *arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("│", " ").split())


def test_every_option_of_the_simulator_is_one_of_the_command():
    options = {field.name for field in dataclasses.fields(Options)}
    renamed = {"answers": "answer", "faults": "fault", "keys": "key", "models": "model"}
    renamed |= {"aws_secrets": "aws_secret", "google_accounts": "google_account"}
    parameters = inspect.signature(simulate).parameters
    assert {renamed.get(name, name) for name in options} <= set(parameters)
    for name in options - set(renamed) - {"headers", "keys", "models"}:
        default = Options.__dataclass_fields__[name].default
        assert parameters[name].default == default, f"{name} has two defaults"


def test_every_option_that_takes_a_value_has_an_example_in_its_help():
    for name, hint in get_type_hints(simulate, include_extras=True).items():
        if name != "return" and get_args(hint)[0] is not bool:
            assert " --" in get_args(hint)[1].help, f"{name} has no example"
