"""`Endpoint`: one address of one service, spoken to in its dialect, over HTTP.

It only encodes, sends and decodes. When and how often a call happens is a matter of the layers around it.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Mapping
from typing import Any

from callgate.backends.address import Address, find_address
from callgate.backends.config import EndpointConfig, ServiceEndpointConfig, make_config
from callgate.backends.http import HttpBackend
from callgate.backends.sdk import SdkBackend
from callgate.backends.service import BackendInfo
from callgate.call.calling import Calling
from callgate.errors import ConfigurationError
from callgate.headers import without_credentials
from callgate.network.client import AsyncAPIClient
from callgate.policies.breaker.breaker import CircuitBreaker
from callgate.policies.retry.config import RetryConfig
from callgate.providers.catalog import dialect_of, find_dialect
from callgate.providers.dialect import Dialect
from callgate.providers.hosts import HOSTS, Host
from callgate.providers.plain_json import PlainJson
from callgate.response import Response
from callgate.transport.http import HttpTransport, Transport

__all__ = ["Endpoint"]

_USUAL_RETRY = RetryConfig()


class Endpoint:
    """A service at an address. Takes either configuration of the documents.

    Args:
        config: `EndpointConfig`, `ServiceEndpointConfig`, or a mapping with the fields of the former.
        circuit_breaker: Used by the model around it.
        retry_config: Used by the model around it; None turns retry off.
        transport: What carries the bytes; None: one of its own, closed with it.
        host: An entry of the hosts table, instead of the one that `config.provider` names.
        settings: Further request defaults (`model`, `temperature`), sent with every call.

    Raises:
        ConfigurationError: (a ValueError) when the address, the key or the names cannot work.

    Example::

        endpoint = Endpoint(EndpointConfig(name="chat", provider="openai", endpoint="chat/completions"))
        async with iModel(endpoint, executor) as model:
            calling = await model.invoke(model="gpt-4o-mini", messages=[...])
    """

    def __init__(
        self,
        config: EndpointConfig | ServiceEndpointConfig | Mapping[str, Any],
        *,
        circuit_breaker: CircuitBreaker | None = None,
        retry_config: RetryConfig | None = _USUAL_RETRY,
        transport: Transport | None = None,
        host: Host | None = None,
        **settings: Any,
    ) -> None:
        if isinstance(config, Mapping):
            config = make_config(EndpointConfig, **config)
        # A copy: what is added to the defaults below is not the caller's.
        config = config.model_copy(deep=False)
        self.config = config
        self.name = config.name
        self.timeout: float | None = config.timeout
        self.circuit_breaker = circuit_breaker
        if retry_config is _USUAL_RETRY and "max_retries" in config.model_fields_set:
            retry_config = RetryConfig(max_retries=getattr(config, "max_retries", 0))
        self.retry_config = retry_config
        self._closed = False
        self._client: AsyncAPIClient | None = None
        self.host = host
        self.defaults: dict[str, Any]
        if isinstance(config, ServiceEndpointConfig):
            self.defaults = config.default_request_kwargs = {**config.default_request_kwargs, **settings}
        else:
            if host is None:
                self.host = HOSTS.get(config.provider)
            self.defaults = config.kwargs = {**config.kwargs, **settings}
        self.key_variable: str | None = config.api_key_env
        self._sender = self._make_sender(config, transport)
        self.dialect: Dialect = self._sender.dialect
        self.base_url: str = self._sender.base_url
        self.cache_facts = self._find_cache_facts(config)
        self.cache_origin = self.base_url

    def _make_sender(
        self, config: EndpointConfig | ServiceEndpointConfig, transport: Transport | None
    ) -> HttpBackend | SdkBackend:
        if isinstance(config, ServiceEndpointConfig):
            if config.transport_type == "sdk":
                return SdkBackend(config, config.read_api_key())
            method = config.http_config.method if config.http_config is not None else "POST"
            dialect: Dialect = PlainJson(method) if self.host is None else dialect_of(self.host)
            path, content_type = None, "application/json"
        else:
            dialect, path = _dialect_for(config, self.host), _path_for(config, self.host)
            content_type = config.content_type
        address = self._find_address(config)
        self.key_variable = address.key_variable
        headers = {"content-type": content_type, **config.default_headers}
        if transport is None:
            transport, owned = HttpTransport(read_timeout=config.read_timeout), True
        elif config.read_timeout is None:
            owned = False
        else:
            raise ConfigurationError(
                f"the endpoint {self.name!r} has a transport of its own; set read_timeout on that"
            )
        return HttpBackend(self.name, dialect, address, path, headers, transport, owns_transport=owned)

    def _find_cache_facts(self, config: EndpointConfig | ServiceEndpointConfig) -> dict[str, Any]:
        """What answers depend on beside address, dialect and request; see `layers.cache.key_of`."""
        facts: dict[str, Any] = dict(self._sender.cache_facts)
        headers = without_credentials(config.default_headers)
        if headers:
            facts["headers"] = headers
        if isinstance(self.dialect, PlainJson) and self.dialect.method != "POST":
            facts["method"] = self.dialect.method
        return facts

    def _find_address(self, config: EndpointConfig | ServiceEndpointConfig) -> Address:
        return find_address(config, self.host, os.environ)

    @property
    def tags(self) -> frozenset[str]:
        """What every model is, "llm", and the provider's name."""
        return frozenset({"llm", *([self.host.provider] if self.host is not None else [])})

    @property
    def info(self) -> BackendInfo:
        """Its facts, read when a model is put together around it."""
        return BackendInfo(
            name=self.name,
            tags=self.tags,
            host=self.host,
            dialect=self.dialect,
            base_url=self.base_url,
            defaults=self.defaults,
            timeout=self.timeout,
            retry_config=self.retry_config,
            circuit_breaker=self.circuit_breaker,
            concurrency="auto",
            key_variable=self.key_variable,
            cache_origin=self.cache_origin,
            cache_facts=self.cache_facts,
        )

    # -- making a call -----------------------------------------------------------------------------------

    def call(self, request: Calling | Mapping[str, Any], **options: Any) -> Awaitable[Response]:
        """Send one call, once, without any layer.

        Args:
            request: A calling (from a model), or the request itself.
            options: With a plain request: any keyword of `Calling`, such as `http_path`.

        Raises:
            APIClientError: what went wrong, typed.
            RuntimeError: when the endpoint is closed.
        """
        if not isinstance(request, Calling):
            request = Calling({**self.defaults, **request}, backend=self, **options)
        # Handed on without a coroutine of its own: this is the path of every call.
        return self._sender.call(request)

    async def stream(self, request: Mapping[str, Any], **options: Any) -> Response:
        """Send one call as a stream; the deltas go to `sink=` (an async function), the answer comes back.

        Raises:
            APIClientError: what went wrong, typed; what came before it has been passed on.
        """
        sink = options.pop("sink", None)
        calling = Calling({**self.defaults, **request}, backend=self, **options)
        calling.sink = sink if sink is not None else _drop
        return await self.call(calling)

    # -- what the documents know it by -------------------------------------------------------------------

    def create_payload(
        self,
        request: Mapping[str, Any] | Any,
        extra_headers: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """The payload and the headers as they would be sent, for those who send them themselves.

        Args:
            request: A mapping, or a pydantic model (its unset fields are left out).
            extra_headers: Added to the endpoint's own.
            kwargs: Added to the payload.

        Raises:
            pydantic.ValidationError: when the endpoint has `request_options` and the payload does not fit.
        """
        given = request if isinstance(request, Mapping) else request.model_dump(exclude_none=True)
        payload = {**self.defaults, **given, **kwargs}
        options = getattr(self.config, "request_options", None)
        if options is not None:
            payload = options.model_validate(payload).model_dump(exclude_none=True)
        return payload, {**self._sender.headers, **(extra_headers or {})}

    def get_client(self) -> Any:
        """One client for this address, made when first asked for: `AsyncAPIClient`, or the SDK adapter.

        Raises:
            RuntimeError: when the endpoint is closed.
        """
        if self._closed:
            raise RuntimeError(f"the endpoint {self.name!r} is closed")
        if isinstance(self._sender, SdkBackend):
            return self._sender.adapter
        if self._client is None:
            headers = dict(self._sender.headers)
            self._client = AsyncAPIClient(
                base_url=self.base_url,
                timeout=self.timeout or 10.0,
                headers=headers,
                # Where it is plain, that is meant, or no key goes along.
                allow_http=self.base_url.startswith("http:"),
            )
        return self._client

    @property
    def provider(self) -> str | None:
        """The provider's name in the hosts table, or None."""
        return None if self.host is None else self.host.provider

    def to_dict(self) -> dict[str, Any]:
        """What it is, ready for JSON: the name of the key's variable, never a key.

        Raises:
            ValueError: when a setting has no JSON form.
        """
        return {
            "kind": "service" if isinstance(self.config, ServiceEndpointConfig) else "endpoint",
            "config": self.config.model_dump(mode="json", exclude_unset=True),
            "host": self.provider,
            "retry_config": None if self.retry_config is None else self.retry_config.to_dict(),
            "circuit_breaker": None if self.circuit_breaker is None else self.circuit_breaker.to_dict(),
        }

    async def close(self) -> None:
        """Close what it owns. Closing twice changes nothing."""
        self._closed = True
        if self._client is not None:
            await self._client.close()
        await self._sender.close()

    async def __aenter__(self) -> Endpoint:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        state = " closed" if self._closed else ""
        return f"<Endpoint {self.name!r} {self.dialect.name} {self.base_url}{state}>"


def _dialect_for(config: EndpointConfig, host: Host | None) -> Dialect:
    if host is not None:
        return dialect_of(host)
    if config.oai_compatible or config.endpoint.strip("/") == "chat/completions":
        return find_dialect("openai_chat")
    return PlainJson(config.method)


def _path_for(config: EndpointConfig, host: Host | None) -> str | None:
    """The path that the caller asked for; None leaves it to the dialect."""
    path = config.path
    if host is not None and (host.dialect != "openai_chat" or path in ("", "chat/completions")):
        return None
    return "/" + path if path else None


async def _drop(_: Any) -> None:
    """The sink of a stream that nobody reads."""
