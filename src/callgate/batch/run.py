"""One run of a file through an engine into an output: what `callgate run` does, without a terminal."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Literal, get_args

from callgate.batch.cost.budget import Budget
from callgate.batch.cost.worst_case import UnboundedBudgetError, longest_answer, worst_of_endpoints
from callgate.batch.engine import Engine
from callgate.batch.guard import FailureGuard
from callgate.batch.input.feed import AsyncFeed, Feed, PulledFeed, ThreadFeed
from callgate.batch.input.fingerprint import Fingerprints
from callgate.batch.input.media import load_media
from callgate.batch.input.record_source import RecordSource
from callgate.batch.input.rows import Row
from callgate.batch.input.sources import BadRow, Source
from callgate.batch.options import OnBadRow, OnChange
from callgate.batch.output.journal import Journal
from callgate.batch.output.results import RowResult, encode_bad_row
from callgate.batch.output.row_order import RowOrder
from callgate.batch.output.store import ResultStore
from callgate.batch.output.table import InputRows
from callgate.batch.progress import EndpointProgress, Progress, ProgressSampler, seconds_left, waiting_for
from callgate.batch.stats import EndpointStats, Stats
from callgate.batch.unfinished import UnfinishedRows, name_of
from callgate.errors import (
    BatchStoppedError,
    BudgetExceededError,
    ConfigurationError,
    InputError,
    InvalidRequestError,
    QuotaTooSmallError,
)
from callgate.model.spread import Spread

__all__ = ["BatchRun", "Ending", "Summary"]

Ending = Literal["done", "failures", "stopped", "budget", "input", "output", "interrupted"]
"""How a run ended: all rows answered; some failed; all failed in the same way; the budget used up; an input
that cannot be used; an output that cannot be written; interrupted."""

# Enough to find what is wrong with a file as a whole; these rows are read twice.
_CHECKED_BYTES = 4 * 1024 * 1024
_BOUNDED_ROWS = 10_000
_SYNC_SECONDS = 5.0
_NAMED = 3
# A limit that no row fits is a wrong setting, not a failure of the provider.
_ENDINGS: dict[type[BaseException], Ending] = {QuotaTooSmallError: "input", BudgetExceededError: "budget"}


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run did and how it ended.

    Attributes:
        ending: How it ended.
        message: Why, when it did not simply come to its end.
        progress: Its state at the end.
        abandoned: Rows whose calls were cancelled.
        error: What `message` is the text of, if it is an error.
        left_out: Answers that a table does not hold, as the input does not have their rows any more.

    Example::

        summary = await batch.run(journal)
        if summary.ending != "done":
            print(summary.message, [group.example for group in summary.progress.stats.error_groups()])
    """

    ending: Ending
    message: str | None
    progress: Progress
    abandoned: int
    error: BaseException | None = None
    left_out: int = 0


class BatchRun:
    """Reads rows, skips those answered before, calls for the others, writes the results.

    Args:
        engine: Makes the calls.
        source: The rows.
        guard: Decides when to stop because rows fail; None: `FailureGuard()`.
        budget: What all calls together may cost.
        metadata: Kept on every calling; {"sample": 1} asks a cache for another answer than sample 0.
        order: Notes the rows in the order in which they are read.
        on_bad_row: "stop": a row that cannot be used ends the run, after the rows before it are answered;
            "skip": it is written to the errors file and counted as failed.
        on_change: What becomes of finished rows that would be asked differently now: "keep" their answers, or
            "reask" them; None: they end the run.
        fingerprints: What the rows ask; None: this is neither kept nor compared.

    Raises:
        ConfigurationError: for any other `on_bad_row` or `on_change`.

    Example::

        batch = BatchRun(engine, Source("in.jsonl"))
        batch.check()
        async with Journal("out.jsonl") as journal:
            summary = await batch.run(journal)
        print(summary.ending, summary.progress.stats.done)
    """

    def __init__(
        self,
        engine: Engine,
        source: Source,
        *,
        guard: FailureGuard | None = None,
        budget: Budget | None = None,
        metadata: Mapping[str, Any] | None = None,
        order: RowOrder | None = None,
        on_bad_row: OnBadRow = "stop",
        on_change: OnChange | None = None,
        fingerprints: Fingerprints | None = None,
    ) -> None:
        if on_bad_row not in get_args(OnBadRow):
            raise ConfigurationError(
                f"on_bad_row must be stop or skip, got {on_bad_row!r}", setting="on_bad_row"
            )
        self.engine = engine
        self.source = source
        self.stats = Stats()
        self.total: int | None = None
        self.draining = False
        self.budget = budget
        self._guard = guard
        self._metadata = metadata
        self._order = order
        self._skips_bad_rows = on_bad_row == "skip"
        self._fingerprints = fingerprints
        self._rows = UnfinishedRows(source, order=order, fingerprints=fingerprints, on_change=on_change)
        self._interrupted = False
        self._output_error: InputError | None = None
        self._sampler: ProgressSampler | None = None
        self._abandoned_before = 0
        self._stop_counting = threading.Event()

    def check(self) -> None:
        """Read ahead, so that most bad input is found before the first call: the first 4 MB of a file.

        Raises:
            InputError: naming up to 20 rows that cannot be used, unless these are skipped.
        """
        self.total = self.source.check(_CHECKED_BYTES, skips_bad_rows=self._skips_bad_rows)

    async def check_bounds(self) -> None:
        """Read ahead, so that a budget which cannot be kept shows before the output is touched: among the
        first ten thousand rows, one of each kind. Kinds differ in the model that they name, and in whether
        they bound their answer.

        Raises:
            InputError: naming the line of a row whose largest cost is not known.
        """
        if self.source.once:
            return
        kinds: dict[tuple[str | None, bool], Row] = {}
        rows = chain.from_iterable(self.source.blocks(lambda _: None))  # `check` reports the unusable ones
        for row in islice(rows, _BOUNDED_ROWS):
            model = row.request.get("model")
            kind = model if isinstance(model, str) else None, longest_answer(row.request) is None
            kinds.setdefault(kind, row)
        for row in kinds.values():
            await self._check_bound(row)

    async def _check_bound(self, row: Row) -> None:
        model = self.engine.model
        calling = await model.create_calling(
            request_payload=await load_media(row.request), http_path=row.path
        )
        try:
            worst_of_endpoints(model)(calling)
        except UnboundedBudgetError as error:
            raise InputError(
                error.args[0],
                source=self.source.name,
                line=row.line,
                setting=error.setting,
                remedy=error.remedy,
            ) from None
        except InvalidRequestError:
            pass  # the row fails by itself, and nothing is sent for it

    @property
    def skipped(self) -> int:
        """Rows that were answered before."""
        return self._rows.skipped

    async def compare(self, journal: Journal) -> str | None:
        """Compare all rows with the answers of earlier runs; before `run`.

        Returns:
            The name of the file with the answers of rows that are asked again, or None.

        Raises:
            RowsChangedError: when finished rows would be asked differently now, and `on_change` is None.
            InputError: when a file cannot be read or written.
        """
        return await self._rows.compare(journal, lambda: self.draining)

    def table_rows(self) -> InputRows:
        """All rows of the input, as the table of an output holds them.

        Raises:
            InputError: when the input cannot be read.
        """
        return self._rows.table_rows()

    async def run(self, journal: ResultStore) -> Summary:
        """Run to the end. Errors of input, output and provider end it in order, and are in the summary."""
        loop = asyncio.get_running_loop()
        self._sampler = ProgressSampler(loop.time())
        self._abandoned_before = self.engine.abandoned
        helpers = [loop.create_task(_keep_synced(journal))]
        if self.total is None and not self.source.waits:
            helpers.append(loop.create_task(self._count()))
        ending: Ending
        cause: BaseException | None = None
        try:
            await self._call_all(journal)
            ending = "failures" if self.stats.failed else "done"
            if self._interrupted and self.progress().left != 0:
                ending = "interrupted"
        except BatchStoppedError as error:
            ending, cause = _ENDINGS.get(type(error.error), "stopped"), error
        except InputError as error:
            ending, cause = "output" if error is self._output_error else "input", error
        finally:
            self._stop_counting.set()
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
        message = None if cause is None else str(cause)
        return Summary(ending, message, self.progress(), self._abandoned, cause)

    def drain(self) -> None:
        """Begin no more rows; those in flight are finished and written."""
        self.draining = self._interrupted = True
        self.engine.drain()

    def abort(self) -> None:
        """Cancel what is in flight; what has been answered is written."""
        self.draining = self._interrupted = True
        self.engine.abort()

    def progress(self) -> Progress:
        """How it is going now; taking it a few times a second also keeps the rates."""
        now = asyncio.get_running_loop().time()
        sampler = self._sampler or ProgressSampler(now)
        limiter, rows = self.engine.model.limiter.snapshot(), self.engine.row_states
        sampler.sample(
            now,
            self.stats,
            waiting_for(limiter, rows, idle=self.engine.idle, draining=self.draining),
        )
        stats, total = self.stats, self.total
        left = None if total is None else max(0, total - self.skipped - stats.ended)
        speed = sampler.rows_per_second
        projected = None
        if left is not None and stats.done and not stats.unpriced:
            projected = stats.cost * (1 + left / stats.ended)
        return Progress(
            total=total,
            skipped=self.skipped,
            stats=stats,
            seconds=now - sampler.began,
            rows_per_second=speed,
            requests_per_minute=sampler.requests_per_minute,
            tokens_per_minute=sampler.tokens_per_minute,
            limiter=limiter,
            in_flight=rows.calling,
            waiting_for=sampler.reason,
            eta=None if left is None else seconds_left(left, speed, stats, limiter),
            projected_cost=projected,
            budget=None if self.budget is None else self.budget.limit,
            longest=[(name_of(row), seconds) for row, seconds in self.engine.longest(_NAMED)],
            endpoints=self._endpoints(),
        )

    def _endpoints(self) -> list[EndpointProgress]:
        model = self.engine.model
        if not isinstance(model, Spread):
            return []
        return [
            EndpointProgress(
                each.name,
                self.stats.endpoints.get(each.name) or EndpointStats(),
                each.limiter.snapshot(),
                ejected=health.error is not None,
            )
            for each, health in zip(model.models, model.health, strict=True)
        ]

    # -- the inside --------------------------------------------------------------------------------------

    async def _call_all(self, journal: ResultStore) -> None:
        if self.draining:  # it was interrupted before it had begun
            return
        stats, prints = self.stats, self._fingerprints

        def record(result: RowResult) -> None:
            if prints is not None:
                result.fingerprint = prints.of(result.row, result.calling.payload.get("model"))
            try:
                journal.write(result)
            except InputError as error:
                self._output_error = error
                raise
            stats.note(result)

        await self.engine.run_into(
            self._feed(journal),
            record,
            guard=self._guard,
            on_abandoned=stats.note_attempts,
            budget=self.budget,
            metadata=self._metadata,
        )
        if not self._interrupted:
            # All rows were read: of a pipe their number was not known, and else it may have been a bound.
            self.total = self.skipped + stats.ended + self._abandoned
            journal.all_tried = self.source.limit is None

    @property
    def _abandoned(self) -> int:
        return self.engine.abandoned - self._abandoned_before

    def _feed(self, journal: ResultStore) -> Feed:
        def write_bad_row(row: BadRow) -> None:
            if self._order is not None:
                self._order.add_bad(row)
            try:
                journal.append(encode_bad_row(row.error, row.key), failed=True)
            except InputError as error:
                self._output_error = self._output_error or error
                feed.fail(error)
            self.stats.note_invalid(row.error)

        on_bad_row: Callable[[BadRow], object] | None = write_bad_row if self._skips_bad_rows else None
        if self._skips_bad_rows and self.source.waits:  # it is read in a thread
            loop = asyncio.get_running_loop()
            on_bad_row = lambda row: loop.call_soon_threadsafe(write_bad_row, row)  # noqa: E731
        feed: Feed
        if isinstance(self.source, RecordSource) and self.source.is_async:
            feed = AsyncFeed(self._rows.async_blocks(self.source, journal.completed, on_bad_row))
        else:
            blocks = self._rows.blocks(journal.completed, on_bad_row)
            feed = ThreadFeed(blocks) if self.source.waits else PulledFeed(blocks)
        return feed

    async def _count(self) -> None:
        loop = asyncio.get_running_loop()
        self.total = await loop.run_in_executor(None, self.source.count, self._stop_counting.is_set)


async def _keep_synced(journal: ResultStore) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(_SYNC_SECONDS)
        with suppress(InputError):  # the lines are written; closing reports a disk that refuses
            await loop.run_in_executor(None, journal.sync)
