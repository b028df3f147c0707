"""`HttpClient`: objects of other HTTP clients get a clear word."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from callgate import AsyncAPIClient, ConfigurationError
from callgate.backends.endpoint import Endpoint
from callgate.transport.client import HttpClient
from tests.documents.http_service import HttpService, Request

URL = "https://api.example"


class Timeout:
    """As httpx's: an object in the place of seconds."""


class BasicAuth:
    """As httpx's: neither a pair nor a function."""


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"timeout": Timeout()},
            "timeout must be a non-negative number of .* None, got tests.Timeout",
        ),
        ({"timeout": -1}, "timeout must be a non-negative number of seconds or None, got -1"),
        ({"auth": BasicAuth()}, "auth must be .user, password., an Auth or a function .*got tests.BasicAuth"),
        ({"http2": True}, "unknown setting of the client: http2; known are connect_timeout"),
        ({"client": Timeout()}, "client must be a Transport such as HttpTransport, got tests.Timeout"),
    ],
)
def test_an_object_of_another_client_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        AsyncAPIClient(URL, **settings)
    assert caught.value.setting in settings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"extensions": {"trace": None}}, "unknown option of a request: extensions"),
        ({"timeout": Timeout()}, "timeout must be"),
        ({"auth": BasicAuth()}, "auth must be"),
    ],
)
def test_so_it_is_for_one_request(options: dict[str, Any], message: str) -> None:
    async def main() -> None:
        async with AsyncAPIClient(URL) as client:
            with pytest.raises(ConfigurationError, match=message):
                await client.request("GET", "/", **options)

    asyncio.run(main())


def test_the_client_of_an_endpoint_sends_its_headers_over_its_connections() -> None:
    def echo(request: Request) -> Any:
        return 200, {}, {"key": request.headers["authorization"]}

    async def main() -> None:
        async with HttpService(echo) as service:
            config = {"name": "x", "provider": "x", "base_url": service.url, "endpoint": "x"}
            async with Endpoint({**config, "api_key": "sk-1"}) as endpoint:
                client = endpoint.get_client()
                assert isinstance(client, HttpClient)
                assert client is endpoint.get_client()
                assert await client.request("GET", "/users") == {"key": "Bearer sk-1"}
            with pytest.raises(RuntimeError, match="closed"):
                await client.request("GET", "/users")

    asyncio.run(main())
