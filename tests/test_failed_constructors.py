"""A constructor that raises leaves a traceback whose local variables can be shown, and show no key."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import callgate
from callgate import (
    AdaptiveRateLimiter,
    AsyncAPIClient,
    CircuitBreaker,
    ClaudeCodeEndpoint,
    Endpoint,
    EndpointConfig,
    Engine,
    Executor,
    HeaderFactory,
    HedgePolicy,
    Limiter,
    OAIChatEndpoint,
    OpenAIAdapter,
    Quota,
    RateLimitConfig,
    RetryConfig,
    ServiceEndpointConfig,
    Spread,
    SqliteCache,
    TokenBucketRateLimiter,
    Tool,
    iModel,
)
from callgate.transport.auth import SigV4Auth, StaticAuth
from callgate.transport.http import HttpTransport
from callgate.transport.tokens import GoogleAuth
from tests.frames import variables_in_sight

KEY = "sk-CANARY-7f3a9b21c4"
GPT: dict[str, Any] = {"provider": "openai", "model": "m", "api_key": KEY}
URL = "https://api.example/v1"

FAILING: dict[str, Callable[[], object]] = {
    "iModel, a wrong setting": lambda: iModel(**GPT, limit_request=1),
    "iModel, no number": lambda: iModel(**GPT, timeout="x"),
    "iModel, http": lambda: iModel(**GPT, base_url="http://h.example/v1"),
    "iModel, a user in the URL": lambda: iModel(provider="openai", base_url=f"https://u:{KEY}@h.example"),
    "iModel, a limit": lambda: iModel(**GPT, limit_requests=-1),
    "iModel, a hedge": lambda: iModel(**GPT, hedge=7),
    "iModel, retry": lambda: iModel(**GPT, retry_config=5),
    "iModel, a config": lambda: iModel(Executor(), {"base_url": "http://h.example", "api_key": KEY}),
    "iModel, headers": lambda: iModel(**GPT, headers={"x-api-key": KEY + "\n"}),
    "iModel, a key as a variable": lambda: iModel(provider="openai", api_key_env=KEY),
    "iModel, a proxy": lambda: iModel(**GPT, proxy=f"gopher://u:{KEY}@h"),
    "iModel, client_kwargs": lambda: iModel(**GPT, client_kwargs={"regoin": "eu", "secret_key": KEY}),
    "iModel, unknown provider": lambda: iModel(provider="openia", api_key=KEY),
    "iModel, half an AWS pair": lambda: iModel(provider="bedrock", secret_key=KEY, region="us-east-1"),
    "iModel, a service account": lambda: iModel(
        provider="vertex", service_account={"private_key": KEY, "client_email": "e"}, project="p"
    ),
    "Spread": lambda: Spread([]),
    "Executor": lambda: Executor(requests_rate=-1),
    "Executor, concurrency": lambda: Executor(concurrency_limit=0),
    "EndpointConfig": lambda: EndpointConfig(
        name="x", provider="openai", endpoint="{missing}", api_key=KEY, default_headers={"x-api-key": KEY}
    ),
    "EndpointConfig, a variable": lambda: EndpointConfig(
        name="x", provider="openai", endpoint="x", api_key_env=KEY
    ),
    "ServiceEndpointConfig": lambda: ServiceEndpointConfig(name="x", transport_type="sdk", api_key=KEY),
    "Endpoint": lambda: Endpoint(
        {"name": "x", "provider": "openai", "endpoint": "x", "api_key": KEY, "timeout": 0}
    ),
    "Endpoint, a setting": lambda: Endpoint(
        EndpointConfig(name="x", provider="openai", endpoint="chat/completions", api_key=KEY), temprature=1
    ),
    "OAIChatEndpoint": lambda: OAIChatEndpoint(api_key=KEY, timeout="x"),
    "ClaudeCodeEndpoint": lambda: ClaudeCodeEndpoint(api_key="A_VARIABLE_NOT_SET", env={"TOKEN": KEY}),
    "AsyncAPIClient": lambda: AsyncAPIClient("http://h.example", headers={"authorization": KEY}),
    "AsyncAPIClient, auth": lambda: AsyncAPIClient(URL, auth=("u", KEY), timeout="x"),  # type: ignore[arg-type]
    "AsyncAPIClient, headers": lambda: AsyncAPIClient(URL, headers={"x-token": KEY + "\r\n"}),
    "AsyncAPIClient, a setting": lambda: AsyncAPIClient(URL, http2=True),
    "HttpTransport": lambda: HttpTransport(verify="missing.pem"),
    "HttpTransport, seconds": lambda: HttpTransport(connect_timeout="x"),  # type: ignore[arg-type]
    "HttpTransport, a password": lambda: HttpTransport(client_cert=("a.pem", "b.pem", KEY)),
    "OpenAIAdapter": lambda: OpenAIAdapter(KEY, base_url="http://h.example"),
    "OpenAIAdapter, a variable": lambda: OpenAIAdapter("A_VARIABLE_NOT_SET"),
    "HeaderFactory": lambda: HeaderFactory.get_header("bearer", api_key=KEY + "\n\n" + KEY),
    "HeaderFactory, a kind": lambda: HeaderFactory.get_header("bearers", api_key=KEY),
    "StaticAuth": lambda: StaticAuth("digest", KEY),
    "SigV4Auth": lambda: SigV4Auth("us-east-1", secret_key=KEY),
    "GoogleAuth": lambda: GoogleAuth({"private_key": KEY, "client_email": "e", "token_uri": "t"}),
    "Limiter": lambda: Limiter([Quota(-1, 1.0)]),
    "RetryConfig": lambda: RetryConfig(max_retries=-1),
    "CircuitBreaker": lambda: CircuitBreaker(failure_threshold=0),
    "HedgePolicy": lambda: HedgePolicy(share=7),
    "TokenBucketRateLimiter": lambda: TokenBucketRateLimiter(rate=0),
    "AdaptiveRateLimiter": lambda: AdaptiveRateLimiter(5.0, safety_factor=2.0),
    "RateLimitConfig": lambda: RateLimitConfig(0, 0),
    "Tool": lambda: Tool(5),  # type: ignore[arg-type]
    "Tool, a setting": lambda: Tool(len, config={"nmae": "x"}),
    "Engine": lambda: Engine(5),  # type: ignore[arg-type]
    "SqliteCache": lambda: SqliteCache(Path("/dev/null/x")),
}


@pytest.mark.parametrize("what", FAILING)
def test_what_a_traceback_with_locals_shows(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOME_OTHER_API_KEY", KEY)
    with pytest.raises(Exception) as caught:
        made = FAILING[what]()
        if asyncio.iscoroutine(made):
            asyncio.run(made)
    assert KEY not in str(caught.value) + repr(caught.value)
    assert [where for where, shown in variables_in_sight(caught.value) if KEY in shown] == []
    assert isinstance(caught.value, callgate.CallgateError | ValueError | TypeError)
