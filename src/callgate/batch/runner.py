"""The calls of one run: made row by row, within a budget, judged as they end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from callgate.batch.cost.budget import Budget
from callgate.batch.cost.worst_case import UnboundedBudgetError, worst_of_endpoints
from callgate.batch.guard import FailureGuard
from callgate.batch.input.feed import Feed
from callgate.batch.input.media import MediaRequest
from callgate.batch.input.rows import Row
from callgate.batch.output.results import RowResult
from callgate.batch.progress import RowStates
from callgate.batch.workers import Workers
from callgate.call.calling import Calling, RequestStatus
from callgate.errors import BatchStoppedError, BudgetExceededError, InputError
from callgate.executor.executor import Executor
from callgate.model.base import Caller
from callgate.schema.answer import AnswerSchema

__all__ = ["ResultSink", "Runner"]

ResultSink = Callable[[RowResult], Awaitable[object] | None]
"""Takes each result before the next row is begun in its place; what it returns is awaited first."""

_PROBE = 4
# An executor has no way to remove a listener, so each has one, and runs come and go here.
_runs: WeakKeyDictionary[Executor, list[Runner]] = WeakKeyDictionary()


class Runner:
    """Calls a model for the rows of a feed and pushes the results into a sink.

    Args:
        model: The model.
        feed: The rows.
        sink: Takes the results in the order in which the calls end. What it raises ends the run.
        most: Rows in flight at most.
        guard: Decides when to stop because all rows fail in the same way.
        on_abandoned: Called with each calling that was cancelled, so that it has no result.
        metadata: Kept on every calling.
        schema: The JSON schema that every answer must satisfy.
        budget: What all calls together may cost.

    Example::

        feed = PulledFeed(source.blocks())
        await Runner(model, feed, print, most=32, guard=FailureGuard()).run()
    """

    def __init__(
        self,
        model: Caller,
        feed: Feed,
        sink: ResultSink,
        *,
        most: int,
        guard: FailureGuard,
        on_abandoned: Callable[[Calling], None] | None = None,
        metadata: Mapping[str, Any] | None = None,
        schema: Mapping[str, Any] | AnswerSchema | None = None,
        budget: Budget | None = None,
    ) -> None:
        self.feed = feed
        self.active: dict[Calling, Row] = {}
        """The calls in flight, those that wait for the budget included."""
        limiter = model.limiter
        self._workers = Workers(
            self._process,
            feed,
            # One more call could not be sent before those that wait for the budget, or are about to.
            queued=lambda: limiter.waiting + (0 if budget is None else budget.waiting + self._loading),
            most=most,
            at_first=_PROBE,
        )
        self._model = model
        self._sink = sink
        self._guard = guard
        self._on_abandoned = on_abandoned
        self._metadata = metadata
        self._schema = schema
        self._budget = budget
        self._probing = True
        self._loading = 0
        self._given_up = 0
        self._invoke: Callable[[Calling], Awaitable[object]] = model.invoke

    async def run(self) -> None:
        """Call for all rows, and return when the last call has ended. Cancelling it cancels those in flight.

        Raises:
            BatchStoppedError: when all rows fail in the same way, or the budget is used up.
            Exception: what the feed or the sink raised.
        """
        if self._budget is not None:
            layer = self._budget.layer(worst_of_endpoints(self._model))
            self._invoke = self._model.invoke_within([layer])
        with self._listening():
            await self._workers.run()
        stop, budget, error = self._guard.stop_reason, self._budget, self.feed.error
        if stop is not None:
            raise BatchStoppedError(stop.message, error=stop.error, count=stop.count)
        if budget is not None and budget.refusal is not None:
            raise BatchStoppedError("", error=budget.refusal, count=0)
        if error is not None:
            raise error

    def drain(self) -> None:
        """Send no more requests; rows whose request is not on the wire are given up."""
        self._workers.drain()
        for calling in list(self.active):
            if not _is_on_wire(calling):
                calling.cancel()

    def abort(self) -> None:
        """Cancel the calls in flight and begin no more rows."""
        self._workers.abort()

    @property
    def abandoned(self) -> int:
        """Rows begun whose call was cancelled, so that they have no result."""
        return self._given_up + self._workers.cancelled

    @property
    def on_wire(self) -> int:
        """Rows whose request is sent and not answered."""
        return sum(map(_is_on_wire, self.active))

    @property
    def states(self) -> RowStates:
        """How many of its rows wait for what."""
        calls = self.active
        return RowStates(
            calling=len(calls),
            backing_off=sum(map(_backs_off, calls)),
            sharing=sum(calling.shares for calling in calls),
            loading=self._loading,
        )

    def note_dispatched(self, calling: Calling) -> None:
        """An attempt, perhaps of another user's call, is about to be sent."""
        self._workers.grow()
        if self._budget is not None:
            self._budget.dispatched(calling)

    # -- internals ---------------------------------------------------------------------------------------

    async def _process(self, row: Row) -> None:
        """Call for one row and deliver its result. One flat function: it runs for every row of a batch."""
        metadata = None if self._metadata is None else dict(self._metadata)
        calling = await self._model.create_calling(
            request_payload=row.request, metadata=metadata, response_schema=self._schema, http_path=row.path
        )
        result: RowResult | None = None
        try:
            if isinstance(row.request, MediaRequest):
                await self._load_media(calling, row.request)
            if self.feed.closed:  # while its files were read
                return
            self.active[calling] = row
            await self._invoke(calling)
            result = RowResult(row, calling)
        finally:
            self.active.pop(calling, None)
            given_up = result is None or (calling.cancels > 0 and result.given_up)
            refused = self._budget is not None and self._is_refused(calling, row)
            if self._budget is not None:
                charged = self._budget.charged(calling)
                if result is not None:
                    result.charged = charged
            given_up = given_up or (refused and bool(calling.attempts))
            if given_up and self._on_abandoned is not None:
                self._on_abandoned(calling)
        if given_up or refused:
            self._given_up += given_up
            return
        waiting = self._sink(result)
        self._guard.note(calling, result.error)
        if self._guard.stop_reason is not None:
            self.drain()
        elif self._probing and result.error is None:
            self._probing = False
            self._workers.open_up()
        if waiting is not None:
            await waiting

    async def _load_media(self, calling: Calling, request: MediaRequest) -> None:
        """Put the files into the calling's request; a calling whose files cannot be read fails."""
        self._loading += 1
        try:
            loaded = {"messages": (await request.load())["messages"]}
        except InputError as error:  # a file that was removed after its row was read
            calling.fail(error, asyncio.get_running_loop().time())
        else:
            calling.payload, calling.request = {**calling.payload, **loaded}, {**calling.request, **loaded}
        finally:
            self._loading -= 1

    def _is_refused(self, calling: Calling, row: Row) -> bool:
        """Whether the budget refused the call: the row then has no result, and no other one is begun."""
        error = calling.error
        if isinstance(error, UnboundedBudgetError):
            self.feed.fail(InputError(f"line {row.line}: {error}"))
            return True
        if isinstance(error, BudgetExceededError):
            self.feed.close()
            return True
        return False

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Have `note_dispatched` called, meanwhile, for each attempt that the model's limiters admit."""
        executor = self._model.executor
        if executor not in _runs:
            runs = _runs[executor] = []
            executor.on_dispatched(partial(_note_dispatched, runs))
        _runs[executor].append(self)
        try:
            yield
        finally:
            _runs[executor].remove(self)


def _is_on_wire(calling: Calling) -> bool:
    return calling.in_flight


def _backs_off(calling: Calling) -> bool:
    """Whether its last attempt failed and it is not queued at the limiter yet."""
    return bool(calling.attempts) and not calling.in_flight and calling.status is RequestStatus.CALLING


def _note_dispatched(runs: list[Runner], calling: Calling) -> None:
    for run in runs:
        run.note_dispatched(calling)
