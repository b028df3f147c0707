"""What holds for every dialect of the simulator."""

from __future__ import annotations

import base64
import copy
import struct
import zlib

import orjson
import pytest
from hypothesis import given, strategies as st

from callgate.testing.simulator import Answer, SimulatedToolCall
from tests.effort import examples
from tests.testing.simulator.dialect_calls import (
    BLOCKS,
    CALLS,
    PARTS,
    SCHEMA,
    TEXT,
    USER,
    call,
)


def texts(value) -> list[str]:
    """Every string in some JSON, in order."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for one in inner for text in texts(one)]


def frames(data: bytes):
    """Headers and payload of each frame; every checksum is checked."""
    while data:
        total, head = struct.unpack(">II", data[:8])
        assert struct.unpack(">I", data[8:12])[0] == zlib.crc32(data[:8])
        assert struct.unpack(">I", data[total - 4 : total])[0] == zlib.crc32(data[: total - 4])
        yield data[12 : 12 + head], data[12 + head : total - 4]
        data = data[total:]


@pytest.mark.parametrize("name", CALLS)
def test_plain_answers_hold_the_text(name):
    plan = call(name, answers=[TEXT])
    assert plan.status == 200
    assert plan.content_length == len(plan.body)
    assert TEXT in texts(orjson.loads(plan.body))


@pytest.mark.parametrize("name", CALLS)
def test_streams_hold_the_text_in_pieces(name):
    plan = call(name, stream=True, answers=[TEXT])
    body = plan.body
    if "bedrock" in name:
        body = b"\n".join(payload for _, payload in frames(body))
        if "invoke" in name:
            body = b"\n".join(base64.b64decode(orjson.loads(line)["bytes"]) for line in body.split(b"\n"))
    assert plan.status == 200
    assert plan.content_length is None
    assert len(plan.chunks) >= 4
    for word in (b'"Lisbon"', b'" is"', b'" sunny"', b'" today."'):
        assert word in body, f"{word!r} is no piece of its own"


@pytest.mark.parametrize("name", [name for name in CALLS if name != "completions"])
@pytest.mark.parametrize("stream", [False, True])
def test_every_dialect_writes_tool_calls_reasoning_and_refusals(name, stream):
    full = Answer(TEXT, [SimulatedToolCall("get_weather", {"city": "Porto"})], reasoning="Hm, well.")
    answers = [
        full,
        Answer(finish="content_filter"),
        Answer(tool_calls=[SimulatedToolCall("get_weather", "{broken")]),
    ]
    for answer in answers:
        plan = call(name, stream=stream, answers=[answer])
        assert plan.status == 200
        assert plan.body


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429, 500, 503, 529])
def test_every_dialect_writes_every_error(name, status):
    plan = call(name, answers=[Answer(status=status, message="So it is.")])
    assert plan.status >= 400
    assert orjson.loads(plan.body)
    if not (name.startswith("gemini") and status == 401):
        assert b"So it is." in plan.body


@pytest.mark.parametrize("name", CALLS)
def test_every_dialect_refuses_over_quota_with_429(name):
    assert call(name, times=2, requests_per_minute=1).status == 429


@pytest.mark.parametrize("name", CALLS)
def test_a_cut_answer_has_the_finish_reason_for_max_tokens(name):
    reasons = (b'"length"', b'"max_tokens"', b'"MAX_TOKENS"', b'"max_output_tokens"')
    body = dict(CALLS[name][2])
    if "contents" in body:
        body["generationConfig"] = {"maxOutputTokens": 2}
    elif name == "bedrock converse":
        body["inferenceConfig"] = {"maxTokens": 2}
    else:
        body["max_output_tokens" if name == "responses" else "max_tokens"] = 2
    assert any(reason in call(name, body=body, answers=[TEXT]).body for reason in reasons)


RICH: dict[str, dict] = {
    "chat": {
        "messages": [
            {
                "role": "user",
                "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {}}],
            },
            {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "a", "content": "42"},
        ],
        "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}},
        "stop": ["x"],
        "n": 2,
        "stream_options": {"include_usage": True},
    },
    "responses": {
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "x"}, {"type": "input_image"}]},
            {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
            {
                "type": "function_call_output",
                "call_id": "a",
                "output": [{"type": "input_text", "text": "42"}],
            },
        ],
        "tool_choice": {"type": "function", "name": "get_weather"},
        "text": {"format": {"type": "json_schema", "name": "s", "schema": SCHEMA}},
        "reasoning": {"effort": "low"},
    },
    "anthropic": {
        "system": [{"type": "text", "text": "x"}],
        "messages": [
            *USER,
            {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]},
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "42"}]},
                    {"type": "image", "source": {}},
                ],
            },
        ],
        "max_tokens": 4000,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "tool_choice": {"type": "tool", "name": "get_weather"},
        "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
        "stop_sequences": ["x"],
    },
    "gemini": {
        "contents": [
            *PARTS,
            {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]},
            {
                "role": "user",
                "parts": [{"functionResponse": {"name": "f", "response": {}}}, {"inlineData": {}}],
            },
        ],
        "system_instruction": {"parts": {"text": "x"}},
        "generationConfig": {
            "thinkingConfig": {"includeThoughts": True},
            "responseSchema": SCHEMA,
            "stopSequences": ["x"],
            "candidateCount": 2,
        },
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["get_weather"]}},
    },
    "bedrock converse": {
        "system": [{"text": "x"}],
        "messages": [
            *BLOCKS,
            {"role": "assistant", "content": [{"toolUse": {"toolUseId": "a", "name": "f", "input": {}}}]},
            {"role": "user", "content": [{"toolResult": {"toolUseId": "a", "content": [{"json": {}}]}}]},
        ],
        "inferenceConfig": {"maxTokens": 9, "temperature": 0.5, "stopSequences": ["x"]},
        "toolConfig": {
            "tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": SCHEMA}}}],
            "toolChoice": {"tool": {"name": "f"}},
        },
        "additionalModelRequestFields": {"thinking": {"type": "enabled"}},
    },
}
ODD = st.sampled_from(
    [None, True, 0, -1, 1.5, "", "x", [], {}, [None], [[]], ["x"], [{}], {"": None}, {"type": []}]
)


def places(value, path=()):
    """The path to everything inside some JSON."""
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from places(one, (*path, key))


@pytest.mark.parametrize("name", RICH)
@pytest.mark.parametrize("stream", [False, True])
@examples(30)
@given(data=st.data())
def test_damaged_requests_get_an_answer_or_a_400(name, stream, data):
    """One or two values somewhere in a rich request are replaced by odd ones."""
    body = orjson.loads(orjson.dumps({**CALLS[name][2], **RICH[name]}))
    assert call(name, stream=stream, body=body).status == 200, "the request as such is a good one"
    for _ in range(data.draw(st.integers(1, 2))):
        *path, last = data.draw(st.sampled_from(list(places(body))))
        inner = body
        for key in path:
            inner = inner[key]
        inner[last] = copy.deepcopy(data.draw(ODD))
    plan = call(name, stream=stream, body=body)
    assert plan.status in (200, 400)
    assert plan.body
