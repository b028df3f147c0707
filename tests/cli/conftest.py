"""The command line, run in this process or in one of its own, against a simulated provider."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from callgate.cli import main
from callgate.testing import Simulator

KEY = "sk-canary-7c1f"


@dataclass
class CommandResult:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, with a key in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("CALLGATE_CACHE", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    return tmp_path


@pytest.fixture
def simulate() -> Iterator[Callable[..., Simulator]]:
    """Starts simulated providers that end with the test."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(Simulator(**options))


@pytest.fixture
def callgate(capfd: pytest.CaptureFixture[str]) -> Callable[..., CommandResult]:
    """Runs the command line in this process."""

    def run(*arguments: str) -> CommandResult:
        capfd.readouterr()
        code = main(arguments)
        captured = capfd.readouterr()
        return CommandResult(code, captured.out, captured.err)

    return run


@pytest.fixture
def spawn() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the command in a process of its own; those still alive at the end are killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **options: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "callgate", *arguments],
            stdout=options.pop("stdout", subprocess.PIPE),
            stderr=subprocess.PIPE,
            text=True,
            # A run under nohup passes an ignored SIGHUP on, which would take from these tests what they test.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
            env={**os.environ, "PYTHONWARNINGS": "error::ResourceWarning"},
            **options,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def write_rows(path: str | Path, records: list[Any]) -> str:
    Path(path).write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))
    return str(path)


def read_lines(path: str | Path) -> list[Any]:
    return [orjson.loads(line) for line in Path(path).read_bytes().splitlines()]


def prompts(count: int, start: int = 0) -> list[Any]:
    return [{"custom_id": f"r{i}", "prompt": f"What is {i} plus {i}?"} for i in range(start, start + count)]
