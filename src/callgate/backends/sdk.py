"""The backend of an endpoint that calls a method of an official SDK."""

from __future__ import annotations

from typing import Any, Final

from callgate.backends.config import ServiceEndpointConfig
from callgate.backends.decoding import emit, finish, with_dated_wait
from callgate.call.calling import Calling
from callgate.errors import APIClientError, ConfigurationError, SDKError
from callgate.providers.catalog import find_dialect
from callgate.providers.dialect import Dialect
from callgate.providers.sdks import create_sdk_adapter, dialect_of_method
from callgate.response import Response
from callgate.transport.redact import redact_error
from callgate.transport.sdk import SDKAdapter

__all__ = ["SdkBackend"]

_OF_THE_ENDPOINT: Final = frozenset({"api_key", "base_url", "allow_http"})


class SdkBackend:
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
        payload = calling.payload
        if calling.request_headers:
            payload = {**payload, "extra_headers": dict(calling.request_headers)}
        try:
            if calling.sink is None:
                answer = await self.adapter.send(method, **payload)
                return dialect.decode(answer.body, answer.headers, answer.status)
            async with self.adapter.stream(method, **payload) as stream:
                decoder = dialect.stream_decoder(stream.headers)
                async for piece in stream:
                    await emit(calling, decoder, piece)
                return finish(decoder, stream.status, stream.headers)
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


def _typed(error: SDKError, dialect: Dialect) -> Exception:
    """What the SDK raised, as the dialect would have typed the same answer over HTTP."""
    answer: Any = getattr(error.original, "response", None)
    status = getattr(answer, "status_code", None)
    if isinstance(status, int):
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return with_dated_wait(dialect.error(status, answer.content, headers), headers)
    ours = error.__cause__
    while ours is not None and not isinstance(ours, APIClientError):
        ours = ours.__cause__
    return error if ours is None else ours
