"""The facts of a backend: its own, or read from its attributes."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from callgate import ClaudeCodeEndpoint, ConfigurationError, OAIChatEndpoint, RetryConfig, Tool
from callgate.backends.service import BackendInfo, as_response, describe


class Plain:
    name = "plain"

    async def call(self, calling: Any) -> str:
        return "done"


class WithFacts(Plain):
    tags = ("a", "b")
    timeout = 3.0
    retry_config = None
    concurrency = 2
    defaults: ClassVar = {"model": "m"}


def test_a_backend_that_states_no_fact_has_the_usual_ones() -> None:
    info = describe(Plain())
    assert (info.name, info.timeout, info.concurrency, info.dialect, info.host) == (
        "plain",
        None,
        None,
        None,
        None,
    )
    assert info.retry_config == RetryConfig()
    assert info.cache_origin.endswith("test_service.Plain")


def test_the_attributes_of_a_backend_are_its_facts() -> None:
    info = describe(WithFacts())
    assert info.tags == {"a", "b"}
    assert (info.timeout, info.retry_config, info.concurrency, info.defaults) == (
        3.0,
        None,
        2,
        {"model": "m"},
    )


def test_the_info_of_a_backend_wins_over_its_attributes() -> None:
    class Own(WithFacts):
        info = BackendInfo(name="own", timeout=9.0)

    assert describe(Own()) is Own.info


def test_an_endpoint_describes_itself() -> None:
    endpoint = OAIChatEndpoint(provider="groq", model="llama", api_key="k" * 9, retry_config=None)
    info = describe(endpoint)
    assert info.host is not None
    assert info.dialect is not None
    assert (info.name, info.host.provider, info.dialect.name) == ("groq_chat", "groq", "openai_chat")
    assert (info.retry_config, info.concurrency, info.defaults) == (None, "auto", {"model": "llama"})
    assert info.base_url == info.cache_origin == "https://api.groq.com/openai/v1"


def test_a_command_has_no_address_and_a_concurrency() -> None:
    info = describe(ClaudeCodeEndpoint(model="sonnet"))
    assert (info.base_url, info.concurrency, info.cache_origin) == (None, 4, "command:claude")


def test_a_tool_has_its_tags() -> None:
    assert describe(Tool(len)).tags == {"tool"}


@pytest.mark.parametrize("wrong", [object(), "openai/gpt", type("NoCall", (), {"name": "x"})()])
def test_something_else_is_no_backend(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="is no backend: it needs a `name` and an `async def call"):
        describe(wrong)


def test_an_answer_of_any_kind_becomes_a_response() -> None:
    assert as_response("hi").text == "hi"
    assert as_response({"celsius": 21}).data == {"celsius": 21}
