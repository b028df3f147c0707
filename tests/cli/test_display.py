"""The display of `callgate run` on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

from callgate.testing import Simulator
from tests.cli.conftest import prompts, write_rows


def test_the_command_draws_in_place_on_a_terminal(folder: Path) -> None:
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
