"""Azure's older deployments: the base URL ends with `?api-version=`, and every call carries it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from callgate import ConfigurationError, Endpoint, EndpointConfig, iModel
from callgate.testing import Simulator

DEPLOYMENT = "/openai/deployments/my-gpt-4o?api-version=2024-10-21"
MESSAGES = [{"role": "user", "content": "Hi"}]
ANSWER = {
    "id": "c",
    "object": "chat.completion",
    "created": 0,
    "model": "gpt-4o",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
}


def endpoint_at(base_url: str, **settings: Any) -> Endpoint:
    config = EndpointConfig(
        name="azure",
        provider="azure",
        base_url=base_url,
        endpoint="chat/completions",
        api_key="a-key-of-azure",
    )
    return Endpoint(config, model="my-gpt-4o", **settings)


async def heard(ask: Callable[[str], Awaitable[Any]]) -> tuple[str, dict[str, str], Any]:
    """The request line, the headers and the body of the one request that `ask` makes at a loopback server."""
    requests: list[tuple[str, dict[str, str], Any]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
        line, *fields = head.strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
        body = await reader.readexactly(int(headers["content-length"]))
        requests.append((line, headers, json.loads(body)))
        told = json.dumps(ANSWER).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n")
        writer.write(b"content-length: %d\r\n\r\n" % len(told) + told)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await ask(f"http://127.0.0.1:{port}")
    (request,) = requests
    return request


def test_the_request_is_the_one_that_the_official_client_sends() -> None:
    openai = pytest.importorskip("openai")

    async def theirs(origin: str) -> None:
        client = openai.AsyncAzureOpenAI(
            azure_endpoint=origin,
            azure_deployment="my-gpt-4o",
            api_version="2024-10-21",
            api_key="a-key-of-azure",
        )
        async with client:
            await client.chat.completions.create(model="my-gpt-4o", messages=MESSAGES)

    async def ours(origin: str) -> None:
        async with endpoint_at(origin + DEPLOYMENT) as endpoint:
            response = await endpoint.call({"messages": MESSAGES})
            assert response.text == "Hello."

    async def main() -> None:
        line, headers, body = await heard(ours)
        expected_line, expected_headers, expected_body = await heard(theirs)
        assert line == expected_line
        assert line == "POST /openai/deployments/my-gpt-4o/chat/completions?api-version=2024-10-21 HTTP/1.1"
        assert headers["api-key"] == expected_headers["api-key"] == "a-key-of-azure"
        assert "authorization" not in headers
        assert body == expected_body

    asyncio.run(main())


def test_whole_and_streamed_and_on_another_path() -> None:
    async def main() -> None:
        async with Simulator(answers=lambda _: "Cold.") as sim:
            endpoint = endpoint_at(sim.url + DEPLOYMENT)
            async with iModel(endpoint) as model:
                calling = await model.invoke(messages=MESSAGES)
                assert calling.response.text == "Cold."
                assert calling.endpoint_url == sim.url + DEPLOYMENT.replace("?", "/chat/completions?")
                chunks = [chunk async for chunk in model.invoke_stream(messages=MESSAGES)]
                assert "".join(map(str, chunks)) == "Cold."
            assert "api-version" not in repr(endpoint)

    asyncio.run(main())


def test_the_whole_url_as_the_portal_shows_it_is_understood() -> None:
    async def ask(origin: str) -> None:
        shown = origin + "/openai/deployments/my-gpt-4o/chat/completions?api-version=2024-10-21"
        async with endpoint_at(shown) as endpoint:
            await endpoint.call({"messages": MESSAGES})

    line, _, _ = asyncio.run(heard(ask))
    assert line.split()[1] == "/openai/deployments/my-gpt-4o/chat/completions?api-version=2024-10-21"


def test_a_path_with_a_query_of_its_own_keeps_it() -> None:
    async def ask(origin: str) -> None:
        async with endpoint_at(origin + DEPLOYMENT) as endpoint:
            await endpoint.call({"messages": MESSAGES}, http_path="chat/completions?trace=1")

    line, _, _ = asyncio.run(heard(ask))
    assert line.split()[1] == "/openai/deployments/my-gpt-4o/chat/completions?trace=1&api-version=2024-10-21"


def test_the_variable_may_name_a_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(origin: str) -> None:
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", origin + DEPLOYMENT)
        monkeypatch.setenv("AZURE_OPENAI_API_KEY", "a-key-of-azure")
        async with iModel(provider="azure", model="my-gpt-4o") as model:
            await model.invoke(messages=MESSAGES)

    line, headers, _ = asyncio.run(heard(ask))
    assert line.split()[1] == "/openai/deployments/my-gpt-4o/chat/completions?api-version=2024-10-21"
    assert headers["api-key"] == "a-key-of-azure"


@pytest.mark.parametrize(
    ("provider", "query"),
    [
        ("azure", "?api-key=sk-secret"),
        ("azure", "?api-version=2024-10-21&code=sk-secret"),
        ("azure", "?sk-secret"),
        ("openai", "?api-version=2024-10-21"),
        ("a-gateway-of-ours", "?api-version=2024-10-21"),
    ],
)
def test_any_other_query_is_refused_for_it_may_hold_a_key(provider: str, query: str) -> None:
    base_url = "https://r.openai.azure.com/openai/deployments/d" + query
    with pytest.raises(ConfigurationError, match="must not hold a query") as caught:
        iModel(provider=provider, base_url=base_url, api_key="a-key-of-azure", model="m")
    assert "sk-secret" not in str(caught.value)


def test_the_variables_query_is_looked_at_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://r.openai.azure.com/openai/v1?api-key=sk-secret")
    with pytest.raises(ConfigurationError, match="must not hold a query"):
        iModel(provider="azure", api_key="a-key-of-azure", model="m")


def test_the_version_may_be_a_setting_of_its_own_and_is_kept_when_written_down() -> None:
    async def ask(origin: str) -> None:
        base_url = origin + "/openai/deployments/my-gpt-4o"
        settings: dict[str, Any] = {"base_url": base_url, "api_version": "2024-10-21", "api_key": "AZURE_KEY"}
        async with iModel(provider="azure", model="my-gpt-4o", **settings) as model:
            written = json.loads(json.dumps(model.to_dict()))
        async with iModel.from_dict(written) as model:
            await model.invoke(messages=MESSAGES)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AZURE_KEY", "a-key-of-azure")
        line, headers, _ = asyncio.run(heard(ask))
    assert line.split()[1] == "/openai/deployments/my-gpt-4o/chat/completions?api-version=2024-10-21"
    assert headers["api-key"] == "a-key-of-azure"


def test_what_follows_the_version_stays_within_its_value() -> None:
    async def ask(origin: str) -> None:
        async with endpoint_at(origin + "/openai/deployments/d/?api-version=1%23x%0d%0ay") as endpoint:
            await endpoint.call({"messages": MESSAGES})

    line, _, _ = asyncio.run(heard(ask))
    assert line.split()[1] == "/openai/deployments/d/chat/completions?api-version=1%23x%0D%0Ay"
