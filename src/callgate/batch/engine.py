"""`Engine`: rows in, results out as they come, with bounded memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import astuple
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

from callgate.backends.service import ServiceBackend
from callgate.batch.completions import Completion, complete_all, total_cost
from callgate.batch.cost.budget import Budget
from callgate.batch.guard import FailureGuard
from callgate.batch.input.feed import AsyncFeed, Feed, PulledFeed
from callgate.batch.input.requests import RequestBuilder
from callgate.batch.input.rows import Row
from callgate.batch.output.results import RowResult
from callgate.batch.progress import RowStates
from callgate.batch.result_queue import ResultQueue
from callgate.batch.runner import ResultSink, Runner
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
            its own model. Concurrent runs share that model; it is closed when the last of them ends. What it
            used of its limits counts in the next run as well.
        serialization_path: The folder of the cache of the engine's own model; None: no cache. A given model
            has its own setting.
        max_inflight_requests: Rows in flight at most in one run, and from the first answer on, as far as the
            model's limits allow; None: as many as the model's limiter admits, at most 1,024.
        response_schema: A JSON schema that every answer must satisfy; see `iModel.invoke`.
        settings: Further keywords of `iModel`, for the engine's own model. With a provider object, those that
            belong to the model: `limit_requests` and the other limits, `executor`, `hedge`, `prices`,
            `fallbacks`, ...; `retry_config`, `timeout` and the like are set on the object itself.

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
            raise ConfigurationError(f"max_inflight_requests must be at least 1, got {max_inflight_requests}")
        self._make: Callable[..., Caller] | None = None
        if isinstance(provider, Caller):
            if settings:
                raise ConfigurationError(
                    f"a given model takes no further settings ({', '.join(sorted(settings))}); set them on it"
                )
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
        self._expected = max_inflight_requests
        self._draining = False
        self._runs: list[Runner] = []
        self._abandoned = 0

    async def run_into(
        self,
        rows: Feed | Iterable[Record] | AsyncIterable[Record],
        sink: ResultSink,
        *,
        guard: FailureGuard | None = None,
        on_abandoned: Callable[[Calling], None] | None = None,
        metadata: Mapping[str, Any] | None = None,
        budget: Budget | None = None,
    ) -> None:
        """Call for every row and push each result into `sink`; return when the last call has ended.

        At first only four rows are in flight, until one is answered: a failure that every row would meet then
        costs a few calls. Cancelling it cancels the calls in flight.

        Args:
            rows: Read as they are needed. An iterable must not block; an async iterable may wait.
            sink: Called with each result as its call ends, before another row is begun in its place: after a
                kill, no more is lost than the calls in flight, if the sink writes the result down. If it
                returns an awaitable, that is awaited first. What it raises ends the run.
            guard: Decides when to stop because all rows fail in the same way; None: `FailureGuard()`.
            on_abandoned: Called with each calling that was cancelled, so that it has no result.
            metadata: Kept on every calling.
            budget: What all calls together may cost.

        Raises:
            BatchStoppedError: when all rows fail in the same way, or the budget is used up (its `error` is
                then a `BudgetExceededError`).
            InputError: (or what else the rows raise) after the results of the rows before it.
            TypeError: when `rows` is one row.
            RuntimeError: when the engine was drained or aborted before.

        Example::

            await engine.run_into(["How big is the moon?"], lambda result: print(result.text))
        """
        if self._draining:
            raise RuntimeError("the engine was drained or aborted and sends no more requests; make a new one")
        feed = _feed(rows)
        del rows  # an error's traceback keeps this frame, and would keep open the file that they come from
        async with aclosing(feed), self._ready_model() as model:
            if self._expected is not None:
                model.limiter.expect(self._expected)
            runner = Runner(
                model,
                feed,
                sink,
                most=self._most,
                guard=guard or FailureGuard(),
                on_abandoned=on_abandoned,
                metadata=metadata,
                schema=self._schema,
                budget=budget,
            )
            self._runs.append(runner)
            try:
                await runner.run()
            finally:
                self._runs.remove(runner)
                self._abandoned += runner.abandoned

    async def run(
        self,
        rows: Feed | Iterable[Record] | AsyncIterable[Record],
        *,
        guard: FailureGuard | None = None,
        metadata: Mapping[str, Any] | None = None,
        budget: Budget | None = None,
    ) -> AsyncGenerator[RowResult, None]:
        """Call for every row; yield the results in the order in which the calls end.

        While `max_inflight_requests` results wait to be read, no more rows are begun. Leaving the loop early
        cancels the calls in flight; put `contextlib.aclosing` around it to have that done at once.

        Takes the arguments of `run_into` and raises what it raises, after the results so far.
        """
        results = ResultQueue(self._most)
        run = self.run_into(rows, results.put, guard=guard, metadata=metadata, budget=budget)
        del rows
        task = asyncio.get_running_loop().create_task(run)
        task.add_done_callback(results.end)
        try:
            while (result := await results.get()) is not None:
                yield result
        finally:
            task.cancel()
            await asyncio.wait([task])
        task.result()

    async def schedule_completions(
        self,
        conversations: Iterable[Record],
        temperature: float | None = None,
        task_name: str | None = None,
    ) -> list[Completion]:
        """Call for every conversation and return the answers in the order of the conversations.

        Args:
            conversations: Conversations, or what else `run` takes.
            temperature: For every request; None: each one's own, or the provider's default.
            task_name: Kept in the metadata of every calling.

        Returns:
            For each conversation `{"response": the provider's own JSON, "request_hash": ...}`. Of one without
            an answer, `"response"` is None and `"error"` holds the reason; none of them raises.

        Raises:
            InputError: before any call, when one of them cannot be sent.
            RuntimeError: when the engine was drained or aborted before.
        """
        builder = RequestBuilder(source="conversations")
        rows = [_row(record, index, builder) for index, record in enumerate(conversations)]
        return await complete_all(
            rows,
            partial(self.run_into, metadata=None if task_name is None else {"task_name": task_name}),
            lambda row: self.model.create_calling(request_payload=row.request),
            temperature,
        )

    def get_cost_from_completions(self, completions: Iterable[Mapping[str, Any]]) -> dict[str, float | None]:
        """The cost of the answers of `schedule_completions`, cached ones counted as if they were paid for.

        Returns:
            `input_tokens, output_tokens, total_tokens` and, in US dollars, `input_cost, output_cost,
            total_tokens_cost`; the costs are None when the price of an answer is not known.
        """
        return total_cost(self.model, completions)

    def drain(self) -> None:
        """Send no more requests, and start no run again; runs end when those on the wire are answered.

        Rows that are queued, or back off before a retry, are given up: they have cost nothing.
        """
        self._draining = True
        for run in self._runs:
            run.drain()

    def abort(self) -> None:
        """Cancel the calls in flight and send no more requests. The engine starts no run again."""
        self._draining = True
        for run in self._runs:
            run.abort()

    @property
    def in_flight(self) -> int:
        """Rows begun and not ended, except those that wait for their share of a budget."""
        return sum(len(run.active) for run in self._runs)

    @property
    def row_states(self) -> RowStates:
        """How many rows of all its runs wait for what."""
        each = [run.states for run in self._runs]
        return RowStates(*map(sum, zip(*map(astuple, each), strict=True)))

    @property
    def on_wire(self) -> int:
        """Rows whose request is sent and not answered."""
        return sum(run.on_wire for run in self._runs)

    def longest(self, count: int) -> list[tuple[Row, float]]:
        """The rows that have been in flight for longest, each with its seconds, longest first."""
        begun = [(calling.made_at, row) for run in self._runs for calling, row in run.active.items()]
        oldest = sorted(begun, key=itemgetter(0))[:count]
        now = asyncio.get_running_loop().time() if oldest else 0.0
        return [(row, now - made_at) for made_at, row in oldest]

    @property
    def abandoned(self) -> int:
        """Rows whose calls were cancelled, in all of its runs."""
        return self._abandoned + sum(run.abandoned for run in self._runs)

    @property
    def idle(self) -> bool:
        """True while all its runs wait for rows that are still to come."""
        return bool(self._runs) and all(run.feed.idle for run in self._runs)

    @asynccontextmanager
    async def _ready_model(self) -> AsyncGenerator[Caller, None]:
        """The given model, or the engine's own, which is closed with the last of the runs that share it: the
        next run may be on another event loop."""
        if self._make is None:
            yield self.model
            return
        loop = asyncio.get_running_loop()
        if self._loop is not None and not self._users:
            # A new model keeps the limiter, as a new one would admit a whole quota once more; but a limiter
            # cannot leave a loop that is still open.
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


def _feed(rows: Feed | Iterable[Record] | AsyncIterable[Record]) -> Feed:
    if isinstance(rows, Feed):
        return rows
    if isinstance(rows, str | Mapping):  # which are iterable too, by their letters or names
        raise TypeError("rows must be an iterable of rows, got a single row; put it into a list")
    builder = RequestBuilder(source="rows")
    if isinstance(rows, AsyncIterable):
        return AsyncFeed(_async_blocks(rows, builder))
    return PulledFeed(_blocks(rows, builder))


def _blocks(rows: Iterable[Record], builder: RequestBuilder) -> Iterator[list[Row]]:
    # One row a block, so that no row is taken from the caller's iterator before it is needed.
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
