"""The backend of an endpoint that calls an official SDK."""

from __future__ import annotations

from typing import Any, Final

from callgate.backends.config import ServiceEndpointConfig
from callgate.backends.decoding import StreamReader, with_dated_wait
from callgate.call.calling import Calling
from callgate.errors import APIClientError, ConfigurationError, SDKError
from callgate.headers import merge_headers
from callgate.providers.canonical.billing import CostBound
from callgate.providers.canonical.json import write_json
from callgate.providers.catalog import find_dialect
from callgate.providers.dialect import Dialect, WireRequest
from callgate.providers.sdks import create_sdk_adapter, dialect_of_method
from callgate.response import Response
from callgate.transport.keys import hide_secrets
from callgate.transport.redact import redact_error
from callgate.transport.sdk import SDKAdapter

__all__ = ["SdkBackend"]

_OF_METHOD: Final = frozenset({"extra_body", "extra_headers", "extra_query", "timeout"})
"""Arguments of an SDK's method that are not part of the body."""
_OF_ENDPOINT: Final = frozenset({"api_key", "base_url", "allow_http"})


class SdkBackend:
    """Calls a method of an official SDK, and decodes its response in the provider's dialect.

    Args:
        config: With `sdk_config`; `client_constructor_kwargs` are keywords of the SDK's client.
        key: The key; None: the SDK finds it.

    Raises:
        ConfigurationError: there is no such SDK, or `client_constructor_kwargs` hold a setting that belongs
            to the endpoint, which checks it.
    """

    concurrency = "auto"

    def __init__(self, config: ServiceEndpointConfig, key: str | None) -> None:
        assert config.sdk_config is not None  # checked by the configuration
        self._provider = config.sdk_config.sdk_provider_name
        self._method = config.sdk_config.default_sdk_method_name
        settings = dict(config.client_constructor_kwargs)
        if misplaced := sorted(_OF_ENDPOINT & settings.keys()):
            raise ConfigurationError(
                f"client_constructor_kwargs of {config.name!r} holds {', '.join(misplaced)};"
                " set that on the endpoint itself",
                setting="client_constructor_kwargs",
            )
        if config.default_headers:
            settings["default_headers"] = dict(config.default_headers)
        settings.setdefault("timeout", config.timeout)
        self.base_url = self.cache_origin = config.base_url or ""
        self.headers: dict[str, str] = hide_secrets(config.default_headers)
        self.client: SDKAdapter = create_sdk_adapter(
            self._provider, key, base_url=config.base_url, allow_http=config.allow_http, **settings
        )
        self._key = key
        self.dialect = find_dialect(dialect_of_method(self._provider, self._method or ""))

    @property
    def cache_facts(self) -> dict[str, str]:
        """The default method of the SDK."""
        return {"path": self._method} if self._method else {}

    @property
    def completion(self) -> dict[str, str]:
        """The option of a call for a legacy text completion."""
        return {"sdk_method_name": "completions.create"} if self._provider.lower() == "openai" else {}

    async def call(self, calling: Calling) -> Response:
        """Call the SDK, once.

        Raises:
            APIClientError: the call failed, with the same class as over HTTP.
            SDKError: the SDK raised, but not for a failed request.
            ConfigurationError: no method was given, or there is no such method.
        """
        method = calling.sdk_method_name or self._method
        if method is None:
            raise ConfigurationError(
                "no method of the SDK is named; set default_sdk_method_name in the config",
                setting="sdk_method_name",
                remedy="or give",
            )
        calling.note_request(f"sdk:{self._provider}/{method}", "POST")
        dialect = find_dialect(dialect_of_method(self._provider, method))
        payload = calling.payload
        if calling.request_headers:
            payload = {**payload, "extra_headers": hide_secrets(calling.request_headers)}
        try:
            if calling.sink is None:
                answer = await self.client.send(method, **payload)
                calling.note_request(answer.url, answer.method)
                return dialect.decode(answer.body, answer.headers, answer.status)
            async with self.client.stream(method, **payload) as stream:
                calling.note_request(stream.url, stream.method)
                reader = StreamReader(calling, dialect.stream_decoder(stream.headers))
                async for piece in stream:
                    await reader.feed(piece)
                return await reader.finish(stream.status, stream.headers)
        except SDKError as error:
            if sent := _request_of(error):
                calling.note_request(*sent)
            raise self._typed(error, dialect) from error

    def _typed(self, error: SDKError, dialect: Dialect) -> Exception:
        """The error that the dialect makes of the same response over HTTP, without the key."""
        redact_error(error, self._secrets())
        typed = _typed(error, dialect)
        redact_error(typed, self._secrets())
        return typed

    def _secrets(self) -> list[str]:
        # Without a key of the endpoint, the SDK has found one.
        key = self._key or getattr(self.client.client, "api_key", None)
        return [key] if isinstance(key, str) and key else []

    def bound(self, calling: Calling) -> CostBound:
        """The most that one attempt of a call can be billed for.

        Raises:
            UnboundedCostError: A part of the request has no bound.
        """
        method = calling.sdk_method_name or self._method or ""
        payload = calling.payload
        body = {name: value for name, value in payload.items() if name not in _OF_METHOD}
        body |= payload.get("extra_body") or {}
        path = f"/{method.removesuffix('.create').replace('.', '/')}"
        headers = merge_headers(self.headers, payload.get("extra_headers"), calling.request_headers)
        dialect = find_dialect(dialect_of_method(self._provider, method))
        return dialect.bound(WireRequest(path, write_json(body)), headers)

    async def close(self) -> None:
        """Close the SDK's client."""
        await self.client.close()


def _request_of(error: SDKError) -> tuple[str, str] | None:
    """URL and method of the failed request; None if there was none."""
    # Not getattr, because httpx raises if the request is not set.
    request: Any = getattr(error.original, "__dict__", {}).get("request")
    return None if request is None else (str(request.url), request.method)


def _typed(error: SDKError, dialect: Dialect) -> Exception:
    answer: Any = getattr(error.original, "response", None)
    status = getattr(answer, "status_code", None)
    if isinstance(status, int):
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return with_dated_wait(dialect.error(status, answer.content, headers), headers)
    ours = error.__cause__
    while ours is not None and not isinstance(ours, APIClientError):
        ours = ours.__cause__
    return error if ours is None else ours
