"""JSON services without a chat format."""

from __future__ import annotations

import json

import pytest

from callgate.errors import InvalidRequestError, ResourceNotFoundError, ResponseError
from callgate.providers.plain_json import PlainJson


def test_the_request_is_sent_as_it_is() -> None:
    wire = PlainJson().encode({"limit": 10}, path="/users")
    assert (wire.method, wire.path, json.loads(wire.body)) == ("POST", "/users", {"limit": 10})


@pytest.mark.parametrize("method", ["get", "DELETE", "HEAD"])
def test_methods_without_a_body_put_the_request_into_the_query(method: str) -> None:
    dialect = PlainJson(method)
    wire = dialect.encode({"limit": 10, "tag": ["a", "b"]}, path="/users")
    assert (wire.method, wire.path, wire.body) == (method.upper(), "/users?limit=10&tag=a&tag=b", b"")
    assert dialect.encode({"page": 2}, path="/users?limit=10").path == "/users?limit=10&page=2"
    assert dialect.encode({}, path="/users").path == "/users"


def test_integers_over_64_bits_are_sent_and_read_exactly() -> None:
    wei = 1234567890123456789012
    assert PlainJson().encode({"wei": wei}).body == b'{"wei":1234567890123456789012}'
    assert PlainJson().decode(b'{"wei":1234567890123456789012}', {}).data == {"wei": wei}


def test_a_value_without_a_json_form_is_refused() -> None:
    with pytest.raises(InvalidRequestError):
        PlainJson().encode({"value": object()})


def test_the_answer_is_its_json_or_its_text() -> None:
    response = PlainJson().decode(b'{"users": []}', {}, 201)
    assert (response.data, response.text, response.status_code) == ({"users": []}, "", 201)
    assert PlainJson().decode(b'"done"', {}).text == "done"
    assert PlainJson().decode(b"plain words", {"content-type": "text/plain"}).text == "plain words"


def test_an_openai_answer_is_read_as_one() -> None:
    body = {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "4"}, "finish_reason": "stop"}]
    }
    response = PlainJson().decode(json.dumps(body).encode(), {})
    assert (response.text, response.finish_reason) == ("4", "stop")


def test_announced_json_that_is_not_json_is_an_error() -> None:
    with pytest.raises(ResponseError) as caught:
        PlainJson().decode(b"<html>", {"content-type": "application/json"})
    assert caught.value.response_content == "<html>"


def test_an_error_has_the_message_of_its_body() -> None:
    error = PlainJson().error(404, b'{"error": {"message": "no such user"}}', {})
    assert isinstance(error, ResourceNotFoundError)
    assert "no such user" in str(error)
