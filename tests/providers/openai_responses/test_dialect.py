"""OpenAI's Responses dialect: the one request format said its way, and its answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from callgate.errors import InvalidRequestError, ResponseError
from callgate.providers.openai_responses.dialect import OpenAIResponses
from callgate.response import Response
from tests.providers.conformance import DialectConformance, read_stream

DIALECT = OpenAIResponses()
USER = {"role": "user", "content": "Hi"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}


class TestConformance(DialectConformance):
    dialect = DIALECT
    recorded = "openai_responses"


def body_of(**request: Any) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(DIALECT.encode(request).body)
    return read


def input_of(*messages: dict[str, Any]) -> Any:
    return body_of(model="m", messages=list(messages))["input"]


def test_system_messages_at_the_start_become_the_instructions() -> None:
    system = {"role": "system", "content": "Be short."}
    developer = {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]}
    body = body_of(model="m", messages=[system, developer, USER])
    assert body["instructions"] == "Be short.\n\nBe kind."
    assert body["input"] == [{"role": "user", "content": "Hi"}]


def test_a_system_message_later_on_keeps_its_place() -> None:
    assert input_of(USER, {"role": "system", "content": "Now in French."}) == [
        {"role": "user", "content": "Hi"},
        {"role": "system", "content": "Now in French."},
    ]


def test_system_messages_alone_are_the_input_for_there_must_be_one() -> None:
    body = body_of(model="m", messages=[{"role": "system", "content": "Say hello."}])
    assert body == {"model": "m", "input": [{"role": "system", "content": "Say hello."}]}


def test_a_refusal_of_the_assistants_goes_back_as_what_it_said() -> None:
    refused = {"role": "assistant", "content": None, "refusal": "No."}
    assert input_of(USER, refused)[1] == {"type": "message", "role": "assistant", "content": "No."}


def test_instructions_of_the_request_stay_and_system_messages_beside_them() -> None:
    system = {"role": "system", "content": "Be short."}
    body = body_of(model="m", instructions="Mine.", messages=[system, USER])
    assert body["instructions"] == "Mine."
    assert body["input"][0] == {"role": "system", "content": "Be short."}


def test_image_and_file_parts_are_said_flat() -> None:
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "https://x.test/a.png", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk=", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "input_image", "image_url": "https://x.test/b.png", "detail": "high"},
    ]
    assert input_of({"role": "user", "content": parts})[0]["content"] == [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": "https://x.test/a.png", "detail": "low"},
        {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "auto"},
        {"type": "input_file", "file_data": "data:application/pdf;base64,aGk=", "filename": "a.pdf"},
        {"type": "input_file", "file_id": "file-1"},
        {"type": "input_image", "image_url": "https://x.test/b.png", "detail": "high"},
    ]


def test_a_video_is_refused() -> None:
    film = {"type": "file", "file": {"file_data": "data:video/mp4;base64,QUJD", "filename": "a.mp4"}}
    with pytest.raises(InvalidRequestError, match="takes no video"):
        input_of({"role": "user", "content": [film]})


def test_tool_calls_and_their_results_become_items_of_their_own() -> None:
    assert input_of(
        USER,
        {"role": "assistant", "content": "Let me see.", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "42"},
    )[1:] == [
        {"type": "message", "role": "assistant", "content": "Let me see."},
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": '{"a": 1}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "42"},
    ]


def test_a_tool_result_may_hold_an_image() -> None:
    content = [
        {"type": "text", "text": "the plot"},
        {"type": "image_url", "image_url": {"url": "https://x.test/p.png"}},
    ]
    output = input_of(USER, {"role": "tool", "tool_call_id": "c", "content": content})[1]["output"]
    assert output == [
        {"type": "input_text", "text": "the plot"},
        {"type": "input_image", "image_url": "https://x.test/p.png", "detail": "auto"},
    ]


def test_arguments_given_as_an_object_are_written_as_text() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
    item = input_of(USER, {"role": "assistant", "content": None, "tool_calls": [call]})[1]
    assert json.loads(item["arguments"]) == {"a": 1}


def test_reasoning_goes_back_as_it_came_when_the_message_holds_the_replay() -> None:
    output = [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gA"},
        {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}"},
    ]
    answer = json.dumps({"id": "r", "status": "completed", "output": output}).encode()
    response = DIALECT.decode(answer, {})
    message = {
        "role": "assistant",
        "content": response.text,
        "tool_calls": [CALL],
        "replay": response.metadata["replay"],
    }
    assert input_of(USER, message)[1:] == output


def test_an_answer_without_reasoning_needs_no_replay() -> None:
    assert DIALECT.decode(b'{"status": "completed", "output": []}', {}).metadata == {}


def test_functions_are_flat_and_strict_only_on_request() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    tools = [
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": schema}},
        {"type": "function", "function": {"name": "g", "parameters": schema, "strict": True}},
        {"type": "function", "function": {"name": "h"}},
        {"type": "web_search"},
    ]
    assert body_of(model="m", messages=[USER], tools=tools)["tools"] == [
        {"type": "function", "strict": False, "parameters": schema, "name": "f", "description": "d"},
        {"type": "function", "strict": True, "parameters": schema, "name": "g"},
        {
            "type": "function",
            "strict": False,
            "parameters": {"type": "object", "properties": {}},
            "name": "h",
        },
        {"type": "web_search"},
    ]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("auto", "auto"),
        ("required", "required"),
        ({"type": "function", "function": {"name": "f"}}, {"type": "function", "name": "f"}),
        ({"type": "custom", "custom": {"name": "c"}}, {"type": "custom", "name": "c"}),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": "f"}}],
                },
            },
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]},
        ),
        ({"type": "file_search"}, {"type": "file_search"}),
    ],
)
def test_tool_choice_is_said_flat(ours: Any, theirs: Any) -> None:
    tools = [{"type": "function", "name": "f"}, {"type": "custom", "custom": {"name": "c"}}]
    assert body_of(model="m", messages=[USER], tools=tools, tool_choice=ours)["tool_choice"] == theirs


def test_a_custom_tool_with_a_grammar_is_said_flat() -> None:
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: A"}}
    tool = {"type": "custom", "custom": {"name": "c", "format": grammar}}
    assert body_of(model="m", messages=[USER], tools=[tool])["tools"] == [
        {
            "type": "custom",
            "name": "c",
            "format": {"type": "grammar", "syntax": "lark", "definition": "start: A"},
        }
    ]


def test_settings_that_have_other_names_or_places_here() -> None:
    schema = {"name": "answer", "strict": True, "schema": {"type": "object"}}
    body = body_of(
        model="m",
        messages=[USER],
        max_tokens=50,
        temperature=0.5,
        seed=7,
        response_format={"type": "json_schema", "json_schema": schema},
        verbosity="low",
        reasoning_effort="high",
        reasoning={"summary": "auto"},
        logprobs=True,
        top_logprobs=3,
        metadata={"a": "b"},
    )
    del body["input"]
    assert body == {
        "model": "m",
        "max_output_tokens": 50,
        "temperature": 0.5,
        "text": {"format": {"type": "json_schema", **schema}, "verbosity": "low"},
        "reasoning": {"effort": "high", "summary": "auto"},
        "include": ["message.output_text.logprobs"],
        "top_logprobs": 3,
        "metadata": {"a": "b"},
    }


def test_what_has_no_counterpart_is_left_out() -> None:
    asked = body_of(
        model="m",
        messages=[USER],
        seed=7,
        frequency_penalty=0.5,
        presence_penalty=0.5,
        logit_bias={"50256": -100},
        prediction={"type": "content", "content": "x"},
        modalities=["text"],
        n=1,
        stop=None,
    )
    assert asked == body_of(model="m", messages=[USER])


def test_stop_sequences_are_refused_with_a_way_out() -> None:
    with pytest.raises(InvalidRequestError, match="no stop sequences; leave stop out, or use the chat"):
        DIALECT.encode({"model": "m", "messages": [USER], "stop": ["END"]})


def test_json_without_a_schema() -> None:
    body = body_of(model="m", messages=[USER], response_format={"type": "json_object"})
    assert body["text"] == {"format": {"type": "json_object"}}


def test_what_is_said_in_this_dialect_already_passes_through() -> None:
    request = {
        "model": "m",
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}],
        "instructions": "Be short.",
        "max_output_tokens": 9,
        "text": {"format": {"type": "text"}},
        "previous_response_id": "resp_1",
    }
    assert body_of(**request) == request


@pytest.mark.parametrize("asked", [{"background": True}, {"extra_body": {"background": True}}])
def test_an_answer_in_the_background_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match="background"):
        body_of(model="m", messages=[USER], **asked)


def test_a_web_search_is_a_tool() -> None:
    body = body_of(model="m", messages=[USER], web_search_options={"search_context_size": "low"})
    assert body["tools"] == [{"type": "web_search", "search_context_size": "low"}]


@pytest.mark.parametrize("store", [None, True, False])
def test_thoughts_go_back_whole_where_the_provider_stores_nothing(store: bool | None) -> None:
    bare = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": None, "status": None}
    sealed = {**bare, "id": "rs_2", "encrypted_content": "ZW5j"}
    call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
    answer = {"status": "completed", "output": [bare, sealed, call]}
    response = DIALECT.decode(json.dumps(answer).encode(), {})
    message = {"role": "assistant", "content": None, "replay": response.metadata["replay"]}
    body = body_of(model="m", messages=[USER, message], store=store)
    sent = [
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "ZW5j"},
        call,
    ]
    assert body["input"][1:] == (sent[1:] if store is False else sent)
    assert body.get("include") == (["reasoning.encrypted_content"] if store is False else None)


def test_ids_of_calls_are_no_longer_than_the_provider_takes() -> None:
    call = {**CALL, "id": "toolu/" + "x" * 90}
    result = {"role": "tool", "tool_call_id": call["id"], "content": "42"}
    messages = [USER, {"role": "assistant", "content": None, "tool_calls": [call]}, result]
    called, answered = body_of(model="m", messages=messages)["input"][1:]
    assert called["call_id"] == answered["call_id"]
    assert len(called["call_id"]) <= 64


def test_a_bare_prompt_is_the_input_and_a_stored_one_stays() -> None:
    assert body_of(model="m", prompt="Hi")["input"] == [{"role": "user", "content": "Hi"}]
    stored = {"id": "pmpt_1", "variables": {"name": "Ann"}}
    assert body_of(model="m", prompt=stored) == {"model": "m", "prompt": stored}


def test_a_stream_is_asked_for_without_the_chat_dialects_options() -> None:
    wire = DIALECT.encode(
        {"model": "m", "messages": [USER], "stream_options": {"include_usage": True}}, stream=True
    )
    assert wire.stream
    assert json.loads(wire.body) == {"model": "m", "input": [USER], "stream": True}


def test_a_request_is_never_changed() -> None:
    request: dict[str, Any] = {"model": "m", "messages": [dict(USER)], "text": {}, "verbosity": "low"}
    before = json.dumps(request)
    DIALECT.encode(request, stream=True)
    assert json.dumps(request) == before


@pytest.mark.parametrize(
    "request_",
    [
        {"model": "m"},
        {"model": "m", "messages": []},
        {"model": "m", "messages": [{"content": "no role"}]},
        {"model": "m", "messages": [{"role": "user", "content": 5}]},
        {"model": "m", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        {"model": "m", "messages": [{"role": "assistant", "content": None, "tool_calls": [{"id": "x"}]}]},
        {"model": "m", "messages": [USER], "tools": ["f"]},
        {"model": "m", "messages": [USER], "tools": [{"type": "function", "function": {}}]},
        {"model": "m", "messages": [USER], "response_format": "json"},
        {"model": "m", "messages": [{"role": "user", "content": object()}]},
        {"model": "m", "messages": [USER], "stop": ["END"]},
        {"model": "m", "messages": [USER], "stop": "END"},
        {"model": "m", "messages": [USER], "n": 2},
    ],
)
def test_what_cannot_be_said_is_refused_before_anything_is_sent(request_: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        DIALECT.encode(request_)
    assert caught.value.surely_unsent


# -- streams of gateways that leave out what the last event should hold ------------------------------------

TEXT_DELTAS = [
    {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": text}
    for text in ("Hel", "lo")
]
CALL_EVENTS = [
    {
        "type": "response.output_item.added",
        "output_index": 1,
        "item": {"type": "function_call", "id": "fc1", "call_id": "c1", "name": "look", "arguments": ""},
    },
    {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": '{"a":1}'},
]
THOUGHT_DELTA = {
    "type": "response.reasoning_summary_text.delta",
    "output_index": 2,
    "summary_index": 0,
    "delta": "Hm.",
}


def _stream_of(*events: dict[str, Any], end: bytes = b"") -> Response:
    body = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + end
    return read_stream(DIALECT, [body], {})[1]


@pytest.mark.parametrize("output", [{"output": []}, {"output": None}, {}], ids=["empty", "null", "missing"])
def test_an_answer_without_output_holds_what_was_streamed(output: dict[str, Any]) -> None:
    done = {"type": "response.completed", "response": {"id": "r1", "status": "completed", **output}}
    response = _stream_of(*TEXT_DELTAS, *CALL_EVENTS, THOUGHT_DELTA, done)
    assert (response.text, response.reasoning, response.id) == ("Hello", "Hm.", "r1")
    assert [(call.id, call.name, call.arguments) for call in response.tool_calls] == [
        ("c1", "look", {"a": 1})
    ]
    assert response.finish_reason == "tool_call"


def test_an_output_whose_message_is_empty_holds_what_was_streamed() -> None:
    message = {"type": "message", "role": "assistant", "content": []}
    item = {"type": "response.output_item.done", "output_index": 0, "item": message}
    done = {"type": "response.completed", "response": {"status": "completed", "output": [message]}}
    assert _stream_of(*TEXT_DELTAS, item, done).text == "Hello"


def test_a_stream_that_ends_with_an_end_mark_alone_is_whole() -> None:
    created = {"type": "response.created", "response": {"id": "r1", "model": "m", "status": "in_progress"}}
    response = _stream_of(created, *TEXT_DELTAS, end=b"data: [DONE]\n\n")
    assert (response.text, response.id, response.model, response.finish_reason) == (
        "Hello",
        "r1",
        "m",
        "stop",
    )
    with pytest.raises(ResponseError, match="broke off"):
        _stream_of(created, *TEXT_DELTAS)


def test_texts_that_come_only_when_they_are_done_are_streamed() -> None:
    done = {"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": "Hello"}
    body = b"data: " + json.dumps(done).encode() + b"\n\ndata: [DONE]\n\n"
    deltas, response = read_stream(DIALECT, [body], {})
    assert [delta.text for delta in deltas] == ["Hello"] == [response.text]


def test_a_call_without_an_id_gets_one() -> None:
    calls = [{"type": "function_call", "name": "look", "arguments": f'{{"x": {x}}}'} for x in (1, 2)]
    body = json.dumps({"id": "r1", "status": "completed", "output": calls}).encode()
    ids = [call.id for call in DIALECT.decode(body, {}).tool_calls]
    assert all(ids)
    assert len(set(ids)) == 2


def _call_item(identity: str, call_id: str, arguments: Any = "") -> dict[str, Any]:
    return {
        "type": "function_call",
        "id": identity,
        "call_id": call_id,
        "name": "look",
        "arguments": arguments,
    }


def _event(kind: str, index: int | None = 0, **fields: Any) -> dict[str, Any]:
    place = {} if index is None else {"output_index": index}
    return {"type": f"response.{kind}", **place, **fields}


def _piece(identity: str, text: str, index: int | None = 0) -> dict[str, Any]:
    return _event("function_call_arguments.delta", index, item_id=identity, delta=text)


DONE = {"type": "response.completed", "response": {"id": "r1", "status": "completed", "output": []}}


@pytest.mark.parametrize("index", [None, 0], ids=["no index", "one index"])
def test_streamed_calls_are_distinguished_by_their_ids(index: int | None) -> None:
    begun = [
        _event("output_item.added", index, item=_call_item("i1", "c1")),
        _event("output_item.added", index, item=_call_item("i2", "c2")),
    ]
    pieces = [_piece("i1", '{"a"', index), _piece("i2", '{"a":2}', index), _piece("i1", ":1}", index)]
    response = _stream_of(*begun, *pieces, DONE)
    assert [(call.id, call.arguments) for call in response.tool_calls] == [("c1", {"a": 1}), ("c2", {"a": 2})]
    whole = [_event("output_item.done", index, item=_call_item(f"i{n}", f"c{n}", {"a": n})) for n in (1, 2)]
    assert [call.arguments for call in _stream_of(*whole, DONE).tool_calls] == [{"a": 1}, {"a": 2}]


def test_an_id_that_changes_with_each_event_is_of_one_call() -> None:
    response = _stream_of(
        _event("output_item.added", item=_call_item("x1", "c1")),
        _piece("x2", '{"a":'),
        _piece("x3", "1}"),
        _event("output_item.done", item=_call_item("x4", "c1", '{"a":1}')),
        DONE,
    )
    assert [(call.id, call.arguments) for call in response.tool_calls] == [("c1", {"a": 1})]


def test_arguments_that_opened_a_call_are_replaced_by_its_pieces() -> None:
    opened = _event("output_item.added", item=_call_item("i1", "c1", "{}"))
    assert _stream_of(opened, _piece("i1", '{"a":1}'), DONE).tool_calls[0].arguments == {"a": 1}
    assert _stream_of(opened, DONE).tool_calls[0].arguments == {}


def test_a_last_event_that_lost_the_arguments_is_completed_from_the_pieces() -> None:
    events = [_event("output_item.added", item=_call_item("i1", "c1")), _piece("i1", '{"a":1}')]
    done = {
        "type": "response.completed",
        "response": {"status": "completed", "output": [_call_item("i1", "c1")]},
    }
    assert [call.arguments for call in _stream_of(*events, done).tool_calls] == [{"a": 1}]
