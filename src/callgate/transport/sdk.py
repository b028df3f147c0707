"""`SDKAdapter`: calls a provider's official SDK, without its own retries and on callgate's transport.

`providers/sdks.py` has a subclass for each SDK.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import weakref
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any, ClassVar, Self

from callgate.errors import (
    APIClientError,
    APIConnectionError,
    APITimeoutError,
    ConfigurationError,
    ResponseError,
    SDKError,
)
from callgate.reprs import live_repr
from callgate.transport.http import HttpAnswer, HttpStream, HttpTransport, Transport
from callgate.transport.keys import Secret, hide, hide_secrets, read_key
from callgate.transport.origin import check_base_url
from callgate.transport.redact import LogMask

__all__ = ["SDKAdapter", "SDKAnswer", "SDKStream"]

# Headers of one connection, which the transport sets itself.
_HOP_BY_HOP = frozenset({"host", "content-length", "connection", "accept-encoding", "transfer-encoding"})


@dataclass(slots=True)
class SDKAnswer(HttpAnswer):
    """One complete answer, with the URL and the method of its request."""

    url: str
    method: str


@dataclass(frozen=True, slots=True)
class SDKStream:
    """A response whose body is still arriving; iterate it for the pieces."""

    status: int
    headers: dict[str, str]
    pieces: AsyncIterator[bytes]
    url: str
    method: str

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The body in pieces of any size."""
        return self.pieces


class SDKAdapter:
    """One official SDK behind one method: `await adapter.call("chat.completions.create", **request)`.

    The SDK's client is created on first use. Its retries are off, because they would not pass the limiter,
    and it uses callgate's transport if it accepts an HTTP client. The key is masked in the logs of the SDK.

    Args:
        api_key: A key, or the name of the environment variable that holds it; None: the SDK finds it.
        base_url: Instead of the SDK's default; https, or http on this machine (elsewhere with `allow_http`).
        allow_http: Permit plain HTTP to another machine.
        transport: Sends the requests; None: a new one, which is closed with the adapter.
        client_kwargs: Keywords of the SDK's client.

    Raises:
        ConfigurationError: the base URL is invalid, or the environment variable is not set.
    """

    sdk_module: ClassVar[str]
    """The package to import."""
    client_class: ClassVar[str]
    """The name of its async client."""
    extra: ClassVar[str]
    """The extra of callgate that installs it."""

    def __init__(
        self,
        api_key: Secret | str | None = None,
        *,
        base_url: str | None = None,
        allow_http: bool = False,
        transport: Transport | None = None,
        **client_kwargs: Any,
    ) -> None:
        api_key, client_kwargs = hide(api_key), hide_secrets(client_kwargs)
        self._closed = False
        self._client: Any = None
        self._owned: HttpTransport | None = None
        self._transport = transport
        self._unmask: Callable[[], Any] = lambda: None
        self._key = read_key(api_key, what=type(self).__name__)
        self._settings = {"max_retries": 0, **client_kwargs}
        if base_url is not None:
            self._settings["base_url"] = check_base_url(base_url, allow_http)

    @property
    def client(self) -> Any:
        """The SDK's async client, created on first use.

        Raises:
            ConfigurationError: the SDK is not installed, or refuses its settings.
            RuntimeError: the adapter has been closed.
        """
        if self._client is None:
            if self._closed:
                raise RuntimeError(f"this {type(self).__name__} has been closed")
            self._client = self._make_client()
        return self._client

    async def call(self, method_name: str, /, **request: Any) -> Any:
        """Call a method of the SDK's client and return its result, an object of the SDK.

        Args:
            method_name: The path of the method from the client: "chat.completions.create".
            request: The keywords of the method.

        Raises:
            SDKError: the SDK raised; `original` is its exception.
            ConfigurationError: there is no such method.
        """
        method = self._find(method_name)
        try:
            return await method(**request)
        except Exception as error:
            raise self._wrap(method_name, error) from error

    async def send(self, method_name: str, /, **request: Any) -> SDKAnswer:
        """As `call`, but return the HTTP response with its body as bytes, for a dialect to decode."""
        path, _, last = method_name.rpartition(".")
        method = self._find(f"{path}.with_raw_response.{last}" if path else f"with_raw_response.{last}")
        try:
            answer = (await method(**request)).http_response
            body, asked = await answer.aread(), answer.request
            headers = dict(answer.headers.items())
            return SDKAnswer(answer.status_code, headers, body, str(asked.url), asked.method)
        except Exception as error:
            raise self._wrap(method_name, error) from error

    @asynccontextmanager
    async def stream(self, method_name: str, /, **request: Any) -> AsyncIterator[SDKStream]:
        """As `send`, but return the response as it arrives; the SDK is called with `stream=True`."""
        path, _, last = method_name.rpartition(".")
        method = self._find(
            f"{path}.with_streaming_response.{last}" if path else f"with_streaming_response.{last}"
        )
        try:
            async with method(**{**request, "stream": True}) as answer:
                asked, headers = answer.http_request, dict(answer.headers.items())
                yield SDKStream(
                    answer.status_code, headers, answer.iter_bytes(), str(asked.url), asked.method
                )
        except APIClientError:
            raise  # from the reader of the stream
        except Exception as error:
            raise self._wrap(method_name, error) from error

    async def close(self) -> None:
        """Close the SDK's client and its connections. Idempotent."""
        self._closed = True
        client, self._client = self._client, None
        owned, self._owned = self._owned, None
        try:
            if client is not None:
                await client.close()
        finally:
            self._unmask()
            if owned is not None:
                await owned.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @live_repr
    def __repr__(self) -> str:
        state = "closed" if self._closed else "idle" if self._client is None else "open"
        return f"<{type(self).__name__} {state}>"

    def _find(self, method_name: str) -> Any:
        found = self.client
        for part in method_name.split("."):
            found = None if part.startswith("_") else getattr(found, part, None)
        if not callable(found):
            raise ConfigurationError(f"the client of {self.sdk_module} has no method {method_name!r}")
        return found

    def _make_client(self) -> Any:
        try:
            sdk = importlib.import_module(self.sdk_module)
        except ImportError as error:
            raise ConfigurationError(
                f"{type(self).__name__} needs the package {self.sdk_module}:"
                f" pip install 'callgate[{self.extra}]'"
            ) from error
        settings = dict(self._settings)
        if self._key is not None:
            settings["api_key"] = self._key
        if "http_client" not in settings:
            settings["http_client"] = self._http_client(sdk)
        try:
            client = getattr(sdk, self.client_class)(**settings)
        except Exception as error:
            raise ConfigurationError(f"{self.sdk_module} refuses its settings: {error}") from error
        self._unmask = self._mask_logs(client)
        return client

    def _mask_logs(self, client: Any) -> Callable[[], Any]:
        """Mask the key in the log records of the SDK; returns a function that removes the mask."""
        # Without a given key the SDK has found its own.
        keys = (self._key, getattr(client, "api_key", None), getattr(client, "auth_token", None))
        mask = LogMask([key for key in keys if isinstance(key, str)])
        logger = logging.getLogger(f"{self.sdk_module}._base_client")
        logger.addFilter(mask)
        return weakref.finalize(self, logger.removeFilter, mask)

    def _http_client(self, sdk: ModuleType) -> Any:
        """The SDK's HTTP client on callgate's transport; None if the SDK takes none."""
        base = getattr(sdk, "DefaultAsyncHttpxClient", None)
        if base is None:
            return None
        transport = self._transport
        if transport is None:
            transport = self._owned = HttpTransport()
        # The SDK subclasses the client of its HTTP library: httpx, or a successor of it.
        library = importlib.import_module(base.__mro__[1].__module__.partition(".")[0])
        # Redirects are off, because the SDK would send a header with the key to another origin.
        return base(transport=_bridge(library)(transport), follow_redirects=False)

    def _wrap(self, method_name: str, error: Exception) -> SDKError:
        """An `SDKError` with the attributes that retry, breaker and limiter read."""
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, APIClientError):
            cause = cause.__cause__
        return SDKError(
            f"{self.sdk_module}, {method_name}: {type(error).__name__}: {error}",
            original=error,
            cause=cause,
        )


@cache
def _bridge(library: ModuleType) -> Any:
    """A transport class of `library` (httpx, or a successor of it) that sends with callgate's `Transport`."""

    class Stream(library.AsyncByteStream):  # type: ignore[name-defined,misc]
        def __init__(
            self, answer: HttpStream, opened: AbstractAsyncContextManager[HttpStream], read: float | None
        ) -> None:
            self._answer = answer
            self._opened = opened
            self._read = read

        async def __aiter__(self) -> AsyncIterator[bytes]:
            pieces = aiter(self._answer)
            while True:
                try:
                    async with asyncio.timeout(self._read):
                        piece = await anext(pieces)
                except StopAsyncIteration:
                    return
                except TimeoutError as error:
                    raise library.ReadTimeout(str(error) or "no bytes came in time") from error
                except APIClientError as error:
                    raise _as_theirs(library, error) from error
                yield piece

        async def aclose(self) -> None:
            await self._opened.__aexit__(None, None, None)

    class Bridge(library.AsyncBaseTransport):  # type: ignore[name-defined,misc]
        def __init__(self, transport: Transport) -> None:
            self._transport = transport

        async def handle_async_request(self, request: Any) -> Any:
            limits: Mapping[str, float | None] = request.extensions.get("timeout") or {}
            read = limits.get("read")
            opened = self._transport.stream(
                request.method, str(request.url), _headers(request.headers), await request.aread() or None
            )
            try:
                async with asyncio.timeout(read):
                    answer = await opened.__aenter__()
            except APIClientError as error:
                raise _as_theirs(library, error) from error
            except TimeoutError as error:
                raise library.ReadTimeout("no answer began in time") from error
            return library.Response(
                answer.status,
                headers=list(answer.headers.items()),
                stream=Stream(answer, opened, read),
                request=request,
            )

    return Bridge


def _headers(headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in _HOP_BY_HOP}


def _as_theirs(library: ModuleType, error: APIClientError) -> Exception:
    """The error of the SDK's HTTP library for an error of the transport, which becomes its cause."""
    message = str(error)
    if isinstance(error, APITimeoutError):
        kind = library.ConnectTimeout if error.surely_unsent else library.ReadTimeout
    elif isinstance(error, APIConnectionError):
        kind = library.ConnectError if error.surely_unsent else library.ReadError
    elif isinstance(error, ResponseError):
        kind = library.DecodingError
    else:
        kind = library.RequestError
    made: Exception = kind(message)
    return made
