"""The code blocks of the documents, taken from the documents themselves.

The four seed documents lie in `seeds/`, as they were given. A test takes a block out, rewrites nothing but
its import lines and its hosts, and runs it. A block that cannot be valid as it stands (a name nobody defines,
a block broken off) is completed by its test in the smallest way, and the test says why::

    block = read_blocks(NETWORK_EXECUTOR)[1]
    run(block, {"https://api.example.com": service.url})
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import io
import re
import textwrap
import types
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

__all__ = [
    "NETWORK_CLIENT",
    "NETWORK_EXECUTOR",
    "REQUESTS_ENGINE",
    "SERVICES",
    "Block",
    "complete",
    "read_blocks",
    "run",
]

_SEEDS = Path(__file__).parent / "seeds"
NETWORK_EXECUTOR = _SEEDS / "000_810a7bce48d5eef9.txt"
NETWORK_CLIENT = _SEEDS / "001_7b83806131a5fd0a.txt"
SERVICES = _SEEDS / "002_774219553f35f2f0.txt"
REQUESTS_ENGINE = _SEEDS / "003_594c9b64d66a94e1.txt"

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[\w-]*) *$")
_HEADING = re.compile(r"^#{1,6} +(?P<title>.+?) *$")
_PACKAGES = ("lionfuncs", "lionpride", "requests_engine")
_FROM = re.compile(rf"^(?P<indent>\s*)from (?:{'|'.join(_PACKAGES)})(?:\.\w+)* import ", re.MULTILINE)
_IMPORT = re.compile(r"^(?P<indent>\s*)import (?P<name>requests_engine)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: its number in the document, the line of its first line of code, the heading above."""

    document: Path
    number: int
    line: int
    heading: str
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.document.name[:3]}-{self.number}-{re.sub(r'[^a-z0-9]+', '-', self.heading.lower())}"


def read_blocks(document: Path, language: str = "python") -> list[Block]:
    """Every fenced block of `language` in the document, in its order."""
    found: list[Block] = []
    heading, opening, first = "", None, 0
    lines: list[str] = []
    for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if opening is None and fence:
            opening, first, lines = fence, number + 1, []
        elif opening is None:
            title = _HEADING.match(line)
            heading = title["title"] if title else heading
        elif fence and not fence["language"]:
            code = textwrap.dedent("\n".join(lines)) + "\n"
            if opening["language"] == language:
                found.append(Block(document, len(found) + 1, first, heading, language, code))
            opening = None
        else:
            lines.append(line)
    return found


def complete(block: Block, old: str, new: str, *, reason: str) -> Block:
    """The block with one place completed, because as it stands it cannot run.

    Args:
        block: The block as the document has it.
        old: The place, exactly once in the block. Empty: `new` goes on top.
        new: What stands there instead.
        reason: Why the document's own text cannot run; for the reader of the test.
    """
    assert reason
    if not old:
        return replace(block, code=new + block.code)
    assert block.code.count(old) == 1, f"{block}: {old!r} is there {block.code.count(old)} times, not once"
    return replace(block, code=block.code.replace(old, new))


def run(block: Block, hosts: Mapping[str, str] | None = None, **names: Any) -> tuple[dict[str, Any], str]:
    """Run a block as a script of its own.

    `await` at the top level is run with `asyncio.run`, as a notebook would.

    Args:
        block: What to run.
        hosts: Host in the document -> host to use instead; each must occur.
        names: What an earlier block has defined and this one goes on with.

    Returns:
        The block's global names afterwards, and what it printed.
    """
    code = _IMPORT.sub(r"\g<indent>import callgate as \g<name>", block.code)
    code = _FROM.sub(r"\g<indent>from callgate import ", code)
    for old, new in (hosts or {}).items():
        assert old in code, f"{block} does not mention the host {old}"
        code = code.replace(old, new)
    # Empty lines in front, so that a traceback names the line of the document.
    compiled = compile(
        "\n" * (block.line - 1) + code, str(block.document), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    )
    namespace: dict[str, Any] = {"__name__": f"block_{block.number}", **names}
    printed = io.StringIO()
    with redirect_stdout(printed):
        if compiled.co_flags & inspect.CO_COROUTINE:
            asyncio.run(types.FunctionType(compiled, namespace)())
        else:
            exec(compiled, namespace)
    return namespace, printed.getvalue()
