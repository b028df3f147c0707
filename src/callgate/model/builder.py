"""How an `iModel` is put together from what its constructor was given."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from callgate.backends.config import EndpointConfig, ServiceEndpointConfig
from callgate.backends.endpoint import Endpoint
from callgate.backends.factory import make_endpoint, restore_endpoint
from callgate.backends.service import BackendInfo, ServiceBackend, as_response, describe
from callgate.call.calling import Calling
from callgate.errors import ConfigurationError
from callgate.executor.executor import Executor
from callgate.model.limits import Limits
from callgate.model.pricing import Pricer
from callgate.network.rate_limiters import RateLimitConfig, TokenBucket
from callgate.pipeline import Layers, Service, UserLayer, pipeline
from callgate.policies.breaker.layer import breaker_layer
from callgate.policies.cache.layer import Flight, Place, places_layer
from callgate.policies.cache.sqlite import SqliteCache
from callgate.policies.cache.store import CacheStore
from callgate.policies.hedge.layer import Hedge
from callgate.policies.hedge.policy import HedgePolicy
from callgate.policies.limit.pushback import Pushback
from callgate.policies.observe.hooks import HookRegistry
from callgate.policies.observe.layer import observe_layer
from callgate.policies.retry.config import RetryBudget, RetryConfig
from callgate.policies.retry.layer import retry_layer
from callgate.policies.structured.layer import fits, structure_layer
from callgate.policies.timeout.attempt import timeout_layer
from callgate.policies.timeout.deadline import deadline_layer
from callgate.providers.guess import split_model
from callgate.response import Response

__all__ = [
    "Parts",
    "RateLimiter",
    "check_hooks",
    "check_labels",
    "check_layers",
    "check_rate_limiter",
    "each_of",
    "flights_of",
    "make_attempt_service",
    "make_outer_service",
    "make_pricer",
    "make_pushback",
    "open_cache",
    "read_constructor",
    "read_hedge",
    "restore",
    "write_down",
]


class RateLimiter(Protocol):
    """An additional limiter of the user's own, passed by every attempt."""

    async def acquire(self, tokens: int = 1) -> Any:
        """Wait for `tokens` units."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What the three shapes of the constructor come to."""

    backend: ServiceBackend
    info: BackendInfo
    owns_backend: bool
    executor: Executor
    owns_executor: bool


def read_constructor(
    backend: Any,
    provider: Any,
    endpoint: Any,
    executor: Executor | None,
    settings: dict[str, Any],
    limits: Limits,
) -> Parts:
    """Tell the shapes apart: a model's name, (endpoint, executor), (executor, config), and keywords.

    Raises:
        ConfigurationError: when they are mixed, or a setting cannot work.
    """
    if not isinstance(endpoint, str):  # iModel(endpoint=..., executor=...), the first shape by its names
        backend, endpoint = endpoint, "chat/completions"
    if isinstance(backend, Executor):
        backend, provider, executor = None, provider, backend
    if isinstance(provider, Executor):
        provider, executor = None, provider
    if isinstance(backend, str):
        provider, settings, backend = *_named(backend, settings), None
    elif backend is provider is None and "model" in settings and settings.get("base_url") is None:
        provider, settings = _named(settings["model"], settings)
    if isinstance(provider, Mapping):
        made: ServiceBackend = _from_config(provider, settings)
        owned = True
    elif isinstance(provider, EndpointConfig | ServiceEndpointConfig):
        made, owned = Endpoint(provider, **settings), True
    elif backend is not None:
        if provider is not None or settings:
            extra = "provider" if provider is not None else ", ".join(sorted(settings))
            raise ConfigurationError(
                f"a backend of your own takes no further settings ({extra}); set them on the backend"
            )
        describe(backend)  # refuses what is no backend
        made, owned = backend, False
    elif provider is not None or settings.get("base_url") is not None:
        made, owned = make_endpoint(provider, endpoint, settings), True
    else:
        raise ConfigurationError(
            'name a model with its provider, iModel("openai/gpt-4o-mini"), or give backend= or base_url=',
            setting="provider",
        )
    if not isinstance(executor, Executor | None):
        raise ConfigurationError(
            f"executor must be an Executor, got {type(executor).__name__}", setting="executor"
        )
    if executor is not None and _has_limits(limits):
        raise ConfigurationError("give an executor or limit_requests/limit_tokens, not both")
    owns_executor = executor is None
    if executor is None:
        executor = limits.to_executor(made)
    return Parts(made, describe(made), owned, executor, owns_executor)


def _named(model: str, settings: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The provider of "PROVIDER/MODEL", and the settings with its model."""
    provider, name = split_model(model)
    return provider, settings if name is None else {**settings, "model": name}


def _has_limits(limits: Limits) -> bool:
    return limits.limit_requests is not None or limits.limit_tokens is not None


def _from_config(config: Mapping[str, Any], settings: dict[str, Any]) -> ServiceBackend:
    """The config dict of the client guide: base_url, endpoint, api_key, model_name."""
    known = {
        **settings,
        **{k: v for k, v in config.items() if k not in ("endpoint", "model_name", "provider")},
    }
    if config.get("model_name") is not None:
        known["model"] = config["model_name"]
    return make_endpoint(config.get("provider"), config.get("endpoint", "chat/completions"), known)


def open_cache(cache: CacheStore | str | Path | None) -> CacheStore | None:
    """A store as it is; a path as a store on disk.

    Raises:
        ConfigurationError: it is neither.
    """
    if isinstance(cache, str | Path):
        return SqliteCache(cache)
    if cache is not None and not isinstance(cache, CacheStore):
        raise ConfigurationError(
            f"cache must be a path or a CacheStore, got {type(cache).__name__}", setting="cache"
        )
    return cache


def read_hedge(hedge: HedgePolicy | Mapping[str, Any] | float | None) -> HedgePolicy | None:
    """A policy from what the constructor takes: a share, a policy, or one as `to_dict` wrote it.

    Raises:
        ConfigurationError: when a value is out of its range.
    """
    if hedge is None or isinstance(hedge, HedgePolicy):
        return hedge
    if not isinstance(hedge, Mapping):
        return HedgePolicy(share=hedge)
    try:
        return HedgePolicy(**hedge)
    except TypeError as error:
        raise ConfigurationError(f"not the settings of a HedgePolicy: {error}") from error


def make_pricer(backend: ServiceBackend, prices: Mapping[str, float] | None) -> Pricer:
    """The prices of a backend: the user's own, else those of its provider. A server of the user's own has
    none: the model's name alone would find the price of another host."""
    info = describe(backend)
    host = info.host
    provider = info.price_provider or (None if host is None else host.price_provider)
    return Pricer(provider, prices, info.dialect, free=host is not None and host.embedded)


_flights: WeakKeyDictionary[CacheStore, dict[bytes, Flight]] = WeakKeyDictionary()


def flights_of(store: CacheStore) -> dict[bytes, Flight]:
    """The requests in flight of all pipelines with this store, so that no two send the same."""
    try:
        return _flights.setdefault(store, {})
    except TypeError:  # a store of a user's own that cannot be referred to weakly
        return {}


def check_layers(layers: Sequence[UserLayer]) -> tuple[UserLayer, ...]:
    """The user's layers.

    Raises:
        ConfigurationError: one is no `UserLayer`, or two have one name.
    """
    given = isinstance(layers, Sequence)
    names = [layer.name if isinstance(layer, UserLayer) else None for layer in layers] if given else [None]
    if None in names or len(set(names)) < len(names):
        raise ConfigurationError(
            "layers must be a sequence of UserLayer(name, layer, inside=...) with different names",
            setting="layers",
        )
    return tuple(layers)


def check_rate_limiter(limiter: RateLimiter | None) -> RateLimiter | None:
    """The user's additional limiter.

    Raises:
        ConfigurationError: it has no `acquire`.
    """
    if limiter is not None and not callable(getattr(limiter, "acquire", None)):
        raise ConfigurationError(
            f"rate_limiter must have `await acquire(1)`, as a TokenBucket has, got {type(limiter).__name__}",
            setting="rate_limiter",
        )
    return limiter


def check_hooks(hooks: HookRegistry | None) -> HookRegistry | None:
    """The hooks of a model.

    Raises:
        ConfigurationError: it is no `HookRegistry`.
    """
    if not isinstance(hooks, HookRegistry | None):
        raise ConfigurationError(
            f"hook_registry must be a HookRegistry, got {type(hooks).__name__}", setting="hook_registry"
        )
    return hooks


def check_labels(
    name: str | None, tags: Collection[str] | None, info: BackendInfo
) -> tuple[str, frozenset[str]]:
    """The name and the tags of a model; the backend's own where none are given.

    Raises:
        ConfigurationError: the name is no string, or the tags are no collection of strings.
    """
    if not isinstance(name, str | None):
        raise ConfigurationError(f"name must be a string, got {name!r}", setting="name")
    given = info.tags if tags is None else tags
    listed = isinstance(given, Collection) and not isinstance(given, str)
    if not (listed and all(isinstance(tag, str) for tag in given)):
        raise ConfigurationError(f"tags must be a list of strings, got {given!r}", setting="tags")
    return name or info.name, frozenset(given)


def make_pushback(retry: RetryConfig | None, rng: random.Random) -> Pushback:
    """How long a model's limiter pauses after a 429; not longer than its calls would wait."""
    return Pushback(rng) if retry is None else Pushback(rng, longest=retry.max_retry_after)


def make_attempt_service(
    backend: ServiceBackend, rate_limiter: RateLimiter | None, own: Sequence[UserLayer]
) -> Service:
    """What one admitted attempt passes: the breaker, the timeout and the backend."""
    info = describe(backend)
    layers = Layers(
        breaker=None if info.circuit_breaker is None else breaker_layer(info.circuit_breaker),
        timeout=timeout_layer(info.timeout),
    )
    inner = [each for each in own if each.inside in _PER_ATTEMPT]
    call = backend.send if isinstance(backend, Endpoint) else _as_responses(backend)
    service = pipeline(call, layers, inner)
    return service if rate_limiter is None else _passing(rate_limiter, service)


_PER_ATTEMPT = frozenset({"limit", "breaker", "timeout"})


def make_outer_service(
    attempt: Service,
    clock: Callable[[], float],
    *,
    rng: random.Random,
    hooks: HookRegistry | None,
    places: Callable[[Calling], Sequence[Place]] | None,
    retry: RetryConfig | Callable[[Calling], RetryConfig | None] | None,
    hedge: Hedge | None,
    budget: RetryBudget,
    own: Sequence[UserLayer],
) -> Service:
    """The layers that a call passes once, and once per try, around the service that makes its attempts."""
    layers = Layers(
        observe=observe_layer(clock, hooks),
        deadline=deadline_layer(),
        structured=structure_layer(),
        cache=None if places is None else places_layer(places, fits),
        retry=None if retry is None else retry_layer(retry, clock, rng=rng, budget=budget),
        hedge=hedge,
    )
    return pipeline(attempt, layers, [each for each in own if each.inside not in _PER_ATTEMPT])


def _as_responses(backend: ServiceBackend) -> Service:
    """A backend of any kind; whatever value it returns becomes a response."""

    async def call(calling: Calling) -> Response:
        return as_response(await backend.call(calling))

    return call


def _passing(rate_limiter: RateLimiter, call: Service) -> Service:
    async def passed(calling: Calling) -> Response:
        await rate_limiter.acquire(1)
        return await call(calling)

    return passed


def each_of(*callbacks: Callable[[Calling], None]) -> Callable[[Calling], None]:
    """One function that calls all of these."""

    def call_all(calling: Calling) -> None:
        for callback in callbacks:
            callback(calling)

    return call_all


def write_down(thing: Any) -> dict[str, Any]:
    """What a backend or a model is, ready for JSON.

    Raises:
        NotImplementedError: when it cannot be written down.
    """
    write = getattr(thing, "to_dict", None)
    if write is None:
        raise NotImplementedError(f"{thing.name!r} is a {type(thing).__name__}, which cannot be written down")
    written: dict[str, Any] = write()
    return written


def restore(data: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor's keywords from what `iModel.to_dict` wrote, the backend among them.

    Raises:
        ConfigurationError: when it is something else, or the variable of the key is not set.
    """
    written = data.get("backend")
    if data.get("callgate") != 1 or not isinstance(written, Mapping) or "kind" not in written:
        raise ConfigurationError("this is not what iModel.to_dict() writes")
    keywords = {name: value for name, value in data.items() if name not in ("callgate", "backend")}
    executor = keywords.pop("executor", None)
    if executor is not None:
        keywords["executor"] = Executor.from_dict(executor)
    bucket = keywords.pop("rate_limiter", None)
    if bucket is not None:
        keywords["rate_limiter"] = TokenBucket(RateLimitConfig(**bucket))
    return {**keywords, "backend": restore_endpoint(written)}
