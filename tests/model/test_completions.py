"""Legacy completions over HTTP and an SDK; configurations as endpoints; limiters written down."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from callgate import (
    EndpointConfig,
    Executor,
    HookPhase,
    HookRegistry,
    HttpTransportConfig,
    RateLimitConfig,
    SdkTransportConfig,
    ServiceEndpointConfig,
    TokenBucket,
    iModel,
)
from tests.documents.http_service import HttpService, Request


def completion(request: Request) -> Any:
    return 200, {}, {"id": "c", "object": "text_completion", "choices": [{"index": 0, "text": "four"}]}


KEY = {"api_key": "sk-test-key"}


@pytest.mark.parametrize(
    "make",
    [
        lambda url: iModel(provider="openai", base_url=f"{url}/v1", model="m", **KEY),
        lambda url: iModel(base_url=f"{url}/v1", model="m"),
        lambda url: iModel(
            Executor(), {"base_url": f"{url}/v1", "endpoint": "completions", "model_name": "m", **KEY}
        ),
        lambda url: iModel(
            Executor(),
            ServiceEndpointConfig(
                name="x",
                transport_type="http",
                base_url=f"{url}/v1",
                http_config=HttpTransportConfig(method="POST"),
                default_request_kwargs={"model": "m"},
                **KEY,
            ),
        ),
        lambda url: iModel(
            Executor(),
            EndpointConfig(
                name="x",
                provider="openai",
                base_url=f"{url}/v1",
                endpoint="chat/completions",
                model="m",
                **KEY,
            ),
        ),
        lambda url: iModel(
            Executor(),
            ServiceEndpointConfig(
                name="x",
                transport_type="sdk",
                base_url=f"{url}/v1",
                sdk_config=SdkTransportConfig(
                    sdk_provider_name="openai", default_sdk_method_name="chat.completions.create"
                ),
                default_request_kwargs={"model": "m"},
                **KEY,
            ),
        ),
    ],
    ids=["provider", "base_url", "dict", "service config", "endpoint config", "sdk"],
)
def test_a_completion_goes_to_the_path_of_completions(make: Any) -> None:
    async def main() -> None:
        async with HttpService(completion) as service:
            model = make(service.url)
            async with model.executor, model:
                calling = await model.acompletion("2 + 2 =", max_tokens=5)
            assert calling.response.text == "four"
            assert calling.endpoint_url == f"{service.url}/v1/completions"
            assert calling.method == "POST"
            (request,) = service.requests
            assert request.path == "/v1/completions"
            assert (request.json["prompt"], request.json["max_tokens"]) == ("2 + 2 =", 5)

    asyncio.run(main())


def test_a_token_bucket_is_written_and_restored() -> None:
    bucket = TokenBucket(RateLimitConfig(capacity=5, refill_rate=2.0))
    model = iModel(provider="ollama", model="m", rate_limiter=bucket)
    restored = iModel.from_dict(model.to_dict())
    assert restored.to_dict()["rate_limiter"] == {"capacity": 5, "refill_rate": 2.0}
    assert iModel.from_dict(iModel(provider="ollama", model="m").to_dict()).to_dict()["rate_limiter"] is None


def test_a_hook_is_registered_by_the_name_of_its_phase() -> None:
    hooks = HookRegistry()
    hooks.register("PreInvocation", lambda event: None)
    assert hooks.has(HookPhase.PreInvocation)
