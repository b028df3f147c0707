"""`ModelTarget`: one endpoint of a model, as the route layer and the cache of a pipeline use it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from callgate.backends.service import BackendInfo, ServiceBackend
from callgate.call.calling import Calling
from callgate.model.builder import RateLimiter, flights_of, make_attempt_service
from callgate.model.call_factory import CallFactory
from callgate.pipeline import UserLayer
from callgate.policies.cache.layer import Place, key_of
from callgate.policies.cache.store import CacheStore
from callgate.policies.limit.layer import Admission
from callgate.policies.limit.lease import Lease
from callgate.policies.limit.limiter import Limiter
from callgate.policies.limit.pushback import Pushback
from callgate.policies.retry.config import RetryConfig
from callgate.policies.route.layer import Single
from callgate.policies.route.pool import Pool
from callgate.policies.route.state import Tier
from callgate.providers.token_account import TokenAccount
from callgate.response import Response

__all__ = ["ModelTarget", "find_places", "make_tier", "most_tries", "retry_of_latest"]


class ModelTarget:
    """One endpoint: its limits, how a call is made ready for it, and how an attempt is sent.

    Each pipeline has targets of its own; targets of one model share its limiter, breaker and estimates.

    Args:
        model: What `on_ejected` is called with: the model.
        name: The model's name.
        backend, info: What sends the attempts, and its facts.
        factory: Turns a call to this endpoint: its defaults, backend and prices.
        limiter, account, pushback: The model's limits.
        rate_limiter: A limiter of the user's own.
        cache: The model's store.
        own: The user's own layers.
    """

    __slots__ = (
        "_account", "_admission", "_backend", "_factory", "_own", "_pushback", "_rate_limiter", "cache",
        "gate", "info", "keeps_model", "model", "name",
    )  # fmt: skip

    def __init__(
        self,
        model: Any,
        name: str,
        backend: ServiceBackend,
        info: BackendInfo,
        factory: CallFactory,
        limiter: Limiter,
        account: TokenAccount,
        pushback: Pushback,
        rate_limiter: RateLimiter | None,
        cache: CacheStore | None,
        own: Sequence[UserLayer],
    ) -> None:
        self.model = model
        self.name = name
        self.info = info
        self.gate = limiter
        self.cache = cache
        self._backend = backend
        self._factory = factory
        self._account = account
        self._pushback = pushback
        self._rate_limiter = rate_limiter
        self._own = own
        self._admission: Admission | None = None
        self.keeps_model = False
        """Whether a model that a call names holds here when the call is turned to it."""

    @property
    def default_model(self) -> str | None:
        """The name of the model that its calls ask for unless they name another."""
        return self._factory.model

    def join_pool(self, models: frozenset[str | None]) -> None:
        """Share calls with endpoints of these default models.

        Where the endpoints have one model, another one that a call names holds at each of them. Where they
        have several, and where this was never called (in a fallback), the endpoint's own model always wins.
        """
        self.keeps_model = len(models) == 1

    def start(self, clock: Callable[[], float], dispatched: Callable[[Calling], None]) -> Admission:
        """Build what sends its attempts, on a loop; `dispatched` is called with each admitted calling."""
        self._admission = Admission(
            make_attempt_service(self._backend, self._rate_limiter, self._own),
            self.gate,
            clock,
            account=self._account,
            pushback=self._pushback,
            dispatched=dispatched,
            endpoint=self.name,
        )
        return self._admission

    @property
    def retry(self) -> RetryConfig | None:
        """Which of its failures are retried; None: none."""
        return self.info.retry_config

    def turn(self, calling: Calling) -> None:
        """Give the call this endpoint's defaults, backend and prices."""
        self._factory.turn(calling, keeps_model=self.keeps_model)

    def tokens(self, calling: Calling) -> float:
        """Tokens to reserve for the call, which was turned to it."""
        assert self._admission is not None  # started with the pipeline
        return self._admission.tokens(calling)

    @property
    def price_identity(self) -> tuple[Any, ...]:
        """Equal for endpoints that bill a call alike."""
        info = self.info
        dialect = None if info.dialect is None else info.dialect.name
        prices = repr(getattr(self.model, "prices", None))
        return dialect, None if info.host is None else info.host.provider, repr(info.defaults), prices

    def send(self, calling: Calling, lease: Lease) -> Awaitable[Response]:
        """Make one attempt with a lease of its gate."""
        assert self._admission is not None
        lease.sent()
        return self._admission.send(calling, lease)

    @property
    def cache_identity(self) -> tuple[Any, ...]:
        """Equal for endpoints whose responses to a call have the same key in the same store."""
        info = self.info
        dialect = None if info.dialect is None else info.dialect.name
        return id(self.cache), info.cache_origin, dialect, repr(info.defaults), repr(info.cache_facts)


def make_tier(
    name: str,
    targets: Sequence[ModelTarget],
    clock: Callable[[], float],
    dispatched: Callable[[Calling], None],
) -> Tier:
    """A tier of a router: one endpoint, or the pool of a `Spread`."""
    admissions = [target.start(clock, dispatched) for target in targets]
    if len(targets) == 1:
        return Single(targets[0], targets[0].turn, admissions[0].admit)
    pool = Pool(name, targets)
    pool.restart(clock)
    return pool


def most_tries(targets: Sequence[ModelTarget]) -> int:
    """How many attempts a call makes at most in a tier of these endpoints, besides those answered with a
    429."""
    policies = [target.retry for target in targets]
    # Without retries each endpoint that refuses the call is left for the next one.
    return max(len(targets) if retry is None else 1 + retry.max_retries for retry in policies)


def find_places(
    first: Sequence[ModelTarget], fallbacks: Sequence[ModelTarget]
) -> Callable[[Calling], Sequence[Place]] | None:
    """A function that returns where the response to a call may be stored; None if no endpoint has a cache.

    Args:
        first: The endpoints of the first tier. A call of a single one is turned to it already.
        fallbacks: The endpoints of the other tiers, which ignore a path of the call's own.
    """
    if len(first) == 1 and not fallbacks:
        store = first[0].cache
        return None if store is None else _one_place(store)
    groups: dict[tuple[Any, ...], tuple[ModelTarget, bool, set[str]]] = {}
    for targets, moved in ((first, False), (fallbacks, True)):
        for target in targets:
            if target.cache is not None:
                group = groups.setdefault((*target.cache_identity, moved), (target, moved, set()))
                group[2].add(target.name)
    if not groups:
        return None
    found = [
        (target, moved, flights_of(target.cache), frozenset(names))
        for target, moved, names in groups.values()
        if target.cache is not None
    ]

    def places(calling: Calling) -> Sequence[Place]:
        result: list[Place] = []
        for target, moved, flights, names in found:
            fork = calling.fork()
            if moved:
                fork.http_path = fork.http_method = fork.sdk_method_name = None
            target.turn(fork)
            key = key_of(fork)
            if key is not None and target.cache is not None:
                result.append(Place(target.cache, flights, key, names))
        return result

    return places


def _one_place(store: CacheStore) -> Callable[[Calling], Sequence[Place]]:
    flights = flights_of(store)

    def places(calling: Calling) -> Sequence[Place]:
        key = key_of(calling)
        return () if key is None else (Place(store, flights, key),)

    return places


def retry_of_latest(calling: Calling) -> RetryConfig | None:
    """The retry policy of the endpoint that made the call's latest attempt."""
    route = calling.route
    target: ModelTarget | None = None if route is None else route.target
    return None if target is None else target.retry
