"""`Endpoint`: one address of one service, over HTTP or through an official SDK.

It encodes, sends and decodes. The policies around it decide when and how often a call is made.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Mapping
from typing import Any, Protocol, TypeVar

from callgate.backends.address import Address, find_address
from callgate.backends.config import (
    CLIENT_SETTINGS,
    EndpointConfig,
    ServiceEndpointConfig,
    make_config,
)
from callgate.backends.http import HttpBackend
from callgate.backends.option_check import refuse_misspelt, refuse_unknown
from callgate.backends.request_check import validate_request
from callgate.backends.sdk import SdkBackend
from callgate.backends.service import BackendInfo
from callgate.call.calling import Calling
from callgate.errors import ConfigurationError
from callgate.headers import without_credentials
from callgate.policies.breaker.breaker import CircuitBreaker
from callgate.policies.retry.config import RetryConfig
from callgate.providers.canonical.billing import CostBound
from callgate.providers.catalog import dialect_of, find_dialect
from callgate.providers.dialect import AnyDialect, Dialect
from callgate.providers.hosts import HOSTS, Host
from callgate.providers.plain_json import PlainJson
from callgate.reprs import live_repr
from callgate.response import Response
from callgate.transport.http import HttpTransport, Transport
from callgate.transport.keys import ENVIRONMENT, hide_secrets

__all__ = ["USUAL_RETRY", "Endpoint", "policies_from_dict"]

Policy = TypeVar("Policy")

USUAL_RETRY = RetryConfig()
"""The default of `retry_config`."""


class _Backend(Protocol):
    """The protocol of `HttpBackend`, `SdkBackend` and `CommandBackend`, one of which sends the calls."""

    @property
    def dialect(self) -> AnyDialect: ...
    @property
    def base_url(self) -> str | None: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def concurrency(self) -> Any: ...
    @property
    def cache_origin(self) -> str: ...
    @property
    def cache_facts(self) -> Mapping[str, Any]: ...
    @property
    def completion(self) -> Mapping[str, str]: ...
    @property
    def client(self) -> Any: ...

    def bound(self, calling: Calling) -> CostBound: ...
    async def call(self, calling: Calling) -> Response: ...
    async def close(self) -> None: ...


class Endpoint:
    """A service at an address.

    Args:
        config: `EndpointConfig`, `ServiceEndpointConfig`, or a mapping with the fields of the former.
        circuit_breaker: The breaker, or a mapping of its settings; used by a model with this endpoint.
        retry_config: The retry policy, or a mapping of its settings; used by a model with this endpoint.
            None: no retries.
        transport: Sends the requests; None: a new one, closed with the endpoint.
        host: An entry of the hosts table, instead of the one that `config.provider` names.
        settings: Further request defaults (`model`, `temperature`), sent with every call.

    Raises:
        ConfigurationError: (a ValueError) the address, the key or a setting is invalid or missing.

    Example::

        endpoint = Endpoint(EndpointConfig(name="chat", provider="openai", endpoint="chat/completions"))
        async with iModel(endpoint, executor) as model:
            calling = await model.invoke(model="gpt-4o-mini", messages=[...])
    """

    def __init__(
        self,
        config: EndpointConfig | ServiceEndpointConfig | Mapping[str, Any],
        *,
        circuit_breaker: CircuitBreaker | Mapping[str, Any] | None = None,
        retry_config: RetryConfig | Mapping[str, Any] | None = USUAL_RETRY,
        transport: Transport | None = None,
        host: Host | None = None,
        **settings: Any,
    ) -> None:
        settings = hide_secrets(settings)
        if isinstance(config, Mapping):
            config = hide_secrets(config)
            config = make_config(EndpointConfig, **config)
        # A copy, because defaults are added below.
        config = config.model_copy(deep=False)
        self.config = config
        self.name = config.name
        self.circuit_breaker = _read_policy("circuit_breaker", CircuitBreaker, circuit_breaker)
        if retry_config is USUAL_RETRY and isinstance(config, EndpointConfig):
            retry_config = config.retry_config
        self.retry_config = _read_policy("retry_config", RetryConfig, retry_config)
        self.key_variable: str | None = config.api_key_env
        self.host = host
        self._closed = False
        self.defaults: dict[str, Any]
        if isinstance(config, ServiceEndpointConfig):
            self.defaults = config.default_request_kwargs = {**config.default_request_kwargs, **settings}
        else:
            if host is None:
                self.host = HOSTS.get(config.provider)
            self.defaults = config.kwargs = {**config.kwargs, **settings}
        self._backend: _Backend = self._make_backend(config, transport)
        if not isinstance(self._backend.dialect, PlainJson):
            refuse_misspelt(self.defaults, type(config).model_fields)
        self.send = self._backend.call
        """Sends a calling once, without any policy; the innermost service of a model."""

    def _make_backend(
        self, config: EndpointConfig | ServiceEndpointConfig, transport: Transport | None
    ) -> _Backend:
        path: str | None
        if isinstance(config, ServiceEndpointConfig):
            if config.transport_type == "sdk":
                return SdkBackend(config, config.read_api_key())
            method = config.http_config.method if config.http_config is not None else "POST"
            dialect: Dialect = PlainJson(method) if self.host is None else dialect_of(self.host)
            path, content_type, options = None, "application/json", None
            client_kwargs = config.client_constructor_kwargs
        else:
            dialect, path = _dialect_for(config, self.host), _path_for(config, self.host)
            content_type, options = config.content_type, config.request_options
            client_kwargs = config.client_kwargs
        address = self._find_address(config)
        self.key_variable = address.key_variable
        host, own_transport = self.host, transport is None
        return HttpBackend(
            self.name,
            dialect,
            address,
            path,
            {"content-type": content_type, **config.default_headers},
            _make_transport(self.name, config.read_timeout, client_kwargs, transport),
            owns_transport=own_transport,
            needs_model=host is not None and host.api_key_required and address.base_url == host.base_url,
            options=options,
        )

    def _find_address(self, config: EndpointConfig | ServiceEndpointConfig) -> Address:
        return find_address(config, self.host, ENVIRONMENT)

    @property
    def provider(self) -> str | None:
        """The provider's name in the hosts table, or None."""
        return None if self.host is None else self.host.provider

    @property
    def tags(self) -> frozenset[str]:
        """The default tags of a model: "llm", and the provider's name."""
        return frozenset({"llm", *([self.host.provider] if self.host is not None else [])})

    @property
    def info(self) -> BackendInfo:
        """Its facts, read when a model with this endpoint is created."""
        backend = self._backend
        facts = dict(backend.cache_facts)
        headers = without_credentials(self.config.default_headers)
        if headers:
            facts["headers"] = headers
        return BackendInfo(
            name=self.name,
            tags=self.tags,
            host=self.host,
            dialect=backend.dialect,
            base_url=backend.base_url,
            defaults=self.defaults,
            timeout=self.config.timeout,
            retry_config=self.retry_config,
            circuit_breaker=self.circuit_breaker,
            concurrency=backend.concurrency,
            key_variable=self.key_variable,
            completion=backend.completion,
            price_provider=self._price_provider,
            cache_origin=backend.cache_origin,
            cache_facts=facts,
        )

    @property
    def dialect(self) -> AnyDialect:
        return self._backend.dialect

    @property
    def base_url(self) -> str | None:
        return self._backend.base_url

    @property
    def timeout(self) -> float | None:
        return self.config.timeout

    @property
    def cache_origin(self) -> str:
        return self.info.cache_origin

    @property
    def cache_facts(self) -> Mapping[str, Any]:
        return self.info.cache_facts

    @property
    def _price_provider(self) -> str | None:
        host, config = self.host, self.config
        if host is None and isinstance(config, ServiceEndpointConfig) and config.sdk_config is not None:
            # Without a base URL, an SDK sends to its own provider.
            host = HOSTS.get(config.sdk_config.sdk_provider_name) if config.base_url is None else None
        return None if host is None else host.price_provider

    # -- making a call -----------------------------------------------------------------------------------

    def call(self, request: Calling | Mapping[str, Any], **options: Any) -> Awaitable[Response]:
        """Send one call, once, without any policy.

        Args:
            request: A calling (from a model), or the request itself.
            options: With a plain request: any keyword of `Calling`, such as `http_path`.

        Raises:
            APIClientError: the call failed.
            RuntimeError: the endpoint is closed.
        """
        if not isinstance(request, Calling):
            request = Calling({**self.defaults, **request}, backend=self, **options)
        return self.send(request)

    def bound(self, calling: Calling) -> CostBound:
        """The most that one attempt of a call can be billed for.

        Raises:
            InvalidRequestError: The request cannot be encoded.
            UnboundedCostError: A part of the request has no bound: a file, a search, an unknown field.
        """
        return self._backend.bound(calling)

    async def stream(self, request: Mapping[str, Any], **options: Any) -> Response:
        """Send one call as a stream; `sink=`, an async function, gets each delta. Returns the whole response.

        Raises:
            APIClientError: the call failed; earlier deltas were delivered.
        """
        sink = options.pop("sink", None)
        calling = Calling({**self.defaults, **request}, backend=self, **options)
        calling.sink = sink if sink is not None else _drop
        return await self.call(calling)

    def create_payload(
        self,
        request: Mapping[str, Any] | Any,
        extra_headers: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """The payload and the headers of a request, for another client.

        Args:
            request: A mapping, or a pydantic model (its unset fields are left out).
            extra_headers: Added to the endpoint's own.
            kwargs: Added to the payload.

        Raises:
            InvalidRequestError: the payload does not satisfy the endpoint's `request_options`.
        """
        given = request if isinstance(request, Mapping) else request.model_dump(exclude_none=True)
        payload = {**self.defaults, **given, **kwargs}
        options = self.config.request_options if isinstance(self.config, EndpointConfig) else None
        if options is not None:
            payload = validate_request(options, payload)
        return payload, {**self._backend.headers, **hide_secrets(extra_headers or {})}

    def get_client(self) -> Any:
        """The client of this endpoint, always the same: an `HttpClient` below its base URL, or the SDK
        adapter.

        Raises:
            RuntimeError: the endpoint is closed.
        """
        if self._closed:
            raise RuntimeError(f"the endpoint {self.name!r} is closed")
        return self._backend.client

    # -- serialization and closing --------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The settings, ready for JSON, with the name of the key's variable instead of a key.

        Raises:
            ValueError: a setting has no JSON form.
        """
        return {
            "kind": "service" if isinstance(self.config, ServiceEndpointConfig) else "endpoint",
            "config": self.config.model_dump(mode="json", exclude_unset=True),
            "host": self.provider,
            **self._policies_to_dict(),
        }

    def _policies_to_dict(self) -> dict[str, Any]:
        return {
            "retry_config": None if self.retry_config is None else self.retry_config.to_dict(),
            "circuit_breaker": None if self.circuit_breaker is None else self.circuit_breaker.to_dict(),
        }

    async def close(self) -> None:
        """Close its transport, unless one was given. Idempotent."""
        self._closed = True
        await self._backend.close()

    async def __aenter__(self) -> Endpoint:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @live_repr
    def __repr__(self) -> str:
        backend = self._backend
        state = " closed" if self._closed else ""
        return f"<{type(self).__name__} {self.name!r} {backend.dialect.name} {backend.cache_origin}{state}>"


def _make_transport(
    name: str, read_timeout: float | None, client_kwargs: Mapping[str, Any], given: Transport | None
) -> Transport:
    settings = {name: client_kwargs[name] for name in CLIENT_SETTINGS if name in client_kwargs}
    if read_timeout is not None:
        settings["read_timeout"] = read_timeout
    if given is None:
        return HttpTransport(**settings)
    if settings:
        first = next(iter(settings))
        raise ConfigurationError(
            f"the endpoint {name!r} has a transport of its own; set {', '.join(settings)} on that",
            setting=first,
        )
    return given


def _read_policy(setting: str, kind: type[Policy], given: Any) -> Policy | None:
    """A policy from an argument: the policy itself, a mapping of its settings, or None."""
    if given is None or isinstance(given, kind):
        return given
    if not isinstance(given, Mapping):
        raise ConfigurationError(
            f"{setting} must be a {kind.__name__}, a mapping of its settings or None,"
            f" got {type(given).__name__}",
            setting=setting,
        )
    refuse_unknown(setting, given, list(inspect.signature(kind).parameters))
    return kind(**given)


def _dialect_for(config: EndpointConfig, host: Host | None) -> Dialect:
    if host is not None:
        return dialect_of(host)
    if config.oai_compatible or config.endpoint.strip("/") == "chat/completions":
        return find_dialect("openai_chat")
    return PlainJson(config.method)


def _path_for(config: EndpointConfig, host: Host | None) -> str | None:
    """The path of the configuration; None: that of the dialect."""
    path = config.path
    if host is not None and (host.dialect != "openai_chat" or path in ("", "chat/completions")):
        return None
    return "/" + path if path else None


def policies_from_dict(data: Mapping[str, Any]) -> dict[str, Any]:
    """The policies in the result of `Endpoint.to_dict`, as keywords of an endpoint."""
    retry, breaker = data.get("retry_config"), data.get("circuit_breaker")
    return {
        "retry_config": None if retry is None else RetryConfig.from_dict(retry),
        "circuit_breaker": None if breaker is None else CircuitBreaker.from_dict(breaker),
    }


async def _drop(_: Any) -> None:
    """The sink of a stream without a reader."""
