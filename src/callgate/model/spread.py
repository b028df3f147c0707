"""`Spread`: several models in the place of one."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from callgate.call.calling import Calling
from callgate.errors import APIClientError, ConfigurationError
from callgate.executor.executor import Executor
from callgate.model.base import Caller, check_models
from callgate.model.builder import check_hooks, check_layers, each_of, make_outer_service
from callgate.model.call_factory import CallFactory
from callgate.model.lifetime import MakeOuter
from callgate.model.target import ModelTarget, find_places, most_tries, retry_of_latest
from callgate.pipeline import UserLayer
from callgate.policies.cache.layer import Place
from callgate.policies.hedge.layer import Hedge
from callgate.policies.hedge.policy import MOST_AT_ONCE, HedgePolicy
from callgate.policies.limit.view import LimiterView
from callgate.policies.observe.hooks import HookRegistry
from callgate.policies.retry.config import RetryBudget
from callgate.policies.route.combined_limiter import CombinedLimiter
from callgate.policies.route.health import EndpointHealth
from callgate.policies.route.layer import route_service
from callgate.policies.route.pool import Pool, Target
from callgate.reprs import live_repr
from callgate.response import Response

__all__ = ["Spread"]


class Spread(Caller):
    """Several models (keys, endpoints, providers) in the place of one.

    All calls wait in one queue, first come, first served; each attempt goes to the model that will answer it
    soonest. Each model keeps its own limits, breaker, cache, `model` and other defaults. One retry policy
    bounds a call: at most 1 + `max_retries` attempts, however many models there are. A retry or a hedge goes
    to a model that the call has not tried, where there is one.

    A failing model is ejected: for 30 s after three failed attempts in a row or a minute of nothing but 429s,
    for 5 minutes after a refused key or an exhausted account, and as long as its open breaker or its
    Retry-After asks. While all are ejected for transient failures, the one that is due first is tried.
    `calling.completed_by` names the model that answered.

    Args:
        models: At least one. Closing the spread closes them. Their hooks are not run, and their fallbacks are
            not used.
        name, tags: For the registry; by default the models' names and their common tags.
        hook_registry: Hooks to run; None for none.
        queue_capacity: How many submitted calls may wait as tasks.
        on_ejected: Called with a model and the error each time that one is ejected.
        layers: Layers of your own, as of `iModel`, inside "observe" to "hedge".

    Raises:
        ConfigurationError: (a ValueError) no model is given, or one is given twice.

    Example::

        keys = ["OPENAI_API_KEY", "OPENAI_API_KEY_2"]
        async with Spread([
            iModel(provider="openai", model="gpt-4o-mini", api_key=key, limit_requests=500) for key in keys
        ]) as model:
            calling = await model.invoke(messages=[{"role": "user", "content": "Hello!"}])
            print(calling.response.text, calling.completed_by)
    """

    def __init__(
        self,
        models: Sequence[Caller],
        *,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        hook_registry: HookRegistry | None = None,
        queue_capacity: int = 100,
        on_ejected: Callable[[Any, APIClientError], None] | None = None,
        layers: Sequence[UserLayer] = (),
    ) -> None:
        models = check_models(models, "models")
        if not models:
            raise ConfigurationError("a spread needs at least one model")
        if len({id(model) for model in models}) < len(models):
            raise ConfigurationError("a model is given twice; make one for each key or endpoint")
        self.models = models
        self.layers = check_layers(layers)
        self._targets = self.targets()
        defaults = frozenset(target.default_model for target in self._targets)
        for target in self._targets:
            target.join_pool(defaults)
        name = name or " + ".join(dict.fromkeys(model.name for model in models))

        def ejected(target: Target, error: APIClientError) -> None:
            if on_ejected is not None and isinstance(target, ModelTarget):
                on_ejected(target.model, error)

        self._pool = Pool(name, self._targets, ejected)
        self._view = CombinedLimiter(self._pool)
        self._hedging = next((each.hedging for each in models if each.hedging is not None), None)
        self._find_places = find_places(self._targets, ())
        self._rng = random.Random()
        super().__init__(
            name,
            frozenset.intersection(*(model.tags for model in models)) if tags is None else frozenset(tags),
            Executor(queue_capacity, concurrency_limit=None, requests_rate=None),
            owns_executor=True,
            maker=CallFactory(_Unrouted(name), {}, lambda response, payload: None),
            hooks=check_hooks(hook_registry),
        )

    def _make_service(self, clock: Callable[[], float]) -> MakeOuter:
        budget = RetryBudget(clock=clock)
        dispatched: Callable[[Calling], None] = self.executor.dispatched
        hedge = None
        if self._hedging is not None:
            hedge = Hedge(self._hedging, clock, budget=budget)
            dispatched = each_of(dispatched, hedge.sent)
        self._pool.restart(clock)
        for target in self._targets:
            target.start(clock, dispatched)
        return lambda layers: make_outer_service(
            route_service([self._pool]),
            clock,
            rng=self._rng,
            hooks=self.hooks,
            places=self._find_places,
            retry=retry_of_latest,
            hedge=hedge,
            budget=budget,
            own=(*self.layers, *layers),
        )

    def targets(self) -> list[ModelTarget]:
        return [target for model in self.models for target in model.targets()]

    def all_targets(self) -> list[ModelTarget]:
        return self._targets

    def _places(self, calling: Calling) -> Sequence[Place]:
        return () if self._find_places is None else self._find_places(calling)

    @property
    def limiter(self) -> LimiterView:
        """All limiters seen as one; `waiting` is 0 while a model in use has room."""
        return self._view

    @property
    def ejected(self) -> Mapping[Any, APIClientError]:
        """The models that get no calls now, each with the error that ejected it."""
        now = self._pool.clock()
        return {
            target.model: member.health.error
            for member, target in zip(self._pool.members, self._targets, strict=True)
            if member.health.ejected_until > now and member.health.error is not None
        }

    @property
    def health(self) -> tuple[EndpointHealth, ...]:
        """How each model has been doing, in their order."""
        return tuple(member.health.snapshot(member.target.name) for member in self._pool.members)

    @property
    def hedging(self) -> HedgePolicy | None:
        return self._hedging

    @property
    def most_attempts(self) -> int:
        tries = most_tries(self._targets)
        return tries if self._hedging is None else tries * MOST_AT_ONCE

    async def _close_parts(self) -> None:
        async with AsyncExitStack() as parts:  # each is closed, also when another one cannot be
            for model in reversed(self.models):
                parts.push_async_callback(model.close)

    @live_repr
    def __repr__(self) -> str:
        ejected = ", ".join(model.name for model in self.ejected) or "none"
        return f"<Spread {self.name!r} of {len(self.models)}, ejected: {ejected}>"


class _Unrouted:
    """The backend of a calling that no model has taken yet."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def call(self, calling: Calling) -> Response:
        """Never reached: the route layer turns a calling to a model first."""
        raise RuntimeError(f"call {calling.request_id} was not routed to a model")
