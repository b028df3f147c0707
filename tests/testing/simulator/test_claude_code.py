"""The real Claude Code command against the simulator: answers, tools and errors."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from callgate.testing import Answer, SimulatedToolCall, Simulator

ROOT = Path(__file__).parents[2]


def command() -> str:
    """Where `npm install @anthropic-ai/claude-code` has put it: on the path, or in the project's folder."""
    found = os.environ.get("CALLGATE_CLAUDE") or shutil.which("claude")
    found = found or shutil.which("claude", path=str(ROOT / "node_modules" / ".bin"))
    if found is None:
        pytest.skip("the command is not installed: npm install --no-save @anthropic-ai/claude-code")
    return found


def claude(sim: Simulator, home: Path, prompt: str, *arguments: str) -> list[dict]:
    environment = {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "ANTHROPIC_BASE_URL": sim.url,
        "ANTHROPIC_API_KEY": "dummy",
        "CLAUDE_CODE_MAX_RETRIES": "0",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }
    line = [
        command(),
        "-p",
        "--output-format",
        "stream-json",
        "--verbose",
        "--model",
        "sim-small",
        *arguments,
    ]
    done = subprocess.run(
        line, input=prompt, env=environment, cwd=home, capture_output=True, text=True, timeout=60
    )
    return [json.loads(text) for text in done.stdout.splitlines()]


def test_the_command_runs_a_tool_and_sends_its_result(tmp_path):
    def say(ask):
        if ask.tool_results:
            return f"The tool said: {ask.tool_results[0]}"
        call = SimulatedToolCall("Bash", {"command": "echo $((6 * 7))", "description": "Multiply"})
        return Answer(tool_calls=[call])

    with Simulator(answers=say) as sim:
        said = claude(sim, tmp_path, "Multiply", "--allowedTools", "Bash")
    # How many lines of its own ("system") it writes differs between versions.
    assert said[0]["type"] == "system"
    kinds = [event["type"] for event in said if event["type"] != "system"]
    assert kinds == ["assistant", "user", "assistant", "result"]
    assert said[-1]["result"] == "The tool said: 42"
    assert said[-1]["is_error"] is False
    assert sim.stats.answered == 2


def test_the_command_reports_errors(tmp_path):
    with Simulator(keys=["another"]) as sim:
        said = claude(sim, tmp_path, "Say hello")
    assert said[-1]["is_error"] is True
    assert said[-1]["api_error_status"] == 401
