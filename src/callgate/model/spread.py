"""Several models as one: each call goes where it waits least, and a broken one is left out."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

from callgate.call.calling import Calling
from callgate.errors import (
    APIClientError,
    AuthenticationError,
    CircuitBreakerOpenError,
    ConfigurationError,
    QuotaTooSmallError,
    RateLimitError,
    ResourceNotFoundError,
)
from callgate.executor.executor import Executor
from callgate.model.base import Caller, LimiterView
from callgate.model.call_factory import CallingMaker
from callgate.pipeline import Layers, Service, pipeline
from callgate.policies.observe.hooks import HookRegistry
from callgate.policies.observe.layer import observe_layer
from callgate.policies.route.combined_limiter import JointLimiter
from callgate.policies.route.fallback import Alternative
from callgate.policies.route.health import LeftOutError, Member, Standing
from callgate.policies.timeout.alarm import before_time
from callgate.policies.timeout.deadline import deadline_layer
from callgate.response import Response

__all__ = ["Spread"]

# What each answer leaves of the weight of those before it, for the usual size of a call.
_FADE = 0.95

# Another model may well do it: nothing about the request is the cause of these.
_ELSEWHERE = (
    AuthenticationError, CircuitBreakerOpenError, LeftOutError, QuotaTooSmallError, RateLimitError,
    ResourceNotFoundError,
)  # fmt: skip


class Spread(Caller):
    """Several models (keys, endpoints, providers) in the place of one.

    Each call goes to the model that would answer it first, as far as can be told: among those that would
    admit it at once, to the one with the fewest calls in flight for the time it takes to answer; and it goes
    on to another when that has a place sooner. A call whose answer one of them has in its cache, or on its
    way, goes there. Each keeps its own limits, retries, breaker and cache, and answers with its own `model`
    and other defaults.

    A model whose key is refused or out of credit, whose breaker is open, that has failed three times in a
    row, could not be reached in three attempts, or has answered nothing but 429 for a minute is left out, and
    its calls go to another one: also those that still wait in its line or would be tried again there. It is
    tried again after 30 s, a refused key after 5 minutes, a breaker when it says so. When no model is left,
    the last error stands; but while all are out for failures that pass, the one that is due first is tried.
    A call that meets a 429 goes where it need not wait, if there is such a place. `calling.completed_by`
    tells who answered.

    Args:
        models: At least one. They belong to the spread from now on: closing it closes them.
        name, tags: For the registry; by default the models' names and what all are tagged with.
        hook_registry: Who watches; the models' own hooks are not run.
        queue_capacity: How many submitted calls may wait as tasks.
        on_left_out: Called with a model and the error each time that one is left out.

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
        on_left_out: Callable[[Caller, APIClientError], None] | None = None,
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
        self._router = router = _Router(name, [Member(model, on_left_out) for model in models])
        self._view = JointLimiter(
            name,
            [member.limiter for member in router.members],
            lambda: [member.limiter for member in router.in_use()],
        )
        super().__init__(
            name,
            frozenset.intersection(*(model.tags for model in models)) if tags is None else frozenset(tags),
            executor,
            owns_executor=True,
            maker=CallingMaker(self._router, {}, lambda response, payload: None),
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
            member.model: member.out_for
            for member in self._router.members
            if member.out_until > now and member.out_for is not None
        }

    @property
    def standing(self) -> tuple[Standing, ...]:
        """How each model has been doing, in their order."""
        return tuple(member.standing for member in self._router.members)

    @property
    def most_attempts(self) -> int:
        each = [model.most_attempts for model in self.models]
        # A call that dodges a 429 may come back later and begin anew, as often as there are models.
        dodges = len(each) if len(each) > 1 else 0
        return sum(each) + dodges * max(each)

    async def _close_parts(self) -> None:
        async with AsyncExitStack() as parts:  # each is closed, also when another one cannot be
            for model in reversed(self.models):
                parts.push_async_callback(model.close)

    def __repr__(self) -> str:
        out = ", ".join(model.name for model in self.left_out) or "none"
        return f"<Spread {self.name!r} of {len(self.models)}, left out: {out}>"


def _is_of_the_model(error: APIClientError) -> bool:
    """Whether another model may well do it."""
    return isinstance(error, _ELSEWHERE) or error.counts_as_failure


class _Asked:
    """What a call brought along and every turn to another model would take from it; how it goes round."""

    __slots__ = ("_method", "_path", "_sdk_method", "comes_back", "dodges")

    def __init__(self, calling: Calling) -> None:
        self.dodges = 0
        """How often it left a model where it had been tried, and may be tried again."""
        self.comes_back = False
        """Whether the model it has just left may be asked again."""
        self._path = calling.http_path
        self._method = calling.http_method
        self._sdk_method = calling.sdk_method_name

    def may_dodge(self, members: Sequence[Member]) -> bool:
        """Count one more time, as often as there are models: else it could go round for ever."""
        if self.dodges >= len(members):
            return False
        self.dodges += 1
        return True

    def turn(self, calling: Calling, member: Member) -> None:
        member.turn(calling)
        calling.http_path = self._path
        calling.http_method = self._method
        calling.sdk_method_name = self._sdk_method


class _Router:
    """Chooses a model for each call, and another one when that cannot. It is a `ServiceBackend`."""

    def __init__(self, name: str, members: list[Member]) -> None:
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
        tried: tuple[Member, ...] = ()
        last: APIClientError | None = None  # of this call
        home = await self.home(calling, asked)
        while True:
            member = home or self.choose(tokens, tried)
            if member is None:
                raise last or self._refusal()
            home = None
            asked.turn(calling, member)
            member.begins(self.clock())
            before = len(calling.attempts)
            calling.route = partial(self.moves_on, asked, member, tokens, tried)
            try:
                response = await member.service(calling)
            except APIClientError as error:
                if not _is_of_the_model(error):
                    raise
                now = self.clock()
                member.failed(error, now)
                if isinstance(error, LeftOutError):
                    # Out of its line, where it may come back to; but its retries there begin anew then.
                    if len(calling.attempts) > before and not asked.may_dodge(self.members):
                        tried, last = (*tried, member), last or error
                    elif member.out_until <= now:
                        # Who shared its request asks on there; it must not be asked for twice.
                        home = await self.home(calling, asked)
                    continue
                if not asked.comes_back:
                    tried = (*tried, member)
                asked.comes_back = False
                if last is not None:
                    error.add_note(f"before it: {type(last).__name__}: {last}")
                last = self._last = error
                if calling.delivered:
                    raise
            else:
                member.succeeded(calling, self.clock())
                self.relieve_others(member)
                if response.usage is not None:
                    self._usual_tokens += (1.0 - _FADE) * (response.usage.total_tokens - self._usual_tokens)
                return response
            finally:
                calling.route = None

    def moves_on(
        self,
        asked: _Asked,
        member: Member,
        tokens: float,
        tried: tuple[Member, ...],
        error: BaseException,
    ) -> bool:
        """Whether a call whose attempt has failed is better off at another model than tried again here."""
        if not isinstance(error, APIClientError) or not _is_of_the_model(error):
            return False
        now = self.clock()
        member.attempt_failed(error, now)
        other = self.choose(tokens, (*tried, member))
        if other is None:
            return False
        if member.out_until > now:
            return True
        asked.comes_back = (
            isinstance(error, RateLimitError)
            and other.limiter.expected_wait(tokens) == 0.0
            and asked.may_dodge(self.members)
        )
        return asked.comes_back

    def relieve_others(self, free: Member) -> None:
        """Have those who wait at other models choose again, when this one has a place and nobody in line."""
        now = self.clock()
        if free.out_until > now:
            return
        for other in self.members:
            if other is not free and other.lags_behind(free, self._usual_tokens, now):
                if free.limiter.expected_wait(self._usual_tokens) > 0.0:
                    return
                other.model.send_away(LeftOutError(f"{free.name} has a place sooner than {other.name}"))

    async def home(self, calling: Calling, asked: _Asked) -> Member | None:
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

    def choose(self, tokens: float, tried: tuple[Member, ...] = ()) -> Member | None:
        """The model to go to; None when there is none for this call."""
        now = self.clock()
        there = [each for each in self.members if each.out_until <= now and each not in tried]
        if not there:
            return None if tried else self._first_due()
        free: Member | None = None
        least = (math.inf, math.inf)
        waiting: Member | None = None
        soonest = math.inf
        for member in [each for each in there if each.in_doubt_until <= now] or there:
            seconds, in_flight = member.call_seconds(now), member.limiter.in_flight
            wait = member.limiter.expected_wait(tokens, seconds or 1.0)
            if wait == 0.0:
                load = ((in_flight + 1) * seconds, in_flight)
                if free is None or load < least:
                    free, least = member, load
            elif waiting is None or wait + seconds < soonest:
                waiting, soonest = member, wait + seconds
        if free is None or soonest < free.call_seconds(now):
            return waiting  # in the line of a quick one it is answered before a slow one has done so
        return free

    def _first_due(self) -> Member | None:
        """All are out: whose failures were of the passing kind may have recovered."""
        passing = [member for member in self.members if not member.refused]
        return min(passing, key=lambda member: member.out_until, default=None)

    def _refusal(self) -> APIClientError:
        """What left the last one out, as an error of this call alone: raised in many, one would mix them."""
        cause = self._last or next(each.out_for for each in self.members if each.out_for is not None)
        error = copy.copy(cause)
        error.__cause__ = cause
        return error

    def in_use(self) -> list[Member]:
        """The models that get calls at present; all of them when there are none."""
        now = self.clock()
        return [member for member in self.members if member.out_until <= now] or self.members
