"""Streams of the Messages format with fields left out, repeated, late or of another kind."""

from __future__ import annotations

import json
from typing import Any

import pytest

from callgate.errors import APIClientError, ResponseError
from callgate.providers.anthropic.dialect import AnthropicMessages
from callgate.providers.canonical.json import read_arguments
from callgate.response import Response
from tests.providers.conformance import collect, read_stream

Event = dict[str, Any]
OSLO, ROME = {"city": "Oslo"}, {"city": "Rome"}
START: Event = {
    "type": "message_start",
    "message": {"id": "m1", "role": "assistant", "usage": {"input_tokens": 3}},
}
END: list[Event] = [
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
]


def use(index: Any = 0, **fields: Any) -> Event:
    block = {"type": "tool_use", "id": "t1", "name": "weather", "input": {}, **fields}
    return _indexed({"type": "content_block_start", "content_block": block}, index)


def piece(text: Any, index: Any = 0) -> Event:
    return _indexed(
        {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": text}}, index
    )


def said(text: str, index: int | None = 0) -> Event:
    return _indexed({"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}}, index)


def stop(index: int | None = 0) -> Event:
    return _indexed({"type": "content_block_stop"}, index)


def _indexed(event: Event, index: Any) -> Event:
    return event if index is None else {**event, "index": index}


def read(*events: Event, ends: bool = True) -> tuple[str, Response]:
    """The streamed text and the answer; the deltas add up to the same calls as the answer holds."""
    told = [START, *events, *(END if ends else [])]
    body = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in told).encode()
    deltas, response = read_stream(AnthropicMessages(), [body], {})
    text, _, calls = collect(deltas)
    streamed = [(identity, name, read_arguments(given)[0]) for identity, name, given in calls.values()]
    assert streamed == [(call.id, call.name, call.arguments) for call in response.tool_calls]
    ids = [call.id for call in response.tool_calls]
    assert all(ids)
    assert len(set(ids)) == len(ids)
    return text, response


def calls_of(*events: Event) -> list[tuple[str, dict[str, Any]]]:
    return [(call.name, call.arguments) for call in read(*events)[1].tool_calls]


ONE = [("weather", OSLO)]
TWO = [("weather", OSLO), ("weather", ROME)]
OSLO_TEXT, ROME_TEXT = '{"city": "Oslo"}', '{"city": "Rome"}'
CITY = ['{"city": ', '"Oslo"}']
CALLS: dict[str, tuple[list[Event], list[Any]]] = {
    "as the format has it": ([use(), *map(piece, CITY), stop()], ONE),
    "stand-in text": ([use(), piece("{}"), *map(piece, CITY), stop()], ONE),
    "whole input at the start": ([use(input=OSLO), stop()], ONE),
    "whole input at the start and in pieces": ([use(input=OSLO), *map(piece, CITY), stop()], ONE),
    "input as text": ([use(input=OSLO_TEXT), stop()], ONE),
    "piece that is an object": ([use(), piece(OSLO), stop()], ONE),
    "all pieces again at the end": ([use(), *map(piece, CITY), piece(OSLO_TEXT), stop()], ONE),
    "only a stand-in": ([use(), piece("{}"), stop()], [("weather", {})]),
    "no input at all": ([use(), stop()], [("weather", {})]),
    "no end of the block": ([use(), *map(piece, CITY)], ONE),
    "pieces before the start": ([*map(piece, CITY), use(), stop()], ONE),
    "start sent twice": ([use(), use(), *map(piece, CITY), stop()], ONE),
    "no index": ([use(None), *(piece(text, None) for text in CITY), stop(None)], ONE),
    "no id": ([use(id=None), *map(piece, CITY), stop()], ONE),
    "one index for two calls": (
        [use(), piece(OSLO_TEXT), stop(), use(id="t2"), piece(ROME_TEXT), stop()],
        TWO,
    ),
    "one index for two calls without ends": (
        [use(), piece(OSLO_TEXT), use(id="t2"), piece(ROME_TEXT)],
        TWO,
    ),
    "two calls without ids": (
        [use(id=""), piece(OSLO_TEXT), stop(), use(1, id=""), piece(ROME_TEXT, 1)],
        TWO,
    ),
    "two calls with one id": ([use(), piece(OSLO_TEXT), stop(), use(1), piece(ROME_TEXT, 1)], TWO),
    "indexes in words": (
        [use("0"), use("1", id="t2"), piece(OSLO_TEXT, "0"), piece(ROME_TEXT, "1")],
        TWO,
    ),
    "JSON within JSON": ([use(), piece(json.dumps(OSLO_TEXT)), stop()], ONE),
    "two calls without index": (
        [use(None), piece(OSLO_TEXT, None), use(None, id="t2"), piece(ROME_TEXT, None)],
        TWO,
    ),
}


@pytest.mark.parametrize(("events", "expected"), CALLS.values(), ids=CALLS)
def test_streamed_tool_calls_are_distinguished(events: list[Event], expected: list[Any]) -> None:
    assert calls_of(*events) == expected


def test_text_and_calls_under_one_index_are_both_read() -> None:
    text, response = read(said("Let me see."), use(), *map(piece, CITY), said(" Done."))
    assert text == response.text == "Let me see. Done."
    assert [call.arguments for call in response.tool_calls] == [OSLO]


def test_integers_over_64_bits_stay_exact_in_arguments() -> None:
    wei = 1234567890123456789012
    assert calls_of(use(), piece(f'{{"amount": {wei}, "score": NaN}}'), stop()) == [
        ("weather", {"amount": wei, "score": None})
    ]


def test_calls_of_a_whole_answer_get_ids_where_they_have_none() -> None:
    block = {"type": "tool_use", "name": "weather", "input": OSLO}
    answer = {"id": "m1", "content": [block, {**block, "id": ""}], "stop_reason": "tool_use"}
    first, second = AnthropicMessages().decode(json.dumps(answer).encode(), {}).tool_calls
    assert first.id
    assert second.id
    assert first.id != second.id


@pytest.mark.parametrize("kind", [{"a": 1}, ["text"], [["x"]], 7, None, "hologram"])
def test_blocks_of_an_unknown_kind_end_in_an_answer(kind: Any) -> None:
    start = {"type": "content_block_start", "index": 0, "content_block": {"type": kind, "text": ["x"]}}
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": kind, "more": "y", "list": [1]}}
    _, response = read(start, delta, stop(), said("Hi", 1))
    assert response.text == "Hi"


def test_usage_of_zeros_at_the_end_erases_no_counts() -> None:
    zeros = {"type": "message_delta", "delta": {}, "usage": {"input_tokens": 0, "output_tokens": 0}}
    usage = read(said("Hi"), {**END[0], "delta": {"stop_reason": "end_turn"}}, zeros)[1].usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (3, 2)


def test_deltas_without_an_end_are_no_answer() -> None:
    with pytest.raises(ResponseError, match="broke off"):
        read(said("Hi"), ends=False)


def test_error_after_text_is_raised_after_the_text() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    events = [START, said("one "), said("two"), error]
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode()
    decoder = AnthropicMessages().stream_decoder({})
    texts: list[str] = []
    with pytest.raises(APIClientError, match="Overloaded"):
        texts.extend(delta.text for delta in decoder.feed(body))
    deltas = decoder.feed(b"")
    assert list(deltas) == []


def test_calls_without_a_reason_to_stop_are_the_reason() -> None:
    end: Event = {"type": "message_stop"}
    assert read(use(), piece(OSLO_TEXT), stop(), end, ends=False)[1].finish_reason == "tool_call"
