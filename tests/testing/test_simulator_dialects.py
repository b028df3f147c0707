"""What is particular to each dialect, and what holds for all of them."""

from __future__ import annotations

import base64
import copy
import struct
import zlib

import orjson
import pytest
from hypothesis import given, strategies as st
from tests.effort import examples

from callgate.testing.simulator import Answer, Options, SimulatedProvider, SimulatedToolCall

TEXT = "Lisbon is sunny today."
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
OPENAI_TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}]
FLAT_TOOLS = [{"type": "function", "name": "get_weather", "parameters": SCHEMA}]
CLAUDE_TOOLS = [{"name": "get_weather", "input_schema": SCHEMA}]
USER = [{"role": "user", "content": "Hello"}]
PARTS = [{"role": "user", "parts": [{"text": "Hello"}]}]
BLOCKS = [{"role": "user", "content": [{"text": "Hello"}]}]
VERTEX = "/v1/projects/p/locations/l"
CLAUDE = {"max_tokens": 50, "messages": USER, "tools": CLAUDE_TOOLS}

# name: path of a plain call, path of a streamed one, body of a plain one, what a streamed one adds to it
CALLS: dict[str, tuple[str, str, dict, dict]] = {
    "chat": ("/v1/chat/completions",) * 2
    + ({"model": "m", "messages": USER, "tools": OPENAI_TOOLS}, {"stream": True}),
    "azure": ("/openai/deployments/d/chat/completions?api-version=1",) * 2
    + ({"messages": USER, "tools": OPENAI_TOOLS}, {"stream": True}),
    "groq": ("/openai/v1/chat/completions",) * 2
    + ({"model": "m", "messages": USER, "tools": OPENAI_TOOLS}, {"stream": True}),
    "openrouter": ("/api/v1/chat/completions",) * 2
    + ({"model": "m", "messages": USER, "tools": OPENAI_TOOLS}, {"stream": True}),
    "vertex chat": (f"{VERTEX}/endpoints/openapi/chat/completions",) * 2
    + ({"model": "m", "messages": USER, "tools": OPENAI_TOOLS}, {"stream": True}),
    "completions": ("/v1/completions",) * 2 + ({"model": "m", "prompt": "Hello"}, {"stream": True}),
    "responses": ("/v1/responses",) * 2
    + ({"model": "m", "input": "Hello", "tools": FLAT_TOOLS}, {"stream": True}),
    "anthropic": ("/v1/messages",) * 2 + ({"model": "m", **CLAUDE}, {"stream": True}),
    "vertex claude": (
        f"{VERTEX}/publishers/anthropic/models/m:rawPredict",
        f"{VERTEX}/publishers/anthropic/models/m:streamRawPredict",
        {"anthropic_version": "vertex-2023-10-16", **CLAUDE},
        {},
    ),
    "gemini": (
        "/v1beta/models/m:generateContent",
        "/v1beta/models/m:streamGenerateContent?alt=sse",
        {"contents": PARTS, "tools": [{"functionDeclarations": [{"name": "get_weather"}]}]},
        {},
    ),
    "gemini array": (
        "/v1beta/models/m:generateContent",
        "/v1beta/models/m:streamGenerateContent",
        {"contents": PARTS},
        {},
    ),
    "bedrock invoke": (
        "/model/m%3A0/invoke",
        "/model/m%3A0/invoke-with-response-stream",
        {"anthropic_version": "bedrock-2023-05-31", **CLAUDE},
        {},
    ),
    "bedrock converse": ("/model/m%3A0/converse", "/model/m%3A0/converse-stream", {"messages": BLOCKS}, {}),
}
HEADERS = {"authorization": "Bearer k", "anthropic-version": "2023-06-01"}


def call(name: str, *, stream: bool = False, body: dict | None = None, headers=HEADERS, times=1, **options):
    provider = SimulatedProvider(Options(**options), clock=lambda: 0.0)
    plain, streamed, given_body, more = CALLS[name]
    whole = given_body if body is None else body
    whole = {**whole, **more} if stream else whole
    for _ in range(times):
        plan = provider.handle("POST", streamed if stream else plain, headers, orjson.dumps(whole))
    return plan


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
def test_every_dialect_can_say_tool_calls_reasoning_and_refusals(name, stream):
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
def test_every_dialect_says_every_error(name, status):
    plan = call(name, answers=[Answer(status=status, message="So it is.")])
    assert plan.status >= 400
    assert orjson.loads(plan.body)
    if not (name.startswith("gemini") and status == 401):
        assert b"So it is." in plan.body


@pytest.mark.parametrize("name", CALLS)
def test_every_dialect_refuses_over_quota_with_429(name):
    assert call(name, times=2, requests_per_minute=1).status == 429


@pytest.mark.parametrize("name", CALLS)
def test_max_tokens_is_told_as_such(name):
    reasons = (b'"length"', b'"max_tokens"', b'"MAX_TOKENS"', b'"max_output_tokens"')
    body = dict(CALLS[name][2])
    if "contents" in body:
        body["generationConfig"] = {"maxOutputTokens": 2}
    elif name == "bedrock converse":
        body["inferenceConfig"] = {"maxTokens": 2}
    else:
        body["max_output_tokens" if name == "responses" else "max_tokens"] = 2
    assert any(reason in call(name, body=body, answers=[TEXT]).body for reason in reasons)


def error(plan):
    return orjson.loads(plan.body)["error"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"messages": []}, "at least one message"),
        ({"messages": [{"role": "system", "content": "x"}]}, "role"),
        ({"messages": [{"role": "user", "content": ""}]}, "non-empty"),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x"}]}]},
            "tool_use_id",
        ),
        (
            {
                "messages": [
                    *USER,
                    {"role": "assistant", "content": [{"type": "tool_use", "id": "x", "input": {}}]},
                ]
            },
            "without `tool_result`",
        ),
        (
            {
                "messages": [
                    *USER,
                    {"role": "assistant", "content": [{"type": "tool_use", "id": "x", "input": {}}]},
                    *USER,
                ]
            },
            "without `tool_result`",
        ),
        ({"thinking": {"type": "enabled", "budget_tokens": 10}}, "1024"),
        ({"max_tokens": 1500, "thinking": {"type": "enabled", "budget_tokens": 2000}}, "greater than"),
        ({"temperature": 2}, "0..1"),
        ({"tool_choice": {"type": "tool", "name": "other"}}, "other"),
    ],
)
def test_anthropic_is_strict(changed, said):
    plan = call("anthropic", body={**CALLS["anthropic"][2], **changed})
    assert plan.status == 400
    assert error(plan)["type"] == "invalid_request_error"
    assert said in error(plan)["message"]


def test_anthropic_needs_its_version_and_the_second_takes_no_temperature():
    assert call("anthropic", headers={}).status == 400
    body = {**CALLS["anthropic"][2], "temperature": 0.5}
    assert call("anthropic", body=body).status == 200
    second = {"anthropic-version": "2026-10-21"}
    assert call("anthropic", headers=second).status == 200
    refused = call("anthropic", body=body, headers=second)
    assert error(refused)["message"] == "temperature: Extra inputs are not permitted"
    assert "valid version" in error(call("anthropic", headers={"anthropic-version": "1"}))["message"]


def test_anthropic_usage_in_the_stream_is_cumulative():
    body = call("anthropic", stream=True, answers=["one two three"]).body.decode()
    events = [orjson.loads(block.split("data: ")[1]) for block in body.split("\n\n") if block]
    kinds = [event["type"] for event in events]
    assert kinds[:3] == ["message_start", "content_block_start", "ping"]
    assert kinds[-2:] == ["message_delta", "message_stop"]
    assert events[0]["message"]["usage"]["output_tokens"] == 1
    assert events[-2]["usage"]["output_tokens"] == 3


def test_anthropic_tells_which_stop_sequence_ended_the_text():
    body = {**CALLS["anthropic"][2], "stop_sequences": ["sunny"]}
    answer = orjson.loads(call("anthropic", body=body, answers=[TEXT]).body)
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("stop_sequence", "sunny")


def test_gemini_says_stop_for_tool_calls_and_safety_without_content():
    tool = Answer(tool_calls=[SimulatedToolCall("get_weather", {"city": "Porto"})])
    candidate = orjson.loads(call("gemini", answers=[tool]).body)["candidates"][0]
    assert candidate["finishReason"] == "STOP"
    assert candidate["content"]["parts"][0]["functionCall"]["args"] == {"city": "Porto"}
    candidate = orjson.loads(call("gemini", content_filter=True).body)["candidates"][0]
    assert (candidate["finishReason"], "content" in candidate) == ("SAFETY", False)


def test_gemini_without_alt_sse_streams_one_array():
    chunks = orjson.loads(call("gemini array", stream=True, answers=[TEXT]).body)
    assert "".join(chunk["candidates"][0]["content"]["parts"][0]["text"] for chunk in chunks) == TEXT


def test_gemini_calls_a_wrong_key_a_bad_argument():
    plan = call("gemini", keys=["other"])
    assert (plan.status, error(plan)["details"][0]["reason"]) == (400, "API_KEY_INVALID")


def test_googles_compatible_endpoint_wraps_errors_in_a_list():
    plan = call("vertex chat", times=2, requests_per_minute=1)
    assert orjson.loads(plan.body)[0]["error"]["status"] == "RESOURCE_EXHAUSTED"


def test_azure_needs_an_api_version_and_begins_streams_with_the_prompt_filter():
    provider = SimulatedProvider(clock=lambda: 0.0)
    body = orjson.dumps({"messages": USER})
    assert provider.handle("POST", "/openai/deployments/d/chat/completions", {}, body).status == 404
    first = call("azure", stream=True).chunks[0].data
    assert b"prompt_filter_results" in first


def test_openrouter_sends_comments():
    assert call("openrouter", stream=True).body.startswith(b": OPENROUTER")


def test_bedrock_names_its_errors_in_a_header():
    plan = call("bedrock converse", times=2, requests_per_minute=1)
    assert dict(plan.headers)["x-amzn-errortype"] == "ThrottlingException"
    assert "retry-after" not in dict(plan.headers)


def test_bedrock_invoke_refuses_model_and_stream_in_the_body():
    for name in ("model", "stream"):
        assert call("bedrock invoke", body={**CALLS["bedrock invoke"][2], name: "x"}).status == 400


@pytest.mark.parametrize("name", ["bedrock invoke", "bedrock converse"])
def test_unsigned_requests_are_refused_when_secrets_are_given(name):
    plan = call(name, aws_secrets={"AK": "secret"})
    assert (plan.status, dict(plan.headers)["x-amzn-errortype"]) == (
        403,
        "MissingAuthenticationTokenException",
    )
    header = "AWS4-HMAC-SHA256 Credential=AK/20260101/us-east-1/bedrock/aws4_request"
    header += ", SignedHeaders=host;x-amz-date"
    forged = {
        "authorization": f"{header}, Signature={'0' * 64}",
        "host": "x",
        "x-amz-date": "20260101T000000Z",
    }
    refused = call(name, headers=forged, aws_secrets={"AK": "secret"})
    assert dict(refused.headers)["x-amzn-errortype"] == "InvalidSignatureException"


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("grant_type=password", "unsupported_grant_type"),
        ("grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion=x.y", "three parts"),
        ("grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion=e30.e30.e30", "RS256"),
    ],
)
def test_token_endpoint_refuses_what_is_no_assertion(form, said):
    plan = SimulatedProvider(clock=lambda: 0.0).handle("POST", "/token", {}, form.encode())
    assert plan.status == 400
    assert said in plan.body.decode()


def test_models_are_listed_in_each_house_style():
    provider = SimulatedProvider(Options(models=["m1"]), clock=lambda: 0.0)
    claude = orjson.loads(provider.handle("GET", "/v1/models", {"anthropic-version": "2023-06-01"}).body)
    assert claude["data"][0]["display_name"] == "m1"
    gemini = orjson.loads(provider.handle("GET", "/v1beta/models", {}).body)
    assert gemini["models"][0]["name"] == "models/m1"


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
def test_nothing_a_client_sends_breaks_a_dialect(name, stream, data):
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
