"""Streams of Bedrock with fields left out, repeated or late, and with text in place of frames."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from callgate.errors import APIClientError, ContextLengthError, RateLimitError, ResponseError
from callgate.providers.bedrock.dialect import BedrockConverse
from callgate.providers.bedrock.invoke import BedrockInvoke
from callgate.providers.canonical.json import read_arguments
from callgate.response import Response
from callgate.transport.eventstream import encode_frame
from tests.providers.conformance import collect, read_stream

Frame = tuple[str, dict[str, Any]]
OSLO, ROME = {"city": "Oslo"}, {"city": "Rome"}
OSLO_TEXT, ROME_TEXT = '{"city": "Oslo"}', '{"city": "Rome"}'
CITY = ['{"city":', '"Oslo"}']
HEADERS = {"x-amzn-requestid": "r-1"}
END: list[Frame] = [
    ("messageStop", {"stopReason": "tool_use"}),
    ("metadata", {"usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}}),
]


def use(index: int | None = 0, **fields: Any) -> Frame:
    return "contentBlockStart", _at(
        index, start={"toolUse": {"toolUseId": "t1", "name": "weather", **fields}}
    )


def piece(given: Any, index: int | None = 0) -> Frame:
    return "contentBlockDelta", _at(index, delta={"toolUse": {"input": given}})


def said(text: str, index: int | None = 0) -> Frame:
    return "contentBlockDelta", _at(index, delta={"text": text})


def stop(index: int | None = 0) -> Frame:
    return "contentBlockStop", _at(index)


def _at(index: int | None, **fields: Any) -> dict[str, Any]:
    return fields if index is None else {"contentBlockIndex": index, **fields}


def encoded(*frames: Frame) -> bytes:
    return b"".join(encode_frame({":event-type": kind}, json.dumps(event).encode()) for kind, event in frames)


def read(*frames: Frame) -> tuple[str, Response]:
    """The streamed text and the answer; the deltas add up to the same calls as the answer holds."""
    deltas, response = read_stream(BedrockConverse(), [encoded(*frames, *END)], HEADERS)
    text, _, calls = collect(deltas)
    streamed = [(identity, name, read_arguments(given)[0]) for identity, name, given in calls.values()]
    assert streamed == [(call.id, call.name, call.arguments) for call in response.tool_calls]
    ids = [call.id for call in response.tool_calls]
    assert all(ids)
    assert len(set(ids)) == len(ids)
    return text, response


ONE = [("weather", OSLO)]
TWO = [("weather", OSLO), ("weather", ROME)]


CALLS: dict[str, tuple[list[Frame], list[Any]]] = {
    "as the format has it": ([use(), *map(piece, CITY), stop()], ONE),
    "with a type": ([use(type="tool_use"), *map(piece, CITY), stop()], ONE),
    "stand-in text": ([use(), piece("{}"), *map(piece, CITY), stop()], ONE),
    "whole input at the start": ([use(input=OSLO), stop()], ONE),
    "piece that is an object": ([use(), piece(OSLO), stop()], ONE),
    "stand-in object": ([use(), piece({}), *map(piece, CITY), stop()], ONE),
    "no input at all": ([use(), stop()], [("weather", {})]),
    "no end of the block": ([use(), *map(piece, CITY)], ONE),
    "pieces before the start": ([*map(piece, CITY), use(), stop()], ONE),
    "no index": ([use(None), *(piece(text, None) for text in CITY), stop(None)], ONE),
    "no id": ([use(toolUseId=None), *map(piece, CITY), stop()], ONE),
    "one index for two calls": (
        [use(), piece(OSLO_TEXT), stop(), use(toolUseId="t2"), piece(ROME_TEXT), stop()],
        TWO,
    ),
    "two calls without ids": (
        [use(toolUseId=""), piece(OSLO_TEXT), stop(), use(1, toolUseId=""), piece(ROME_TEXT, 1)],
        TWO,
    ),
    "two calls with one id": ([use(), piece(OSLO_TEXT), stop(), use(1), piece(ROME_TEXT, 1)], TWO),
}


@pytest.mark.parametrize(("frames", "expected"), CALLS.values(), ids=CALLS)
def test_streamed_tool_calls_are_distinguished(frames: list[Frame], expected: list[Any]) -> None:
    calls = read(*frames)[1].tool_calls
    assert [(call.name, call.arguments) for call in calls] == expected


def test_a_tool_that_bedrock_runs_is_no_call_of_the_callers() -> None:
    text, response = read(use(type="server_tool_use"), *map(piece, CITY), stop(), said("Rain.", 1))
    assert (text, response.text, response.tool_calls) == ("Rain.", "Rain.", [])


def test_text_and_calls_under_no_index_are_both_read() -> None:
    text, response = read(said("Let me see.", None), use(None), *(piece(part, None) for part in CITY))
    assert text == response.text == "Let me see."
    assert [call.arguments for call in response.tool_calls] == [OSLO]


def test_usage_of_zeros_at_the_end_erases_no_counts() -> None:
    zeros = ("metadata", {"usage": {"inputTokens": 0, "outputTokens": 0, "totalTokens": 0}})
    _, response = read_stream(BedrockConverse(), [encoded(said("Hi"), *END, zeros)], HEADERS)
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens) == (3, 2)


def test_integers_over_64_bits_stay_exact_in_arguments() -> None:
    wei = 1234567890123456789012
    _, response = read(use(), piece(f'{{"amount": {wei}}}'), stop())
    assert response.tool_calls[0].arguments == {"amount": wei}


# -- what comes instead of frames --------------------------------------------------------------------------

CONVERSE, INVOKE = BedrockConverse(), BedrockInvoke()
WHOLE = {"output": {"message": {"role": "assistant", "content": [{"text": "Hi"}]}}, "stopReason": "end_turn"}
MESSAGE = {"type": "message", "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn"}
EVENTS: list[dict[str, Any]] = [
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
    {"type": "message_stop"},
]
AS_EVENTS = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in EVENTS)
TOO_LONG = {"message": "Input is too long for requested model.", "__type": "ValidationException"}
THROTTLED = {"message": "Too many requests, please wait", "__type": "com.amazon#ThrottlingException"}


def chunks(*events: dict[str, Any]) -> bytes:
    payloads = [{"bytes": base64.b64encode(json.dumps(event).encode()).decode()} for event in events]
    return encoded(*(("chunk", payload) for payload in payloads))


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        (CONVERSE, json.dumps(WHOLE)),
        (CONVERSE, "\n" + json.dumps(WHOLE, indent=2)),
        (INVOKE, json.dumps(MESSAGE)),
        (INVOKE, AS_EVENTS),
    ],
)
@pytest.mark.parametrize("kind", ["application/vnd.amazon.eventstream", "application/json", ""])
def test_text_in_the_place_of_frames_is_read(dialect: Any, body: str, kind: str) -> None:
    raw = body.encode()
    for pieces in ([raw], [raw[:3], raw[3:9], raw[9:]]):
        _, response = read_stream(dialect, pieces, {"content-type": kind})
        assert (response.text, response.finish_reason) == ("Hi", "stop")


@pytest.mark.parametrize(
    ("dialect", "body"), [(CONVERSE, encoded(said("Hi"), *END)), (INVOKE, chunks(*EVENTS))]
)
def test_frames_in_answer_to_a_plain_call_are_read(dialect: Any, body: bytes) -> None:
    assert dialect.decode(body, HEADERS).text == "Hi"


@pytest.mark.parametrize("dialect", [CONVERSE, INVOKE])
@pytest.mark.parametrize(("error", "kind"), [(TOO_LONG, ContextLengthError), (THROTTLED, RateLimitError)])
def test_an_error_in_the_place_of_frames_is_that_error(
    dialect: Any, error: dict[str, Any], kind: type[APIClientError]
) -> None:
    start = encoded(said("Hi")) if dialect is CONVERSE else chunks(EVENTS[0])
    for indent in (None, 2):
        body = json.dumps(error, indent=indent).encode()
        for raw in (body, start + body):
            for pieces in ([raw], [raw[: len(raw) - 20], raw[len(raw) - 20 :]]):
                with pytest.raises(APIClientError) as caught:
                    read_stream(dialect, pieces, {})
                assert type(caught.value) is kind
        with pytest.raises(APIClientError) as caught:
            dialect.decode(body, {})
        assert type(caught.value) is kind


def test_an_error_of_anthropics_behind_the_frames_is_that_error() -> None:
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 9"}}
    with pytest.raises(ContextLengthError):
        read_stream(INVOKE, [chunks(EVENTS[0]) + json.dumps(error).encode()], {})
    with pytest.raises(ContextLengthError):
        read_stream(INVOKE, [json.dumps(error).encode()], {})


@pytest.mark.parametrize("dialect", [CONVERSE, INVOKE])
def test_text_behind_the_frames_that_is_no_error_leaves_the_answer(dialect: Any) -> None:
    whole = encoded(said("Hi"), *END) if dialect is CONVERSE else chunks(*EVENTS)
    for rest in (b"\n", b"<html>", b'{"ok": true}'):
        assert read_stream(dialect, [whole + rest], {})[1].text == "Hi"
    cut = encoded(said("Hi")) if dialect is CONVERSE else chunks(EVENTS[0])
    with pytest.raises(ResponseError, match="broke off"):
        read_stream(dialect, [cut + b"<html>"], {})


def test_text_before_an_error_comes_however_the_bytes_are_cut() -> None:
    exception = {":message-type": "exception", ":exception-type": "throttlingException"}
    body = encoded(said("one "), said("two")) + encode_frame(exception, b'{"message": "slow down"}')
    damaged = encoded(said("one "), said("two")) + b"\0\0\0\x20" + b"\0" * 28
    for raw in (body, damaged):
        for pieces in ([raw], [raw[at : at + 1] for at in range(len(raw))]):
            decoder = CONVERSE.stream_decoder({})
            texts: list[str] = []
            with pytest.raises(APIClientError):
                for part in pieces:
                    for delta in decoder.feed(part):
                        texts.append(delta.text)
            assert "".join(texts) == "one two"
