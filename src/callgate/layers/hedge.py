"""A second attempt beside one that takes unusually long; the first answer wins.

The first attempt runs in the call's own task, so a call that is answered in the usual time costs no task
more. Only a straggler gets one, for its second attempt: a twin of the calling that passes the limiter, the
breaker and the timeout like any attempt, and is counted like one.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

from callgate.calling import Calling
from callgate.control.backoff import RetryBudget
from callgate.control.hedging import HedgePolicy, Stragglers
from callgate.control.watch import Reminder, Watch, Watched
from callgate.errors import RefusedError
from callgate.pipeline import Service
from callgate.response import Response

__all__ = ["Hedge"]


class Hedge:
    """The layer, and what the limit layer inside it tells when an attempt goes on the wire.

    An attempt that has been on the wire for longer than the policy's quantile of recent ones is sent once
    more, unless the retry budget or the policy's share is used up, or the usual time would pass the call's
    deadline. The first answer wins and the other attempt is cancelled: it gives back its place and its
    connection and keeps its charge, as the provider may have worked on it. What it cost cannot be known;
    `calling.attempts` and `calling.hedges` count it. Streams are never sent twice.

    A failure does not win: as long as one of the two is on its way, its answer is waited for. When both fail,
    the first one's error is raised, and the second one's is in `calling.failures`.

    Args:
        policy: When an attempt counts as a straggler.
        clock: The loop's clock, in seconds.
        budget: Shared with the retry layer; None: only the policy's share bounds it.

    Example::

        hedge = Hedge(HedgePolicy(share=0.05), loop.time, budget=budget)
        limit = limit_layer(limiter, loop.time, pushback=pushback, dispatched=hedge.sent)
        service = pipeline(backend, Layers(hedge=hedge, limit=limit))
    """

    __slots__ = ("_budget", "_clock", "_races", "_watch", "stragglers")

    def __init__(
        self, policy: HedgePolicy, clock: Callable[[], float], *, budget: RetryBudget | None = None
    ) -> None:
        self.stragglers = Stragglers(policy)
        self._clock = clock
        self._budget = budget
        self._races: dict[Calling, _Race] = {}
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
        race.sent_at = now = self._clock()
        patience = self.stragglers.patience
        if patience is not None:
            if self._watch is None:
                self._watch = Watch(asyncio.get_running_loop())
            race.reminder = self._watch.remind(now + patience, lambda: self._late(race))

    async def _first(self, call: Service, calling: Calling) -> Response:
        self.stragglers.begin()
        task = calling.task or asyncio.current_task()
        assert task is not None  # a coroutine that runs is in a task
        race = self._races[calling] = _Race(call, calling, task, self._clock)
        try:
            response = await call(calling)
        except asyncio.CancelledError:
            if not race.was_lost():
                raise
            response = race.second_answer()
        except Exception as error:
            if race.second is None:
                raise
            return await race.wait_for_second(error)
        finally:
            del self._races[calling]
            race.first_over = True
            if race.reminder is not None and self._watch is not None:
                self._watch.end(race.reminder)
            if race.second is not None:
                await race.end()
        if race.sent_at is not None:
            # Where the second one won, the first would have taken longer still: a straggler stays one.
            self.stragglers.note(self._clock() - race.sent_at)
        return response

    def _late(self, race: _Race) -> None:
        """The attempt is a straggler now."""
        deadline = race.calling.deadline
        if deadline is not None and self._clock() + self.stragglers.usual >= deadline:
            return
        if self.stragglers.spend() and (self._budget is None or self._budget.withdraw()):
            race.begin_second()


class _Race:
    """Two attempts at one call. The first runs in the call's task, the second in one of its own."""

    __slots__ = (
        "_call",
        "_clock",
        "_first",
        "_used",
        "calling",
        "first_over",
        "reminder",
        "second",
        "sent_at",
    )

    def __init__(
        self, call: Service, calling: Calling, task: asyncio.Task[object], clock: Callable[[], float]
    ) -> None:
        self.calling = calling
        self.sent_at: float | None = None
        self.reminder: Reminder | None = None
        self.second: asyncio.Task[Response] | None = None
        self.first_over = False
        self._call = call
        self._clock = clock
        self._first = Watched(task, math.inf)
        self._used = False

    def begin_second(self) -> None:
        self.second = asyncio.get_running_loop().create_task(self._run_second())
        self.second.add_done_callback(self._second_ended)

    async def _run_second(self) -> Response:
        calling, twin = self.calling, self.calling.twin()
        before = twin.attempts
        try:
            return await self._call(twin)
        finally:
            sent = twin.attempts - before
            calling.attempts += sent
            calling.hedges += sent

    def _second_ended(self, second: asyncio.Task[Response]) -> None:
        if second.cancelled():
            return
        error = second.exception()
        if error is None:
            if not self.first_over:
                self._first.expire()
        elif not isinstance(error, RefusedError):
            self.calling.note_failure(error, self._clock())

    def was_lost(self) -> bool:
        """Whether the cancellation that ended the first attempt is the second one's victory."""
        return self._first.was_it()

    def second_answer(self) -> Response:
        assert self.second is not None  # who has won has run
        self._used = True
        return self.second.result()

    async def wait_for_second(self, error: Exception) -> Response:
        """The first attempt has failed; its repetition is on the way already.

        Raises:
            Exception: `error`, when the second one fails too.
        """
        assert self.second is not None
        self.first_over = True
        await asyncio.wait([self.second])
        if self.second.cancelled() or self.second.exception() is not None:
            raise error
        self.calling.note_failure(error, self._clock())
        return self.second_answer()

    async def end(self) -> None:
        """Leave no task behind, and no cancellation of ours that came too late to be noticed."""
        self._first.was_it()
        second = self.second
        assert second is not None
        if not second.done():
            second.cancel()
            await asyncio.wait([second])
        if not (self._used or second.cancelled() or second.exception()):
            # Both have answered: what the loser used is known, and has been paid.
            usage = second.result().usage
            if usage is not None:
                self.calling.spend(usage)
