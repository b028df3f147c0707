"""Provider classes for `Engine`: ready-made endpoints, and `AbstractProvider` for a user's own.

The providers that are used by name ("openai", "groq") are data: see `callgate.providers`.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from callgate.backends.config import EndpointConfig, make_config
from callgate.backends.endpoint import Endpoint
from callgate.backends.service import ANY_PROVIDER, BackendInfo
from callgate.call.calling import Calling
from callgate.errors import ConfigurationError
from callgate.providers.hosts import find_host, host_at
from callgate.transport.keys import Secret

__all__ = [
    "AbstractProvider",
    "AwsAnthropicProvider",
    "GcpBetaCompletionsProvider",
    "OpenAICompatibleApiProvider",
]


class AbstractProvider(ABC):
    """Base class for a provider of the user's own, which implements `call` and may override `name`.

    Example::

        class Parrot(AbstractProvider):
            async def call(self, calling):
                return calling.payload["messages"][-1]["content"]

        engine = Engine(Parrot())
    """

    @property
    def name(self) -> str:
        """The name in messages; by default that of the class."""
        return type(self).__name__

    @abstractmethod
    async def call(self, calling: Calling, /) -> Any:
        """Answer one call; see `ServiceBackend.call`."""

    async def close(self) -> None:  # noqa: B027  most have nothing to close
        """Close connections and files; by default does nothing."""


class OpenAICompatibleApiProvider(Endpoint):
    """Any service that speaks OpenAI's chat format.

    Args:
        key: The key, or the name of the environment variable that holds it.
        base_url: With or without "/chat/completions" at its end.
        model_id: The model.
        allow_http: Permit plain HTTP to another machine with the key.
        settings: Further keywords of `Endpoint`, and defaults of every request.

    Raises:
        ConfigurationError: `base_url` is invalid, or is plain HTTP to another machine with a key.

    Example::

        provider = OpenAICompatibleApiProvider(
            os.environ["OPENAI_API_KEY"], "https://api.openai.com/v1/chat/completions", model_id="gpt-4o-mini"
        )
        engine = Engine(provider)
    """

    def __init__(
        self,
        key: Secret | str | None,
        base_url: str,
        model_id: str,
        *,
        allow_http: bool = False,
        **settings: Any,
    ) -> None:
        base_url = base_url.rstrip("/").removesuffix("/chat/completions")
        host = host_at(base_url)
        given: dict[str, Any] = {"api_key": key}  # `EndpointConfig` distinguishes a name from a key
        config = make_config(
            EndpointConfig,
            name="openai_compatible" if host is None else host.name,
            provider="openai_compatible" if host is None else host.provider,
            base_url=base_url,
            endpoint="chat/completions",
            auth_type="bearer",
            oai_compatible=True,
            allow_http=allow_http,
            **given,
        )
        super().__init__(config, host=host, model=model_id, **settings)

    @property
    def info(self) -> BackendInfo:
        """Facts about this endpoint. On a host that is not known, the price is that of the model's name."""
        info = super().info
        return info if self.host is not None else replace(info, price_provider=ANY_PROVIDER)


class AwsAnthropicProvider(Endpoint):
    """Claude on AWS Bedrock, by InvokeModel (extra `aws`).

    Args:
        access_key, secret_key: AWS keys that may invoke the model.
        model_id: The model at Bedrock.
        region: The AWS region.
        settings: Further keywords of `Endpoint`, and defaults of every request.

    Example::

        provider = AwsAnthropicProvider(os.environ["AWS_ACCESS_KEY"], os.environ["AWS_SECRET_KEY"])
    """

    def __init__(
        self,
        access_key: Secret | str,
        secret_key: Secret | str,
        model_id: str = "anthropic.claude-3-haiku-20240307-v1:0",
        region: str = "us-west-2",
        *,
        base_url: str | None = None,
        **settings: Any,
    ) -> None:
        host = find_host("bedrock_invoke")
        config = make_config(
            EndpointConfig,
            name=host.name,
            provider=host.provider,
            base_url=base_url,
            endpoint="",
            client_kwargs={"region": region, "access_key": access_key, "secret_key": secret_key},
        )
        super().__init__(config, host=host, model=model_id, **settings)


class GcpBetaCompletionsProvider(Endpoint):
    """A managed model on Google's Vertex AI (extra `gcp`).

    Args:
        service_account: The account's key file, as an object or as JSON text.
        region: The location of the model.
        model_id: The model there.
        settings: Further keywords of `Endpoint`, and defaults of every request.

    Raises:
        ConfigurationError: `service_account` is not a JSON object, or lacks a field.

    Example::

        provider = GcpBetaCompletionsProvider(json.load(open("account.json")))
    """

    def __init__(
        self,
        service_account: Mapping[str, Any] | str,
        region: str = "us-central1",
        model_id: str = "meta/llama3-405b-instruct-maas",
        *,
        base_url: str | None = None,
        **settings: Any,
    ) -> None:
        account = _read_account(service_account)
        host = find_host("vertex")
        config = make_config(
            EndpointConfig,
            name=host.name,
            provider=host.provider,
            base_url=base_url,
            endpoint="",
            client_kwargs={"location": region, "service_account": account},
        )
        settings.setdefault("project", account.get("project_id"))
        super().__init__(config, host=host, model=model_id, location=region, **settings)


def _read_account(given: Mapping[str, Any] | str) -> Mapping[str, Any]:
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            # Not chained: the parser's own message would quote the key.
            raise ConfigurationError("the service account is neither an object nor JSON text") from None
    if not isinstance(given, Mapping):
        raise ConfigurationError("the service account is not a JSON object")
    return given
