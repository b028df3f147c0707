"""Anthropic's dialect: requests as they go out, and what comes back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from callgate.errors import InvalidRequestError
from callgate.messages import Message
from callgate.providers.anthropic.dialect import AnthropicMessages
from callgate.providers.anthropic.stream import MessageBuilder
from callgate.providers.canonical.messages import REPLAY
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


def test_first_system_messages_become_the_system_prompt() -> None:
    body = body_of(
        {"role": "system", "content": "Be short."},
        {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
        USER,
    )
    assert body["system"] == "Be short.\n\nBe kind."
    assert body["messages"] == [USER]


LATE = {"role": "system", "content": "Answer in French."}


def test_late_system_message_is_marked_text_in_its_place_for_older_models() -> None:
    answered = {"role": "assistant", "content": "Yes?"}
    body = body_of(USER, answered, LATE, {"role": "user", "content": "And now?"})
    assert "system" not in body
    assert body["messages"] == [
        USER,
        answered,
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "<system>\nAnswer in French.\n</system>"},
                {"type": "text", "text": "And now?"},
            ],
        },
    ]


@pytest.mark.parametrize(
    "model", ["claude-opus-4-8", "claude-opus-5-5", "claude-fable-5-1", "claude-mythos-5"]
)
@pytest.mark.parametrize("order", [[USER, LATE], [LATE, USER]])
def test_late_system_message_is_a_turn_where_the_model_takes_one(model: str, order: list[Any]) -> None:
    said = [USER, {"role": "assistant", "content": "Yes?"}, *order]
    messages = body_of(*said, model=model)["messages"]
    assert messages[2:] == [USER, LATE]


def test_late_system_message_after_an_answer_is_text_of_the_user_for_every_model() -> None:
    messages = body_of(USER, {"role": "assistant", "content": "Yes?"}, LATE, model="claude-opus-5")[
        "messages"
    ]
    assert messages[2] == {"role": "user", "content": "<system>\nAnswer in French.\n</system>"}


def test_system_message_between_a_call_and_its_result_comes_after_the_result() -> None:
    messages = said(
        USER,
        {"role": "assistant", "tool_calls": [call("c", "f", "{}")]},
        LATE,
        {"role": "tool", "tool_call_id": "c", "content": "42"},
    )
    assert messages[2]["content"] == [
        {"type": "tool_result", "tool_use_id": "c", "content": "42"},
        {"type": "text", "text": "<system>\nAnswer in French.\n</system>"},
    ]


def test_late_system_message_in_parts_keeps_them() -> None:
    part = {"type": "text", "text": "Rules.", "cache_control": {"type": "ephemeral"}}
    blocks = said(USER, {"role": "system", "content": [part]})[0]["content"]
    assert blocks[1:] == [{"type": "text", "text": "<system>"}, part, {"type": "text", "text": "</system>"}]
    assert said(USER, {"role": "system", "content": " "}) == [USER]


def test_conversation_that_the_assistant_begins_gets_a_turn_before_it() -> None:
    messages = said({"role": "assistant", "content": "Hello!"}, USER)
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]


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


def test_messages_without_content_are_left_out() -> None:
    assert said(USER, {"role": "assistant", "content": ""}, {"role": "user", "content": None}) == [USER]


def test_blank_text_is_left_out_wherever_it_stands() -> None:
    blank = {"type": "text", "text": " \n"}
    messages = body_of(
        {"role": "system", "content": "\n"},
        {"role": "user", "content": [blank, {"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": "\n\n", "tool_calls": [call("c", "f", "{}")]},
        {"role": "tool", "tool_call_id": "c", "content": "  "},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": " "}]},
    )
    assert "system" not in messages
    assert messages["messages"] == [
        USER,
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c"}]},
    ]


def test_blank_text_beside_a_signed_thought_is_not_replayed() -> None:
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "sig=="}
    use = {"type": "tool_use", "id": "c", "name": "f", "input": {}}
    replay = {"dialect": "anthropic", "content": [thought, {"type": "text", "text": "\n\n"}, use]}
    assert said(USER, {"role": "assistant", "content": None, REPLAY: replay})[1]["content"] == [thought, use]


def test_white_space_at_the_end_of_an_answer_to_continue_is_cut_off() -> None:
    assert said(USER, {"role": "assistant", "content": "It is \n"})[1]["content"] == "It is"


def test_thoughts_of_another_model_are_left_out() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    content = [thinking, {"type": "text", "text": "Yes."}]
    assert said(USER, {"role": "assistant", "content": content}, USER)[1]["content"] == "Yes."


def test_cache_mark_of_a_message_is_on_its_last_block() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    assert said({**USER, **mark})[0]["content"] == [{"type": "text", "text": "Hi", **mark}]


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


def test_a_video_is_refused() -> None:
    film = {"type": "file", "file": {"file_url": "https://example.com/a.webm"}}
    assert "takes no video" in refusal({"role": "user", "content": [film]})


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
        ([{"role": "system", "content": "only rules"}], "no message of the user"),
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


def test_the_stop_sequence_that_ended_the_answer_is_reported() -> None:
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
