"""The official SDKs by provider."""

from __future__ import annotations

import pytest

from callgate.errors import ConfigurationError
from callgate.providers.sdks import AnthropicAdapter, OpenAIAdapter, create_sdk_adapter, dialect_of_method


def test_an_adapter_is_found_by_its_provider_in_any_case() -> None:
    assert type(create_sdk_adapter("OpenAI", "sk-1")) is OpenAIAdapter
    assert type(create_sdk_adapter("anthropic", "sk-1")) is AnthropicAdapter


def test_a_provider_without_an_adapter_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"'groq'.*openai, anthropic"):
        create_sdk_adapter("groq", "sk-1")


@pytest.mark.parametrize(
    ("provider", "method", "dialect"),
    [
        ("openai", "chat.completions.create", "openai_chat"),
        ("openai", "completions.create", "openai_chat"),
        ("OpenAI", "responses.create", "openai_responses"),
        ("Anthropic", "messages.create", "anthropic"),
    ],
)
def test_the_dialect_of_an_answer_follows_from_the_method(provider: str, method: str, dialect: str) -> None:
    assert dialect_of_method(provider, method) == dialect
