"""The answers, streams and errors under `recorded/`, one JSON file each, in the shapes that providers send.

A case holds what came (`answer` or `answer_text`; `stream` as lines, `stream_base64` where it is binary, or
`frames` of Amazon's event stream as pairs of type and payload, an exception's type with a "!" before it;
`error` or `error_text`), the `status` and `headers` it came with, and what it must be read as: `expect`, or
`expect_error`.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from callgate.transport.eventstream import encode_frame

RECORDED = Path(__file__).parent / "recorded"
_STREAMS = frozenset({"stream", "stream_base64", "frames"})


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
    if not _STREAMS.isdisjoint(told):
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
    if "frames" in told:
        return b"".join(_frame(kind, payload) for kind, payload in told["frames"])
    end = told.get("line_end", "\n")
    ends_whole = not told["stream"][-1]
    return (end.join(told["stream"]) + (end if ends_whole else "")).encode()


def _frame(kind: str, payload: Any) -> bytes:
    if kind == "chunk":
        # Another format's event, as InvokeModel wraps it; "p" pads it, so that lengths tell nothing.
        payload = {"bytes": base64.b64encode(json.dumps(payload).encode()).decode(), "p": "abcdefgh"}
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    if kind[0] == "!":
        headers = {":exception-type": kind[1:], ":message-type": "exception"}
    return encode_frame(headers, json.dumps(payload, ensure_ascii=False).encode())
