"""Calls through a provider's official SDK: its async client, without retries of its own, on our transport.

Which SDKs there are is told in `providers/sdks.py`; this module knows none of them by name.
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
from callgate.transport.http import HttpAnswer, HttpStream, HttpTransport, Transport
from callgate.transport.keys import Secret, read_key
from callgate.transport.origin import check_base_url
from callgate.transport.redact import LogMask

__all__ = ["SDKAdapter", "SDKStream"]

# The connection's own matters: the transport sets what it needs, and unpacks only what it can.
_HOP_BY_HOP = frozenset({"host", "content-length", "connection", "accept-encoding", "transfer-encoding"})


@dataclass(frozen=True, slots=True)
class SDKStream:
    """An answer that is still coming through an SDK; iterate it for the pieces."""

    status: int
    headers: dict[str, str]
    pieces: AsyncIterator[bytes]

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The body in pieces of any size."""
        return self.pieces


class SDKAdapter:
    """One official SDK behind one method: `await adapter.call("chat.completions.create", **request)`.

    The SDK's client is made when first needed. It is given no retries (callgate's own pass the limiter and
    pay it; hidden ones would not) and, where it takes an HTTP client, callgate's transport. What it logs of
    requests and answers at DEBUG has the key masked.

    Args:
        api_key: A key, or the name of the environment variable that holds it; None: the SDK's own way.
        base_url: Instead of the SDK's own; https, or http on this machine (elsewhere with `allow_http`).
        allow_http: Permit plain HTTP to another machine.
        transport: Sends the requests; None: one of its own. It is closed only in the latter case.
        client_kwargs: For the SDK's client, as its documentation names them.

    Raises:
        ConfigurationError: a base URL that cannot be used, or a variable that is not set.
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
        self._key = read_key(api_key, what=type(self).__name__)
        self._settings = {"max_retries": 0, **client_kwargs}
        if base_url is not None:
            self._settings["base_url"] = check_base_url(base_url, allow_http)
        self._transport = transport
        self._owned: HttpTransport | None = None
        self._client: Any = None
        self._unmask: Callable[[], Any] = lambda: None
        self._closed = False

    @property
    def client(self) -> Any:
        """The SDK's own async client, made when first asked for.

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
        """Call a method of the SDK's client and give what it gives: an object of the SDK's.

        Args:
            method_name: The way to it from the client: "chat.completions.create".
            request: What the method takes.

        Raises:
            SDKError: whatever the SDK raised, `original` holding it.
            ConfigurationError: there is no such method.
        """
        method = self._find(method_name)
        try:
            return await method(**request)
        except Exception as error:
            raise self._wrap(method_name, error) from error

    async def send(self, method_name: str, /, **request: Any) -> HttpAnswer:
        """As `call`, but the provider's answer as it came, for a dialect to decode.

        Raises:
            SDKError: whatever the SDK raised, `original` holding it.
            ConfigurationError: there is no such method.
        """
        path, _, last = method_name.rpartition(".")
        method = self._find(f"{path}.with_raw_response.{last}" if path else f"with_raw_response.{last}")
        try:
            answer = (await method(**request)).http_response
            return HttpAnswer(answer.status_code, dict(answer.headers.items()), await answer.aread())
        except Exception as error:
            raise self._wrap(method_name, error) from error

    @asynccontextmanager
    async def stream(self, method_name: str, /, **request: Any) -> AsyncIterator[SDKStream]:
        """As `send`, but the answer as it comes, with `stream=True` asked for.

        Raises:
            SDKError: whatever the SDK raised, `original` holding it.
            ConfigurationError: there is no such method.
        """
        path, _, last = method_name.rpartition(".")
        method = self._find(
            f"{path}.with_streaming_response.{last}" if path else f"with_streaming_response.{last}"
        )
        try:
            async with method(**{**request, "stream": True}) as answer:
                yield SDKStream(answer.status_code, dict(answer.headers.items()), answer.iter_bytes())
        except APIClientError:
            raise  # of the reader's own, on its way out
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
                f"{type(self).__name__} needs the {self.sdk_module} package: "
                f"pip install 'callgate[{self.extra}]'"
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
        """Keep the key out of what the SDK itself logs of requests and answers; gives what ends that."""
        # With no key of ours it has found its own.
        keys = (self._key, getattr(client, "api_key", None), getattr(client, "auth_token", None))
        mask = LogMask([key for key in keys if isinstance(key, str)])
        logger = logging.getLogger(f"{self.sdk_module}._base_client")
        logger.addFilter(mask)
        return weakref.finalize(self, logger.removeFilter, mask)

    def _http_client(self, sdk: ModuleType) -> Any:
        """The SDK's HTTP client with our transport in it; None when it has no place for one."""
        base = getattr(sdk, "DefaultAsyncHttpxClient", None)
        if base is None:
            return None
        transport = self._transport
        if transport is None:
            transport = self._owned = HttpTransport()
        # The SDK subclasses the client of the HTTP library it stands on, whichever that is at present.
        library = importlib.import_module(base.__mro__[1].__module__.partition(".")[0])
        # It would follow redirects, and carry a key header along to another origin.
        return base(transport=_bridge(library)(transport), follow_redirects=False)

    def _wrap(self, method_name: str, error: Exception) -> SDKError:
        """What the SDK raised, with the facts that retry, breaker and limiter go by."""
        ours: BaseException | None = error
        while ours is not None and not isinstance(ours, APIClientError):
            ours = ours.__cause__
        return SDKError(
            f"{self.sdk_module}, {method_name}: {type(error).__name__}: {error}",
            original=error,
            cause=ours,
        )


@cache
def _bridge(library: ModuleType) -> Any:
    """The class that puts our transport under the clients of `library`, an httpx or a successor of it."""

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
    """The error by which the SDK knows what happened; ours stays its cause."""
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
