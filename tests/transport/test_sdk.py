"""The official SDKs, the real packages, against the simulator: no retries, our transport, our errors."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import anthropic
import openai
import pytest

from callgate.errors import ConfigurationError, ResponseTooLargeError, SDKError
from callgate.policies.retry.config import RetryConfig
from callgate.providers.sdks import AnthropicAdapter, OpenAIAdapter, create_sdk_adapter
from callgate.testing import Simulator
from callgate.transport.http import HttpTransport
from callgate.transport.sdk import SDKAdapter
from tests.transport.raw_server import KEEP_OPEN, answer, raw_server
from tests.transport.test_http import bomb, unused_port

CANARY = "sk-canary-5f3a"
QUESTION: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hello!"}]}


def with_adapter(
    provider: str, talk: Callable[[SDKAdapter, Simulator], Awaitable[None]], **options: Any
) -> None:
    """Run `talk` with an adapter for the provider and a simulator behind it."""

    async def main() -> None:
        async with Simulator(**options) as simulator:
            url = simulator.base_url if provider == "openai" else simulator.url
            async with create_sdk_adapter(provider, CANARY, base_url=url) as adapter:
                await talk(adapter, simulator)

    asyncio.run(main())


def test_openai_answers_through_its_sdk() -> None:
    async def talk(sdk: SDKAdapter, simulator: Simulator) -> None:
        completion = await sdk.call("chat.completions.create", **QUESTION)
        assert completion.choices[0].message.content == "forty-two"
        assert completion.usage.total_tokens > 0

    with_adapter("openai", talk, answers=["forty-two"])


def test_anthropic_answers_through_its_sdk() -> None:
    async def talk(sdk: SDKAdapter, simulator: Simulator) -> None:
        message = await sdk.call("messages.create", max_tokens=100, **QUESTION)
        assert message.content[0].text == "forty-two"

    with_adapter("anthropic", talk, answers=["forty-two"])


def test_the_sdk_streams_through_our_transport() -> None:
    async def talk(sdk: SDKAdapter, simulator: Simulator) -> None:
        stream = await sdk.call("chat.completions.create", stream=True, **QUESTION)
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
        assert "".join(pieces) == "one two three four"
        assert len(pieces) > 2

    with_adapter("openai", talk, answers=["one two three four"])


def test_send_gives_the_answer_as_it_came() -> None:
    async def talk(sdk: SDKAdapter, simulator: Simulator) -> None:
        got = await sdk.send("chat.completions.create", **QUESTION)
        assert got.status == 200
        assert b'"forty-two"' in got.body
        assert "x-ratelimit-limit-requests" in got.headers

    with_adapter("openai", talk, answers=["forty-two"], requests_per_minute=600)


@pytest.mark.parametrize(
    ("provider", "method"),
    [("openai", "chat.completions.create"), ("anthropic", "messages.create")],
)
def test_a_failure_is_tried_once_and_wrapped_with_its_facts(provider: str, method: str) -> None:
    async def talk(sdk: SDKAdapter, simulator: Simulator) -> None:
        with pytest.raises(SDKError) as caught:
            await sdk.call(method, max_tokens=5, **QUESTION)
        error = caught.value
        assert error.status_code == 500
        assert error.retryable
        assert error.counts_as_failure
        assert RetryConfig().should_retry(error)
        assert not error.surely_unsent
        assert isinstance(error.original, openai.InternalServerError | anthropic.InternalServerError)
        assert error.__cause__ is error.original
        assert CANARY not in str(error)
        assert simulator.stats.requests == 1  # the SDKs' own retries are off

    with_adapter(provider, talk, answers=[500] * 5)


def test_a_429_is_no_failure_of_the_service() -> None:
    async def talk(sdk: SDKAdapter, simulator: Simulator) -> None:
        await sdk.call("chat.completions.create", **QUESTION)
        with pytest.raises(SDKError) as caught:
            await sdk.call("chat.completions.create", **QUESTION)
        assert caught.value.status_code == 429
        assert caught.value.retryable
        assert not caught.value.counts_as_failure
        assert int(caught.value.headers["retry-after"]) > 0

    with_adapter("openai", talk, requests_per_minute=1, retry_after="seconds")


def test_a_wrong_key_is_not_worth_another_try() -> None:
    async def talk(sdk: SDKAdapter, simulator: Simulator) -> None:
        with pytest.raises(SDKError) as caught:
            await sdk.call("chat.completions.create", **QUESTION)
        assert caught.value.status_code == 401
        assert not RetryConfig().should_retry(caught.value)

    with_adapter("openai", talk, keys=["another"])


def test_nothing_listening_is_surely_unsent() -> None:
    async def main() -> None:
        with unused_port() as port:
            async with OpenAIAdapter(CANARY, base_url=f"http://127.0.0.1:{port}") as sdk:
                with pytest.raises(SDKError) as caught:
                    await sdk.call("chat.completions.create", **QUESTION)
        assert caught.value.surely_unsent
        assert caught.value.retryable
        assert isinstance(caught.value.original, openai.APIConnectionError)

    asyncio.run(main())


def test_the_sdks_own_timeout_holds_on_our_transport() -> None:
    async def main() -> None:
        async with (
            raw_server({"/chat/completions": KEEP_OPEN}) as server,
            OpenAIAdapter(CANARY, base_url=server.url, timeout=0.05) as sdk,
        ):
            with pytest.raises(SDKError) as caught:
                await sdk.call("chat.completions.create", **QUESTION)
        assert isinstance(caught.value.original, openai.APITimeoutError)
        assert not caught.value.surely_unsent

    asyncio.run(main())


def test_the_sdks_own_timeout_holds_in_a_body_that_stops() -> None:
    begun = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"

    async def main() -> None:
        async with (
            raw_server({"/chat/completions": [begun, KEEP_OPEN]}) as server,
            OpenAIAdapter(CANARY, base_url=server.url, timeout=0.05) as sdk,
        ):
            with pytest.raises(SDKError) as caught:
                await sdk.call("chat.completions.create", **QUESTION)
            assert isinstance(caught.value.original, openai.APITimeoutError)
            await server.wait_open(0)

    asyncio.run(main())


def test_the_cap_on_the_decoded_body_holds_below_the_sdk() -> None:
    packed = answer(bomb("gzip"), content_type="application/json", content_encoding="gzip")

    async def main() -> None:
        transport = HttpTransport(max_response_bytes=1024 * 1024)
        async with (
            raw_server({"/chat/completions": packed}) as server,
            OpenAIAdapter(CANARY, base_url=server.url, transport=transport) as sdk,
        ):
            with pytest.raises(SDKError) as caught:
                await sdk.call("chat.completions.create", **QUESTION)
        await transport.close()
        assert not caught.value.retryable
        chain, error = [], caught.value.__cause__
        while error is not None:
            chain.append(type(error))
            error = error.__cause__
        assert ResponseTooLargeError in chain

    asyncio.run(main())


def test_a_redirect_is_not_followed_with_the_key() -> None:
    async def main() -> None:
        async with raw_server({"/v1/messages": answer()}) as other:
            there = answer(status=307, location=f"{other.url}/v1/messages")
            async with (
                raw_server({"/v1/messages": there}) as first,
                AnthropicAdapter(CANARY, base_url=first.url) as sdk,
            ):
                with pytest.raises(SDKError):
                    await sdk.call("messages.create", max_tokens=5, **QUESTION)
            assert other.heads == []

    asyncio.run(main())


def test_a_shared_transport_outlives_the_adapter() -> None:
    async def main() -> None:
        transport = HttpTransport()
        async with Simulator() as simulator:
            async with OpenAIAdapter(CANARY, base_url=simulator.base_url, transport=transport) as sdk:
                await sdk.call("chat.completions.create", **QUESTION)
            assert (await transport.send("GET", f"{simulator.base_url}/models", {})).status == 200
        await transport.close()

    asyncio.run(main())


@pytest.mark.parametrize("name", ["chat.completions.invent", "api_key", "_client.close", "chat.__init__", ""])
def test_an_unknown_method_of_the_sdk_is_refused(name: str) -> None:
    async def main() -> None:
        async with OpenAIAdapter(CANARY, base_url="http://127.0.0.1:9") as sdk:
            with pytest.raises(ConfigurationError, match="no method"):
                await sdk.call(name)

    asyncio.run(main())


def test_providers_are_found_in_any_case_and_others_refused() -> None:
    assert isinstance(create_sdk_adapter("OpenAI", CANARY), OpenAIAdapter)
    assert isinstance(create_sdk_adapter("ANTHROPIC", CANARY), AnthropicAdapter)
    with pytest.raises(ValueError, match="openai, anthropic"):
        create_sdk_adapter("acme", CANARY)


def test_a_key_may_be_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_OPENAI_KEY", CANARY)
    assert OpenAIAdapter("MY_OPENAI_KEY").client.api_key == CANARY
    with pytest.raises(ValueError, match="MISSING_KEY"):
        OpenAIAdapter("MISSING_KEY")


def test_the_sdks_constructor_gets_the_other_settings() -> None:
    client = OpenAIAdapter(CANARY, organization="org-1", timeout=3.0).client
    assert client.organization == "org-1"
    assert client.timeout == 3.0
    assert client.max_retries == 0
    with pytest.raises(ConfigurationError, match="colour"):
        _ = OpenAIAdapter(CANARY, colour="red").client


def test_a_missing_key_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        _ = OpenAIAdapter().client


def test_a_closed_adapter_refuses_and_shows_no_key() -> None:
    async def main() -> None:
        adapter = OpenAIAdapter(CANARY)
        assert CANARY not in repr(adapter) + str(vars(adapter)["_settings"])
        await adapter.close()
        await adapter.close()
        with pytest.raises(RuntimeError, match="closed"):
            await adapter.call("models.list")
        assert repr(adapter) == "<OpenAIAdapter closed>"

    asyncio.run(main())


def test_a_missing_sdk_says_how_to_install_it() -> None:
    class Adapter(SDKAdapter):
        sdk_module = "no_such_sdk"
        client_class = "Client"
        extra = "nosuch"

    with pytest.raises(ConfigurationError, match=r"pip install 'callgate\[nosuch\]'"):
        _ = Adapter(CANARY).client


@pytest.mark.parametrize("own", [True, False])
def test_what_the_sdk_logs_itself_shows_no_key(
    own: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("ANTHROPIC_API_KEY", CANARY)
    echo = answer(b"{}", content_type="application/json", x_echo=f"you sent {CANARY}")
    logger = logging.getLogger("anthropic._base_client")
    before = list(logger.filters)

    async def main() -> None:
        async with raw_server({"/v1/messages": echo}) as server:
            async with AnthropicAdapter(CANARY if own else None, base_url=server.url) as adapter:
                await adapter.send("messages.create", max_tokens=100, **QUESTION)
                assert len(logger.filters) == len(before) + 1

    asyncio.run(main())
    assert "x-echo" in caplog.text.lower()
    assert CANARY not in caplog.text
    assert logger.filters == before


def test_a_collected_adapter_leaves_no_log_filter() -> None:
    logger = logging.getLogger("openai._base_client")
    before = list(logger.filters)
    adapter = OpenAIAdapter(CANARY)
    assert adapter.client is not None
    del adapter
    gc.collect()
    assert logger.filters == before
