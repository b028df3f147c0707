"""The programs in `examples/` run: each in this process, against a simulated provider."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

from callgate.cli import main
from callgate.testing import Answer, Ask, Simulator
from callgate.testing.simulator.answers import SimulatedToolCall

EXAMPLES = Path(__file__).parents[1] / "examples"
PRINTED = {
    "ask.py": r"\w.* Usage\(.*\) (stop|length)\n.+ has a radius of -?\d+ km\.\n.+\n",
    "classify.py": r"(?s).*0 +kettle +(posi|nega)tive .*\n.*5 rows, \$0\.0\d+\n",
    "rate_limited_function.py": r"completed ADA\ncompleted GRACE\ncompleted ALAN\n",
    "several_keys.py": r"Counter\(\{'OPENAI_API_KEY(_2)?': \d+, 'OPENAI_API_KEY(_2)?': \d+\}\)\n",
    "simulated_provider.py": r"\d+ requests for 10 answers: \{.*200: 10.*\}\n",
    "tools.py": r"count_in_stock -> 0\ncount_in_stock -> 3\nA kettle\.\n2 calls, \d+ tokens\n",
}
"""What each prints, as a pattern."""


def answer(ask: Ask) -> Answer | None:
    if not ask.tools:
        return None
    if ask.tool_results:
        return Answer("A kettle.")
    products = ("lamp", "kettle")
    return Answer(tool_calls=[SimulatedToolCall("count_in_stock", {"product": each}) for each in products])


@pytest.fixture
def simulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """A provider in the place of OpenAI, and an empty directory to work in."""
    monkeypatch.chdir(tmp_path)
    with Simulator(seed=1, answers=answer) as simulator:
        monkeypatch.setenv("OPENAI_BASE_URL", simulator.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
        monkeypatch.setenv("OPENAI_API_KEY_2", "sk-2")
        yield simulator


def test_every_example_is_run() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == PRINTED.keys()


@pytest.mark.parametrize("name", sorted(PRINTED))
def test_an_example_prints_what_it_is_for(
    name: str, simulator: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    printed = capsys.readouterr().out
    assert re.fullmatch(PRINTED[name], printed), printed


def test_the_classification_resumes_without_another_call(
    simulator: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        runpy.run_path(str(EXAMPLES / "classify.py"), run_name="__main__")
    assert simulator.stats.requests == 5


def test_the_job_translates_every_review(
    simulator: Simulator, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "examples").symlink_to(EXAMPLES)
    assert main(["run", "examples/job.toml"]) == 0
    assert len((tmp_path / "translated.csv").read_text().splitlines()) == 6
    assert "5 answered, 0 failed" in capfd.readouterr().out
