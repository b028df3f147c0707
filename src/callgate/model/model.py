"""`iModel`: one interface over every provider, tool or service of a user's own.

Its calls go through one pipeline (`pipeline.py` has the order); what calls there are, `caller.py` says.
Switching the provider means changing one string.
"""

from __future__ import annotations

import inspect
import os
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_overloads, overload

from pydantic import SecretStr

from callgate.backends.config import EndpointConfig, ServiceEndpointConfig
from callgate.backends.service import BackendInfo, ServiceBackend, describe
from callgate.call.calling import Calling
from callgate.executor.executor import Executor
from callgate.model.base import Caller, check_models
from callgate.model.builder import (
    RateLimiter,
    check_hooks,
    check_labels,
    check_layers,
    check_rate_limiter,
    each_of,
    make_outer_service,
    make_pricer,
    make_pushback,
    open_cache,
    read_constructor,
    read_hedge,
    restore,
    write_down,
)
from callgate.model.call_factory import CallFactory
from callgate.model.lifetime import MakeOuter
from callgate.model.limits import Limits
from callgate.model.target import ModelTarget, find_places, make_tier, most_tries, retry_of_latest
from callgate.network.rate_limiters import TokenBucket
from callgate.pipeline import Service, UserLayer
from callgate.policies.breaker.breaker import CircuitBreaker
from callgate.policies.cache.layer import Place
from callgate.policies.cache.store import CacheStore
from callgate.policies.hedge.layer import Hedge
from callgate.policies.hedge.policy import MOST_AT_ONCE, HedgePolicy
from callgate.policies.limit.limiter import Limiter
from callgate.policies.observe.hooks import HookRegistry
from callgate.policies.retry.config import RetryBudget, RetryConfig
from callgate.policies.route.layer import route_service
from callgate.providers.token_account import TokenAccount
from callgate.reprs import live_repr
from callgate.transport.keys import hide_secrets

__all__ = ["iModel"]


class iModel(Caller):
    """A service behind limits, retry, breaker, cache and hooks.

    One constructor, four shapes::

        iModel("openai/gpt-4o-mini", limit_requests=500)                     # PROVIDER/MODEL
        iModel(provider="openai", model="gpt-4o-mini", limit_requests=500)   # the same by keywords
        iModel(endpoint, executor)                                           # an endpoint of one's own
        iModel(executor, {"base_url": ..., "endpoint": ..., "api_key": ..., "model_name": ...})

    Args:
        backend: "PROVIDER/MODEL", an `Endpoint`, a `Tool`, or any `ServiceBackend`.
        provider: A provider's name, when no backend is given; docs/providers.md lists them.
        endpoint: The path at the provider, where it is not the dialect's own; or the endpoint itself.
        executor: Shared with other models; None: one of its own, made from the limits below.
        rate_limiter: An additional limiter with `await acquire(1)`, passed by every attempt.
        hook_registry: Hooks to run; None for none.
        queue_capacity: How many submitted calls may wait as tasks.
        capacity_refresh_time: Seconds that `limit_requests` and `limit_tokens` refer to.
        limit_requests, limit_tokens: Quotas per `capacity_refresh_time`; None: as the provider's headers say.
        limit_burst: Requests that may be sent at once while the quota has room, at most `limit_requests`;
            None: ten, or five seconds' worth if that is more, when the quota was unused for a period.
        limit_concurrency: Calls at once; "auto" finds it (AIMD), None does not limit.
        cache: A store or the path of one; hits pay nothing, identical calls in flight share one request.
        fallbacks: Other models that answer, in this order, when this one cannot.
        hedge: The slowest share of the attempts, such as 0.05, each of which gets a second attempt beside it;
            the first answer wins. Or a `HedgePolicy`. Only for calls that may be made twice.
        prices: US dollars per million tokens, {"input": ..., "output": ...}, where the price is not known.
        layers: Layers of your own, each with its place in the order; see docs/layers.md.
        name, tags: For the registry; the backend's own by default.
        settings: `api_key`, `base_url`, `timeout`, `read_timeout` (seconds of silence that end an attempt),
            `retry_config` (None: no retry), `circuit_breaker`, `headers`, `transport`, ...; everything else
            (`model`, `temperature`) is sent with every request.

    Raises:
        ConfigurationError: (a ValueError) when the provider is unknown or a setting cannot work.

    Example::

        async with iModel(provider="anthropic", model="claude-sonnet-4-5", limit_requests=50) as model:
            calling = await model.invoke(messages=[{"role": "user", "content": "Hello!"}])
            print(calling.response.text, calling.cost)
    """

    @overload
    def __init__(
        self,
        backend: ServiceBackend | str | None = None,
        provider: str | None = None,
        endpoint: str | ServiceBackend = "chat/completions",
        rate_limiter: RateLimiter | None = None,
        executor: Executor | None = None,
        hook_registry: HookRegistry | None = None,
        queue_capacity: int = 100,
        capacity_refresh_time: float = 60,
        limit_requests: float | None = None,
        limit_tokens: float | None = None,
        *,
        model: str = ...,
        api_key: str | SecretStr | None = ...,
        base_url: str | None = ...,
        timeout: float | None = ...,
        read_timeout: float | None = ...,
        retry_config: RetryConfig | Mapping[str, Any] | None = ...,
        circuit_breaker: CircuitBreaker | Mapping[str, Any] | None = ...,
        headers: Mapping[str, str] = ...,
        temperature: float | None = ...,
        max_tokens: int | None = ...,
        limit_burst: float | None = None,
        limit_concurrency: int | str | None = "auto",
        cache: CacheStore | str | Path | None = None,
        fallbacks: Sequence[Caller] = (),
        hedge: float | HedgePolicy | Mapping[str, Any] | None = None,
        prices: Mapping[str, float] | None = None,
        layers: Sequence[UserLayer] = (),
        name: str | None = None,
        tags: Sequence[str] | None = None,
        **settings: Any,
    ) -> None: ...

    @overload
    def __init__(
        self,
        backend: ServiceBackend | Executor,
        provider: Executor | EndpointConfig | ServiceEndpointConfig | Mapping[str, Any],
        **settings: Any,
    ) -> None: ...

    def __init__(
        self,
        backend: ServiceBackend | Executor | str | None = None,
        provider: str | Executor | EndpointConfig | ServiceEndpointConfig | Mapping[str, Any] | None = None,
        endpoint: str | ServiceBackend = "chat/completions",
        rate_limiter: RateLimiter | None = None,
        executor: Executor | None = None,
        hook_registry: HookRegistry | None = None,
        queue_capacity: int = 100,
        capacity_refresh_time: float = 60,
        limit_requests: float | None = None,
        limit_tokens: float | None = None,
        *,
        limit_burst: float | None = None,
        limit_concurrency: int | str | None = "auto",
        cache: CacheStore | str | Path | None = None,
        fallbacks: Sequence[Caller] = (),
        hedge: float | HedgePolicy | Mapping[str, Any] | None = None,
        prices: Mapping[str, float] | None = None,
        layers: Sequence[UserLayer] = (),
        name: str | None = None,
        tags: Sequence[str] | None = None,
        **settings: Any,
    ) -> None:
        settings = hide_secrets(settings)
        provider = hide_secrets({"provider": provider})["provider"]
        self._limits = Limits(
            queue_capacity,
            capacity_refresh_time,
            limit_requests,
            limit_tokens,
            limit_concurrency,
            limit_burst,
        )
        parts = read_constructor(backend, provider, endpoint, executor, settings, self._limits)
        self.backend: ServiceBackend = parts.backend
        self.info: BackendInfo = parts.info
        """The facts of the backend."""
        self._owns_backend = parts.owns_backend
        self._given_executor = not parts.owns_executor
        self.fallbacks = check_models(fallbacks, "fallbacks")
        self.layers = check_layers(layers)
        self._rate_limiter = check_rate_limiter(rate_limiter)
        self._hedging = read_hedge(hedge)
        self._owned_fallbacks: tuple[Caller, ...] = ()
        self._cache = open_cache(cache)
        self._cache_path = os.fspath(cache) if isinstance(cache, str | Path) else None
        self._owns_cache = self._cache is not None and self._cache is not cache
        self._prices = prices if not isinstance(prices, Mapping) else dict(prices) or None
        self._rng = random.Random()
        self._account = TokenAccount(self.info.host)
        pricer = make_pricer(self.backend, self._prices)
        self._pushback = make_pushback(self.info.retry_config, self._rng)
        super().__init__(
            *check_labels(name, tags, self.info),
            parts.executor,
            owns_executor=parts.owns_executor,
            maker=CallFactory(self.backend, dict(self.info.defaults), pricer),
            hooks=check_hooks(hook_registry),
        )
        fallback_targets = [target for other in self.fallbacks for target in other.targets()]
        self._find_places = find_places(self.targets(), fallback_targets)

    def _make_service(self, clock: Callable[[], float]) -> MakeOuter:
        budget = RetryBudget(clock=clock)
        dispatched: Callable[[Calling], None] = self.executor.dispatched
        hedge = None
        if self._hedging is not None:
            hedge = Hedge(self._hedging, clock, budget=budget)
            dispatched = each_of(dispatched, hedge.sent)
        if self.fallbacks:
            models: list[Caller] = [self, *self.fallbacks]
            tiers = [make_tier(each.name, each.targets(), clock, dispatched) for each in models]
            attempt: Service = route_service(tiers)
            retry: RetryConfig | Callable[[Calling], RetryConfig | None] | None = retry_of_latest
        else:
            attempt, retry = self.targets()[0].start(clock, dispatched).admit, self.info.retry_config
        return lambda layers: make_outer_service(
            attempt,
            clock,
            rng=self._rng,
            hooks=self.hooks,
            places=self._find_places,
            retry=retry,
            hedge=hedge,
            budget=budget,
            own=(*self.layers, *layers),
        )

    def targets(self) -> list[ModelTarget]:
        return [
            ModelTarget(
                self,
                self.name,
                self.backend,
                self.info,
                self._maker,
                self.executor.limiter,
                self._account,
                self._pushback,
                self._rate_limiter,
                self._cache,
                self.layers,
            )
        ]

    def all_targets(self) -> list[ModelTarget]:
        return [target for model in (self, *self.fallbacks) for target in model.targets()]

    def _places(self, calling: Calling) -> Sequence[Place]:
        return () if self._find_places is None else self._find_places(calling)

    @property
    def limiter(self) -> Limiter:
        """The executor's limiter; `snapshot()` returns its state."""
        return self.executor.limiter

    @property
    def prices(self) -> Mapping[str, float] | None:
        """US dollars per million tokens, as they were given; None: the known ones hold."""
        return self._prices

    @property
    def hedging(self) -> HedgePolicy | None:
        return self._hedging

    @property
    def most_attempts(self) -> int:
        models: list[Caller] = [self, *self.fallbacks]
        tries = sum(most_tries(model.targets()) for model in models)
        return tries if self._hedging is None else tries * MOST_AT_ONCE

    def _completion_options(self) -> Mapping[str, Any]:
        return describe(self.backend).completion

    # -- persistence and end -----------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """What this model is, ready for JSON; holds the name of the key's variable, never a key.

        A `TokenBucket` as rate limiter is part of it; hooks, other rate limiters and a cache store of the
        user's own are not. A shared executor is written with each of its models, and each restored one has
        its own.

        Raises:
            NotImplementedError: when its backend, or a fallback, cannot be written down (a Tool).
        """
        bucket = self._rate_limiter
        return {
            "callgate": 1,
            "name": self.name,
            "tags": sorted(self.tags),
            "backend": write_down(self.backend),
            **self._limits.to_dict(),
            "executor": self.executor.to_dict() if self._given_executor else None,
            "fallbacks": [write_down(other) for other in self.fallbacks],
            "cache": self._cache_path,
            "prices": self._prices,
            "hedge": None if self._hedging is None else asdict(self._hedging),
            "rate_limiter": bucket.to_dict() if isinstance(bucket, TokenBucket) else None,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> iModel:
        """A model as `to_dict` wrote it, with a fresh id and full capacity.

        Raises:
            ConfigurationError: (a ValueError) when the variable of its key is not set, naming it, or when
                `data` is not what `to_dict` writes.
        """
        keywords = restore(data)
        fallbacks = [cls.from_dict(each) for each in data.get("fallbacks") or ()]
        model = cls(**{**keywords, "fallbacks": fallbacks})
        # No other object holds what was just created.
        model._owns_backend = model._owns_executor = True
        model._owned_fallbacks = tuple(fallbacks)
        return model

    async def _close_parts(self) -> None:
        close = getattr(self.backend, "close", None)
        async with AsyncExitStack() as parts:  # each is closed, also when another one cannot be
            for other in reversed(self._owned_fallbacks):
                parts.push_async_callback(other.close)
            if self._owns_cache and self._cache is not None:
                parts.push_async_callback(self._cache.close)
            if self._owns_backend and close is not None:
                parts.push_async_callback(close)

    @live_repr
    def __repr__(self) -> str:
        model = f" {self.info.defaults['model']}" if "model" in self.info.defaults else ""
        return f"<iModel {self.name!r}{model} {self.backend!r} {self.executor!r}>"


# For help and completion, which do not read overloads.
vars(iModel.__init__)["__signature__"] = inspect.signature(get_overloads(iModel.__init__)[0])
