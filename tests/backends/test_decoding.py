"""The deltas of a stream add up to its answer, however the answer came."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from callgate.backends.decoding import StreamReader
from callgate.call.calling import Calling
from callgate.providers.catalog import find_dialect
from callgate.response import Delta, Response

CALL = {"id": "t1", "name": "look", "arguments": {"x": 1}}
WHOLE: dict[str, Any] = {
    "openai_chat": {
        "choices": [
            {
                "message": {
                    "content": "Héllo",
                    "reasoning_content": "Hm.",
                    "tool_calls": [{"id": "t1", "function": {"name": "look", "arguments": '{"x":1}'}}],
                },
                "finish_reason": "tool_calls",
            }
        ]
    },
    "openai_responses": {
        "object": "response",
        "status": "completed",
        "output": [
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
            {"type": "message", "content": [{"type": "output_text", "text": "Héllo"}]},
            {"type": "function_call", "call_id": "t1", "name": "look", "arguments": '{"x":1}'},
        ],
    },
    "anthropic": {
        "type": "message",
        "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "s"},
            {"type": "text", "text": "Héllo"},
            {"type": "tool_use", "id": "t1", "name": "look", "input": {"x": 1}},
        ],
        "stop_reason": "tool_use",
    },
    "gemini": {
        "candidates": [
            {
                "content": {
                    "parts": [
                        {"text": "Hm.", "thought": True},
                        {"text": "Héllo"},
                        {"functionCall": {"id": "t1", "name": "look", "args": {"x": 1}}},
                    ]
                },
                "finishReason": "STOP",
            }
        ]
    },
    "bedrock": {
        "output": {
            "message": {
                "content": [
                    {"reasoningContent": {"reasoningText": {"text": "Hm."}}},
                    {"text": "Héllo"},
                    {"toolUse": {"toolUseId": "t1", "name": "look", "input": {"x": 1}}},
                ]
            }
        },
        "stopReason": "tool_use",
    },
}


def read(dialect: str, *pieces: bytes) -> tuple[list[Delta], Response]:
    """What a reader passes on of these bytes, and the answer."""

    async def main() -> tuple[list[Delta], Response]:
        deltas: list[Delta] = []

        async def sink(delta: Delta) -> None:
            deltas.append(delta)

        calling = Calling({}, backend=None)
        calling.sink = sink
        reader = StreamReader(calling, find_dialect(dialect).stream_decoder({}))
        for piece in pieces:
            await reader.feed(piece)
        return deltas, await reader.finish(200, {"x-id": "1"})

    return asyncio.run(main())


@pytest.mark.parametrize("form", ["JSON", "lines of JSON", "one event"])
@pytest.mark.parametrize("dialect", WHOLE)
def test_an_answer_in_one_piece_is_passed_on_as_deltas(dialect: str, form: str) -> None:
    if dialect == "bedrock" and form == "one event":
        pytest.skip("Bedrock has no server-sent events")
    body = json.dumps(WHOLE[dialect], indent=2 if form == "lines of JSON" else None).encode()
    deltas, response = read(dialect, b"data: " + body + b"\n\n" if form == "one event" else body)
    assert ("".join(delta.text for delta in deltas), response.text) == ("Héllo", "Héllo")
    assert ("".join(delta.reasoning for delta in deltas), response.reasoning) == ("Hm.", "Hm.")
    calls = [delta.tool_call for delta in deltas if delta.tool_call is not None]
    assert [(call.index, call.id, call.name) for call in calls] == [(0, "t1", "look")]
    assert json.loads(calls[0].arguments) == response.tool_calls[0].arguments == {"x": 1}
    assert (response.status_code, response.headers) == (200, {"x-id": "1"})


def test_a_last_event_without_a_line_end_is_passed_on() -> None:
    first, last = (
        {"candidates": [{"content": {"parts": [{"text": text}]}, **more}]}
        for text, more in (("Hél", {}), ("lo", {"finishReason": "STOP"}))
    )
    deltas, response = read("gemini", f"data: {json.dumps(first)}\n\ndata: {json.dumps(last)}".encode())
    assert [delta.text for delta in deltas] == ["Hél", "lo"]
    assert response.text == "Héllo"


def test_nothing_is_passed_on_twice() -> None:
    chunks = [
        {"choices": [{"delta": {"content": "Hi"}}]},
        {"choices": [{"delta": {}, "finish_reason": "stop"}]},
    ]
    deltas, _ = read("openai_chat", *(f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks))
    assert [delta.text for delta in deltas] == ["Hi"]
