"""The calls of one `Engine.run`: made row by row, within a budget, judged as they end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from callgate.batch.cost.budget import Budget, charge
from callgate.batch.cost.possible_models import fallbacks_of, most_attempts
from callgate.batch.cost.worst_case import worst_case
from callgate.batch.cost.write_ahead import Outstanding
from callgate.batch.guard import FailureGuard
from callgate.batch.input.feed import Feed
from callgate.batch.input.images import load_images
from callgate.batch.input.rows import Row
from callgate.batch.output.results import RowResult
from callgate.batch.progress import Waits
from callgate.batch.workers import Pool
from callgate.call.calling import Calling, RequestStatus
from callgate.errors import BatchStoppedError, InputError
from callgate.executor.executor import Executor
from callgate.model.base import Caller
from callgate.schema.answer import AnswerSchema

__all__ = ["RowCalls"]

_PROBE = 4
# An executor never forgets whom it tells, so each is asked once, and runs come and go here.
_told: WeakKeyDictionary[Executor, list[RowCalls]] = WeakKeyDictionary()


class RowCalls:
    """Calls a model for the rows of a feed, by a pool.

    Args:
        model: What is called.
        feed: The rows.
        most: Rows in flight at most.
        guard: When to stop because all rows fail in the same way.
        on_result: Told of each result before another row is begun in its place.
        on_abandoned: Told of each calling that was cancelled and of which nothing came.
        metadata: Kept on every calling.
        schema: What every answer must satisfy.
        budget: What all of it may cost at most.

    Example::

        calls = RowCalls(model, PulledFeed(source.blocks()), most=32, guard=FailureGuard())
        with calls.told():
            async for result in calls.pool.results():
                print(result)
        calls.raise_why_it_ended_early()
    """

    def __init__(
        self,
        model: Caller,
        feed: Feed,
        *,
        most: int,
        guard: FailureGuard,
        on_result: Callable[[RowResult], None] | None = None,
        on_abandoned: Callable[[Calling], None] | None = None,
        metadata: Mapping[str, Any] | None = None,
        schema: Mapping[str, Any] | AnswerSchema | None = None,
        budget: Budget | None = None,
    ) -> None:
        self.active: dict[Calling, Row] = {}
        """The calls that are made now; rows that wait for their share of the budget have none yet."""
        self.pool = Pool(
            self._call,
            feed,
            # Whoever waits for the budget is no call that one more could be beside.
            in_line=lambda: model.limiter.waiting + (0 if budget is None else budget.waiting),
            most=most,
            at_first=_PROBE,
            on_end=self._judge,
        )
        self._model = model
        self._feed = feed
        self._guard = guard
        self._on_result = on_result
        self._on_abandoned = on_abandoned
        self._loading = 0
        self._metadata = metadata
        self._schema = schema
        self._budget = budget
        self._worst: dict[str, tuple[Outstanding, float]] = {}
        """What an attempt may cost at most, of each call whose attempts are written down before they go."""

    @property
    def on_wire(self) -> int:
        """Rows whose request is sent and not answered."""
        return sum(map(_is_on_wire, self.active))

    @property
    def waits(self) -> Waits:
        """What its rows are at."""
        calls = self.active
        return Waits(
            calling=len(calls),
            backing_off=sum(map(_backs_off, calls)),
            sharing=sum(calling.shares for calling in calls),
            loading=self._loading,
        )

    @contextmanager
    def told(self) -> Iterator[None]:
        """Have it know, meanwhile, of each call that the model lets through."""
        executors = {model.executor for model in (self._model, *fallbacks_of(self._model))}
        for executor in executors:
            if executor not in _told:
                runs = _told[executor] = []
                executor.tell_dispatched(partial(_tell, runs))
            _told[executor].append(self)
        try:
            yield
        finally:
            for executor in executors:
                _told[executor].remove(self)

    def note_dispatched(self, calling: Calling) -> None:
        """An attempt, perhaps of somebody else's call, is about to go out."""
        self.pool.nudge()
        if self._worst:
            call = calling.request_id  # a second attempt's too: it is a twin
            written_ahead = self._worst.get(call)
            if written_ahead is not None:
                outstanding, worst = written_ahead
                outstanding.sent(call, worst)

    def drain(self) -> None:
        """Send no more requests; what is not on the wire is given up."""
        self.pool.drain()
        for calling in list(self.active):
            if not _is_on_wire(calling):
                calling.cancel()

    def raise_why_it_ended_early(self) -> None:
        """Raise what ended it before all rows were called, if something did.

        Raises:
            BatchStoppedError: all rows failed in the same way, or the budget is used up.
            Exception: what the rows raised.
        """
        verdict, budget, error = self._guard.verdict, self._budget, self._feed.error
        if verdict is not None:
            raise BatchStoppedError(str(verdict), error=verdict.error, count=verdict.count)
        if budget is not None and budget.refusal is not None:
            raise BatchStoppedError(str(budget.refusal), error=budget.refusal, count=0)
        if error is not None:
            raise error

    # -- the inside --------------------------------------------------------------------------------------

    def _judge(self, result: RowResult) -> None:
        if self._on_result is not None:
            self._on_result(result)
        self._guard.note(result.calling, result.error)
        if self._guard.verdict is not None:
            self.drain()
        elif result.ok:
            self.pool.open_up()

    async def _call(self, row: Row) -> RowResult | None:
        metadata = None if self._metadata is None else dict(self._metadata)
        calling = await self._model.create_calling(
            request_payload=row.request, metadata=metadata, response_schema=self._schema
        )
        if self._budget is not None:
            return await self._call_within(self._budget, calling, row)
        return await self._send(calling, row)

    async def _call_within(self, budget: Budget, calling: Calling, row: Row) -> RowResult | None:
        try:
            worst = await worst_case(self._model, calling, row)
        except InputError as error:
            # Not raised: that would cut off the calls on the wire, which are paid for.
            self._feed.fail(error)
            return None
        reserved = worst * most_attempts(self._model, calling)
        if not await budget.reserve(reserved):
            return None
        outstanding, call = budget.outstanding, calling.request_id
        if outstanding is not None:
            self._worst[call] = outstanding, worst
        result: RowResult | None = None
        try:
            result = await self._send(calling, row)
        finally:
            self._worst.pop(call, None)
            charged = charge(calling, calling.cost, worst)
            budget.settle(reserved, charged)
            if outstanding is not None and (result is None or result.given_up):
                outstanding.cut_off(call, charged)
        if result is not None:
            result.charged = charged
        return result

    async def _send(self, calling: Calling, row: Row) -> RowResult | None:
        self._loading += 1
        try:
            request = await load_images(row.request)
        except InputError as error:  # an image that has gone since its row was read
            calling.fail(error, asyncio.get_running_loop().time())
            return RowResult(row, calling)
        finally:
            self._loading -= 1
        if request is not row.request:
            loaded = {"messages": request["messages"]}
            calling.payload, calling.request = {**calling.payload, **loaded}, {**calling.request, **loaded}
        if self._feed.closed:  # asked to stop while its image was read, or it waited for its share
            return None
        self.active[calling] = row
        result: RowResult | None = None
        try:
            result = RowResult(row, await self._model.invoke(calling))
        finally:
            del self.active[calling]
            if self._on_abandoned is not None:
                _tell_if_abandoned(calling, result, self._on_abandoned)
        return result


def _tell_if_abandoned(calling: Calling, result: RowResult | None, tell: Callable[[Calling], None]) -> None:
    if result is None or result.given_up:
        tell(calling)


def _is_on_wire(calling: Calling) -> bool:
    return calling.attempts > len(calling.failures or ())


def _backs_off(calling: Calling) -> bool:
    """Whether it has failed and does not stand in the limiter's line yet."""
    return bool(calling.failures) and not _is_on_wire(calling) and calling.status is RequestStatus.CALLING


def _tell(runs: list[RowCalls], calling: Calling) -> None:
    for run in runs:
        run.note_dispatched(calling)
