"""The official SDKs that can be called through, by provider."""

from __future__ import annotations

from typing import Any, ClassVar

from callgate.errors import ConfigurationError
from callgate.transport.keys import Secret
from callgate.transport.sdk import SDKAdapter

__all__ = ["AnthropicAdapter", "OpenAIAdapter", "create_sdk_adapter", "dialect_of_method"]


class OpenAIAdapter(SDKAdapter):
    """OpenAI's SDK (extra `openai`) behind one method.

    Example::

        async with OpenAIAdapter(api_key="OPENAI_API_KEY") as sdk:
            answer = await sdk.call(
                "chat.completions.create",
                model="gpt-4o-mini",
                messages=[{"role": "user", "content": "Hello!"}],
            )
            print(answer.choices[0].message.content)
    """

    sdk_module: ClassVar[str] = "openai"
    client_class: ClassVar[str] = "AsyncOpenAI"
    extra: ClassVar[str] = "openai"


class AnthropicAdapter(SDKAdapter):
    """Anthropic's SDK (extra `anthropic`) behind one method.

    Example::

        async with AnthropicAdapter(api_key="ANTHROPIC_API_KEY") as sdk:
            answer = await sdk.call(
                "messages.create",
                model="claude-3-5-haiku-latest",
                messages=[{"role": "user", "content": "Hello!"}],
                max_tokens=100,
            )
            print(answer.content[0].text)
    """

    sdk_module: ClassVar[str] = "anthropic"
    client_class: ClassVar[str] = "AsyncAnthropic"
    extra: ClassVar[str] = "anthropic"


_ADAPTERS: dict[str, type[SDKAdapter]] = {"openai": OpenAIAdapter, "anthropic": AnthropicAdapter}


def create_sdk_adapter(provider: str, api_key: Secret | str | None = None, **settings: Any) -> SDKAdapter:
    """The adapter for a provider's official SDK.

    Args:
        provider: "openai" or "anthropic", in any case.
        api_key: A key, or the name of the environment variable that holds it; None: the SDK's own way.
        settings: What `SDKAdapter` takes, and what the SDK's client takes.

    Raises:
        ConfigurationError: (a ValueError) for a provider that has no adapter.

    >>> create_sdk_adapter("OpenAI", "sk-12ab")
    <OpenAIAdapter idle>
    """
    kind = _ADAPTERS.get(provider.lower())
    if kind is None:
        raise ConfigurationError(f"no SDK adapter for {provider!r}; there is one for {', '.join(_ADAPTERS)}")
    return kind(api_key, **settings)


def dialect_of_method(provider: str, method_name: str) -> str:
    """The name of the dialect that the answers of an SDK's method are written in.

    >>> dialect_of_method("openai", "responses.create"), dialect_of_method("anthropic", "messages.create")
    ('openai_responses', 'anthropic')
    """
    if provider.lower() == "anthropic":
        return "anthropic"
    return "openai_responses" if method_name.startswith("responses.") else "openai_chat"
