"""The two ways an endpoint's calls go out: over HTTP, or through an official SDK."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final, Protocol

from callgate.backends.address import Address
from callgate.backends.config import ServiceEndpointConfig
from callgate.calling import Calling
from callgate.errors import APIClientError, ConfigurationError, ResponseError, SDKError
from callgate.providers.catalog import find_dialect
from callgate.providers.dialect import Dialect, StreamDecoder, WireRequest
from callgate.providers.quota_headers import read_retry_after
from callgate.providers.sdks import create_sdk_adapter, dialect_of_method
from callgate.response import Response
from callgate.transport.auth import StaticAuth
from callgate.transport.http import Transport
from callgate.transport.origin import check_headers
from callgate.transport.redact import redact, redact_error, secrets_in
from callgate.transport.sdk import SDKAdapter

__all__ = ["HttpSender", "SdkSender", "Sender"]


_OF_THE_ENDPOINT: Final = frozenset({"api_key", "base_url", "allow_http"})


class Sender(Protocol):
    """Takes one call out and brings the answer back."""

    dialect: Dialect
    base_url: str
    headers: dict[str, str]
    """What is the same for every call; credentials included, so never shown."""

    async def call(self, calling: Calling) -> Response:
        """Send one call, once."""
        ...

    async def close(self) -> None:
        """Close what it owns."""
        ...


class HttpSender:
    """Encodes in a dialect, sends over a transport, decodes.

    Args:
        name: The endpoint's, for messages.
        dialect: How it is said.
        address: Where, and who asks.
        path: Instead of the dialect's own.
        headers: Sent with every call.
        transport: What carries the bytes.
        owns_transport: Whether closing this closes that.

    Raises:
        ConfigurationError: when a header cannot be sent.
    """

    def __init__(
        self,
        name: str,
        dialect: Dialect,
        address: Address,
        path: str | None,
        headers: Mapping[str, str],
        transport: Transport,
        *,
        owns_transport: bool,
    ) -> None:
        self.dialect = dialect
        self.base_url = address.base_url
        self._name = name
        self._path = path
        self._query = address.query
        self._auth = address.auth
        fixed = address.auth.ready() if isinstance(address.auth, StaticAuth) else None
        self._signs = fixed is None
        self.headers = {**(fixed or {}), **headers}
        check_headers(self.headers)
        self._owns_transport = owns_transport
        self._transport = transport
        self._closed = False

    @property
    def cache_facts(self) -> dict[str, str]:
        """Where below the address it sends to, if not where the dialect says."""
        facts = {"path": self._path, "query": self._query}
        return {name: value for name, value in facts.items() if value}

    async def call(self, calling: Calling) -> Response:
        """Send one call, once.

        Raises:
            APIClientError: what went wrong, typed.
            RuntimeError: when it is closed.
        """
        wire: WireRequest | None = calling.wire
        if wire is None:
            path = calling.http_path
            path = self._path if path is None else "/" + path.lstrip("/")
            wire = self.dialect.encode(calling.payload, stream=calling.sink is not None, path=path)
            calling.wire = wire
        url = self.base_url + wire.path
        if self._query:
            url += ("&" if "?" in wire.path else "?") + self._query
        method = calling.http_method or wire.method
        calling.endpoint_url = url
        calling.http_method = method
        headers: Mapping[str, str] = self.headers
        if wire.headers or self._signs or calling.request_headers:
            headers = await self._headers_for(calling, wire, method, url)
        if self._closed:
            raise RuntimeError(f"the endpoint {self._name!r} is closed")
        try:
            if wire.stream:
                return await self._call_streamed(calling, method, url, headers, wire.body)
            answer = await self._transport.send(method, url, headers, wire.body)
            if 200 <= answer.status < 300:
                return self.dialect.decode(answer.body, answer.headers, answer.status)
            raise self._error(answer.status, answer.body, answer.headers, url, headers)
        except APIClientError as error:
            # Some services quote the key that they refuse.
            redact_error(error, secrets_in(headers))
            raise

    async def _call_streamed(
        self, calling: Calling, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> Response:
        async with self._transport.stream(method, url, headers, body) as answer:
            if not 200 <= answer.status < 300:
                raise self._error(answer.status, await answer.read(), answer.headers, url, headers)
            decoder = self.dialect.stream_decoder(answer.headers)
            async for piece in answer:
                await _emit(calling, decoder, piece)
            return _finish(decoder, answer.status, answer.headers)

    async def _headers_for(
        self, calling: Calling, wire: WireRequest, method: str, url: str
    ) -> Mapping[str, str]:
        headers = {**self.headers, **wire.headers, **(calling.request_headers or {})}
        if self._signs:
            proof = self._auth.ready()
            headers.update(proof if proof is not None else await self._auth.headers(method, url, wire.body))
        return headers

    def _error(
        self, status: int, body: bytes, headers: Mapping[str, str], url: str, sent: Mapping[str, str]
    ) -> APIClientError:
        if 300 <= status < 400:
            return ResponseError(
                f"{url.split('?', 1)[0]} redirects elsewhere; callgate does not follow with a key. Set the"
                " base URL to where the service really is",
                status_code=status,
                headers=headers,
                retryable=False,
            )
        # Before the dialect cuts a long body short, and a key in two.
        return _dated(self.dialect.error(status, redact(body, secrets_in(sent)), headers), headers)

    async def close(self) -> None:
        """Close the transport, if it is its own. Closing twice changes nothing."""
        self._closed = True
        if self._owns_transport:
            await self._transport.close()


class SdkSender:
    """Calls a method of an official SDK, and reads its answer in the provider's dialect.

    Args:
        config: With `sdk_config`; `client_constructor_kwargs` go to the SDK's client.
        key: The key, or None: the SDK's own way.

    Raises:
        ConfigurationError: when there is no such SDK, or its client's settings hold what the endpoint itself
            is given: there it is checked before a key goes there.
    """

    def __init__(self, config: ServiceEndpointConfig, key: str | None) -> None:
        assert config.sdk_config is not None  # the configuration's own check
        self._provider = config.sdk_config.sdk_provider_name
        self._method = config.sdk_config.default_sdk_method_name
        settings = dict(config.client_constructor_kwargs)
        if misplaced := sorted(_OF_THE_ENDPOINT & settings.keys()):
            raise ConfigurationError(
                f"client_constructor_kwargs of {config.name!r} holds {', '.join(misplaced)}; "
                "these are settings of the endpoint itself"
            )
        if config.default_headers:
            settings["default_headers"] = dict(config.default_headers)
        settings.setdefault("timeout", config.timeout)
        self.base_url = config.base_url or ""
        self.headers: dict[str, str] = dict(config.default_headers)
        self.adapter: SDKAdapter = create_sdk_adapter(
            self._provider, key, base_url=config.base_url, allow_http=config.allow_http, **settings
        )
        self._key = key
        self.dialect = find_dialect(dialect_of_method(self._provider, self._method or ""))

    @property
    def cache_facts(self) -> dict[str, str]:
        """The SDK's method that is called unless a calling names one."""
        return {"path": self._method} if self._method else {}

    async def call(self, calling: Calling) -> Response:
        """Call the SDK, once.

        Raises:
            APIClientError: what went wrong, typed as over HTTP.
            SDKError: what the SDK raised without a request having failed.
            ConfigurationError: when there is no such method.
        """
        method = calling.sdk_method_name or self._method
        if method is None:
            raise ConfigurationError(
                "which method of the SDK? Give sdk_method_name=, or default_sdk_method_name in the config"
            )
        dialect = find_dialect(dialect_of_method(self._provider, method))
        try:
            if calling.sink is None:
                answer = await self.adapter.send(method, **calling.payload)
                return dialect.decode(answer.body, answer.headers, answer.status)
            async with self.adapter.stream(method, **calling.payload) as stream:
                decoder = dialect.stream_decoder(stream.headers)
                async for piece in stream:
                    await _emit(calling, decoder, piece)
                return _finish(decoder, stream.status, stream.headers)
        except SDKError as error:
            # With no key of ours the SDK has found its own.
            key = self._key or getattr(self.adapter.client, "api_key", None)
            secrets = [key] if isinstance(key, str) and key else []
            redact_error(error, secrets)
            typed = _typed(error, dialect)
            redact_error(typed, secrets)
            raise typed from error

    async def close(self) -> None:
        """Close the SDK's client."""
        await self.adapter.close()


async def _emit(calling: Calling, decoder: StreamDecoder, piece: bytes) -> None:
    for delta in decoder.feed(piece):
        await calling.emit(delta)


def _dated(error: APIClientError, headers: Mapping[str, str]) -> APIClientError:
    """The error, with a Retry-After that is a date read by our clock: a dialect has none, and only most
    answers say what time it is where they come from."""
    if error.retry_after is None and "retry-after" in headers:
        error.retry_after = read_retry_after(headers, time.time())
    return error


def _finish(decoder: StreamDecoder, status: int, headers: Mapping[str, str]) -> Response:
    response = decoder.finish()
    response.status_code = status
    if not response.headers:
        response.headers = headers
    return response


def _typed(error: SDKError, dialect: Dialect) -> Exception:
    """What the SDK raised, as the dialect would have typed the same answer over HTTP."""
    answer: Any = getattr(error.original, "response", None)
    status = getattr(answer, "status_code", None)
    if isinstance(status, int):
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return _dated(dialect.error(status, answer.content, headers), headers)
    ours = error.__cause__
    while ours is not None and not isinstance(ours, APIClientError):
        ours = ours.__cause__
    return error if ours is None else ours
