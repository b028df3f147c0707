"""`Engine`: rows in, results out as they come, bounded memory in and out."""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from callgate.backends.service import ServiceBackend
from callgate.batch.budget import Budget, charge, worst_case
from callgate.batch.completions import Completion, schedule, total_cost
from callgate.batch.feed import AsyncFeed, Feed, PulledFeed
from callgate.batch.guard import FailureGuard
from callgate.batch.images import load_images
from callgate.batch.pool import Pool
from callgate.batch.requests import RequestBuilder
from callgate.batch.results import RowResult
from callgate.batch.rows import Row, content_key
from callgate.caller import Caller
from callgate.calling import Calling
from callgate.errors import BatchStoppedError, ConfigurationError, InputError
from callgate.layers.answer_schema import AnswerSchema
from callgate.messages import Conversation
from callgate.model import iModel

__all__ = ["Engine", "Record"]

Record = Row | Conversation | dict[str, Any] | str
"""What a row may be given as: a conversation, a prompt, a request with `messages` or `prompt`, or a `Row`."""

_PROBE = 4
_MOST_WORKERS = 1024


class Engine:
    """Runs batches of rows against one model.

    Args:
        provider: A model; or a provider object (any backend) or a provider's name, for which the engine makes
            a model of its own in each run.
        serialization_path: The folder of the cache of a model of its own; None: no cache. A given model has
            its own setting.
        max_inflight_requests: Rows in flight at most; None: as many as the model's limiter lets through, at
            most 1,024.
        response_schema: A JSON schema that every answer must satisfy; see `iModel.invoke`.
        settings: Further keywords of `iModel`, for a model of its own.

    Raises:
        ConfigurationError: as `iModel` does.

    Example::

        async with iModel(provider="openai", model="gpt-4o-mini", limit_requests=500) as model:
            async for result in Engine(model).run(["How big is the moon?", "How big is the sun?"]):
                print(result.row.index, result.text or result.error)

        engine = Engine(providers.OpenAICompatibleApiProvider(key, base_url, model_id="gpt-4o-mini"))
        completions = asyncio.run(engine.schedule_completions(conversations, 0.3, "example"))
        print(engine.get_cost_from_completions(completions))
    """

    def __init__(
        self,
        provider: Caller | ServiceBackend | str,
        serialization_path: str | Path | None = "cache",
        max_inflight_requests: int | None = 32,
        *,
        response_schema: Mapping[str, Any] | AnswerSchema | None = None,
        **settings: Any,
    ) -> None:
        if max_inflight_requests is not None and max_inflight_requests < 1:
            raise ConfigurationError(f"max_inflight_requests must be at least 1, not {max_inflight_requests}")
        self._make: Callable[[], Caller] | None = None
        if isinstance(provider, Caller):
            if settings:
                raise ConfigurationError(f"a model takes no further settings ({', '.join(sorted(settings))})")
            self.model: Caller = provider
        else:
            which: dict[str, Any] = {"provider" if isinstance(provider, str) else "backend": provider}
            self._make = partial(iModel, **which, cache=serialization_path, **settings)
            self.model = self._make()
        self._schema = response_schema
        self._most = max_inflight_requests or _MOST_WORKERS
        self._used = False
        self._pool: Pool | None = None
        self._draining = False
        self._active: dict[Calling, Row] = {}
        self._charged: dict[Calling, float] = {}
        self.model.executor.tell_dispatched(self._let_through)

    async def run(
        self,
        rows: Feed | Iterable[Record] | AsyncIterable[Record],
        *,
        guard: FailureGuard | None = None,
        on_result: Callable[[RowResult], None] | None = None,
        metadata: Mapping[str, Any] | None = None,
        budget: Budget | None = None,
    ) -> AsyncGenerator[RowResult, None]:
        """Call for every row; the results come in the order in which the calls end.

        At first only four rows are in flight, until one is answered: a failure that every row would meet then
        costs a handful of calls. Leaving the loop early cancels what is in flight.

        Args:
            rows: Read as they are needed. An iterable must not wait for others; an async iterable may.
            guard: When to stop because all rows fail in the same way; None: the usual measure.
            on_result: Called with each result at once, before another row is begun in its place: who writes
                it down here can be killed at any moment and has lost no more than what was in flight. What
                it raises ends the run.
            metadata: Kept on every calling.
            budget: What all of it may cost at most.

        Raises:
            BatchStoppedError: after the results so far, when all rows fail in the same way, or the budget is
                used up (its `error` is then a `BudgetExceededError`).
            InputError: (or what else the rows raise) after the results of the rows before it.
        """
        guard = guard or FailureGuard()

        def judge(result: RowResult) -> None:
            result.charged = self._charged.pop(result.calling, None)
            if on_result is not None:
                on_result(result)
            guard.note(result.calling)
            if guard.verdict is not None:
                self._send_no_more()
            elif result.ok:
                pool.open_up()

        async with self._ready_model() as model:
            feed = self._feed(rows)
            self._pool = pool = Pool(
                partial(self._call, model, metadata, budget),
                feed,
                in_line=lambda: model.limiter.waiting,
                most=self._most,
                at_first=_PROBE,
                on_end=judge,
            )
            if self._draining:
                pool.drain()
            try:
                async with aclosing(pool.results()) as results:
                    async for result in results:
                        yield result
            finally:
                feed.close()
        if guard.verdict is not None:
            raise BatchStoppedError(str(guard.verdict), error=guard.verdict.error, count=guard.verdict.count)
        if budget is not None and budget.refusal is not None:
            raise BatchStoppedError(str(budget.refusal), error=budget.refusal, count=0)
        if feed.error is not None:
            raise feed.error

    async def schedule_completions(
        self,
        conversations: Iterable[Conversation],
        temperature: float | None = None,
        task_name: str | None = None,
    ) -> list[Completion]:
        """Answer every conversation, and return all of them in the order in which they were given.

        Args:
            conversations: What is asked.
            temperature: For every request; None: the provider's own.
            task_name: Kept in the metadata of every calling.

        Returns:
            For each conversation `{"response": the provider's own JSON, "request_hash": ...}`. One that was
            not answered has `"response": None` and says why in `"error"`; none of them raises.
        """
        return await schedule(self, conversations, temperature, task_name)

    def get_cost_from_completions(self, completions: Iterable[Mapping[str, Any]]) -> dict[str, float | None]:
        """What the answers of `schedule_completions` cost when they are paid for, cached ones too.

        Returns:
            `input_tokens, output_tokens, total_tokens` and, in US dollars, `input_cost, output_cost,
            total_tokens_cost`; the costs are None when the price of an answer is not known.
        """
        return total_cost(getattr(self.model, "backend", None), completions)

    def drain(self) -> None:
        """Send no more requests; `run` ends when those on the wire have been answered.

        Rows that wait for their quota, or back off before a retry, are given up: nothing is lost with them.
        """
        self._draining = True
        self._send_no_more()

    def _send_no_more(self) -> None:
        if self._pool is not None:
            self._pool.drain()
        for calling in list(self._active):
            if not _is_on_wire(calling):
                calling.cancel()

    def abort(self) -> None:
        """Cancel what is in flight; `run` ends with what there is."""
        self._draining = True
        if self._pool is not None:
            self._pool.abort()

    @property
    def in_flight(self) -> int:
        """Rows begun and not ended."""
        return len(self._active)

    @property
    def on_wire(self) -> int:
        """Rows whose request is sent and not answered."""
        return sum(map(_is_on_wire, self._active))

    def longest(self, count: int) -> list[tuple[Row, float]]:
        """The rows that have been in flight for longest, with their seconds: who keeps the end waiting."""
        oldest = sorted(self._active, key=_made_at)[:count]
        now = asyncio.get_running_loop().time() if oldest else 0.0
        return [(self._active[calling], now - calling.made_at) for calling in oldest]

    @property
    def abandoned(self) -> int:
        """Rows whose calls were cancelled."""
        return 0 if self._pool is None else self._pool.abandoned

    @property
    def idle(self) -> bool:
        """Whether it waits for rows that are still to come."""
        return self._pool is not None and self._pool.feed.idle

    @asynccontextmanager
    async def _ready_model(self) -> AsyncGenerator[Caller, None]:
        """The model that was given, or one of its own that is closed with the run: the next run may be on
        another event loop."""
        if self._make is None:
            yield self.model
            return
        if self._used:
            self.model = self._make()
            self.model.executor.tell_dispatched(self._let_through)
        self._used = True
        async with self.model as model:
            yield model

    def _let_through(self, _: Calling) -> None:
        if self._pool is not None:
            self._pool.nudge()

    async def _call(
        self, model: Caller, metadata: Mapping[str, Any] | None, budget: Budget | None, row: Row
    ) -> Calling | None:
        kept = None if metadata is None else dict(metadata)
        try:
            request = await load_images(row.request)
        except InputError as error:  # an image that has gone since its row was read
            failed = Calling(row.request, metadata=kept)
            failed.fail(error, asyncio.get_running_loop().time())
            return failed
        calling = await model.create_calling(
            request_payload=request, metadata=kept, response_schema=self._schema
        )
        if budget is not None:
            return await self._call_within(budget, model, calling, row)
        self._active[calling] = row
        try:
            return await model.invoke(calling)
        finally:
            del self._active[calling]

    async def _call_within(self, budget: Budget, model: Caller, calling: Calling, row: Row) -> Calling | None:
        worst = await worst_case(model, calling, row)
        if not await budget.reserve(worst * budget.attempts):
            return None
        if self._draining:  # asked to stop while it waited for its share
            budget.settle(worst * budget.attempts, 0.0)
            return None
        self._active[calling] = row
        try:
            return await model.invoke(calling)
        finally:
            del self._active[calling]
            charged = charge(calling, calling.cost, worst)
            self._charged[calling] = charged
            budget.settle(worst * budget.attempts, charged)

    def _feed(self, rows: Feed | Iterable[Record] | AsyncIterable[Record]) -> Feed:
        if isinstance(rows, Feed):
            return rows
        builder = RequestBuilder(source="rows")
        if isinstance(rows, AsyncIterable):
            return AsyncFeed(_async_blocks(rows, builder))
        return PulledFeed(_blocks(rows, builder))


def _made_at(calling: Calling) -> float:
    return calling.made_at


def _is_on_wire(calling: Calling) -> bool:
    return calling.attempts > len(calling.failures or ())


def _blocks(rows: Iterable[Record], builder: RequestBuilder) -> Iterator[list[Row]]:
    # One row a block: not one more than is needed is taken from the caller's iterator.
    for index, record in enumerate(rows):
        yield [_row(record, index, builder)]


async def _async_blocks(rows: AsyncIterable[Record], builder: RequestBuilder) -> AsyncIterator[list[Row]]:
    index = 0
    async for record in rows:
        yield [_row(record, index, builder)]
        index += 1


def _row(record: Record, index: int, builder: RequestBuilder) -> Row:
    if isinstance(record, Row):
        return record
    if isinstance(record, Conversation):
        messages = {"messages": record.to_messages()}
        return Row(index, index + 1, None, content_key(messages), messages)
    if isinstance(record, str):
        record = {"prompt": record}
    return builder.build(record, index, index + 1)
