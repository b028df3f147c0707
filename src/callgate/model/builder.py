"""How an `iModel` is put together from what its constructor was given."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from callgate.backends.endpoint import Endpoint
from callgate.backends.factory import make_endpoint, restore_endpoint
from callgate.backends.service import ServiceBackend, as_response
from callgate.call.attempt import Pricer
from callgate.call.calling import Calling
from callgate.errors import ConfigurationError
from callgate.executor.executor import Executor
from callgate.model.pricing import price
from callgate.pipeline import Layer, Layers, Service, pipeline
from callgate.policies.breaker.layer import breaker_layer
from callgate.policies.cache.layer import Flight, cache_layer
from callgate.policies.cache.sqlite import SqliteCache
from callgate.policies.cache.store import CacheStore
from callgate.policies.hedge.layer import Hedge
from callgate.policies.hedge.policy import HedgePolicy
from callgate.policies.limit.adaptive import AdaptiveConcurrency
from callgate.policies.limit.layer import Pushback, limit_layer
from callgate.policies.observe.hooks import HookRegistry
from callgate.policies.observe.layer import observe_layer
from callgate.policies.retry.config import RetryBudget, RetryConfig
from callgate.policies.retry.layer import retry_layer
from callgate.policies.route.fallback import Alternative, fallback_layer
from callgate.policies.structured.layer import fits, structure_layer
from callgate.policies.timeout.attempt import timeout_layer
from callgate.policies.timeout.deadline import deadline_layer
from callgate.providers.token_account import TokenAccount
from callgate.response import Cost, Response

__all__ = [
    "Limits",
    "Parts",
    "RateLimiter",
    "flights_of",
    "make_pricer",
    "make_services",
    "open_cache",
    "read_constructor",
    "read_hedge",
    "restore",
    "retry_of",
    "write_down",
]


class RateLimiter(Protocol):
    """An additional limiter of the user's own, passed by every attempt."""

    async def acquire(self, tokens: int = 1) -> Any:
        """Wait for `tokens` units."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a model's own executor."""

    queue_capacity: int
    capacity_refresh_time: float
    limit_requests: float | None
    limit_tokens: float | None
    limit_concurrency: int | str | None

    def to_executor(self, backend: ServiceBackend) -> Executor:
        """An executor with these limits.

        Concurrency "auto" is what the backend says of itself; an endpoint that says nothing has it found
        out, and anything else has none.

        Raises:
            ConfigurationError: when `limit_concurrency` is something else.
        """
        concurrency, adaptive = self.limit_concurrency, None
        if concurrency == "auto":
            concurrency = getattr(backend, "concurrency", None)
            if concurrency is None and isinstance(backend, Endpoint):
                adaptive = AdaptiveConcurrency()
        if not (concurrency is None or type(concurrency) is int):
            raise ConfigurationError(
                f'limit_concurrency is a whole number, "auto" or None, not {concurrency!r}'
            )
        return Executor(
            queue_capacity=self.queue_capacity,
            concurrency_limit=concurrency,
            requests_rate=self.limit_requests,
            requests_period=self.capacity_refresh_time,
            api_tokens_rate=self.limit_tokens,
            api_tokens_period=self.capacity_refresh_time,
            adaptive=adaptive,
        )

    def to_dict(self) -> dict[str, Any]:
        """By the names of the constructor."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Parts:
    """What the three shapes of the constructor come to."""

    backend: ServiceBackend
    owns_backend: bool
    executor: Executor
    owns_executor: bool
    defaults: dict[str, Any]


def read_constructor(
    backend: Any,
    provider: Any,
    endpoint: Any,
    executor: Executor | None,
    settings: dict[str, Any],
    limits: Limits,
) -> Parts:
    """Tell the three shapes apart: (endpoint, executor), (executor, config), and by keywords.

    Raises:
        ConfigurationError: when they are mixed, or a setting cannot work.
    """
    if not isinstance(endpoint, str):  # iModel(endpoint=..., executor=...), the first shape by its names
        backend, endpoint = endpoint, "chat/completions"
    if isinstance(backend, Executor):
        backend, provider, executor = None, provider, backend
    if isinstance(provider, Executor):
        provider, executor = None, provider
    if isinstance(provider, Mapping):
        made: ServiceBackend = _from_config(provider, settings)
        owned = True
    elif backend is not None:
        if provider is not None or settings:
            extra = "provider" if provider is not None else ", ".join(sorted(settings))
            raise ConfigurationError(
                f"a backend of your own takes no further settings ({extra}); set them on it"
            )
        _check_backend(backend)
        made, owned = backend, False
    elif provider is not None or settings.get("base_url") is not None:
        made, owned = make_endpoint(provider, endpoint, settings), True
    else:
        raise ConfigurationError('give provider="openai" (or another name), backend=, or base_url=')
    if executor is not None and _has_limits(limits):
        raise ConfigurationError("give an executor or limit_requests/limit_tokens, not both")
    owns_executor = executor is None
    if executor is None:
        executor = limits.to_executor(made)
    return Parts(made, owned, executor, owns_executor, dict(getattr(made, "defaults", {})))


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


def _check_backend(backend: Any) -> None:
    call = getattr(backend, "call", None)
    if not isinstance(getattr(backend, "name", None), str) or not callable(call):
        raise ConfigurationError(
            f"{type(backend).__name__} is no backend: it needs a `name` and an"
            " `async def call(self, calling)`"
        )


def open_cache(cache: CacheStore | str | Path | None) -> CacheStore | None:
    """A store as it is; a path as a store on disk."""
    if isinstance(cache, str | Path):
        return SqliteCache(cache)
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
    """Return the function that prices this backend's responses in US dollars."""
    host = getattr(backend, "host", None)
    if host is not None and host.embedded:
        return lambda response, payload: Cost(0.0, 0.0)
    provider = None if host is None else host.price_provider
    if host is not None and provider is None and prices is None:
        # The model's name alone would find the price of another host.
        return lambda response, payload: None

    def cost(response: Response, payload: Any) -> Cost | None:
        # Some providers do not name the model in their responses.
        model = response.model or (payload.get("model") if isinstance(payload, Mapping) else None)
        if response.usage is None or not isinstance(model, str):
            return None
        return price(provider, model, response.usage, prices=prices)

    return cost


_DEFAULT_RETRY = RetryConfig()
_flights: WeakKeyDictionary[CacheStore, dict[bytes, Flight]] = WeakKeyDictionary()


def flights_of(store: CacheStore) -> dict[bytes, Flight]:
    """The requests on their way for all who keep their answers in one store, so that no two ask the same."""
    try:
        return _flights.setdefault(store, {})
    except TypeError:  # a store of a user's own that cannot be referred to weakly
        return {}


def retry_of(backend: ServiceBackend) -> RetryConfig | None:
    """When its failed calls are tried again; None: never. Who says nothing of it has the usual measure."""
    retry: RetryConfig | None = getattr(backend, "retry_config", _DEFAULT_RETRY)
    return retry


def make_services(
    backend: ServiceBackend,
    executor: Executor,
    clock: Callable[[], float],
    *,
    rng: random.Random,
    account: TokenAccount,
    hooks: HookRegistry | None,
    rate_limiter: RateLimiter | None,
    cache: CacheStore | None,
    fallbacks: Sequence[Alternative],
    name: str,
    hedging: HedgePolicy | None = None,
) -> tuple[Service, Service]:
    """The backend in its layers, for a model's own callings and for those of a model that it stands in for.

    The second leaves out the once-per-call layers that the other model has put around it already.
    """
    retry = retry_of(backend)
    breaker = getattr(backend, "circuit_breaker", None)
    pushback = Pushback(rng) if retry is None else Pushback(rng, longest=retry.max_retry_after)
    budget = RetryBudget(clock=clock)
    hedge = None if hedging is None else Hedge(hedging, clock, budget=budget)
    dispatched = executor.dispatched if hedge is None else _each(executor.dispatched, hedge.sent)
    limit = limit_layer(
        executor.limiter, clock, account=account, pushback=pushback, dispatched=dispatched, endpoint=name
    )
    if rate_limiter is not None:
        limit = _both(_passing(rate_limiter), limit)
    layers = Layers(
        observe=observe_layer(clock, hooks),
        deadline=deadline_layer(),
        fallback=fallback_layer(name, fallbacks) if fallbacks else None,
        structure=structure_layer(),
        cache=None if cache is None else cache_layer(cache, flights=flights_of(cache), fits=fits),
        retry=None if retry is None else retry_layer(retry, clock, rng=rng, budget=budget),
        hedge=hedge,
        limit=limit,
        breaker=None if breaker is None else breaker_layer(breaker),
        timeout=timeout_layer(getattr(backend, "timeout", None)),
    )
    answer = backend.call if isinstance(backend, Endpoint) else _answering(backend)
    inner = replace(layers, observe=None, deadline=None, fallback=None)
    return pipeline(answer, layers), pipeline(answer, inner)


def _answering(backend: ServiceBackend) -> Service:
    """A backend of whatever kind, whose answer may be any value."""

    async def answer(calling: Calling) -> Response:
        return as_response(await backend.call(calling))

    return answer


def _passing(rate_limiter: RateLimiter) -> Layer:
    def wrap(call: Service) -> Service:
        async def passed(calling: Calling) -> Response:
            await rate_limiter.acquire(1)
            return await call(calling)

        return passed

    return wrap


def _each(*told: Callable[[Calling], None]) -> Callable[[Calling], None]:
    def tell(calling: Calling) -> None:
        for each in told:
            each(calling)

    return tell


def _both(outer: Layer, inner: Layer) -> Layer:
    return lambda service: outer(inner(service))


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
    return {**keywords, "backend": restore_endpoint(written)}
