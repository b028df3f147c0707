"""Endpoints by the provider's name, made and ready."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from callgate.backends.address import host_named
from callgate.backends.claude_code import ClaudeCodeEndpoint
from callgate.backends.config import EndpointConfig, ServiceEndpointConfig, make_config
from callgate.backends.embedded_endpoint import EmbeddedEndpoint
from callgate.backends.endpoint import Endpoint
from callgate.backends.option_check import refuse_misspelt
from callgate.policies.breaker.breaker import CircuitBreaker
from callgate.policies.retry.config import RetryConfig
from callgate.providers.hosts import HOSTS, Host

__all__ = [
    "AnthropicMessagesEndpoint",
    "GeminiEndpoint",
    "OAIChatEndpoint",
    "make_endpoint",
    "restore_endpoint",
]

# Settings of the endpoint itself; everything else is a default of every request.
_OF_THE_CONFIG = ("api_key", "api_key_env", "base_url", "timeout", "read_timeout", "default_headers",
                  "method", "allow_http", "content_type", "auth_type", "params", "max_retries",
                  "oai_compatible")  # fmt: skip
_OF_THE_ENDPOINT = ("circuit_breaker", "retry_config", "transport")
_OF_THE_CLOUD = ("region", "location", "project", "access_key", "secret_key", "session_token", "profile",
                 "service_account", "api_version")  # fmt: skip


def make_endpoint(
    provider: str | None, endpoint: str, settings: Mapping[str, Any]
) -> Endpoint | ClaudeCodeEndpoint:
    """The endpoint of a provider; arguments as for `read_settings`."""
    if provider is not None:
        host = host_named(provider, settings.get("base_url"))
        if host is not None and host.command:
            return ClaudeCodeEndpoint(**settings)
    made = read_settings(provider, endpoint, settings)
    return _class_for(made["host"])(**made)


def restore_endpoint(data: Mapping[str, Any]) -> Endpoint | ClaudeCodeEndpoint:
    """An endpoint as its `to_dict` wrote it, with a closed breaker and a client of its own.

    Raises:
        ConfigurationError: (a ValueError) when the variable of its key is not set, naming it.
    """
    if data.get("kind") == "command":
        return ClaudeCodeEndpoint.from_dict(data)
    config = ServiceEndpointConfig if data.get("kind") == "service" else EndpointConfig
    host = HOSTS.get(data.get("host") or "")
    retry, breaker = data.get("retry_config"), data.get("circuit_breaker")
    return _class_for(host)(
        config(**data["config"]),
        host=host,
        retry_config=None if retry is None else RetryConfig.from_dict(retry),
        circuit_breaker=None if breaker is None else CircuitBreaker.from_dict(breaker),
    )


def _class_for(host: Host | None) -> type[Endpoint]:
    return EmbeddedEndpoint if host is not None and host.embedded else Endpoint


def read_settings(provider: str | None, endpoint: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of `Endpoint` for a provider.

    Args:
        provider: A name of the hosts table; with `base_url` in the settings, any name or None.
        endpoint: The path below the base URL, where it is not the dialect's own.
        settings: As for `iModel`.

    Raises:
        ConfigurationError: when the provider is unknown, or a setting cannot work.
    """
    settings = dict(settings)
    host = None if provider is None else host_named(provider, settings.get("base_url"))
    headers = settings.pop("headers", None)
    if headers:
        settings["default_headers"] = {**settings.get("default_headers", {}), **headers}
    of_config = _take(settings, _OF_THE_CONFIG)
    of_endpoint = _take(settings, _OF_THE_ENDPOINT)
    of_cloud = _take(settings, _OF_THE_CLOUD)
    refuse_misspelt(settings, (*_OF_THE_CONFIG, *_OF_THE_ENDPOINT, *_OF_THE_CLOUD))
    if host is not None and host.auth == "google":
        settings.update(_place_in_google_cloud(of_cloud, os.environ))
    name = host.name if host is not None else (provider or "openai_compatible")
    config = make_config(
        EndpointConfig,
        name=settings.pop("name", name),
        provider=host.provider if host is not None else (provider or "openai_compatible"),
        endpoint=endpoint,
        client_kwargs=of_cloud,
        kwargs=settings,
        **of_config,
    )
    return {"config": config, "host": host, **of_endpoint}


def _place_in_google_cloud(given: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """The project and the location, which stand in the path of every request there."""
    account = given.get("service_account")
    of_account = account.get("project_id") if isinstance(account, Mapping) else None
    project = given.get("project") or environ.get("GOOGLE_CLOUD_PROJECT") or of_account
    location = given.get("location") or given.get("region") or environ.get("GOOGLE_CLOUD_LOCATION")
    return {name: value for name, value in (("project", project), ("location", location)) if value}


def _take(settings: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: settings.pop(name) for name in names if name in settings}


class _Named(Endpoint):
    """An endpoint of one provider: only what differs from the usual has to be said."""

    provider_name = ""

    def __init__(self, endpoint: str = "chat/completions", **settings: Any) -> None:
        provider = settings.pop("provider", self.provider_name)
        super().__init__(**read_settings(provider, endpoint, settings))


class AnthropicMessagesEndpoint(_Named):
    """Anthropic's Messages API.

    Takes `api_key`, `base_url`, `timeout`, `circuit_breaker`, `retry_config`, `transport`; anything else
    (`model`, `max_tokens`) is sent with every request.

    Example::

        backend = AnthropicMessagesEndpoint(api_key="ANTHROPIC_API_KEY", circuit_breaker=CircuitBreaker())
        model = iModel(backend=backend)
    """

    provider_name = "anthropic"


class OAIChatEndpoint(_Named):
    """OpenAI's Chat Completions, or with `provider=` or `base_url=` whatever speaks like it.

    Example::

        model = iModel(backend=OAIChatEndpoint(provider="groq", model="llama-3.3-70b-versatile"))
    """

    provider_name = "openai"


class GeminiEndpoint(_Named):
    """Google's Gemini API.

    Example::

        model = iModel(backend=GeminiEndpoint(api_key="GEMINI_API_KEY", model="gemini-2.5-flash"))
    """

    provider_name = "gemini"
