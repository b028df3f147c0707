"""The hedge layer: sends a second attempt beside a slow one; the first response wins.

The first attempt runs in the call's own task, so that a call without a hedge needs no further task. A second
attempt is a fork of the calling in a task of its own, and passes route, limiter, breaker and timeout like any
attempt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from callgate.call.calling import Calling
from callgate.errors import RateLimitError, RefusedError
from callgate.pipeline import Service
from callgate.policies.hedge.policy import MOST_AT_ONCE, HedgePolicy, LateAttempts
from callgate.policies.retry.config import RetryBudget
from callgate.policies.timeout.timer import Reminder, Watch, Watched
from callgate.response import Response

__all__ = ["Hedge"]


class Hedge:
    """The hedge layer.

    An attempt that is in flight for longer than the policy's quantile of recent ones is sent again, unless
    the median latency would pass the call's deadline. A second attempt that takes as long gets another one;
    at most three attempts of a call are in flight. When the hedge budget (the policy's share, and the retry
    budget) is spent, late attempts queue in FIFO order until it refills. A part of the budget is kept for
    attempts that take three times the median.

    The first response wins and the other attempts are cancelled. They release their permits and connections
    and stay charged to the quota, because the provider may have processed them; `calling.attempts` lists
    them. Streams are not hedged.

    If one of the two fails, the response of the other is awaited. If both fail, the error of the first is
    raised, and that of the second is in `calling.attempts`.

    Args:
        policy: When an attempt counts as late.
        clock: The loop's clock, in seconds.
        budget: Shared with the retry layer; None: only the policy's share bounds the hedges.

    Example::

        hedge = Hedge(HedgePolicy(share=0.05), loop.time, budget=budget)
        limit = limit_layer(limiter, loop.time, pushback=pushback, dispatched=hedge.sent)
        service = pipeline(backend, Layers(hedge=hedge, limit=limit))
    """

    __slots__ = ("_budget", "_clock", "_races", "_unwatched", "_waiting", "_watch", "late")

    def __init__(
        self, policy: HedgePolicy, clock: Callable[[], float], *, budget: RetryBudget | None = None
    ) -> None:
        self.late = LateAttempts(policy)
        self._clock = clock
        self._budget = budget
        self._races: dict[Calling, _Race] = {}
        # Both in FIFO order; an attempt that ends leaves from the middle.
        self._unwatched: dict[_Race, None] = {}  # sent before the usual time was known
        self._waiting: dict[_Race, None] = {}  # late, and the budget is spent
        self._watch: Watch | None = None

    def __call__(self, call: Service) -> Service:
        """The service with second attempts."""

        def hedged(calling: Calling) -> Awaitable[Response]:
            # A stream would mix pieces of two responses.
            return call(calling) if calling.sink is not None else self._first(call, calling)

        return hedged

    def sent(self, calling: Calling) -> None:
        """Start the time of an attempt: the limit layer calls this when it has admitted the calling."""
        race = self._races.get(calling)
        if race is None:
            return
        race.sent_at = self._clock()
        if race.beside + 1 >= MOST_AT_ONCE:
            return
        patience = self.late.patience
        if patience is None:
            self._unwatched[race] = None
        else:
            self._remind(race, race.sent_at + patience)

    async def _first(self, call: Service, calling: Calling) -> Response:
        self.late.begin(len(self._races))
        self._serve()
        task = calling.task or asyncio.current_task()
        assert task is not None  # a coroutine that runs is in a task
        race = _Race(call, calling, task, 0)
        response = await self._run(race)
        if race.sent_at is not None:
            # If the second one won, the first would have taken even longer.
            self.late.note(self._clock() - race.sent_at)
            if self._unwatched:
                self._watch_all()
            # The retry budget may have refilled meanwhile.
            self._serve()
        return response

    async def _run(self, race: _Race) -> Response:
        """Run an attempt and its second one, until neither is in flight."""
        calling = race.calling
        self._races[calling] = race
        try:
            return await race.call(calling)
        except asyncio.CancelledError:
            if not race.was_lost():
                raise
            return race.second_answer()
        except Exception as error:
            if race.second is None:
                raise
            return await race.wait_for_second(error)
        finally:
            del self._races[calling]
            self._unwatched.pop(race, None)
            self._waiting.pop(race, None)
            race.first_over = True
            if race.reminder is not None and self._watch is not None:
                self._watch.end(race.reminder)
            if race.second is not None:
                await race.end()
                if not race.repeated:  # it was still in the limiter's queue
                    self.late.give_back()
                    self._serve()

    async def _run_second(self, first: _Race) -> Response:
        """The second attempt of `first`, in a task of its own; it may become late too."""
        fork = first.calling.fork()
        task = asyncio.current_task()
        assert task is not None
        try:
            return await self._run(_Race(first.call, fork, task, first.beside + 1))
        finally:
            first.repeated = fork.attempt is not None

    def _remind(self, race: _Race, when: float) -> None:
        if self._watch is None:
            self._watch = Watch(asyncio.get_running_loop())
        race.reminder = self._watch.remind(when, lambda: self._on_late(race))

    def _watch_all(self) -> None:
        """Set timers for attempts that were sent before the quantile was known."""
        patience = self.late.patience
        if patience is not None:
            for race in self._unwatched:
                assert race.sent_at is not None
                self._remind(race, race.sent_at + patience)
            self._unwatched.clear()

    def _on_late(self, race: _Race) -> None:
        """Queue an attempt that is late, unless the quantile has grown since it was sent."""
        patience = self.late.patience
        assert patience is not None
        assert race.sent_at is not None
        if race.second is not None:
            return
        if race.sent_at + patience > self._clock():
            self._remind(race, race.sent_at + patience)
            return
        if not self._is_surely_late(race):
            self._remind(race, race.sent_at + self.late.surely_late)
        self._waiting[race] = None
        self._serve()

    def _is_surely_late(self, race: _Race) -> bool:
        assert race.sent_at is not None
        return race.sent_at + self.late.surely_late <= self._clock()

    def _serve(self) -> None:
        """Send second attempts in FIFO order while the budget allows it."""
        while self._waiting:
            race = next(iter(self._waiting))
            at_once = None if self._is_surely_late(race) else len(self._races)
            if not self.late.affordable(at_once):
                return
            deadline = race.calling.deadline
            hopeless = deadline is not None and self._clock() + self.late.usual >= deadline
            if not hopeless:
                if self._budget is not None and not self._budget.withdraw():
                    return
                self.late.spend(at_once)
                race.begin_second(self._run_second(race))
            del self._waiting[race]


class _Race:
    """Two attempts of one call. The first runs in the given task, the second in one of its own."""

    __slots__ = (
        "_first",
        "beside",
        "call",
        "calling",
        "first_over",
        "reminder",
        "repeated",
        "second",
        "sent_at",
    )

    def __init__(
        self,
        call: Service,
        calling: Calling,
        task: asyncio.Task[Any],
        beside: int,
    ) -> None:
        self.call = call
        self.calling = calling
        self.beside = beside  # attempts of the same call that were in flight before it
        self.sent_at: float | None = None
        self.reminder: Reminder | None = None
        self.second: asyncio.Task[Response] | None = None
        self.repeated = False  # True once the second one was admitted
        self.first_over = False
        self._first = Watched(task)

    def begin_second(self, attempt: Coroutine[Any, Any, Response]) -> None:
        self.second = asyncio.get_running_loop().create_task(attempt)
        self.second.add_done_callback(self._second_ended)

    def _second_ended(self, second: asyncio.Task[Response]) -> None:
        if second.cancelled():
            return
        if second.exception() is None and not self.first_over:
            self._first.expire()

    def was_lost(self) -> bool:
        """True if the first attempt was cancelled because the second one won."""
        return self._first.was_it()

    def second_answer(self) -> Response:
        assert self.second is not None  # it has won
        return self.second.result()

    async def wait_for_second(self, error: Exception) -> Response:
        """Wait for the second attempt after the first one has failed.

        Raises:
            Exception: `error` if the second one fails too; but if only the first was a 429, which does not
                count as a try, the error of the second.
        """
        second = self.second
        assert second is not None
        self.first_over = True
        await asyncio.wait([second])
        if second.cancelled():
            raise error
        other = second.exception()
        if other is None:
            return self.second_answer()
        if not isinstance(error, RateLimitError) or isinstance(other, RateLimitError | RefusedError):
            raise error
        raise other

    async def end(self) -> None:
        """End the second task, and take back a cancellation of the first that was not delivered."""
        self._first.was_it()
        second = self.second
        assert second is not None
        if not second.done():
            second.cancel()
            await asyncio.wait([second])
