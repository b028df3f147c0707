"""A second attempt beside one that takes unusually long; the first answer wins.

The first attempt runs in the call's own task, so a call that is answered in the usual time costs no task
more. Only a straggler gets one, for its second attempt: a twin of the calling that passes the limiter, the
breaker and the timeout like any attempt, and is counted like one.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from callgate.call.calling import Calling
from callgate.errors import RateLimitError, RefusedError
from callgate.pipeline import Service
from callgate.policies.hedge.policy import MOST_AT_ONCE, HedgePolicy, Stragglers
from callgate.policies.retry.config import RetryBudget
from callgate.policies.timeout.timer import Reminder, Watch, Watched
from callgate.response import Response

__all__ = ["Hedge"]


class Hedge:
    """The layer, and what the limit layer inside it tells when an attempt goes on the wire.

    An attempt that has been on the wire for longer than the policy's quantile of recent ones is sent once
    more, unless the usual time would pass the call's deadline. A second attempt that takes as long as that
    gets one beside it, too; more than three attempts are never on their way at once. When the retry budget or
    the policy's share is used up, stragglers stand in a line, the oldest first, and are served as calls pay
    in. Those that take three times the usual come first: what they may need is kept for them. Most of those
    that are only a little late leave the line by themselves.

    The first answer wins and the other attempts are cancelled: they give back their places and their
    connections and keep their charges, as the provider may have worked on them. What they cost cannot be
    known; `calling.attempts` lists them. Streams are never sent twice.

    A failure does not win: as long as one of the two is on its way, its answer is waited for. When both fail,
    the first one's error is raised, and the second one's is in `calling.attempts`.

    Args:
        policy: When an attempt counts as a straggler.
        clock: The loop's clock, in seconds.
        budget: Shared with the retry layer; None: only the policy's share bounds it.

    Example::

        hedge = Hedge(HedgePolicy(share=0.05), loop.time, budget=budget)
        limit = limit_layer(limiter, loop.time, pushback=pushback, dispatched=hedge.sent)
        service = pipeline(backend, Layers(hedge=hedge, limit=limit))
    """

    __slots__ = ("_budget", "_clock", "_line", "_races", "_unwatched", "_watch", "stragglers")

    def __init__(
        self, policy: HedgePolicy, clock: Callable[[], float], *, budget: RetryBudget | None = None
    ) -> None:
        self.stragglers = Stragglers(policy)
        self._clock = clock
        self._budget = budget
        self._races: dict[Calling, _Race] = {}
        # Both are in the order of their coming, and left from the midst by whoever is answered.
        self._unwatched: dict[_Race, None] = {}  # sent before it was known what takes long
        self._line: dict[_Race, None] = {}  # stragglers that could not be afforded yet
        self._watch: Watch | None = None

    def __call__(self, call: Service) -> Service:
        """The service with second attempts."""

        def hedged(calling: Calling) -> Awaitable[Response]:
            # Pieces of two answers would mix: a stream is one attempt's.
            return call(calling) if calling.sink is not None else self._first(call, calling)

        return hedged

    def sent(self, calling: Calling) -> None:
        """Told by the limit layer: this calling has left the line. From here on its time counts."""
        race = self._races.get(calling)
        if race is None:
            return
        race.sent_at = self._clock()
        if race.beside + 1 >= MOST_AT_ONCE:
            return
        patience = self.stragglers.patience
        if patience is None:
            self._unwatched[race] = None
        else:
            self._remind(race, race.sent_at + patience)

    async def _first(self, call: Service, calling: Calling) -> Response:
        self.stragglers.begin(len(self._races))
        self._serve()
        task = calling.task or asyncio.current_task()
        assert task is not None  # a coroutine that runs is in a task
        race = _Race(call, calling, task, 0)
        response = await self._run(race)
        if race.sent_at is not None:
            # Where the second one won, the first would have taken longer still: a straggler stays one.
            self.stragglers.note(self._clock() - race.sent_at)
            if self._unwatched:
                self._watch_all()
            # Of the retry budget more may be free by now.
            self._serve()
        return response

    async def _run(self, race: _Race) -> Response:
        """An attempt and what is sent beside it, until neither is on its way."""
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
            self._line.pop(race, None)
            race.first_over = True
            if race.reminder is not None and self._watch is not None:
                self._watch.end(race.reminder)
            if race.second is not None:
                await race.end()
                if not race.repeated:  # it was still in the limiter's queue
                    self.stragglers.give_back()
                    self._serve()

    async def _run_second(self, first: _Race) -> Response:
        """The second attempt beside `first`, in a task of its own; it may become a straggler, too."""
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
        race.reminder = self._watch.remind(when, lambda: self._late(race))

    def _watch_all(self) -> None:
        """It is known now what takes long; who has passed that already is reminded of at once."""
        patience = self.stragglers.patience
        if patience is not None:
            for race in self._unwatched:
                assert race.sent_at is not None
                self._remind(race, race.sent_at + patience)
            self._unwatched.clear()

    def _late(self, race: _Race) -> None:
        """The attempt is a straggler now, unless all have become slower since it was sent."""
        patience = self.stragglers.patience
        assert patience is not None
        assert race.sent_at is not None
        if race.second is not None:
            return
        if race.sent_at + patience > self._clock():
            self._remind(race, race.sent_at + patience)
            return
        if not self._is_surely_late(race):
            self._remind(race, race.sent_at + self.stragglers.surely_late)
        self._line[race] = None
        self._serve()

    def _is_surely_late(self, race: _Race) -> bool:
        assert race.sent_at is not None
        return race.sent_at + self.stragglers.surely_late <= self._clock()

    def _serve(self) -> None:
        """Send again whom the share and the retry budget allow, in their order."""
        while self._line:
            race = next(iter(self._line))
            at_once = None if self._is_surely_late(race) else len(self._races)
            if not self.stragglers.affordable(at_once):
                return
            deadline = race.calling.deadline
            hopeless = deadline is not None and self._clock() + self.stragglers.usual >= deadline
            if not hopeless:
                if self._budget is not None and not self._budget.withdraw():
                    return
                self.stragglers.spend(at_once)
                race.begin_second(self._run_second(race))
            del self._line[race]


class _Race:
    """Two attempts at one call. The first runs in the task it is given, the second in one of its own."""

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
        self.beside = beside  # how many attempts at the same call were on their way before
        self.sent_at: float | None = None
        self.reminder: Reminder | None = None
        self.second: asyncio.Task[Response] | None = None
        self.repeated = False  # True once the second one was admitted
        self.first_over = False
        self._first = Watched(task, math.inf)

    def begin_second(self, attempt: Coroutine[Any, Any, Response]) -> None:
        self.second = asyncio.get_running_loop().create_task(attempt)
        self.second.add_done_callback(self._second_ended)

    def _second_ended(self, second: asyncio.Task[Response]) -> None:
        if second.cancelled():
            return
        if second.exception() is None and not self.first_over:
            self._first.expire()

    def was_lost(self) -> bool:
        """Whether the cancellation that ended the first attempt is the second one's victory."""
        return self._first.was_it()

    def second_answer(self) -> Response:
        assert self.second is not None  # who has won has run
        return self.second.result()

    async def wait_for_second(self, error: Exception) -> Response:
        """The first attempt has failed; its repetition is on the way already.

        Raises:
            Exception: `error`, when the second one fails too; but a 429 uses up no try, so where only the
                first was one, it is the second's.
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
        """Leave no task behind, and no cancellation of ours that came too late to be noticed."""
        self._first.was_it()
        second = self.second
        assert second is not None
        if not second.done():
            second.cancel()
            await asyncio.wait([second])
