"""The form of an answer is read from its bytes, whatever its label."""

from __future__ import annotations

import json
from typing import Any

import pytest

from callgate.errors import APIClientError, ContextLengthError, ResponseError, ServerError
from callgate.providers.catalog import find_dialect
from callgate.providers.openai_chat.dialect import OpenAIChat
from callgate.response import Usage
from tests.providers.conformance import read_stream

CHAT = OpenAIChat()
EVENT_STREAM = {"content-type": "text/event-stream"}
TOO_LONG = {"error": {"message": "9001 tokens of 8192", "code": "context_length_exceeded"}}


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"id": "c1", "model": "m", "choices": [{"delta": delta, "finish_reason": finish}], **more}


def events(*chunks: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)


def test_chunks_as_json_lines_are_a_stream() -> None:
    lines = [chunk({"content": "Hel"}), chunk({"content": "lo"}, "stop")]
    body = b"\n".join(json.dumps(line).encode() for line in lines)
    _, response = read_stream(CHAT, [body[:20], body[20:]], EVENT_STREAM)
    assert response.text == "Hello"


def test_chunks_as_a_json_list_are_a_stream() -> None:
    body = json.dumps([chunk({"content": "Hel"}), chunk({"content": "lo"}, "stop")]).encode()
    assert read_stream(CHAT, [body], EVENT_STREAM)[1].text == "Hello"
    assert CHAT.decode(body, {}).text == "Hello"


def test_integers_over_64_bits_in_a_json_list_are_exact() -> None:
    wei = 84074254905367237870223360
    call = {"index": 0, "id": "t", "function": {"name": "send", "arguments": json.dumps({"wei": wei})}}
    chunks = [chunk({"tool_calls": [call]}, big=wei), chunk({}, "tool_calls")]
    _, response = read_stream(CHAT, [json.dumps(chunks).encode()], EVENT_STREAM)
    assert response.tool_calls[0].arguments == {"wei": wei}


def test_an_error_event_of_plain_text_keeps_its_text() -> None:
    body = events(chunk({"content": "Hel"})) + b"event: error\ndata: upstream went away\n\n"
    with pytest.raises(ServerError, match="upstream went away"):
        read_stream(CHAT, [body], {})


def test_text_of_the_packet_that_holds_an_error_comes_before_the_error() -> None:
    body = events(chunk({"content": "one "}), {"error": {"message": "the worker is gone"}})
    deltas = iter(CHAT.stream_decoder({}).feed(body))
    assert next(deltas).text == "one "
    with pytest.raises(ServerError, match="worker is gone"):
        next(deltas)


@pytest.mark.parametrize("dialect", ["openai_chat", "openai_responses", "anthropic", "gemini", "vertex"])
@pytest.mark.parametrize("body", [json.dumps(TOO_LONG), json.dumps(TOO_LONG, indent=2)])
def test_a_bare_error_where_a_stream_was_asked_for_is_that_error(dialect: str, body: str) -> None:
    with pytest.raises(Exception, match="9001 tokens") as caught:
        read_stream(find_dialect(dialect), [body.encode()], EVENT_STREAM)
    assert not isinstance(caught.value, ResponseError)


def test_a_bare_error_after_chunks_is_that_error() -> None:
    body = events(chunk({"content": "Hel"})) + json.dumps(TOO_LONG).encode() + b"\n"
    with pytest.raises(ContextLengthError, match="9001 tokens"):
        read_stream(CHAT, [body], EVENT_STREAM)


def test_stray_json_that_is_no_error_leaves_the_stream_cut_off() -> None:
    body = events(chunk({"content": "Hel"})) + b'{"note": "bye"}\n'
    with pytest.raises(ResponseError, match="broke off"):
        read_stream(CHAT, [body], EVENT_STREAM)


def test_zeros_of_a_later_report_erase_no_counts() -> None:
    zeros = {"prompt_tokens": 0, "completion_tokens": 0, "prompt_tokens_details": {"cached_tokens": 0}}
    real = {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 3}}
    for reports in ([zeros, real, zeros], [real, zeros], [{"prompt_tokens": 5}, zeros, real]):
        chunks = [chunk({"content": "x"}, usage=usage) for usage in reports]
        _, response = read_stream(CHAT, [events(*chunks, chunk({}, "stop"))], {})
        assert response.usage == Usage(5, 2, cache_read_tokens=3)


def test_a_later_report_replaces_an_earlier_one() -> None:
    reports = [{"prompt_tokens": 5, "completion_tokens": count} for count in (1, 2, 3)]
    chunks = [chunk({"content": "x"}, usage=usage) for usage in reports]
    assert read_stream(CHAT, [events(*chunks, chunk({}, "stop"))], {})[1].usage == Usage(5, 3)


HELLO = [chunk({"content": "Hel"}), chunk({"content": "lo"}), chunk({}, "stop")]


@pytest.mark.parametrize(
    "body",
    [
        "\n".join(f"data: {json.dumps(one)}" for one in HELLO).encode(),
        events(*HELLO[:1]) + b"data: null\n\n" + events(*HELLO[1:]),
        events(*HELLO) + b'data: "[DONE]"\n\n',
        events(*HELLO) + b"data: [done]\n\n",
        "\n".join(map(json.dumps, HELLO)).encode(),
    ],
    ids=["one line end", "null", "a quoted end", "an end in small letters", "JSON in lines"],
)
def test_odd_streams_are_read_streamed_and_plain(body: bytes) -> None:
    assert read_stream(CHAT, [body], EVENT_STREAM)[1].text == CHAT.decode(body, {}).text == "Hello"


@pytest.mark.parametrize("dialect", ["openai_chat", "openai_responses", "anthropic", "gemini", "vertex"])
@pytest.mark.parametrize(
    "body",
    [
        b"the quota of this key is spent",
        b"<html><head><title>the quota of this key is spent</title></head></html>",
        b'{"detail": "the quota of this key is spent"}',
        b'data: {"detail": "the quota of this key is spent"}\n\n',
        b'{"success": false, "message": "the quota of this key is spent"}',
        b'error: {"code": 500, "message": "the quota of this key is spent"}\n\n',
        b'{"type": "error", "code": "x", "message": "the quota of this key is spent"}',
    ],
)
def test_words_in_the_place_of_an_answer_are_in_the_error(dialect: str, body: bytes) -> None:
    with pytest.raises(APIClientError, match="the quota of this key is spent"):
        read_stream(find_dialect(dialect), [body], EVENT_STREAM)
    with pytest.raises(APIClientError, match="the quota of this key is spent"):
        find_dialect(dialect).decode(body, {})


def test_json_with_an_end_mark_answers_a_plain_call() -> None:
    whole = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}
    for end in (b"\n\ndata: [DONE]\n\n", b"\ndata:[DONE]", b" [DONE]"):
        assert CHAT.decode(json.dumps(whole).encode() + end, {}).text == "Hi"


@pytest.mark.parametrize("idle", ["null", '""', "[]", "{}", "ping", ": keep-alive", "", " "])
def test_events_that_keep_a_connection_open_are_passed_over(idle: str) -> None:
    mark = f"data: {idle}\n\n".encode()
    body = (
        mark + mark.join([events(chunk({"content": "Hel"})), events(chunk({"content": "lo"}, "stop"))]) + mark
    )
    assert read_stream(CHAT, [body], {})[1].text == "Hello"


@pytest.mark.parametrize("mark", ["[DONE]", '"[DONE]"', "[done]", " [DONE] "])
def test_an_end_mark_ends_a_stream_in_every_spelling(mark: str) -> None:
    body = events(chunk({"content": "Hello"})) + f"data: {mark}\n\n".encode()
    assert read_stream(CHAT, [body], {})[1].text == "Hello"


def test_chunks_as_json_lines_answer_a_plain_call_too() -> None:
    lines = [chunk({"content": "Hel"}), chunk({"content": "lo"}, "stop")]
    assert CHAT.decode(b"\n".join(json.dumps(line).encode() for line in lines), {}).text == "Hello"
    with pytest.raises(ResponseError, match="not JSON"):
        CHAT.decode(b'{"choices": [\n', {})
