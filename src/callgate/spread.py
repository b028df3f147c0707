"""Several models as one: each call goes where it waits least, and a broken one is left out."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

from callgate.caller import Caller, LimiterView
from callgate.calling import Calling
from callgate.control.clock import before_time
from callgate.control.quota import Quota
from callgate.control.snapshot import Bottleneck, LimiterSnapshot, RateSnapshot
from callgate.errors import (
    APIClientError,
    AuthenticationError,
    CircuitBreakerOpenError,
    ConfigurationError,
    QuotaExhaustedError,
    QuotaTooSmallError,
    RateLimitError,
    RefusedError,
    ResourceNotFoundError,
    RetryAfterTooLongError,
)
from callgate.executor import Executor
from callgate.hooks import HookRegistry
from callgate.layers.deadline import deadline_layer
from callgate.layers.fallback import Alternative
from callgate.layers.observe import observe_layer
from callgate.making import CallingMaker
from callgate.pipeline import Layers, Service, pipeline
from callgate.response import Response

__all__ = ["Spread"]

# Failures in a row, each after a model's own retries, that leave it out.
_MOST_STRIKES = 3
# Seconds until it is tried again: after failures that pass, and after a key was refused.
_REST = 30.0
_LONG_REST = 300.0
# What each answer leaves of the weight of those before it, for the usual size of a call.
_FADE = 0.95


class LeftOutError(RefusedError):
    """The model was left out of its spread while the call waited in its line; another one takes it."""


# Another model may well do it: nothing about the request is the cause of these.
_ELSEWHERE = (
    AuthenticationError, CircuitBreakerOpenError, LeftOutError, QuotaTooSmallError, RateLimitError,
    ResourceNotFoundError,
)  # fmt: skip


class Spread(Caller):
    """Several models (keys, endpoints, providers) in the place of one.

    Each call goes to the model that would admit it first; among those that would at once, to the one with the
    fewest calls in flight. A call whose answer one of them has in its cache, or on its way, goes there. Each
    keeps its own limits, retries, breaker and cache, and answers with its own `model` and other defaults.

    A model whose key is refused or out of credit, whose breaker is open, or that has failed three times in a
    row is left out, and its calls go to another one; also those that still wait in its line. It is tried
    again after 30 s, a refused key after 5 minutes, a breaker when it says so. When no model is left, the
    last error stands; but while all are out for failures that pass, the one that is due first is tried.
    `calling.completed_by` tells who answered.

    Args:
        models: At least one. They belong to the spread from now on: closing it closes them.
        name, tags: For the registry; by default the models' names and what all are tagged with.
        hook_registry: Who watches; the models' own hooks are not run.
        queue_capacity: How many submitted calls may wait as tasks.

    Raises:
        ConfigurationError: (a ValueError) without a model, or when one is given twice.

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
    ) -> None:
        if not models:
            raise ConfigurationError("a spread needs at least one model")
        if len({id(model) for model in models}) < len(models):
            raise ConfigurationError("a model is given twice; make one for each key or endpoint")
        self.models = tuple(models)
        executor = Executor(queue_capacity, concurrency_limit=None, requests_rate=None)
        for model in models:
            # The line is the models'; only they know when a submitted call has left it.
            model.executor.tell_dispatched(executor.dispatched)
        name = name or " + ".join(dict.fromkeys(model.name for model in models))
        self._router = _Router(name, [_Member(model) for model in models])
        self._view = _View(name, self._router)
        super().__init__(
            name,
            frozenset.intersection(*(model.tags for model in models)) if tags is None else frozenset(tags),
            executor,
            owns_executor=True,
            maker=CallingMaker(self._router, {}, lambda usage, calling: None),
            hooks=hook_registry,
        )

    def _make_services(self, clock: Callable[[], float]) -> tuple[Service, Service]:
        self._router.restart(clock)
        layers = Layers(observe=observe_layer(clock, self.hooks), deadline=deadline_layer())
        return pipeline(self._router.call, layers), self._router.call

    def as_alternative(self) -> Alternative:
        return replace(super().as_alternative(), remembers=self._router.remembers)

    @property
    def limiter(self) -> LimiterView:
        """All limiters seen as one; `waiting` is the length of the shortest line among models in use."""
        return self._view

    @property
    def left_out(self) -> Mapping[Caller, BaseException]:
        """The models that get no calls at present, and why."""
        now = self._router.clock()
        return {
            member.model: member.error
            for member in self._router.members
            if member.out_until > now and member.error is not None
        }

    async def _close_parts(self) -> None:
        async with AsyncExitStack() as parts:  # each is closed, also when another one cannot be
            for model in reversed(self.models):
                parts.push_async_callback(model.close)

    def __repr__(self) -> str:
        out = ", ".join(model.name for model in self.left_out) or "none"
        return f"<Spread {self.name!r} of {len(self.models)}, left out: {out}>"


class _Member:
    """One model and how it has been doing."""

    __slots__ = (
        "error", "limiter", "model", "name", "out_until", "refused", "remembers", "service", "strikes",
        "turn",
    )  # fmt: skip

    def __init__(self, model: Caller) -> None:
        alternative = model.as_alternative()
        self.model = model
        self.name = model.name
        self.turn = alternative.turn
        self.service = alternative.service
        self.remembers = alternative.remembers
        self.limiter = model.limiter
        self.forget()

    def forget(self) -> None:
        """It may begin anew."""
        self.strikes = 0
        self.out_until = -math.inf
        self.refused = False
        self.error: APIClientError | None = None

    def failed(self, error: APIClientError, now: float) -> None:
        """Note what a call ended in, and leave it out when that says enough."""
        if isinstance(error, LeftOutError | QuotaTooSmallError):
            return
        self.error = error
        if isinstance(error, CircuitBreakerOpenError | RetryAfterTooLongError):
            self._leave_out(now + (error.retry_after or _REST))
            return
        # A 403 may be about one request alone.
        self.refused = isinstance(error, QuotaExhaustedError) or error.status_code == 401
        if self.refused:
            self._leave_out(now + _LONG_REST)
        elif not isinstance(error, RateLimitError):
            self.strikes += 1
            if self.strikes >= _MOST_STRIKES:
                self.strikes -= 1  # one more failure when it is tried again, and it is out again
                self._leave_out(now + _REST)

    def _leave_out(self, until: float) -> None:
        self.out_until = until
        self.model.send_away(LeftOutError(f"{self.name} is left out for now: {self.error}"))


class _Asked:
    """What a call brought along and every turn to another model would take from it."""

    __slots__ = ("_method", "_path", "_sdk_method")

    def __init__(self, calling: Calling) -> None:
        self._path = calling.http_path
        self._method = calling.http_method
        self._sdk_method = calling.sdk_method_name

    def turn(self, calling: Calling, member: _Member) -> None:
        member.turn(calling)
        calling.http_path = self._path
        calling.http_method = self._method
        calling.sdk_method_name = self._sdk_method


class _Router:
    """Chooses a model for each call, and another one when that cannot. It is a `ServiceBackend`."""

    def __init__(self, name: str, members: list[_Member]) -> None:
        self.name = name
        self.members = members
        self.clock: Callable[[], float] = before_time
        self._usual_tokens = 1.0
        self._last: APIClientError | None = None

    def restart(self, clock: Callable[[], float]) -> None:
        """Begin on another loop, whose times cannot be compared with those of the one before."""
        self.clock = clock
        for member in self.members:
            member.forget()

    async def call(self, calling: Calling) -> Response:
        asked = _Asked(calling)
        tokens = calling.num_api_tokens_needed or self._usual_tokens
        tried: tuple[_Member, ...] = ()
        last: APIClientError | None = None  # of this call
        home = await self.home(calling, asked)
        while True:
            member = home or self.choose(tokens, tried)
            if member is None:
                raise last or self._refusal()
            home = None
            asked.turn(calling, member)
            try:
                response = await member.service(calling)
            except APIClientError as error:
                if not (isinstance(error, _ELSEWHERE) or error.counts_as_failure):
                    raise
                member.failed(error, self.clock())
                tried = (*tried, member)
                if isinstance(error, LeftOutError):
                    continue
                if last is not None:
                    error.add_note(f"before it: {type(last).__name__}: {last}")
                last = self._last = error
                if calling.delivered:
                    raise
            else:
                member.strikes = 0
                calling.completed_by = member.name
                if response.usage is not None:
                    self._usual_tokens += (1.0 - _FADE) * (response.usage.total_tokens - self._usual_tokens)
                return response

    async def home(self, calling: Calling, asked: _Asked) -> _Member | None:
        """The model that needs to ask nobody, whether it is left out or not."""
        for member in self.members:
            if member.remembers is not None:
                asked.turn(calling, member)
                if await member.remembers(calling):
                    return member
        return None

    async def remembers(self, calling: Calling) -> bool:
        """Whether one of the models needs to ask nobody."""
        return await self.home(calling, _Asked(calling)) is not None

    def choose(self, tokens: float, tried: tuple[_Member, ...] = ()) -> _Member | None:
        """The model to go to; None when there is none for this call."""
        now = self.clock()
        best: _Member | None = None
        least = math.inf
        for member in self.members:
            if member.out_until > now or (tried and member in tried):
                continue
            wait = member.limiter.expected_wait(tokens)
            if best is None or wait < least:
                best, least = member, wait
            elif wait == least and member.limiter.in_flight < best.limiter.in_flight:
                best = member
        if best is None and not tried:
            return self._first_due()
        return best

    def _first_due(self) -> _Member | None:
        """All are out: whose failures were of the passing kind may have recovered."""
        passing = [member for member in self.members if not member.refused]
        return min(passing, key=lambda member: member.out_until, default=None)

    def _refusal(self) -> APIClientError:
        """What left the last one out, as an error of this call alone: raised in many, one would mix them."""
        assert self._last is not None  # somebody is out
        error = copy.copy(self._last)
        error.__cause__ = self._last
        return error

    def in_use(self) -> list[_Member]:
        """The models that get calls at present; all of them when there are none."""
        now = self.clock()
        return [member for member in self.members if member.out_until <= now] or self.members


class _View:
    """The limiters of the models in use, seen as one. It is a `LimiterView`."""

    def __init__(self, name: str, router: _Router) -> None:
        self._name = name
        self._router = router

    @property
    def waiting(self) -> int:
        """Calls in the shortest line: while it is 0, one more could be on its way."""
        return min(member.limiter.waiting for member in self._router.in_use())

    @property
    def in_flight(self) -> int:
        """Calls that have been admitted by any of them."""
        return sum(member.limiter.in_flight for member in self._router.members)

    @property
    def bottleneck(self) -> Bottleneck | None:
        """What the first of them waits for; None while one has nobody waiting."""
        found = [member.limiter.bottleneck for member in self._router.in_use()]
        return None if None in found else found[0]

    def expected_wait(self, tokens: float = 1.0) -> float:
        """Seconds that one more call would wait at least, where it waits least."""
        return min(member.limiter.expected_wait(tokens) for member in self._router.in_use())

    def snapshot(self) -> LimiterSnapshot:
        """All together: sums, and rates by the minute."""
        parts = [member.limiter.snapshot() for member in self._router.in_use()]
        places = [part.concurrency for part in parts]
        return LimiterSnapshot(
            name=self._name,
            waiting=sum(part.waiting for part in parts),
            in_flight=self.in_flight,
            concurrency=None if None in places else sum(place or 0 for place in places),
            paused_for=min(part.paused_for for part in parts),
            bottleneck=self.bottleneck,
            requests=_together([part.requests for part in parts]),
            tokens=_together([part.tokens for part in parts]),
        )


def _together(rates: list[RateSnapshot | None]) -> RateSnapshot | None:
    """Several rates as one by the minute; None when one of them is without bound."""
    known = [rate for rate in rates if rate is not None]
    if len(known) < len(rates):
        return None
    return RateSnapshot(
        Quota(sum(60.0 * rate.quota.per_second for rate in known), 60.0),
        learned=all(rate.learned for rate in known),
        level=sum(rate.level for rate in known),
        used=sum(rate.used * 60.0 / rate.quota.period for rate in known),
    )
