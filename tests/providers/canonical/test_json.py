"""JSON from the other side: a plain value or our own error, never anything else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from hypothesis import given, strategies as st

from callgate.errors import InvalidRequestError, ResponseError
from callgate.messages import Message
from callgate.providers.canonical.json import read_arguments, read_json, read_object, token_count, write_json


def nested(depth: int, opening: str = "[", closing: str = "]", core: str = "") -> bytes:
    return (opening * depth + core + closing * depth).encode()


@pytest.mark.parametrize("depth", [201, 300, 1_000, 1_100, 50_000, 1_000_000])
def test_json_nested_too_deep_is_our_error(depth: int) -> None:
    for body in (nested(depth), nested(depth, '{"a":', "}", "1"), nested(depth, '[{"a":', "}]", "NaN")):
        with pytest.raises(ResponseError):
            read_json(body)


def test_what_is_read_can_be_written_again() -> None:
    orjson.dumps(read_json(nested(200)))


def test_many_brackets_that_are_not_deep_are_read() -> None:
    flat = b"[" + b",".join([b"[]"] * 5_000) + b"]"
    assert len(read_json(flat)) == 5_000
    assert read_json(b'"' + b"[" * 1_000 + b'"') == "[" * 1_000


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"[NaN, Infinity, -Infinity]", [None, None, None]),
        (b"[1e999, -1e999, 1e308]", [None, None, 1e308]),
        (b"[NaN, " + b"9" * 30 + b"]", [None, int("9" * 30)]),
        (b"[NaN, " + b"9" * 5_000 + b"]", [None, None]),
        (b"\xef\xbb\xbf{}", {}),
        (b'["\xff"]', ["\ufffd"]),
        (rb'["\ud800", "\ud83d\ude00", "\\ud800", "\udc00"]', ["\ufffd", "😀", "\\ud800", "\ufffd"]),
        (b'["tab\there"]', ["tab\there"]),
    ],
)
def test_what_servers_send_against_the_standard_is_read(body: bytes, value: Any) -> None:
    assert read_json(body) == value


@given(st.binary(max_size=200) | st.text(max_size=100))
def test_any_bytes_are_a_value_or_our_error(body: bytes | str) -> None:
    try:
        value = read_json(body)
    except ResponseError:
        return
    write_json(value)


def test_an_error_shows_how_the_body_began_and_not_all_of_it() -> None:
    with pytest.raises(ResponseError) as caught:
        read_json(b"<html>" * 10_000)
    assert caught.value.response_content.startswith("<html>")
    assert len(caught.value.response_content) == 2_000


def test_an_empty_body_is_said_to_be_empty() -> None:
    with pytest.raises(ResponseError, match="empty"):
        read_json(b" \n ")


def test_an_object_is_asked_for_and_nothing_else_taken() -> None:
    with pytest.raises(ResponseError, match="not a JSON object but list"):
        read_object(b"[]")


@pytest.mark.parametrize(
    ("written", "arguments", "raw"),
    [
        ('{"a": 1}', {"a": 1}, None),
        ("", {}, None),
        ("  ", {}, None),
        (None, {}, None),
        ({"a": 1}, {"a": 1}, None),
        ('{"a": ', {}, '{"a": '),
        ("[1]", {}, "[1]"),
        ("null", {}, None),
        ("[]", {}, None),
        ([], {}, None),
        ([1], {}, "[1]"),
        ('"{\\"a\\": 1}"', {"a": 1}, None),
        ('{}{"a": 1}', {"a": 1}, None),
        ('{"a": 1}\n{"a": 1}', {"a": 1}, None),
        ("{}{}", {}, None),
        ('{"a": 1}{"a": 2}', {}, '{"a": 1}{"a": 2}'),
        ('{"a": 1}{"a"', {}, '{"a": 1}{"a"'),
        ('{"a": "\\ud83d"}' * 2, {"a": "\ufffd"}, None),
        ('{"a":' * 5_000, {}, '{"a":' * 5_000),
    ],
)
def test_arguments_are_read_in_every_form_and_kept_as_written_when_they_are_no_object(
    written: Any, arguments: dict[str, Any], raw: str | None
) -> None:
    assert read_arguments(written) == (arguments, raw)


@pytest.mark.parametrize("value", [None, True, "7", -1, 1.5, 1e300, float("inf"), 10**15, [], {}])
def test_what_cannot_be_a_count_counts_nothing(value: Any) -> None:
    assert token_count(value) == 0


def test_counts_are_whole_numbers_however_they_are_written() -> None:
    assert (token_count(0), token_count(7), token_count(7.0)) == (0, 7, 7)


@dataclass
class Point:
    x: int


def test_values_of_ours_are_written_as_their_fields() -> None:
    message = Message("user", "Hi", {"name": "Ann"})
    assert orjson.loads(write_json([message, Point(1), {1, 2}, (3,)])) == [
        {"role": "user", "content": "Hi", "name": "Ann"},
        {"x": 1},
        [1, 2],
        [3],
    ]


@pytest.mark.parametrize("value", [object(), {"a": b"bytes"}, {1: 2}, [lambda: None], "\ud800"])
def test_what_json_cannot_say_is_refused(value: Any) -> None:
    with pytest.raises(InvalidRequestError, match="cannot be written as JSON"):
        write_json(value)
