"""Anthropic's dialect: requests as they go out, and what comes back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from callgate.errors import InvalidRequestError
from callgate.messages import Message
from callgate.providers.anthropic import AnthropicMessages
from callgate.providers.anthropic_stream import MessageBuilder
from callgate.providers.chat_request import REPLAY
from tests.providers.conformance import DialectConformance, read_stream
from tests.providers.recorded_cases import read_cases

DIALECT = AnthropicMessages()
OLD, NEW = "claude-3-5-haiku-20241022", "claude-opus-5"
USER = {"role": "user", "content": "Hi"}
PNG = "iVBORw0KGgo="
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 80}},
    "required": ["city"],
}


class TestConformance(DialectConformance):
    dialect = DIALECT
    recorded = "anthropic"


def body_of(*messages: Any, **fields: Any) -> dict[str, Any]:
    """The body of a request with these messages and fields."""
    request = {"model": OLD, "messages": list(messages) or [USER], **fields}
    before = json.dumps(request, default=str)
    body: dict[str, Any] = json.loads(DIALECT.encode(request).body)
    assert json.dumps(request, default=str) == before, "encoding changed the caller's request"
    return body


def said(*messages: Any) -> list[Any]:
    """The messages of the body."""
    return list(body_of(*messages)["messages"])


def refusal(*messages: Any, **fields: Any) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        body_of(*messages, **fields)
    assert caught.value.surely_unsent
    return caught.value.message


def call(identity: str, name: str, arguments: Any) -> dict[str, Any]:
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


# -- where it goes ---------------------------------------------------------------------------------------


def test_the_smallest_request() -> None:
    wire = DIALECT.encode({"model": OLD, "messages": [USER]})
    assert (wire.path, wire.method, wire.stream) == ("/v1/messages", "POST", False)
    assert wire.headers == {"anthropic-version": "2023-06-01"}
    assert json.loads(wire.body) == {"model": OLD, "max_tokens": 4096, "messages": [USER]}


def test_a_stream_is_asked_for() -> None:
    wire = DIALECT.encode({"model": OLD, "messages": [USER]}, stream=True)
    assert wire.stream
    assert json.loads(wire.body)["stream"] is True


def test_the_callers_own_path_goes_before_ours() -> None:
    request = {"model": OLD, "messages": [USER]}
    assert DIALECT.encode(request, path="v1/messages?beta=true").path == "/v1/messages?beta=true"
    assert DIALECT.encode(request, path="messages").path == "/v1/messages"


@pytest.mark.parametrize("model", [None, "", "  ", 7])
def test_a_request_without_a_model_is_refused(model: Any) -> None:
    assert "model" in refusal(model=model)


# -- the conversation ------------------------------------------------------------------------------------


def test_system_messages_become_the_system_prompt_wherever_they_stand() -> None:
    body = body_of(
        {"role": "system", "content": "Be short."},
        USER,
        {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
    )
    assert body["system"] == "Be short.\n\nBe kind."
    assert body["messages"] == [USER]


def test_a_system_part_with_a_cache_mark_keeps_it() -> None:
    part = {"type": "text", "text": "Long rules.", "cache_control": {"type": "ephemeral"}}
    assert body_of({"role": "system", "content": [part]}, USER)["system"] == [part]


def test_a_system_of_anthropics_own_comes_first() -> None:
    assert body_of({"role": "system", "content": "b"}, USER, system="a")["system"] == "a\n\nb"


def test_neighbours_of_one_role_become_one_message() -> None:
    assert said(USER, {"role": "user", "content": "there"}, {"role": "assistant", "content": "Yes?"}) == [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "there"}]},
        {"role": "assistant", "content": "Yes?"},
    ]


def test_messages_that_say_nothing_are_left_out() -> None:
    assert said(USER, {"role": "assistant", "content": ""}, {"role": "user", "content": None}) == [USER]


def test_tool_calls_and_their_results() -> None:
    calls = [call("call_1", "f", '{"a": 1}'), call("call:2", "g", ""), call("call_3", "h", '{"cut')]
    messages = said(
        USER,
        {"role": "assistant", "content": "Let me see.", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "call_1", "content": "one"},
        {"role": "tool", "tool_call_id": "call:2", "content": [{"type": "text", "text": "two"}]},
        {"role": "tool", "tool_call_id": "call_3", "content": "", "is_error": True},
        {"role": "user", "content": "Well?"},
    )
    assert messages[1]["content"] == [
        {"type": "text", "text": "Let me see."},
        {"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": 1}},
        {"type": "tool_use", "id": "call_2", "name": "g", "input": {}},
        {"type": "tool_use", "id": "call_3", "name": "h", "input": {"unreadable_arguments": '{"cut'}},
    ]
    assert messages[2:] == [
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": "one"},
                {"type": "tool_result", "tool_use_id": "call_2", "content": "two"},
                {"type": "tool_result", "tool_use_id": "call_3", "is_error": True},
                {"type": "text", "text": "Well?"},
            ],
        }
    ]


def test_pictures_and_files() -> None:
    parts = [
        {"type": "text", "text": "What is this?", "cache_control": {"type": "ephemeral"}},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"}},
        {"type": "image_url", "image_url": "https://example.com/a.jpg"},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERg==", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_data": "data:text/plain,hello%20there"}},
        {"type": "file", "file": {"file_id": "file_1"}},
        {"type": "search_result", "source": "s", "title": "t", "content": []},
    ]
    assert said({"role": "user", "content": parts})[0]["content"] == [
        {"type": "text", "text": "What is this?", "cache_control": {"type": "ephemeral"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.jpg"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="},
            "title": "a.pdf",
        },
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hello there"}},
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
        {"type": "search_result", "source": "s", "title": "t", "content": []},
    ]


def test_a_picture_in_a_tools_result() -> None:
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    answered = {"role": "tool", "tool_call_id": "c", "content": [picture]}
    result = said(USER, {"role": "assistant", "tool_calls": [call("c", "f", "{}")]}, answered)[-1]["content"][
        0
    ]
    assert result["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    ]


def test_our_own_messages_and_a_bare_prompt() -> None:
    assert said(Message("user", "Hi")) == [USER]
    assert json.loads(DIALECT.encode({"model": OLD, "prompt": "Hi"}).body)["messages"] == [USER]


def picture(url: Any) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "image_url", "image_url": url}]}


def part(**fields: Any) -> dict[str, Any]:
    return {"role": "user", "content": [fields]}


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([{"role": "system", "content": "only rules"}], "no message of the user's"),
        ([{"role": "judge", "content": "x"}], "unknown role 'judge'"),
        ([{"content": "x"}], "messages[0]"),
        (["Hi"], "messages[0]"),
        ([{"role": "user", "content": 7}], "text or a list of parts"),
        ([{"role": "user", "content": [7]}], "an object with a type"),
        ([part(type="hologram")], "'hologram'"),
        ([part(type="text")], "no text"),
        ([part(type="input_audio", input_audio={"data": "QUJD"})], "sound"),
        ([part(type="file", file={})], "file_data"),
        ([part(type="file", file={"file_data": "data:text/plain;base64,A" + "QUJD" * 20})], "base64"),
        ([picture({})], "no url"),
        ([picture("data:image/png")], "no data"),
        ([picture("data:;base64,QUJD")], "its type"),
        ([picture("data:image/png;base64,QUJ")], "base64"),
        ([{**picture("https://x/a.png"), "role": "system"}], "text only"),
        ([USER, {"role": "tool", "content": "x"}], "tool_call_id"),
        ([USER, {"role": "assistant", "tool_calls": [{"id": "c"}]}], "calls no function"),
    ],
)
def test_what_cannot_be_said_is_refused_before_it_is_sent(messages: list[Any], why: str) -> None:
    assert why in refusal(*messages)


@pytest.mark.parametrize("messages", [None, [], "Hi", {}])
def test_a_request_without_messages_is_refused(messages: Any) -> None:
    with pytest.raises(InvalidRequestError, match="no messages"):
        DIALECT.encode({"model": OLD, "messages": messages})


# -- settings --------------------------------------------------------------------------------------------


def test_settings_are_translated() -> None:
    body = body_of(
        max_tokens=9,
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        stop="END",
        user="u-1",
        service_tier="auto",
        container=None,
    )
    del body["messages"], body["model"]
    assert body == {
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u-1"},
        "service_tier": "auto",
    }


def test_openais_newer_name_for_max_tokens_is_understood() -> None:
    assert body_of(max_completion_tokens=7, stop=["a", "b"])["max_tokens"] == 7


def test_what_anthropic_would_refuse_and_what_changes_nothing_is_left_out() -> None:
    usual = body_of()
    assert body_of(seed=1, logprobs=True, frequency_penalty=1, stream_options={}, n=1, stream=True) == usual


def test_several_answers_at_once_are_refused() -> None:
    assert "n=3" in refusal(n=3)


def budget(tokens: int, max_tokens: int) -> dict[str, Any]:
    return {"thinking": {"type": "enabled", "budget_tokens": tokens}, "max_tokens": max_tokens}


def adaptive(effort: str, max_tokens: int) -> dict[str, Any]:
    return {
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": effort},
        "max_tokens": max_tokens,
    }


@pytest.mark.parametrize(
    ("model", "effort", "max_tokens", "expected"),
    [
        (OLD, "low", None, budget(2048, 6144)),
        (OLD, "high", 4000, budget(3000, 4000)),
        (OLD, "minimal", 1100, budget(1024, 1100)),
        (OLD, "none", 50, {"max_tokens": 50}),
        (NEW, "medium", 50, adaptive("medium", 50)),
        (NEW, "minimal", None, adaptive("low", 4096)),
        (NEW, "xhigh", 9, adaptive("xhigh", 9)),
        ("claude-opus-4-6", "xhigh", 9, adaptive("max", 9)),
        ("claude-mythos-preview", "low", 9, adaptive("low", 9)),
        ("deepseek-chat", "low", None, budget(2048, 6144)),
    ],
)
def test_reasoning_effort(model: str, effort: str, max_tokens: int | None, expected: dict[str, Any]) -> None:
    body = body_of(model=model, reasoning_effort=effort, max_tokens=max_tokens)
    del body["messages"], body["model"]
    assert body == expected


def test_an_effort_for_which_there_is_no_room_or_no_word_is_refused() -> None:
    assert "leaves" in refusal(reasoning_effort="low", max_tokens=1024)
    assert "extreme" in refusal(reasoning_effort="extreme")


def test_the_callers_own_words_about_thinking_go_before_ours() -> None:
    body = body_of(
        model=NEW, reasoning_effort="low", thinking={"type": "disabled"}, output_config={"effort": "max"}
    )
    assert body["thinking"] == {"type": "disabled"}
    assert body["output_config"] == {"effort": "max"}


# -- tools -----------------------------------------------------------------------------------------------

TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "description": "Weather.", "parameters": SCHEMA, "strict": True},
}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}


def test_tools() -> None:
    bare = {"type": "function", "function": {"name": "now"}}
    assert body_of(tools=[TOOL, bare, SEARCH])["tools"] == [
        {"name": "get_weather", "description": "Weather.", "input_schema": SCHEMA},
        {"name": "now", "input_schema": {"type": "object", "properties": {}}},
        SEARCH,
    ]


def test_a_strict_tool_is_strict_where_the_model_can_be() -> None:
    tool = body_of(model=NEW, tools=[TOOL])["tools"][0]
    assert tool["strict"] is True
    assert tool["input_schema"] == {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "maxLength: 80"}},
        "required": ["city"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("choice", "parallel", "expected"),
    [
        (None, None, None),
        ("auto", None, {"type": "auto"}),
        ("none", False, {"type": "none"}),
        ("required", None, {"type": "any"}),
        ({"type": "function", "function": {"name": "f"}}, None, {"type": "tool", "name": "f"}),
        ({"type": "any"}, None, {"type": "any"}),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        ("required", False, {"type": "any", "disable_parallel_tool_use": True}),
        ("auto", True, {"type": "auto"}),
    ],
)
def test_tool_choice(choice: Any, parallel: bool | None, expected: Any) -> None:
    assert (
        body_of(tools=[TOOL], tool_choice=choice, parallel_tool_calls=parallel).get("tool_choice") == expected
    )


def test_a_choice_without_tools_is_left_out() -> None:
    assert "tool_choice" not in body_of(tool_choice="auto", tools=[])


def test_tools_that_are_none_are_refused() -> None:
    assert "a list" in refusal(tools={"name": "f"}.keys())
    assert "no name" in refusal(tools=[{"type": "function", "function": {}}])
    assert "'sometimes'" in refusal(tools=[TOOL], tool_choice="sometimes")


# -- the form of the answer ------------------------------------------------------------------------------

FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "place", "description": "A place.", "schema": SCHEMA},
}


def test_a_schema_is_held_to_by_the_provider_where_it_can() -> None:
    body = body_of(model=NEW, response_format=FORMAT, reasoning_effort="low")
    assert body["output_config"] == {
        "effort": "low",
        "format": {
            "type": "json_schema",
            "schema": {
                "type": "object",
                "properties": {"city": {"type": "string", "description": "maxLength: 80"}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
    assert "tools" not in body


def test_an_older_model_is_made_to_answer_by_a_tool() -> None:
    body = body_of(response_format=FORMAT)
    assert [tool["name"] for tool in body["tools"]] == ["callgate_answer"]
    assert body["tools"][0]["input_schema"] == SCHEMA
    assert "A place." in body["tools"][0]["description"]
    assert body["tool_choice"] == {"type": "tool", "name": "callgate_answer"}


OPEN = {"type": "object", "additionalProperties": {"type": "integer"}}


@pytest.mark.parametrize(
    "wanted", [{"type": "json_object"}, {"type": "json_schema", "json_schema": {"name": "x", "schema": OPEN}}]
)
def test_what_cannot_be_held_to_becomes_a_tool_for_newer_models_too(wanted: Any) -> None:
    body = body_of(model=NEW, response_format=wanted)
    assert body["tools"][0]["name"] == "callgate_answer"
    assert "output_config" not in body


def test_beside_other_tools_the_model_may_call_these_first() -> None:
    body = body_of(response_format=FORMAT, tools=[TOOL])
    assert [tool["name"] for tool in body["tools"]] == ["get_weather", "callgate_answer"]
    assert body["tool_choice"] == {"type": "any"}
    none = body_of(response_format=FORMAT, tools=[TOOL], tool_choice="none")
    assert none["tool_choice"] == {"type": "tool", "name": "callgate_answer"}


def test_a_model_that_thinks_is_not_forced() -> None:
    body = body_of(response_format={"type": "json_object"}, reasoning_effort="low")
    assert body["tool_choice"] == {"type": "auto"}


def test_text_is_what_a_model_answers_anyway() -> None:
    assert body_of(response_format={"type": "text"}) == body_of()


@pytest.mark.parametrize(
    "wanted",
    [
        "json",
        {"type": "yaml"},
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": {"schema": {"type": "array"}}},
    ],
)
def test_a_form_that_is_none_is_refused(wanted: Any) -> None:
    assert refusal(response_format=wanted)


# -- going on with what was answered ---------------------------------------------------------------------


def test_a_signed_thought_goes_back_exactly_as_it_came() -> None:
    content = [
        {"type": "thinking", "thinking": "Hm.", "signature": "sig=="},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}},
    ]
    answer = {"type": "message", "content": content, "stop_reason": "tool_use"}
    response = DIALECT.decode(json.dumps(answer).encode(), {})
    assistant = {
        "role": "assistant",
        "content": response.text,
        "tool_calls": [
            call(found.id, found.name, json.dumps(found.arguments)) for found in response.tool_calls
        ],
        REPLAY: response.metadata[REPLAY],
    }
    result = {"role": "tool", "tool_call_id": "toolu_1", "content": "42"}
    assert said(USER, assistant, result)[1] == {"role": "assistant", "content": content}


def test_a_streamed_thought_goes_back_too() -> None:
    events = [
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm."}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "sig"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
    ]
    lines = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    _, response = read_stream(DIALECT, [lines.encode()], {})
    content = [{"type": "thinking", "thinking": "Hm.", "signature": "sig"}]
    assert response.metadata[REPLAY] == {"dialect": "anthropic", "content": content}


def test_another_dialects_content_is_translated_instead() -> None:
    replay = {"dialect": "gemini", "content": [{"text": "x"}]}
    assert said(USER, {"role": "assistant", "content": "Yes", REPLAY: replay})[1] == {
        "role": "assistant",
        "content": "Yes",
    }


def test_an_answer_of_text_and_tools_needs_no_replay() -> None:
    answer = {"content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn"}
    assert DIALECT.decode(json.dumps(answer).encode(), {}).metadata == {}


def test_which_stop_sequence_ended_it_is_told() -> None:
    answer = {"content": [], "stop_reason": "stop_sequence", "stop_sequence": "END"}
    assert DIALECT.decode(json.dumps(answer).encode(), {}).metadata == {"stop_sequence": "END"}


def test_the_json_of_a_forced_tool_is_the_text_exactly_as_it_was_streamed() -> None:
    tool = {"type": "tool_use", "name": "callgate_answer"}
    pieces = [{"type": "input_json_delta", "partial_json": piece} for piece in ('{"a" :', " 1 }")]
    events = [
        {"type": "content_block_start", "index": 0, "content_block": tool},
        *({"type": "content_block_delta", "index": 0, "delta": piece} for piece in pieces),
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
    ]
    lines = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    deltas, response = read_stream(DIALECT, [lines.encode()], {})
    assert "".join(delta.text for delta in deltas) == response.text == response.data == '{"a" : 1 }'
    assert response.finish_reason == "stop"
    assert not response.tool_calls


def test_a_streamed_block_of_an_unknown_kind_goes_back_whole() -> None:
    (case,) = (case for case in read_cases("anthropic", "stream") if case.name == "stream_compaction")
    _, response = read_stream(DIALECT, [case.body], case.headers)
    block = {"type": "compaction", "content": "What was said: little.", "encrypted_content": "EqQBCgIYAh"}
    text = {"type": "text", "text": "Hello"}
    assert response.metadata[REPLAY] == {"dialect": "anthropic", "content": [block, text]}
    assert response.raw["context_management"] == {"applied_edits": [{"type": "compact_20260112"}]}


def test_what_an_unknown_delta_says_of_a_known_block_is_passed_over() -> None:
    builder = MessageBuilder({})
    builder.take({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
    delta = {"type": "hologram_delta", "text": "unseen", "angle": 3}
    for index in (0, 7, None, [0]):
        assert builder.take({"type": "content_block_delta", "index": index, "delta": delta}) == []
    builder.take({"type": "message_delta", "delta": {"stop_reason": "end_turn"}})
    assert builder.finish().raw["content"] == [{"type": "text", "text": ""}]
