"""A request of the wrong types is refused before anything is sent."""

from __future__ import annotations

import asyncio
from collections import UserDict
from contextlib import suppress
from typing import Any

import pytest
from pydantic import BaseModel

from callgate import EndpointConfig, InvalidRequestError, OAIChatEndpoint, ResponseError
from callgate.backends.endpoint import Endpoint
from callgate.backends.request_check import check_request
from callgate.transport.http import HttpAnswer

HI = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ("Hi", "the request must be an object, got str"),
        ({"messages": "Hi"}, "messages must be a list of messages, got str"),
        ({"messages": []}, "messages must not be empty"),
        ({"messages": ["Hi"]}, r"messages\[0\] must be an object, got str"),
        ({"messages": [*HI, {"content": "Hi"}]}, r"messages\[1\].role must be one of assistant, .*got None"),
        ({"messages": [{"role": "boss", "content": "Hi"}]}, r"messages\[0\].role must be .*got 'boss'"),
        ({"messages": [{"role": "user", "content": 5}]}, r"content must be a string or a list.*got int"),
        ({"messages": [*HI, {"role": "user"}]}, r"messages\[1\] has no content"),
        ({"messages": HI, "max_tokens": 0}, "max_tokens must be a positive integer, got 0"),
        ({"messages": HI, "max_tokens": "5"}, "max_tokens must be a positive integer, got '5'"),
        ({"messages": HI, "max_tokens": True}, "max_tokens must be a positive integer, got True"),
        ({"messages": HI, "max_tokens": 1.5}, "max_tokens must be a positive integer, got 1.5"),
        ({"messages": HI, "temperature": "hot"}, "temperature must be a number, got 'hot'"),
        ({"messages": HI, "model": 5}, "model must be a string, got 5"),
        ({"messages": HI, "tools": {"a": 1}}, "tools must be a list, got dict"),
        ({"messages": HI, "stop": 5}, "stop must be a string or a list of strings, got 5"),
        ({"messages": HI, "presence_penalty": "0"}, "presence_penalty must be a number, got '0'"),
        ({"messages": HI, "top_logprobs": "5"}, "top_logprobs must be an integer, got '5'"),
        ({"messages": HI, "logit_bias": [1]}, "logit_bias must be an object, got list"),
        ({"messages": HI, "metadata": "x"}, "metadata must be an object, got 'x'"),
        ({"messages": HI, "user": 5}, "user must be a string, got 5"),
        ({"messages": HI, "response_format": "json"}, "response_format must be an object, got 'json'"),
    ],
)
def test_a_wrong_type_is_refused_with_its_field(request_: Any, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message) as caught:
        check_request(request_)
    assert caught.value.surely_unsent
    assert not caught.value.retryable


@pytest.mark.parametrize(
    "request_",
    [
        {"messages": HI, "model": "m", "max_tokens": 5, "temperature": 0, "top_p": 0.5, "stop": ["a"]},
        {"prompt": "Hi", "max_tokens": None},
        {"messages": tuple(HI)},
        {"messages": [{"role": "assistant", "content": None, "tool_calls": []}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]},
        {"messages": [UserDict(role="user", content="Hi")]},
        {},
    ],
)
def test_a_request_of_the_right_types_passes(request_: Any) -> None:
    check_request(request_)


def test_a_missing_model_is_refused_where_one_is_needed() -> None:
    check_request({"messages": HI, "model": "m"}, needs_model=True)
    with pytest.raises(InvalidRequestError, match="the request has no model; name one with model="):
        check_request({"messages": HI}, needs_model=True)


class Wire:
    """A transport that answers everything with the same JSON, and keeps what was sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, bytes | None]] = []

    async def send(
        self, method: str, url: str, headers: Any, body: bytes | None = None, **_: Any
    ) -> HttpAnswer:
        self.sent.append((method, url, body))
        return HttpAnswer(200, {"content-type": "application/json"}, b'{"ok": true}')

    def stream(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    async def close(self) -> None: ...


def ask(endpoint: Any, request: dict[str, Any], **options: Any) -> Any:
    return asyncio.run(endpoint.call(request, **options))


def test_nothing_is_sent_of_a_request_that_is_refused() -> None:
    wire = Wire()
    endpoint = OAIChatEndpoint(api_key="k", transport=wire)
    for wrong in ({"messages": "Hi", "model": "m"}, {"messages": HI}):
        with pytest.raises(InvalidRequestError):
            ask(endpoint, wrong)
    assert wire.sent == []


class Options(BaseModel):
    limit: int
    order: str = "newest"


def custom(wire: Wire, **fields: Any) -> Endpoint:
    config = EndpointConfig(
        name="x", provider="x", base_url="https://h.example", endpoint="items", auth_type="none", **fields
    )
    return Endpoint(config, transport=wire)


def test_request_options_validate_each_call_and_their_defaults_are_sent() -> None:
    wire = Wire()
    endpoint = custom(wire, request_options=Options)
    ask(endpoint, {"limit": "5"})
    assert wire.sent == [("POST", "https://h.example/items", b'{"limit":5,"order":"newest"}')]
    with pytest.raises(InvalidRequestError, match="does not fit Options: limit: Input should be"):
        ask(endpoint, {"limit": "many"})
    with pytest.raises(InvalidRequestError, match="limit: Field required"):
        endpoint.create_payload({})
    assert len(wire.sent) == 1


@pytest.mark.parametrize("method", ["GET", "get", "DELETE", "HEAD"])
def test_a_method_without_a_body_takes_the_request_as_a_query(method: str) -> None:
    wire = Wire()
    ask(custom(wire), {"limit": 5}, method=method)
    ask(custom(wire, method=method), {"limit": 5})
    assert wire.sent == [(method.upper(), "https://h.example/items?limit=5", b"")] * 2


@pytest.mark.parametrize("method", ["put", "PATCH"])
def test_a_method_with_a_body_takes_it_as_json(method: str) -> None:
    wire = Wire()
    ask(custom(wire, method="GET"), {"limit": 5}, method=method)
    assert wire.sent == [(method.upper(), "https://h.example/items", b'{"limit":5}')]


def test_a_provider_is_asked_by_get_for_another_path() -> None:
    wire = Wire()
    endpoint = OAIChatEndpoint(api_key="k", transport=wire)
    with suppress(ResponseError):  # this one is no chat answer
        ask(endpoint, {"limit": 2}, method="GET", http_path="models")
    assert wire.sent == [("GET", "https://api.openai.com/v1/models?limit=2", b"")]


@pytest.mark.parametrize("name", ["mesages", "temprature", "num_retries"])
def test_a_misspelt_field_fails_locally_and_extra_body_sends_it(name: str) -> None:
    with pytest.raises(InvalidRequestError, match=name):
        check_request({"messages": HI, name: 1})
    check_request({"messages": HI, "extra_body": {name: 1}})
