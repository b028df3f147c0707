"""A model over an endpoint, as the executor document makes it, against a service on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from callgate import (
    Endpoint,
    Executor,
    HttpTransportConfig,
    RequestStatus,
    RetryConfig,
    ServiceEndpointConfig,
    iModel,
)
from tests.documents.http_service import Answer, HttpService, Request

__all__ = ["COMPLETION", "KEY", "QUICK", "completing", "failing", "service_config", "with_model"]

KEY = "sk-canary-0123456789abcdef"
COMPLETION = {
    "id": "cmpl-1",
    "object": "text_completion",
    "model": "gpt-3.5-turbo-instruct",
    "choices": [{"text": "  Roses are red  ", "index": 0, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
}
QUICK = RetryConfig(max_retries=3, base_delay=0.001, max_delay=0.002)
ENDED = (RequestStatus.COMPLETED, RequestStatus.FAILED)


def completing(_request: Request) -> Answer:
    return 200, {"X-Request-Id": "req-7"}, COMPLETION


def failing(status: int, headers: dict[str, str] | None = None) -> Callable[[Request], Answer]:
    body = {"error": {"message": "no luck", "type": "some_error"}}
    return lambda _request: (status, headers or {}, body)


def service_config(url: str, **changes: Any) -> ServiceEndpointConfig:
    """The configuration of the executor document, with the host of the service."""
    settings: dict[str, Any] = {
        "name": "openai_completions",
        "transport_type": "http",
        "base_url": url + "/v1",
        "api_key": KEY,
        "timeout": 30.0,
        "default_headers": {"User-Agent": "lionfuncs/0.1.0"},
        "http_config": HttpTransportConfig(method="POST"),
        "default_request_kwargs": {"model": "gpt-3.5-turbo-instruct"},
    }
    return ServiceEndpointConfig(**(settings | changes))


def with_model(
    handler: Callable[[Request], Any],
    scenario: Callable[[iModel, HttpService], Awaitable[None]],
    *,
    executor: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
    **endpoint: Any,
) -> HttpService:
    """Run a scenario with `iModel(endpoint, executor)` against a service; gives the service back."""

    async def main() -> HttpService:
        endpoint.setdefault("retry_config", QUICK)
        async with (
            HttpService(handler) as service,
            Executor(**{"requests_rate": 1000, **(executor or {})}) as line,
            Endpoint(service_config(service.url, **(config or {})), **endpoint) as target,
            iModel(target, line) as model,
        ):
            await scenario(model, service)
        return service

    return asyncio.run(main())
