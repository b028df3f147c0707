"""Answers of a client: objects, lists, texts and bytes that know their status and headers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from callgate.transport.answers import BinaryAnswer, JsonListAnswer, JsonObjectAnswer, TextAnswer
from tests.network.one_request import answer_to


def test_an_object_a_list_and_a_text_know_their_status_and_headers() -> None:
    found = answer_to({"id": 7}, 201, X_Request_Id="r1")
    assert found == {"id": 7}
    assert isinstance(found, dict)
    assert (found.status_code, found.headers["X-Request-Id"], found.headers.get("x-REQUEST-id")) == (
        201,
        "r1",
        "r1",
    )
    assert json.dumps(found) == '{"id": 7}'
    found = answer_to([1, 2])
    assert (found, isinstance(found, list), found.status_code) == ([1, 2], True, 200)
    found = answer_to(b"hello", content_type="text/plain")
    assert (found, isinstance(found, str), found.headers["content-type"]) == ("hello", True, "text/plain")


@pytest.mark.parametrize(
    ("body", "content_type", "kind", "value"),
    [
        (b'{"a": 1}', None, JsonObjectAnswer, {"a": 1}),
        (b' [1]', "text/html", JsonListAnswer, [1]),
        (b'{"a": 1}', "application/problem+json; charset=utf-8", JsonObjectAnswer, {"a": 1}),
        (b'"text"', "application/json", TextAnswer, "text"),
        (b"42", "text/plain", TextAnswer, "42"),
        (b"{broken", "application/json", TextAnswer, "{broken"),
        (b"NaN", "application/json", TextAnswer, "NaN"),
        (b"[" * 100_000, "application/json", TextAnswer, "[" * 100_000),
        (b"", "application/json", TextAnswer, ""),
        (b"", None, TextAnswer, ""),
        ("grüß".encode("latin-1"), "text/plain; charset=iso-8859-1", TextAnswer, "grüß"),
        ("grüß".encode(), "text/plain; charset=nonsense", BinaryAnswer, "grüß".encode()),
        (b"\x89PNG\xff", "image/png", BinaryAnswer, b"\x89PNG\xff"),
    ],
)  # fmt: skip
def test_a_body_is_read_as_what_it_is(body: bytes, content_type: str | None, kind: type, value: Any) -> None:
    found = answer_to(body, **({} if content_type is None else {"content_type": content_type}))
    assert type(found) is kind
    assert found == value
    assert found.content == body


@pytest.mark.parametrize("value", [42, 1.5, True, None])
def test_a_bare_json_value_comes_as_it_is(value: Any) -> None:
    assert answer_to(json.dumps(value).encode(), content_type="application/json") == value
