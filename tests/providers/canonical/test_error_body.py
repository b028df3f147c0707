"""The message and the code of an error, in whatever form a gateway wraps them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from callgate.providers.canonical.error_body import error_object, message_of
from callgate.providers.canonical.errors import read_error_body

INNER = {"message": "boom", "code": "x1"}


@pytest.mark.parametrize(
    "content",
    [
        INNER,
        {"error": INNER},
        [{"error": INNER}],
        {"error": {"error": INNER}},
        {"errors": [INNER]},
        {"detail": {"error": INNER}},
        {"detail": INNER},
        {"error": json.dumps({"error": INNER})},
        {"error": "boom", "code": "x1"},
        {"error": ["boom"], "code": "x1"},
        json.dumps({"error": INNER}),
    ],
)
def test_what_holds_message_and_code_is_found(content: Any) -> None:
    error = error_object(content)
    assert (message_of(error, content), error["code"]) == ("boom", "x1")


@pytest.mark.parametrize(
    "body",
    [
        b'"boom"',
        b'["boom"]',
        b"boom",
        b'{"errors": ["boom"]}',
        b'{"Message": "boom"}',
        b'{"error_message": "boom"}',
        b'{"fault": {"faultstring": "boom", "detail": {"errorcode": "x"}}}',
        b'{"message": {"detail": "boom"}}',
        b"<html><head><title>boom</title></head></html>",
    ],
)
def test_a_message_without_a_code_is_found(body: bytes) -> None:
    content = read_error_body(body)
    assert message_of(error_object(content), content) == "boom"


def test_details_of_fastapi_name_their_fields() -> None:
    content = {"detail": [{"loc": ["body", "n"], "msg": "too large"}, {"loc": ["body"], "msg": "bad"}]}
    assert message_of(error_object(content), content) == "body.n: too large; body: bad"


@pytest.mark.parametrize("content", [None, [], {}, "", 5, {"error": None}, {"error": []}, {"error": {}}])
def test_a_body_without_an_error_has_no_message(content: Any) -> None:
    assert message_of(error_object(content), None) == ""


def test_errors_nested_without_end_are_read_in_bounded_depth() -> None:
    content: dict[str, Any] = INNER
    for _ in range(500):
        content = {"error": content}
    assert "boom" not in message_of(error_object(content), content)
