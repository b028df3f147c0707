"""Headers of one call: `extra_headers` as a keyword, in a row, or among the endpoint's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from callgate import (
    Executor,
    InvalidRequestError,
    SdkTransportConfig,
    ServiceEndpointConfig,
    iModel,
)
from callgate.transport.http import HttpAnswer
from tests.documents.http_service import HttpService, Request

ANSWERS = {
    "anthropic": {
        "type": "message",
        "content": [{"type": "text", "text": "Hi"}],
        "stop_reason": "end_turn",
    },
    "openai": {
        "object": "chat.completion",
        "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}],
    },
}
USER = [{"role": "user", "content": "Hi"}]
KEY = "sk-a-secret-of-one-call"


class Recorder:
    """A transport that keeps what is sent and always gives the same answer."""

    def __init__(self, provider: str) -> None:
        self.sent: list[tuple[dict[str, str], dict[str, Any]]] = []
        self._answer = json.dumps(ANSWERS[provider]).encode()

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None, **_: Any
    ) -> HttpAnswer:
        self.sent.append((dict(headers), json.loads(body or b"{}")))
        return HttpAnswer(200, {"content-type": "application/json"}, self._answer)

    async def close(self) -> None:
        pass


def ask(provider: str, settings: Mapping[str, Any], **request: Any) -> tuple[dict[str, str], dict[str, Any]]:
    """The headers and the body of one call."""

    async def main() -> Recorder:
        recorder = Recorder(provider)
        settings_of_model: dict[str, Any] = {"model": "claude-opus-5", "api_key": "sk-model", **settings}
        async with iModel(provider=provider, transport=recorder, **settings_of_model) as model:
            calling = await model.invoke(messages=USER, **request)
            assert calling.response.text == "Hi"
            assert KEY not in repr(calling)
        return recorder

    ((headers, body),) = asyncio.run(main()).sent
    return headers, body


@pytest.mark.parametrize("way", ["keyword", "row"])
def test_headers_of_one_call_are_sent_and_are_not_in_the_body(way: str) -> None:
    extra = {"X-Tag": "blue"}
    fields: dict[str, Any] = (
        {"request_payload": {"extra_headers": extra}} if way == "row" else {"extra_headers": extra}
    )
    headers, body = ask("openai", {}, **fields)
    assert headers["x-tag"] == "blue"
    assert "extra_headers" not in body


def test_a_header_of_one_call_replaces_the_endpoints_in_any_case() -> None:
    headers, _ = ask("openai", {"headers": {"X-Tag": "red"}}, extra_headers={"x-TAG": "blue"})
    assert [value for name, value in headers.items() if name.lower() == "x-tag"] == ["blue"]


def test_a_credential_of_one_call_is_masked() -> None:
    headers, _ = ask("openai", {}, extra_headers={"Authorization": f"Bearer {KEY}"})
    assert headers["authorization"] == f"Bearer {KEY}"


def test_betas_of_all_sources_are_one_header_without_doubles() -> None:
    headers, body = ask(
        "anthropic",
        {"headers": {"Anthropic-Beta": "of-model"}},
        betas=["of-request", "of-model"],
        extra_headers={"anthropic-BETA": "of-call, of-request"},
    )
    assert headers["anthropic-beta"] == "of-model,of-request,of-call"
    assert sum(name.lower() == "anthropic-beta" for name in headers) == 1
    assert "betas" not in body


def test_extra_headers_that_are_none_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="extra_headers"):
        ask("openai", {}, extra_headers=["x"])


@pytest.mark.parametrize("streamed", [False, True])
def test_headers_of_one_call_are_sent_through_an_sdk(streamed: bool) -> None:
    def answer(request: Request) -> Any:
        chunk = {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}
        if not streamed:
            return 200, {}, ANSWERS["openai"]
        return 200, {"content-type": "text/event-stream"}, f"data: {json.dumps(chunk)}\n\n"

    async def main() -> None:
        sdk = SdkTransportConfig(
            sdk_provider_name="openai", default_sdk_method_name="chat.completions.create"
        )
        async with HttpService(answer) as service:
            config = ServiceEndpointConfig(
                name="sdk",
                transport_type="sdk",
                base_url=f"{service.url}/v1",
                sdk_config=sdk,
                default_request_kwargs={"model": "m"},
                api_key="sk-test-key",
            )
            model = iModel(Executor(), config)
            async with model.executor, model:
                request: dict[str, Any] = {"messages": USER, "extra_headers": {"x-tag": "blue"}}
                if streamed:
                    text = "".join([str(chunk) async for chunk in model.invoke_stream(**request)])
                else:
                    text = (await model.invoke(**request)).response.text
            assert text == "Hi"
            assert [request.headers["x-tag"] for request in service.requests] == ["blue"]

    asyncio.run(main())
