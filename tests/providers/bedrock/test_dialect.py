"""Bedrock's Converse: requests as they go out, and what comes back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from callgate.errors import APIClientError, InvalidRequestError, ResponseError
from callgate.providers.bedrock.dialect import BedrockConverse
from callgate.providers.canonical.messages import REPLAY
from callgate.transport.eventstream import encode_frame
from tests.providers.bedrock.converse_rules import problems_of_converse
from tests.providers.conformance import DialectConformance, read_stream
from tests.providers.recorded_cases import read_cases

DIALECT = BedrockConverse()
NOVA = "amazon.nova-lite-v1:0"
CLAUDE, OLD = "us.anthropic.claude-opus-4-6-v1", "anthropic.claude-3-haiku-20240307-v1:0"
USER = {"role": "user", "content": "Hi"}
HI = {"role": "user", "content": [{"text": "Hi"}]}
PNG = "iVBORw0KGgo="
PDF = "data:application/pdf;base64,JVBERg=="
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}
SPEC = {"toolSpec": {"name": "f", "description": "d", "inputSchema": {"json": SCHEMA}}}


class TestConformance(DialectConformance):
    dialect = DIALECT
    recorded = "bedrock"
    reads_events = False


def body_of(*messages: Any, **fields: Any) -> dict[str, Any]:
    """The body of a request with these messages and fields, which Converse would accept."""
    request = {"model": NOVA, "messages": list(messages) or [USER], **fields}
    before = json.dumps(request)
    body: dict[str, Any] = json.loads(DIALECT.encode(request).body)
    assert json.dumps(request) == before, "encoding changed the caller's request"
    assert problems_of_converse(body, request["model"]) == []
    return body


def refusal(*messages: Any, **fields: Any) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        body_of(*messages, **fields)
    return caught.value.message


def call(identity: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


# -- where it goes -----------------------------------------------------------------------------------------


def test_the_smallest_request() -> None:
    wire = DIALECT.encode({"model": NOVA, "messages": [USER]})
    assert (wire.path, wire.method, wire.stream) == (
        "/model/amazon.nova-lite-v1%3A0/converse",
        "POST",
        False,
    )
    assert json.loads(wire.body) == {"messages": [HI]}


def test_a_stream_has_an_operation_of_its_own() -> None:
    wire = DIALECT.encode({"model": NOVA, "messages": [USER]}, stream=True)
    assert wire.path == "/model/amazon.nova-lite-v1%3A0/converse-stream"
    assert wire.stream


def test_an_arn_is_one_segment_of_the_path() -> None:
    arn = "arn:aws:bedrock:us-east-1:123:inference-profile/us.anthropic.claude-opus-4-6-v1"
    path = DIALECT.encode({"model": arn, "messages": [USER]}).path
    assert path.count("/") == 3
    assert "inference-profile%2Fus.anthropic" in path


def test_the_callers_own_path_goes_before_ours() -> None:
    assert DIALECT.encode({"model": NOVA, "prompt": "x"}, path="model/x/converse").path == "/model/x/converse"


# -- the conversation ----------------------------------------------------------------------------------------


def test_roles_and_the_system_blocks() -> None:
    assert body_of(
        {
            "role": "system",
            "content": [{"type": "text", "text": "Rules."}, {"cachePoint": {"type": "default"}}],
        },
        USER,
        {"role": "user", "content": "there"},
        {"role": "assistant", "content": "Yes?"},
    ) == {
        "system": [{"text": "Rules."}, {"cachePoint": {"type": "default"}}],
        "messages": [
            {"role": "user", "content": [{"text": "Hi"}, {"text": "there"}]},
            {"role": "assistant", "content": [{"text": "Yes?"}]},
        ],
    }


def test_tool_calls_and_their_results() -> None:
    messages = body_of(
        USER,
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [call("a:1", "f", '{"a": 1}'), call("b", "g", "")],
        },
        {"role": "tool", "tool_call_id": "a:1", "content": '{"t": 21}'},
        {"role": "tool", "tool_call_id": "b", "content": "", "is_error": True},
        {"role": "user", "content": "Well?"},
        tools=[TOOL],
    )["messages"]
    assert messages[1:] == [
        {
            "role": "assistant",
            "content": [
                {"toolUse": {"toolUseId": "a_1", "name": "f", "input": {"a": 1}}},
                {"toolUse": {"toolUseId": "b", "name": "g", "input": {}}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"toolResult": {"toolUseId": "a_1", "content": [{"json": {"t": 21}}]}},
                {"toolResult": {"toolUseId": "b", "content": [{"text": "(nothing)"}], "status": "error"}},
                {"text": "Well?"},
            ],
        },
    ]


def test_long_ids_that_begin_alike_stay_different() -> None:
    ids = ["x" * 70 + "1", "x" * 70 + "2"]
    calls = {"role": "assistant", "tool_calls": [call(identity, "f", "{}") for identity in ids]}
    results = [{"role": "tool", "tool_call_id": identity, "content": "1"} for identity in ids]
    _, asked, answered = body_of(USER, calls, *results, tools=[TOOL])["messages"]
    said = [block["toolUse"]["toolUseId"] for block in asked["content"]]
    assert said == [block["toolResult"]["toolUseId"] for block in answered["content"]]
    assert len(set(said)) == 2
    assert max(map(len, said)) == 64


def test_pictures_and_files() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        {"type": "image_url", "image_url": {"url": "s3://bucket/a.jpg"}},
        {"type": "file", "file": {"file_data": PDF, "filename": "my_report.pdf"}},
        {"type": "file", "file": {"file_data": "QUJD", "filename": "a.csv"}},
        {"type": "file", "file": {"file_data": "QUJD", "filename": "a.mp4"}},
        {"type": "file", "file": {"file_data": "data:video/quicktime;base64,QUJD", "filename": "video"}},
        {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "mp3"}},
        {"type": "file", "file": {"file_data": f"data:image/png;base64,{PNG}"}},
    ]
    assert body_of({"role": "user", "content": parts})["messages"][0]["content"] == [
        {"image": {"format": "png", "source": {"bytes": PNG}}},
        {"image": {"format": "jpeg", "source": {"s3Location": {"uri": "s3://bucket/a.jpg"}}}},
        {"document": {"format": "pdf", "name": "my report", "source": {"bytes": "JVBERg=="}}},
        {"document": {"format": "csv", "name": "a", "source": {"bytes": "QUJD"}}},
        {"video": {"format": "mp4", "source": {"bytes": "QUJD"}}},
        {"video": {"format": "mov", "source": {"bytes": "QUJD"}}},
        {"audio": {"format": "mp3", "source": {"bytes": "QUJD"}}},
        {"image": {"format": "png", "source": {"bytes": PNG}}},
    ]


@pytest.mark.parametrize(
    ("part", "why"),
    [
        ({"type": "image_url", "image_url": "https://example.com/a.png"}, "nothing from the web"),
        ({"type": "image_url", "image_url": "data:image/bmp;base64,QUJD"}, "png, jpeg"),
        ({"type": "file", "file": {"file_data": "QUJD"}}, "a document"),
        ({"type": "hologram"}, "'hologram'"),
    ],
)
def test_parts_that_cannot_be_said_are_refused(part: dict[str, Any], why: str) -> None:
    assert why in refusal({"role": "user", "content": [part]})


def test_messages_that_cannot_be_said_are_refused() -> None:
    assert "text only" in refusal({"role": "system", "content": [{"image": {}}]})
    assert "tool_call_id" in refusal(USER, {"role": "tool", "content": "x"})
    assert "n=2" in refusal(n=2)


# -- settings ------------------------------------------------------------------------------------------------


def test_settings_are_translated() -> None:
    body = body_of(
        max_tokens=9,
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        stop="END",
        seed=7,
        parallel_tool_calls=False,
        requestMetadata={"team": "a"},
        inferenceConfig={"temperature": 0.6},
    )
    del body["messages"]
    assert body == {
        "inferenceConfig": {"maxTokens": 9, "temperature": 0.6, "topP": 0.9, "stopSequences": ["END"]},
        "additionalModelRequestFields": {"top_k": 40},
        "requestMetadata": {"team": "a"},
    }


@pytest.mark.parametrize(
    ("model", "effort", "fields"),
    [
        (CLAUDE, "high", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}),
        (OLD, "low", {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
        (NOVA, "low", {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}}),
        (NOVA, "none", {"reasoningConfig": {"type": "disabled"}}),
        ("openai.gpt-oss-20b-1:0", "low", {"reasoning_effort": "low"}),
    ],
)
def test_reasoning_effort(model: str, effort: str, fields: dict[str, Any]) -> None:
    body = body_of(model=model, reasoning_effort=effort)
    assert body["additionalModelRequestFields"] == fields
    assert body.get("inferenceConfig") == ({"maxTokens": 6144} if model == OLD else None)


# -- caches, tiers and fields of other providers -------------------------------------------------------------

MARK = {"cache_control": {"type": "ephemeral"}}
POINT = {"cachePoint": {"type": "default"}}


def test_cache_marks_become_cache_points_behind_what_is_cached() -> None:
    long = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    body = body_of(
        {"role": "system", "content": [{"type": "text", "text": "Rules.", **long}]},
        {"role": "user", "content": [{"type": "text", "text": "A.", **MARK}, {"type": "text", "text": "B."}]},
        {"role": "assistant", "tool_calls": [call("a", "f", "{}")], **MARK},
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "1", **MARK}]},
        {"role": "user", "content": "C.", **MARK},
        model=CLAUDE,
        tools=[{**TOOL, **MARK}],
    )
    assert body["system"] == [{"text": "Rules."}, {"cachePoint": {"type": "default", "ttl": "1h"}}]
    assert body["messages"][0]["content"] == [{"text": "A."}, POINT, {"text": "B."}]
    assert body["messages"][1]["content"][1:] == [POINT]
    result = {"toolResult": {"toolUseId": "a", "content": [{"text": "1"}]}}
    assert body["messages"][2]["content"] == [result, POINT, {"text": "C."}, POINT]
    assert body["toolConfig"]["tools"] == [SPEC, POINT]


def test_cache_mark_of_the_whole_request_is_behind_its_last_message() -> None:
    body = body_of(model=CLAUDE, **MARK)
    assert body["messages"][0]["content"] == [{"text": "Hi"}, POINT]
    assert "additionalModelRequestFields" not in body


@pytest.mark.parametrize("model", [OLD, "us.meta.llama3-3-70b-instruct-v1:0"])
def test_cache_marks_are_left_out_for_models_without_a_cache(model: str) -> None:
    assert body_of({**USER, **MARK}, model=model, tools=[{**TOOL, **MARK}], **MARK) == body_of(
        model=model, tools=[TOOL]
    )


@pytest.mark.parametrize(
    ("tier", "sent"),
    [
        ("auto", None),
        ("default", "default"),
        ("standard_only", "default"),
        ("flex", "flex"),
        ("reserved", "reserved"),
    ],
)
def test_service_tier_is_sent_in_bedrocks_form(tier: str, sent: str | None) -> None:
    assert body_of(service_tier=tier).get("serviceTier") == (None if sent is None else {"type": sent})


def test_own_service_tier_wins_and_unknown_ones_are_refused() -> None:
    assert body_of(service_tier="flex", serviceTier={"type": "priority"})["serviceTier"] == {
        "type": "priority"
    }
    assert "no service_tier 'scale'" in refusal(service_tier="scale")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"speed": "fast"}, "only Anthropic's own API"),
        ({"inference_geo": "us"}, "the region of the endpoint"),
        ({"web_search_options": {}}, "no web_search_options"),
        ({"modalities": ["audio"]}, "text only"),
        ({"betas": ["b-1"]}, "only Claude"),
        ({"temperature": 1.5}, "at most 1"),
    ],
)
def test_fields_that_bedrock_lacks_and_that_change_the_answer_are_refused(
    fields: dict[str, Any], why: str
) -> None:
    assert why in refusal(**fields)


def test_fields_that_change_nothing_are_left_out() -> None:
    assert body_of(speed="standard", modalities=["text"], user="u", logit_bias={}) == body_of()


def test_betas_of_claude_go_to_its_own_fields() -> None:
    body = body_of(model=CLAUDE, betas=["b-1"])
    assert body["additionalModelRequestFields"] == {"anthropic_beta": ["b-1"]}


def test_metadata_is_the_metadata_of_the_request() -> None:
    assert body_of(metadata={"run": 7})["requestMetadata"] == {"run": "7"}


def test_extra_body_is_sent_as_it_is() -> None:
    assert body_of(extra_body={"guardrailConfig": {"trace": "enabled"}})["guardrailConfig"] == {
        "trace": "enabled"
    }


ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123xyz"


@pytest.mark.parametrize(
    "model",
    [ARN, "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abcdefghijkl", "abcdefghijkl"],
)
def test_nothing_is_guessed_for_a_model_that_the_id_does_not_name(model: str) -> None:
    for fields in ({"reasoning_effort": "low"}, {"response_format": {"type": "json_object"}}):
        assert "base_model=" in refusal(model=model, **fields)
    assert body_of(model=model, reasoning_effort="none") == body_of(model=model)


def test_base_model_names_the_model_of_an_arn() -> None:
    body = body_of(model=ARN, base_model=CLAUDE, reasoning_effort="low")
    assert body["additionalModelRequestFields"]["output_config"] == {"effort": "low"}
    assert "base_model" not in body
    assert (
        ARN.replace(":", "%3A").replace("/", "%2F")
        in DIALECT.encode({"model": ARN, "base_model": CLAUDE, "messages": [USER]}).path
    )


def test_late_system_message_is_a_turn_where_the_model_takes_one() -> None:
    late = {"role": "system", "content": "Answer in French."}
    messages = body_of(USER, late, model="us.anthropic.claude-opus-5-5")["messages"]
    assert messages == [HI, {"role": "system", "content": [{"text": "Answer in French."}]}]
    assert body_of(USER, late)["messages"] == [
        {"role": "user", "content": [{"text": "Hi"}, {"text": "<system>\nAnswer in French.\n</system>"}]}
    ]


def test_blank_text_is_left_out_wherever_it_stands() -> None:
    messages = body_of(
        {"role": "system", "content": " "},
        {"role": "user", "content": [{"type": "text", "text": " "}, {"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": "\n\n", "tool_calls": [call("a", "f", "{}")]},
        {"role": "tool", "tool_call_id": "a", "content": "\n"},
        {"role": "assistant", "content": "It is \n"},
        tools=[TOOL],
    )["messages"]
    assert messages[0] == HI
    assert messages[1]["content"] == [{"toolUse": {"toolUseId": "a", "name": "f", "input": {}}}]
    assert messages[2]["content"] == [{"toolResult": {"toolUseId": "a", "content": [{"text": "(nothing)"}]}}]
    assert messages[3]["content"] == [{"text": "It is"}]


def test_pictures_in_a_tools_result() -> None:
    parts = [
        {"type": "text", "text": "See:"},
        {"type": "image_url", "image_url": f"data:image/png;base64,{PNG}"},
    ]
    result = {"role": "tool", "tool_call_id": "a", "content": parts}
    messages = body_of(*CALLED[:2], result, tools=[TOOL])["messages"]
    assert messages[2]["content"][0]["toolResult"]["content"] == [
        {"text": "See:"},
        {"image": {"format": "png", "source": {"bytes": PNG}}},
    ]


# -- tools and the form of the answer ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, {"tools": [SPEC]}),
        ("auto", {"tools": [SPEC]}),
        ("required", {"tools": [SPEC], "toolChoice": {"any": {}}}),
        (
            {"type": "function", "function": {"name": "f"}},
            {"tools": [SPEC], "toolChoice": {"tool": {"name": "f"}}},
        ),
        ({"any": {}}, {"tools": [SPEC], "toolChoice": {"any": {}}}),
        ("none", None),
    ],
)
def test_tools(choice: Any, expected: Any) -> None:
    assert body_of(tools=[TOOL], tool_choice=choice).get("toolConfig") == expected


CALLED = (
    USER,
    {"role": "assistant", "content": "Let me see.", "tool_calls": [call("a", "f", '{"x": 1}')]},
    {"role": "tool", "tool_call_id": "a", "content": '{"y": 2}', "is_error": True},
)


@pytest.mark.parametrize("fields", [{"tools": [TOOL], "tool_choice": "none"}, {}])
def test_calls_are_written_as_text_where_no_tool_may_be_called(fields: dict[str, Any]) -> None:
    body = body_of(*CALLED, **fields)
    assert "toolConfig" not in body
    assert body["messages"][1:] == [
        {"role": "assistant", "content": [{"text": "Let me see."}, {"text": '[call of f: {"x":1}]'}]},
        {"role": "user", "content": [{"text": "[result of f, an error]"}, {"text": '{"y":2}'}]},
    ]


def test_signed_thoughts_go_with_the_calls_that_are_written_as_text() -> None:
    thought = {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "s="}}}
    use = {"toolUse": {"toolUseId": "a", "name": "f", "input": {}}}
    replay = {"dialect": "bedrock", "content": [thought, use]}
    assert body_of(USER, {"role": "assistant", REPLAY: replay})["messages"][1]["content"] == [
        {"text": "[call of f: {}]"}
    ]


def test_an_answer_tool_keeps_the_calls_although_no_other_may_be_called() -> None:
    body = body_of(*CALLED, tools=[TOOL], tool_choice="none", response_format={"type": "json_object"})
    assert [tool["toolSpec"]["name"] for tool in body["toolConfig"]["tools"]] == ["callgate_answer"]
    assert "toolUse" in body["messages"][1]["content"][1]


def test_allowed_tools_are_the_only_ones_offered() -> None:
    other = {"type": "function", "function": {"name": "g"}}
    tools = [{"type": "function", "function": {"name": name}} for name in ("f", "g")]
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": tools}}
    assert len(body_of(tools=[TOOL, other], tool_choice=choice)["toolConfig"]["tools"]) == 2
    choice = {"type": "allowed_tools", "mode": "auto", "tools": tools[:1]}
    assert body_of(tools=[TOOL, other], tool_choice=choice)["toolConfig"] == {"tools": [SPEC]}


@pytest.mark.parametrize(
    ("choice", "expected"), [(None, {"type": "auto"}), ("required", {"type": "any"}), ("f", {"type": "tool"})]
)
def test_serial_calls_are_chosen_in_claudes_own_form(choice: Any, expected: dict[str, Any]) -> None:
    if choice == "f":
        choice, expected = {"type": "function", "name": "f"}, {**expected, "name": "f"}
    body = body_of(model=CLAUDE, tools=[TOOL], tool_choice=choice, parallel_tool_calls=False)
    assert body["toolConfig"] == {"tools": [SPEC]}
    assert body["additionalModelRequestFields"]["tool_choice"] == {
        **expected,
        "disable_parallel_tool_use": True,
    }
    assert "additionalModelRequestFields" not in body_of(model=OLD, tools=[TOOL], parallel_tool_calls=False)


def test_a_type_that_answers_have_and_requests_have_not_is_not_replayed() -> None:
    use = {"toolUse": {"toolUseId": "a", "name": "f", "input": {}, "type": "tool_use"}}
    replay = {"dialect": "bedrock", "content": [{"text": "\n"}, use]}
    messages = body_of(USER, {"role": "assistant", REPLAY: replay}, CALLED[2], tools=[TOOL])["messages"]
    assert messages[1]["content"] == [{"toolUse": {"toolUseId": "a", "name": "f", "input": {}}}]


def test_a_tool_of_bedrocks_own_passes() -> None:
    own = {"systemTool": {"name": "nova_grounding"}}
    assert body_of(tools=[own])["toolConfig"] == {"tools": [own]}


FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "place", "description": "A place.", "schema": SCHEMA},
}


@pytest.mark.parametrize("model", [CLAUDE, "openai.gpt-oss-20b-1:0", "qwen.qwen3-32b-v1:0"])
def test_a_schema_is_held_to_by_bedrock_where_it_can(model: str) -> None:
    body = body_of(model=model, response_format=FORMAT)
    told = body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
    assert (told["name"], told["description"]) == ("place", "A place.")
    assert json.loads(told["schema"]) == {**SCHEMA, "additionalProperties": False}
    assert "toolConfig" not in body


@pytest.mark.parametrize("model", [NOVA, OLD])
def test_other_models_are_made_to_answer_by_a_tool(model: str) -> None:
    config = body_of(model=model, response_format=FORMAT)["toolConfig"]
    assert config["tools"][0]["toolSpec"]["inputSchema"] == {"json": SCHEMA}
    assert config["toolChoice"] == {"tool": {"name": "callgate_answer"}}


@pytest.mark.parametrize("model", ["us.meta.llama3-3-70b-instruct-v1:0", "anthropic.claude-opus-5-5"])
def test_models_that_take_no_forced_tool_are_only_offered_it(model: str) -> None:
    config = body_of(model=model, response_format={"type": "json_object"})["toolConfig"]
    assert "toolChoice" not in config
    assert "cannot be forced" in refusal(model=model, tools=[TOOL], tool_choice="required")


def test_beside_other_tools_the_model_may_call_these_first() -> None:
    config = body_of(response_format={"type": "json_object"}, tools=[TOOL])["toolConfig"]
    assert [tool["toolSpec"]["name"] for tool in config["tools"]] == ["f", "callgate_answer"]
    assert config["toolChoice"] == {"any": {}}


def test_a_model_that_thinks_is_not_forced() -> None:
    config = body_of(model=OLD, response_format=FORMAT, reasoning_effort="low")["toolConfig"]
    assert "toolChoice" not in config


# -- streams -------------------------------------------------------------------------------------------------


def test_a_signed_thought_goes_back_exactly_as_it_came() -> None:
    def delta(**reasoning: str) -> tuple[str, dict[str, Any]]:
        told = {"contentBlockIndex": 0, "delta": {"reasoningContent": reasoning}}
        return "contentBlockDelta", told

    tool = {"toolUse": {"toolUseId": "t", "name": "f"}}
    events = [
        delta(text="Hm."),
        delta(signature="s="),
        ("contentBlockStart", {"contentBlockIndex": 1, "start": tool}),
        ("messageStop", {"stopReason": "tool_use"}),
    ]
    body = b"".join(encode_frame({":event-type": kind}, json.dumps(event).encode()) for kind, event in events)
    _, response = read_stream(DIALECT, [body], {})
    content = [
        {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "s="}}},
        {"toolUse": {"toolUseId": "t", "name": "f", "input": {}}},
    ]
    assistant = {
        "role": "assistant",
        "content": "",
        "tool_calls": [call("t", "f", "{}")],
        REPLAY: response.metadata[REPLAY],
    }
    result = {"role": "tool", "tool_call_id": "t", "content": "42"}
    messages = body_of(USER, assistant, result, tools=[TOOL])["messages"]
    assert messages[1] == {"role": "assistant", "content": content}


def test_a_damaged_frame_is_an_unreadable_answer() -> None:
    frame = bytearray(encode_frame({":event-type": "messageStop"}, b'{"stopReason": "end_turn"}'))
    frame[-6] ^= 1
    with pytest.raises(ResponseError, match="checksum"):
        read_stream(DIALECT, [bytes(frame)], {})


def test_an_error_frame_without_a_payload() -> None:
    told = {":message-type": "error", ":error-code": "InternalFailure", ":error-message": "it broke"}
    with pytest.raises(APIClientError) as caught:
        read_stream(DIALECT, [encode_frame(told, b"")], {"x-amzn-requestid": "r-1"})
    assert (caught.value.code, caught.value.message, caught.value.request_id) == (
        "InternalFailure",
        "it broke",
        "r-1",
    )


def test_what_a_tool_of_bedrocks_own_answered_in_a_stream_goes_back_whole() -> None:
    (case,) = (case for case in read_cases("bedrock", "stream") if case.name == "stream_server_tool")
    _, response = read_stream(DIALECT, [case.body], case.headers)
    use = {"toolUseId": "t", "name": "nova_grounding", "type": "server_tool_use", "input": {"query": "sky"}}
    answered = [{"text": "The sky is blue."}, {"json": {"hits": 1}}]
    result = {"toolUseId": "t", "type": "nova_grounding_result", "status": "success", "content": answered}
    cited = {"content": [{"text": "blue."}], "citations": [{"location": {"web": {"url": "https://x"}}}]}
    assert response.metadata[REPLAY] == {
        "dialect": "bedrock",
        "content": [
            {"toolUse": use},
            {"toolResult": result},
            {"text": "It is "},
            {"citationsContent": cited},
        ],
    }
    again = {"role": "assistant", "content": response.text, REPLAY: response.metadata[REPLAY]}
    own = {"systemTool": {"name": "nova_grounding"}}
    sent = json.loads(DIALECT.encode({"model": NOVA, "messages": [USER, again, USER], "tools": [own]}).body)
    sent = sent["messages"][1]["content"]
    assert sent == response.metadata[REPLAY]["content"]
