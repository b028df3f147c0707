"""Which tool call each piece of a stream belongs to, whatever fields a server leaves out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from callgate.providers.openai_chat.dialect import OpenAIChat
from tests.providers.conformance import collect, read_stream

OSLO, ROME = {"city": "Oslo"}, {"city": "Rome"}
OSLO_TEXT, ROME_TEXT = '{"city": "Oslo"}', '{"city": "Rome"}'


def piece(name: str | None = None, arguments: Any = None, **more: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"function": {key: value for key, value in function.items() if value is not None}, **more}


def calls_of(*chunks: list[dict[str, Any]], end: bool = True) -> list[tuple[str, dict[str, Any]]]:
    """The calls that chunks of pieces add up to; what the deltas hold must add up to the same."""
    events: list[dict[str, Any]] = [{"choices": [{"delta": {"tool_calls": pieces}}]} for pieces in chunks]
    if end:
        events.append({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]})
    body = (
        b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: [DONE]\n\n"
    )
    deltas, response = read_stream(OpenAIChat(), [body], {})
    streamed = [
        [identity, name, json.loads(arguments or "{}")]
        for _, (identity, name, arguments) in sorted(collect(deltas)[2].items())
    ]
    assert streamed == [[call.id, call.name, call.arguments] for call in response.tool_calls]
    identities = [call.id for call in response.tool_calls]
    assert all(identities)
    assert len(set(identities)) == len(identities)
    return [(call.name, call.arguments) for call in response.tool_calls]


ONE = [("weather", OSLO)]
TWO = [("weather", OSLO), ("weather", ROME)]
ONE_CALL: dict[str, list[list[dict[str, Any]]]] = {
    "as the format has it": [
        [piece("weather", "", index=0, id="t1")],
        [piece(None, '{"city": ', index=0)],
        [piece(None, '"Oslo"}', index=0)],
    ],
    "stand-in text": [
        [piece("weather", "{}", index=0, id="t1")],
        [piece(None, '{"city": ', index=0)],
        [piece(None, '"Oslo"}', index=0)],
    ],
    "stand-in object": [[piece("weather", {}, index=0, id="t1")], [piece(None, OSLO_TEXT, index=0)]],
    "stand-in without index": [[piece("weather", "{}", id="t1")], [piece(None, OSLO_TEXT)]],
    "object": [[piece("weather", OSLO, index=0)]],
    "name in pieces": [[piece("wea", "", index=0, id="t1")], [piece("ther", OSLO_TEXT, index=0)]],
    "name in pieces without index": [[piece("wea", "", id="t1")], [piece("ther", OSLO_TEXT, id="t1")]],
    "name as far as it goes": [[piece("wea", "", index=0, id="t1")], [piece("weather", OSLO_TEXT, index=0)]],
    "name again": [[piece("weather", "", index=0, id="t1")], [piece("weather", OSLO_TEXT, index=0)]],
    "name again at the end": [[piece("weather", OSLO_TEXT, index=0)], [piece("weather", "", index=0)]],
    "empty name after": [[piece("weather", "", index=0, id="t1")], [piece("", OSLO_TEXT, index=0)]],
    "name last": [[piece(None, '{"city": ', id="t1")], [piece("weather", '"Oslo"}', id="t1")]],
    "name last without id": [[piece(None, '{"city": ', index=0)], [piece("weather", '"Oslo"}', index=0)]],
    "id last": [[piece("weather", '{"city": ', index=0)], [piece(None, '"Oslo"}', index=0, id="t1")]],
    "id again": [
        [piece("weather", '{"city": ', index=0, id="t1")],
        [piece(None, '"Oslo"}', index=0, id="t1")],
    ],
    "a new id every time": [
        [piece("weather", '{"city": ', index=0, id="t1")],
        [piece(None, '"Oslo"}', index=0, id="t2")],
    ],
    "a new id and the name every time": [
        [piece("weather", '{"city": ', index=0, id="t1")],
        [piece("weather", '"Oslo"}', index=0, id="t2")],
    ],
    "the index in words": [[piece("weather", '{"city": ', index="0")], [piece(None, '"Oslo"}', index="0")]],
    "no index and no id": [[piece("weather", '{"city": ')], [piece(None, '"Oslo"}')]],
    "all arguments again": [
        [piece("weather", OSLO_TEXT, index=0, id="t1")],
        [piece("weather", OSLO_TEXT, index=0, id="t1")],
    ],
    "blank after": [[piece("weather", OSLO_TEXT, index=0, id="t1")], [piece(None, " ", index=0)]],
    "an index that begins with 1": [[piece("weather", OSLO_TEXT, index=1, id="t1")]],
    "an empty piece under another index": [
        [piece("weather", OSLO_TEXT, index=0, id="t1")],
        [piece("", "", index=1, id="")],
    ],
    "name and arguments beside the id": [[{"index": 0, "id": "t1", "name": "weather", "arguments": OSLO}]],
}
TWO_CALLS: dict[str, list[list[dict[str, Any]]]] = {
    "as the format has it": [
        [piece("weather", OSLO_TEXT, index=0, id="t1")],
        [piece("weather", ROME_TEXT, index=1, id="t2")],
    ],
    "pieces in turns": [
        [piece("weather", '{"city": ', index=0, id="t1"), piece("weather", '{"city": ', index=1, id="t2")],
        [piece(None, '"Oslo"}', index=0), piece(None, '"Rome"}', index=1)],
    ],
    "one index, ids": [
        [piece("weather", OSLO_TEXT, index=0, id="t1")],
        [piece("weather", ROME_TEXT, index=0, id="t2")],
    ],
    "one index, ids, pieces": [
        [piece("weather", OSLO_TEXT, index=0, id="t1")],
        [piece("weather", "", index=0, id="t2")],
        [piece(None, ROME_TEXT, index=0)],
    ],
    "one index, no ids": [[piece("weather", OSLO_TEXT, index=0)], [piece("weather", ROME_TEXT, index=0)]],
    "ids, no index": [[piece("weather", OSLO_TEXT, id="t1")], [piece("weather", ROME_TEXT, id="t2")]],
    "ids, no index, names last": [
        [piece(None, '{"city": ', id="t1")],
        [piece("weather", '"Oslo"}', id="t1")],
        [piece(None, '{"city": ', id="t2")],
        [piece("weather", '"Rome"}', id="t2")],
    ],
    "indexes in words, pieces in turns": [
        [piece("weather", '{"city": ', index="0"), piece("weather", '{"city": ', index="1")],
        [piece(None, '"Oslo"}', index="0"), piece(None, '"Rome"}', index="1")],
    ],
    "indexes, one id": [
        [piece("weather", OSLO_TEXT, index=0, id="t1")],
        [piece("weather", ROME_TEXT, index=1, id="t1")],
    ],
    "indexes, one id, pieces": [
        [piece("weather", OSLO_TEXT, index=0, id="t1")],
        [piece("weather", "", index=1, id="t1")],
        [piece(None, '{"city": ', index=1, id="t1")],
        [piece(None, '"Rome"}', index=1)],
    ],
    "neither": [[piece("weather", OSLO_TEXT)], [piece("weather", ROME_TEXT)]],
    "neither, in one chunk": [[piece("weather", OSLO_TEXT), piece("weather", ROME_TEXT)]],
    "neither, in pieces": [
        [piece("weather", '{"city": ')],
        [piece(None, '"Oslo"}')],
        [piece("weather", '{"city": ')],
        [piece(None, '"Rome"}')],
    ],
}


@pytest.mark.parametrize("name", ONE_CALL)
def test_pieces_of_one_call_are_one_call(name: str) -> None:
    assert calls_of(*ONE_CALL[name]) == ONE
    assert calls_of(*ONE_CALL[name], end=False) == ONE


@pytest.mark.parametrize("name", TWO_CALLS)
def test_pieces_of_two_calls_are_two_calls(name: str) -> None:
    assert calls_of(*TWO_CALLS[name]) == TWO


@pytest.mark.parametrize("arguments", ["{}", {}, "", None])
@pytest.mark.parametrize("more", [{}, {"index": 0}, {"id": "t1"}])
def test_a_call_without_arguments_has_none(arguments: Any, more: dict[str, Any]) -> None:
    assert calls_of([piece("clock", arguments, **more)]) == [("clock", {})]


@pytest.mark.parametrize("arguments", ["{}", {}, "", None])
def test_calls_without_arguments_index_and_id_are_distinguished_by_name(arguments: Any) -> None:
    chunks = [[piece("clock", arguments)], [piece("calendar", arguments)]]
    assert calls_of(*chunks) == calls_of([*chunks[0], *chunks[1]]) == [("clock", {}), ("calendar", {})]


def test_calls_of_a_whole_answer_have_ids_that_differ() -> None:
    calls = [
        piece("weather", OSLO_TEXT),
        piece("weather", OSLO_TEXT, id=""),
        piece("weather", ROME_TEXT, id="t1"),
    ]
    calls.append(calls[-1])
    message = {"role": "assistant", "tool_calls": calls}
    body = json.dumps({"id": "c1", "choices": [{"message": message, "finish_reason": "tool_calls"}]}).encode()
    ids = [call.id for call in OpenAIChat().decode(body, {}).tool_calls]
    assert len(set(ids)) == 4
    assert all(ids)
    assert ids[2] == "t1"
    assert ids == [call.id for call in OpenAIChat().decode(body, {}).tool_calls], (
        "the same answer, the same ids"
    )


def test_integers_over_64_bits_in_arguments_are_exact() -> None:
    assert calls_of([piece("pay", '{"wei": 12345678901234567890123}', index=0)]) == [
        ("pay", {"wei": 12345678901234567890123})
    ]


def test_a_single_call_that_is_no_list_is_read_plain_and_streamed() -> None:
    call = {"id": "t1", "name": "weather", "arguments": OSLO}
    body = json.dumps({"choices": [{"message": {"role": "assistant", "tool_calls": call}}]}).encode()
    whole = OpenAIChat().decode(body, {}).tool_calls
    assert [(call.id, call.name, call.arguments) for call in whole] == [("t1", "weather", OSLO)]
    assert calls_of({"index": 0, **call}) == ONE  # type: ignore[arg-type]
