"""`ServiceBackend`, the protocol of a backend, and `BackendInfo`, the facts that a model reads of it."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol, runtime_checkable

from callgate.call.calling import Calling
from callgate.errors import ConfigurationError
from callgate.policies.breaker.breaker import CircuitBreaker
from callgate.policies.retry.config import RetryConfig
from callgate.providers.dialect import AnyDialect
from callgate.providers.host import Host
from callgate.response import Response

__all__ = ["ANY_PROVIDER", "BackendInfo", "ServiceBackend", "as_response", "describe"]

ANY_PROVIDER: Final = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendInfo:
    """The facts of one backend.

    Attributes:
        name: For messages and the registry.
        tags: For the registry.
        host: The provider's entry in the hosts table, with its prices and quota headers; None: no entry.
        dialect: Encodes requests and decodes responses; None: the backend does.
        base_url: The base URL of HTTP requests; None: no HTTP.
        defaults: Fields of every request that has no such field.
        timeout: Timeout of one attempt in seconds; None: no limit.
        retry_config: The retry policy; None: no retries.
        circuit_breaker: The breaker around each attempt; None: none.
        concurrency: Concurrent calls if the user sets no limit: a number, "auto" to find it by trial, or None
            for no limit.
        completion: The option of a call (`http_path` or `sdk_method_name`) for a legacy text completion;
            empty if there is none.
        key_variable: The environment variable of the key; None: the key itself was given, or there is none.
        price_provider: The provider at genai-prices; `ANY_PROVIDER`: found by the model's name; None: the
            host's, or none.
        cache_origin: The address or type that distinguishes backends in the cache.
        cache_facts: Further keywords of `policies.cache.key.make_key` on which responses depend.

    >>> BackendInfo(name="thermometer").retry_config.max_retries
    3
    """

    name: str
    tags: frozenset[str] = frozenset()
    host: Host | None = None
    dialect: AnyDialect | None = None
    base_url: str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    timeout: float | None = None
    retry_config: RetryConfig | None = field(default_factory=RetryConfig)
    circuit_breaker: CircuitBreaker | None = None
    concurrency: int | Literal["auto"] | None = None
    completion: Mapping[str, str] = field(default_factory=dict)
    key_variable: str | None = None
    price_provider: str | None = None
    cache_origin: str = ""
    cache_facts: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class ServiceBackend(Protocol):
    """Any object with a `name` and an async `call`. No base class is needed.

    Optional: `async close()`, `to_dict()`, and either `info`, a `BackendInfo`, or some of its facts as
    attributes: `tags`, `defaults`, `timeout` (seconds), `retry_config`, `circuit_breaker`, `concurrency`
    (concurrent calls if the user sets no limit).

    Example::

        class Thermometer:
            name = "thermometer"

            async def call(self, calling):
                return {"celsius": 21.5}  # any value, or a Response

        model = iModel(backend=Thermometer())
        calling = await model.invoke(room="kitchen")
        print(calling.response.data)  # {'celsius': 21.5}
    """

    @property
    def name(self) -> str:
        """The name in messages and in the registry; may be a plain attribute."""
        ...

    def call(self, calling: Calling, /) -> Awaitable[Any]:
        """Answer one call; `calling.payload` is the request.

        If `calling.sink` is not None the call is streamed: `await calling.emit(delta)` for each piece. After
        a cancellation nothing may be left running.

        Returns:
            A `Response`, or any other value, which becomes the response's `data`.

        Raises:
            APIClientError: its attributes decide about retry and breaker; any other exception ends the call.
        """
        ...


def describe(backend: ServiceBackend) -> BackendInfo:
    """The facts of a backend: its `info`, or its attributes with defaults for missing ones.

    Raises:
        ConfigurationError: the backend has no `name` or no `call`.
    """
    info = getattr(backend, "info", None)
    if isinstance(info, BackendInfo):
        return info
    kind = type(backend)
    if not isinstance(getattr(backend, "name", None), str) or not callable(getattr(backend, "call", None)):
        raise ConfigurationError(
            f"{kind.__name__} is no backend: it needs a `name` and an `async def call(self, calling)`",
            setting="backend",
        )
    given = {name: getattr(backend, name) for name in _OPTIONAL if hasattr(backend, name)}
    given["tags"] = frozenset(given.get("tags", ()))
    return BackendInfo(name=backend.name, cache_origin=f"{kind.__module__}.{kind.__qualname__}", **given)


_OPTIONAL = ("tags", "defaults", "timeout", "retry_config", "circuit_breaker", "concurrency")


def as_response(answer: Any) -> Response:
    """The result of a backend as a `Response`: text becomes its text, any other value its data."""
    if isinstance(answer, Response):
        return answer
    return Response(text=answer if isinstance(answer, str) else "", data=answer, raw=answer)
