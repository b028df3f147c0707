"""Creates the endpoint of a provider by its name: `make_endpoint`, and classes for three providers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callgate.backends.address import host_named
from callgate.backends.claude_code import ClaudeCodeEndpoint
from callgate.backends.config import (
    CLIENT_SETTINGS,
    CLOUD_SETTINGS,
    EndpointConfig,
    ServiceEndpointConfig,
    make_config,
)
from callgate.backends.embedded_endpoint import EmbeddedEndpoint
from callgate.backends.endpoint import Endpoint, policies_from_dict
from callgate.backends.option_check import refuse_misspelt
from callgate.errors import ConfigurationError
from callgate.providers.hosts import HOSTS, Host, is_google_key
from callgate.transport.keys import ENVIRONMENT, hide_secrets, read_key

__all__ = [
    "AnthropicMessagesEndpoint",
    "GeminiEndpoint",
    "OAIChatEndpoint",
    "make_endpoint",
    "restore_endpoint",
]

# Fields of the configuration and of the endpoint; every other setting is a default of every request.
_OF_CONFIG = ("api_key", "api_key_env", "base_url", "timeout", "read_timeout", "default_headers", "method",
              "allow_http", "content_type", "auth_type", "params", "max_retries", "request_options",
              "oai_compatible", "client_kwargs")  # fmt: skip
_OF_ENDPOINT = ("circuit_breaker", "retry_config", "transport")
_OF_CLIENT = (*CLIENT_SETTINGS, *CLOUD_SETTINGS)


def make_endpoint(provider: str | None, endpoint: str, settings: Mapping[str, Any]) -> Endpoint:
    """The endpoint of a provider; arguments as for `read_settings`."""
    settings = hide_secrets(settings)
    if provider is not None:
        host = host_named(provider, settings.get("base_url"))
        if host is not None and host.command:
            return ClaudeCodeEndpoint(**settings)
    made = read_settings(provider, endpoint, settings)
    return _class_for(made["host"])(**made)


def restore_endpoint(data: Mapping[str, Any]) -> Endpoint:
    """An endpoint from the result of its `to_dict`, with a closed breaker and a new client.

    Raises:
        ConfigurationError: (a ValueError) the environment variable of the key is not set.
    """
    if data.get("kind") == "command":
        return ClaudeCodeEndpoint.from_dict(data)
    kind: type[EndpointConfig | ServiceEndpointConfig] = EndpointConfig
    if data.get("kind") == "service":
        kind = ServiceEndpointConfig
    host = HOSTS.get(data.get("host") or "")
    return _class_for(host)(make_config(kind, **data["config"]), host=host, **policies_from_dict(data))


def _class_for(host: Host | None) -> type[Endpoint]:
    return EmbeddedEndpoint if host is not None and host.embedded else Endpoint


def read_settings(provider: str | None, endpoint: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of `Endpoint` for a provider.

    Args:
        provider: A name of the hosts table; with `base_url` in the settings, any name or None.
        endpoint: The path below the base URL, if it is not the dialect's own.
        settings: As for `iModel`.

    Raises:
        ConfigurationError: the provider is unknown, or a setting is invalid.
    """
    settings = hide_secrets(settings)
    host = None if provider is None else host_named(provider, settings.get("base_url"))
    headers = {**_take_headers(settings, "headers"), **_take_headers(settings, "extra_headers")}
    if headers:
        settings["default_headers"] = {**settings.get("default_headers", {}), **headers}
    of_config = _take(settings, _OF_CONFIG)
    of_endpoint = _take(settings, _OF_ENDPOINT)
    client_kwargs = {**(of_config.pop("client_kwargs", None) or {}), **_take(settings, _OF_CLIENT)}
    refuse_misspelt(settings, (*_OF_CONFIG, *_OF_ENDPOINT, *_OF_CLIENT))
    if host is not None and host.auth == "google":
        place = _place_in_google_cloud(client_kwargs, ENVIRONMENT)
        if "project" not in place and _is_express(of_config):
            place["express"] = True
            client_kwargs.setdefault("location", "global")
        settings.update(place)
    name = host.name if host is not None else (provider or "openai_compatible")
    config = make_config(
        EndpointConfig,
        name=settings.pop("name", name),
        provider=host.provider if host is not None else (provider or "openai_compatible"),
        endpoint=endpoint,
        client_kwargs=client_kwargs,
        kwargs=settings,
        **of_config,
    )
    return {"config": config, "host": host, **of_endpoint}


def _place_in_google_cloud(given: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """The project and the location, which are part of every path at Google Cloud."""
    account = given.get("service_account")
    of_account = account.get("project_id") if isinstance(account, Mapping) else None
    project = given.get("project") or environ.get("GOOGLE_CLOUD_PROJECT") or of_account
    location = given.get("location") or given.get("region") or environ.get("GOOGLE_CLOUD_LOCATION")
    return {name: value for name, value in (("project", project), ("location", location)) if value}


def _is_express(of_config: Mapping[str, Any]) -> bool:
    """True for a key of Vertex's express mode, which needs no project."""
    key = read_key(of_config.get("api_key_env") or of_config.get("api_key"), ENVIRONMENT)
    return key is not None and is_google_key(key)


def _take_headers(settings: dict[str, Any], name: str) -> Mapping[str, str]:
    headers = settings.pop(name, None)
    if headers is None or isinstance(headers, Mapping):
        return headers or {}
    raise ConfigurationError(
        f"{name} must be a mapping of header names to values, got {type(headers).__name__}", setting=name
    )


def _take(settings: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: settings.pop(name) for name in names if name in settings}


class _Named(Endpoint):
    """An endpoint of one provider, with its settings as keywords."""

    provider_name = ""

    def __init__(self, endpoint: str = "chat/completions", **settings: Any) -> None:
        settings = hide_secrets(settings)
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
    """OpenAI's Chat Completions, or with `provider=` or `base_url=` a service with the same format.

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
