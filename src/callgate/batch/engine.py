"""`Engine`: rows in, results out as they come, bounded memory in and out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import astuple
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

from callgate.backends.service import ServiceBackend
from callgate.batch.completions import Completion, schedule, total_cost
from callgate.batch.cost.budget import Budget
from callgate.batch.guard import FailureGuard
from callgate.batch.input.feed import AsyncFeed, Feed, PulledFeed
from callgate.batch.input.requests import RequestBuilder
from callgate.batch.input.rows import Row
from callgate.batch.output.results import RowResult
from callgate.batch.progress import Waits
from callgate.batch.runner import RowCalls
from callgate.call.calling import Calling
from callgate.errors import ConfigurationError
from callgate.messages import Conversation
from callgate.model.base import Caller
from callgate.model.model import iModel
from callgate.schema.answer import AnswerSchema

__all__ = ["Engine", "Record"]

Record = Row | Conversation | dict[str, Any] | str
"""What a row may be given as: a conversation, a prompt, a request with `messages` or `prompt`, or a `Row`."""

_MOST_WORKERS = 1024


class Engine:
    """Runs batches of rows against one model.

    Args:
        provider: A model; or a provider object (any backend) or a provider's name, for which the engine makes
            a model of its own. Runs at the same time share it, and with the last of them it is closed; what
            it used of its limits counts in the next run as well.
        serialization_path: The folder of the cache of a model of its own; None: no cache. A given model has
            its own setting.
        max_inflight_requests: Rows in flight at most in one run; None: as many as the model's limiter lets
            through, at most 1,024.
        response_schema: A JSON schema that every answer must satisfy; see `iModel.invoke`.
        settings: Further keywords of `iModel`, for a model of its own. With a provider object, those that are
            the model's: `limit_requests` and the other limits, `executor`, `hedge`, `prices`, `fallbacks`,
            ...; its `retry_config`, `timeout` and the like are the object's own, and set on it.

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
        self._make: Callable[..., Caller] | None = None
        if isinstance(provider, Caller):
            if settings:
                raise ConfigurationError(f"a model takes no further settings ({', '.join(sorted(settings))})")
            self.model: Caller = provider
        else:
            which: dict[str, Any] = {"provider" if isinstance(provider, str) else "backend": provider}
            self._make = partial(iModel, **which, cache=serialization_path, **settings)
            self.model = self._make()
        self._owns_executor = self._make is not None and "executor" not in settings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._users = 0
        self._schema = response_schema
        self._most = max_inflight_requests or _MOST_WORKERS
        self._draining = False
        self._runs: list[RowCalls] = []
        self._abandoned = 0

    async def run(
        self,
        rows: Feed | Iterable[Record] | AsyncIterable[Record],
        *,
        guard: FailureGuard | None = None,
        on_result: Callable[[RowResult], None] | None = None,
        on_abandoned: Callable[[Calling], None] | None = None,
        metadata: Mapping[str, Any] | None = None,
        budget: Budget | None = None,
    ) -> AsyncGenerator[RowResult, None]:
        """Call for every row; the results come in the order in which the calls end.

        At first only four rows are in flight, until one is answered: a failure that every row would meet then
        costs a handful of calls. Leaving the loop early cancels what is in flight; to have that done when the
        next line runs, put `contextlib.aclosing` around it.

        Args:
            rows: Read as they are needed. An iterable must not wait for others; an async iterable may.
            guard: When to stop because all rows fail in the same way; None: the usual measure.
            on_result: Called with each result at once, before another row is begun in its place: who writes
                it down here can be killed at any moment and has lost no more than what was in flight. What
                it raises ends the run.
            on_abandoned: Called with each calling that was cancelled: no result tells what was sent for it.
            metadata: Kept on every calling.
            budget: What all of it may cost at most.

        Raises:
            BatchStoppedError: after the results so far, when all rows fail in the same way, or the budget is
                used up (its `error` is then a `BudgetExceededError`).
            InputError: (or what else the rows raise) after the results of the rows before it.
            TypeError: when `rows` is one row.
            RuntimeError: when the engine was drained or aborted before.
        """
        if self._draining:
            raise RuntimeError("the engine was drained or aborted, and sends no more; make another one")
        feed = _feed(rows)
        del rows  # an error's traceback keeps this frame, which is not to keep open the file they come from
        async with aclosing(feed), self._ready_model() as model:
            calls = RowCalls(
                model,
                feed,
                most=self._most,
                guard=guard or FailureGuard(),
                on_result=on_result,
                on_abandoned=on_abandoned,
                metadata=metadata,
                schema=self._schema,
                budget=budget,
            )
            with self._noted(calls), calls.told():
                async with aclosing(calls.pool.results()) as results:
                    async for result in results:
                        yield result
        calls.raise_why_it_ended_early()

    async def schedule_completions(
        self,
        conversations: Iterable[Record],
        temperature: float | None = None,
        task_name: str | None = None,
    ) -> list[Completion]:
        """Answer every conversation, and return all of them in the order in which they were given.

        Args:
            conversations: What is asked: conversations, or what else `run` takes.
            temperature: For every request; None: each one's, or the provider's own.
            task_name: Kept in the metadata of every calling.

        Returns:
            For each conversation `{"response": the provider's own JSON, "request_hash": ...}`. One that was
            not answered has `"response": None` and says why in `"error"`; none of them raises.

        Raises:
            InputError: before any call, when one of them asks nothing.
            RuntimeError: when the engine was drained or aborted before.
        """
        builder = RequestBuilder(source="conversations")
        rows = [_row(record, index, builder) for index, record in enumerate(conversations)]
        return await schedule(self, rows, temperature, task_name)

    def get_cost_from_completions(self, completions: Iterable[Mapping[str, Any]]) -> dict[str, float | None]:
        """What the answers of `schedule_completions` cost when they are paid for, cached ones too.

        Returns:
            `input_tokens, output_tokens, total_tokens` and, in US dollars, `input_cost, output_cost,
            total_tokens_cost`; the costs are None when the price of an answer is not known.
        """
        return total_cost(self.model, completions)

    def drain(self) -> None:
        """Send no more requests, ever; `run` ends when those on the wire are answered, and cannot be called
        again.

        Rows that wait for their quota, or back off before a retry, are given up: nothing is lost with them.
        """
        self._draining = True
        for run in self._runs:
            run.drain()

    def abort(self) -> None:
        """Cancel what is in flight, and send no more requests, ever; `run` ends with what there is, and
        cannot be called again."""
        self._draining = True
        for run in self._runs:
            run.pool.abort()

    @property
    def in_flight(self) -> int:
        """Rows begun and not ended, those excepted that wait for their share of a budget."""
        return sum(len(run.active) for run in self._runs)

    @property
    def waits(self) -> Waits:
        """What the rows of all its runs are at."""
        each = [run.waits for run in self._runs]
        return Waits(*map(sum, zip(*map(astuple, each), strict=True)))

    @property
    def on_wire(self) -> int:
        """Rows whose request is sent and not answered."""
        return sum(run.on_wire for run in self._runs)

    def longest(self, count: int) -> list[tuple[Row, float]]:
        """The rows that have been in flight for longest, with their seconds: who keeps the end waiting."""
        begun = [(calling.made_at, row) for run in self._runs for calling, row in run.active.items()]
        oldest = sorted(begun, key=itemgetter(0))[:count]
        now = asyncio.get_running_loop().time() if oldest else 0.0
        return [(row, now - made_at) for made_at, row in oldest]

    @property
    def abandoned(self) -> int:
        """Rows whose calls were cancelled, in all of its runs."""
        return self._abandoned + sum(run.pool.abandoned for run in self._runs)

    @property
    def idle(self) -> bool:
        """Whether it waits for rows that are still to come."""
        return bool(self._runs) and all(run.pool.feed.idle for run in self._runs)

    @asynccontextmanager
    async def _ready_model(self) -> AsyncGenerator[Caller, None]:
        """The model that was given, or one of its own, which is closed when nobody runs any more: the next
        run may be on another event loop."""
        if self._make is None:
            yield self.model
            return
        loop = asyncio.get_running_loop()
        if self._loop is not None and not self._users:
            # With the limiter it had, as a new one would admit a whole quota once more; but that cannot leave
            # a loop which is still open.
            kept = {"executor": self.model.executor, "limit_requests": None, "limit_tokens": None}
            self.model = self._make(**kept if self._loop is loop or self._loop.is_closed() else {})
        executor = self.model.executor
        if self._owns_executor:
            executor.open()
        self._loop = loop
        self._users += 1
        try:
            yield self.model
        finally:
            self._users -= 1
            if not self._users:
                if self._owns_executor:
                    await executor.stop()
                await self.model.close()

    @contextmanager
    def _noted(self, run: RowCalls) -> Iterator[None]:
        """Known to those who drain, abort or watch, for as long as it takes."""
        self._runs.append(run)
        try:
            yield
        finally:
            self._runs.remove(run)
            self._abandoned += run.pool.abandoned


def _feed(rows: Feed | Iterable[Record] | AsyncIterable[Record]) -> Feed:
    if isinstance(rows, Feed):
        return rows
    if isinstance(rows, str | Mapping):  # which are iterable too, by their letters or names
        raise TypeError("rows is one row, and not an iterable of rows; put it into a list")
    builder = RequestBuilder(source="rows")
    if isinstance(rows, AsyncIterable):
        return AsyncFeed(_async_blocks(rows, builder))
    return PulledFeed(_blocks(rows, builder))


def _blocks(rows: Iterable[Record], builder: RequestBuilder) -> Iterator[list[Row]]:
    # One row a block: not one more than is needed is taken from the caller's iterator.
    for index, record in enumerate(rows):
        yield [_row(record, index, builder)]


async def _async_blocks(
    rows: AsyncIterable[Record], builder: RequestBuilder
) -> AsyncGenerator[list[Row], None]:
    index = 0
    async for record in rows:
        yield [_row(record, index, builder)]
        index += 1


def _row(record: Record, index: int, builder: RequestBuilder) -> Row:
    if isinstance(record, Row):
        return record
    if isinstance(record, Conversation):
        record = {"messages": record.to_messages()}
    elif isinstance(record, str):
        record = {"prompt": record}
    return builder.build(record, index, index + 1)
