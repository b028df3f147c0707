"""`Endpoint`: one address of one service, spoken to in its dialect, over HTTP.

It only encodes, sends and decodes. When and how often a call happens is a matter of the layers around it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from callgate.backends.address import find_address
from callgate.backends.config import EndpointConfig, ServiceEndpointConfig
from callgate.calling import Calling
from callgate.control.backoff import RetryConfig
from callgate.control.breaker import CircuitBreaker
from callgate.errors import APIClientError, ResponseError
from callgate.network.client import AsyncAPIClient
from callgate.providers.catalog import dialect_of, find_dialect
from callgate.providers.dialect import Dialect, WireRequest
from callgate.providers.hosts import HOSTS, Host
from callgate.providers.plain_json import PlainJson
from callgate.response import Response
from callgate.transport.auth import StaticAuth
from callgate.transport.http import HttpTransport, Transport
from callgate.transport.origin import check_headers

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
            config = EndpointConfig(**config)
        self.config = config
        self.name = config.name
        self.timeout: float | None = config.timeout
        self.circuit_breaker = circuit_breaker
        if retry_config is _USUAL_RETRY and "max_retries" in config.model_fields_set:
            retry_config = RetryConfig(max_retries=getattr(config, "max_retries", 0))
        self.retry_config = retry_config
        self._closed = False
        self._client: AsyncAPIClient | None = None
        self._owns_transport = transport is None
        self._transport: Transport = HttpTransport() if transport is None else transport
        if isinstance(config, ServiceEndpointConfig):
            self.host = host
            self.defaults: dict[str, Any] = {**config.default_request_kwargs, **settings}
            method = config.http_config.method if config.http_config is not None else "POST"
            self.dialect: Dialect = PlainJson(method) if host is None else dialect_of(host)
            self._path: str | None = None
            content_type = "application/json"
        else:
            self.host = host if host is not None else HOSTS.get(config.provider)
            self.defaults = {**config.kwargs, **settings}
            self.dialect = _dialect_for(config, self.host)
            self._path = _path_for(config, self.host)
            content_type = config.content_type
        address = find_address(config, self.host, os.environ)
        self.base_url = address.base_url
        self.key_variable = address.key_variable
        self._auth = address.auth
        fixed = address.auth.ready() if isinstance(address.auth, StaticAuth) else None
        self._signs = fixed is None
        # All that is the same for every call, made and checked once.
        self._headers = {"content-type": content_type, **(fixed or {}), **config.default_headers}
        check_headers(self._headers)

    @property
    def tags(self) -> frozenset[str]:
        """"llm" and the provider's name."""
        return frozenset({"llm", *([self.host.provider] if self.host is not None else [])})

    # -- making a call -----------------------------------------------------------------------------------

    async def call(self, request: Calling | Mapping[str, Any], **options: Any) -> Response:
        """Send one call, once, without any layer.

        Args:
            request: A calling (from a model), or the request itself.
            options: With a plain request: any keyword of `Calling`, such as `http_path`.

        Raises:
            APIClientError: what went wrong, typed.
            RuntimeError: when the endpoint is closed.
        """
        calling = request
        if not isinstance(calling, Calling):
            calling = Calling({**self.defaults, **calling}, backend=self, **options)
        wire = calling.wire
        if wire is None:
            wire = calling.wire = self._encode(calling)
        url = self.base_url + wire.path
        method = calling.http_method or wire.method
        calling.endpoint_url = url
        calling.http_method = method
        headers = self._headers
        if wire.headers or self._signs or calling.request_headers:
            headers = await self._headers_for(calling, wire, method, url)
        if self._closed:
            raise RuntimeError(f"the endpoint {self.name!r} is closed")
        if wire.stream:
            return await self._call_streamed(calling, method, url, headers, wire)
        answer = await self._transport.send(method, url, headers, wire.body)
        if 200 <= answer.status < 300:
            return self.dialect.decode(answer.body, answer.headers, answer.status)
        raise self._error(answer.status, answer.body, answer.headers, url)

    async def stream(self, request: Mapping[str, Any], **options: Any) -> Response:
        """Send one call as a stream; the deltas go to `sink=` (an async function), the answer comes back.

        Raises:
            APIClientError: what went wrong, typed; what came before it has been passed on.
        """
        sink = options.pop("sink", None)
        calling = Calling({**self.defaults, **request}, backend=self, **options)
        calling.sink = sink if sink is not None else _drop
        return await self.call(calling)

    async def _call_streamed(
        self, calling: Calling, method: str, url: str, headers: Mapping[str, str], wire: WireRequest
    ) -> Response:
        async with self._transport.stream(method, url, headers, wire.body) as answer:
            if not 200 <= answer.status < 300:
                raise self._error(answer.status, await answer.read(), answer.headers, url)
            decoder = self.dialect.stream_decoder(answer.headers)
            async for piece in answer:
                for delta in decoder.feed(piece):
                    await calling.emit(delta)
            response = decoder.finish()
            response.status_code = answer.status
            if not response.headers:
                response.headers = answer.headers
            return response

    def _encode(self, calling: Calling) -> WireRequest:
        path = calling.http_path
        path = self._path if path is None else "/" + path.lstrip("/")
        return self.dialect.encode(calling.payload, stream=calling.sink is not None, path=path)

    async def _headers_for(
        self, calling: Calling, wire: WireRequest, method: str, url: str
    ) -> Mapping[str, str]:
        headers = {**self._headers, **wire.headers, **(calling.request_headers or {})}
        if self._signs:
            proof = self._auth.ready()
            headers.update(proof if proof is not None else await self._auth.headers(method, url, wire.body))
        return headers

    def _error(self, status: int, body: bytes, headers: Mapping[str, str], url: str) -> APIClientError:
        if 300 <= status < 400:
            return ResponseError(
                f"{url.split('?', 1)[0]} redirects elsewhere; callgate does not follow with a key. Set the"
                " base URL to where the service really is",
                status_code=status,
                headers=headers,
                retryable=False,
            )
        return self.dialect.error(status, body, headers)

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
        return payload, {**self._headers, **(extra_headers or {})}

    def get_client(self) -> Any:
        """One client for this address, made when first asked for: `AsyncAPIClient`, or the SDK adapter.

        Raises:
            RuntimeError: when the endpoint is closed.
        """
        if self._closed:
            raise RuntimeError(f"the endpoint {self.name!r} is closed")
        if self._client is None:
            self._client = AsyncAPIClient(
                base_url=self.base_url, timeout=self.timeout or 10.0, headers=dict(self._headers)
            )
        return self._client

    @property
    def provider(self) -> str | None:
        """The provider's name in the hosts table, or None."""
        return None if self.host is None else self.host.provider

    async def close(self) -> None:
        """Close what it owns. Closing twice changes nothing."""
        self._closed = True
        if self._client is not None:
            await self._client.close()
        if self._owns_transport:
            await self._transport.close()

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
