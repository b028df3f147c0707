"""Every Python block of the README and of the guides in `docs/` runs, and prints what the guide says.

A block of kind `text` right after a Python block is what that prints; `...` in it stands for anything. Only
the hosts are rewritten: https://api.example.com is a service on loopback, and the providers' base URLs are a
simulator. A block that cannot run says so above itself: `<!-- not run: why -->`.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import io
import re
import types
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from doctest import ELLIPSIS, OutputChecker
from pathlib import Path
from typing import Any

import pytest

from callgate.testing import Answer, Ask, Simulator
from tests.documents.example_service import ExampleService
from tests.documents.http_service import serve_in_thread

DOCS = Path(__file__).parents[2] / "docs"
_ANSWERS = {"It broke": "negative", "Works as": "positive", "Too loud": "negative"}
EXAMPLE = "https://api.example.com"
_FENCE = re.compile(
    r"(?P<skip><!-- not run: [^>]+ -->\n+)?"
    r"^```python\n(?P<code>.*?)^```\n"
    r"(?:\n*^```text\n(?P<printed>.*?)^```)?",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Snippet:
    """A block to run, the line it begins at, and what it is said to print (None: not said)."""

    line: int
    code: str
    printed: str | None


def snippets(guide: Path) -> list[Snippet]:
    text = guide.read_text(encoding="utf-8")
    blocks = list(_FENCE.finditer(text))
    assert len(blocks) == text.count("```python"), f"{guide.name} has a Python block that is not read here"
    return [
        Snippet(text.count("\n", 0, found.start("code")) + 1, found["code"], found["printed"])
        for found in blocks
        if not found["skip"]
    ]


GUIDES = [guide for guide in (DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))) if snippets(guide)]


def _scripted(ask: Ask) -> Answer | None:
    """What a model answers to the rows of the first guide; None: an answer made from the seed."""
    for row, answer in _ANSWERS.items():
        if row in ask.text and "one word" in ask.text:
            return Answer(answer)
    return None


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """An empty directory, a provider, and the example service, whose URL it gives."""
    monkeypatch.chdir(tmp_path)
    with Simulator(seed=1, answers=_scripted) as simulator, serve_in_thread(ExampleService()) as service:
        for provider, url in (("OPENAI", simulator.base_url), ("ANTHROPIC", simulator.url)):
            monkeypatch.setenv(f"{provider}_BASE_URL", url)
            monkeypatch.setenv(f"{provider}_API_KEY", "sk-example")
        yield service.url


def run_snippet(runner: asyncio.Runner, code: str, where: str, namespace: dict[str, Any]) -> str:
    """Run it, with `await` at its top level permitted, and give what it prints."""
    compiled = compile(code, where, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    printed = io.StringIO()
    with redirect_stdout(printed):
        if compiled.co_flags & inspect.CO_COROUTINE:
            runner.run(types.FunctionType(compiled, namespace)())
        else:
            exec(compiled, namespace)
    return printed.getvalue()


def test_there_is_a_guide_to_run() -> None:
    assert "client.md" in {guide.name for guide in GUIDES}


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_a_guide_runs_and_prints_its_output(guide: Path, services: str) -> None:
    namespace: dict[str, Any] = {"__name__": "guide"}
    with asyncio.Runner() as runner:
        for snippet in snippets(guide):
            where = f"{guide.name}:{snippet.line}"
            # Empty lines in front, so that a traceback names the line of the guide.
            code = "\n" * (snippet.line - 1) + snippet.code.replace(EXAMPLE, services)
            printed = run_snippet(runner, code, str(guide), namespace)
            if snippet.printed is not None:
                expected = snippet.printed.replace(EXAMPLE, services)
                assert OutputChecker().check_output(expected, printed, ELLIPSIS), (
                    f"{where} is said to print\n{expected}\nand prints\n{printed}"
                )
