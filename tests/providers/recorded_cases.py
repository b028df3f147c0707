"""The answers, streams and errors under `recorded/`, one JSON file each, in the shapes that providers send.

A case holds what came (`answer` or `answer_text`; `stream` as lines, or `stream_base64` where it is binary;
`error` or `error_text`), the `status` and `headers` it came with, and what it must be read as: `expect`, or
`expect_error`.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).parent / "recorded"


@dataclass(frozen=True, slots=True)
class Case:
    """One recorded case; `body` is what came over the wire."""

    name: str
    kind: str
    body: bytes
    status: int
    headers: dict[str, str]
    expect: dict[str, Any] | None
    expect_error: dict[str, Any] | None

    def __str__(self) -> str:
        return self.name


def read_cases(dialect: str, kind: str) -> list[Case]:
    """The cases of one dialect that are an "answer", a "stream", a "failing_stream" or an "error"."""
    cases = [_read(path) for path in sorted((RECORDED / dialect).glob("*.json"))]
    return [case for case in cases if case.kind == kind]


def _read(path: Path) -> Case:
    told = json.loads(path.read_text("utf-8"))
    if "stream" in told or "stream_base64" in told:
        kind = "stream" if "expect" in told else "failing_stream"
        body = _stream(told)
    else:
        kind = "answer" if "answer" in told or "answer_text" in told else "error"
        text = told.get(f"{kind}_text", "")
        body = (json.dumps(told[kind], ensure_ascii=False) if kind in told else text).encode()
    return Case(
        path.stem,
        kind,
        body,
        told.get("status", 200),
        told.get("headers", {}),
        told.get("expect"),
        told.get("expect_error"),
    )


def _stream(told: dict[str, Any]) -> bytes:
    if "stream_base64" in told:
        return base64.b64decode(told["stream_base64"])
    end = told.get("line_end", "\n")
    ends_whole = not told["stream"][-1]
    return (end.join(told["stream"]) + (end if ends_whole else "")).encode()
