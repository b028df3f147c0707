"""One request of `AsyncAPIClient` over a scripted transport, on the virtual clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest

from callgate.errors import (
    APIClientError,
)
from callgate.network.client import AsyncAPIClient
from callgate.testing.clock import run_virtual
from tests.network.scripted_transport import ScriptedTransport, reply

CANARY = "sk-canary-5f3a"


HOST = "https://api.example.com"


def with_client(
    transport: ScriptedTransport, talk: Callable[[AsyncAPIClient], Awaitable[Any]], **settings: Any
) -> Any:
    """Run `talk` with a client on this transport and on the virtual clock."""

    async def main() -> Any:
        async with AsyncAPIClient(HOST, client=transport, **settings) as client:
            return await talk(client)

    return run_virtual(main())


def sent_by(
    method: str = "GET", url: str = "/x", settings: Mapping[str, Any] | None = None, **options: Any
) -> Any:
    """What one request sends."""
    transport = ScriptedTransport()
    with_client(transport, lambda client: client.request(method, url, **options), **(settings or {}))
    return transport.sent[0]


def answer_to(content: Any, status: int = 200, **headers: str) -> Any:
    """What a request gives that is answered so."""
    transport = ScriptedTransport(reply(status, content, **headers))
    return with_client(transport, lambda client: client.request("GET", "/x"))


def error_for(status: int, content: Any = None, **headers: str) -> APIClientError:
    with pytest.raises(APIClientError) as caught:
        answer_to(content, status, **headers)
    return caught.value


async def pieces() -> AsyncIterator[bytes]:
    yield b"ab"
    yield b"c"
