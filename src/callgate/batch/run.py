"""One run of a file through an engine into an output: what `callgate run` does, without a terminal."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Literal

from callgate.batch.cost.budget import Budget
from callgate.batch.cost.worst_case import longest_answer, worst_case
from callgate.batch.engine import Engine
from callgate.batch.guard import FailureGuard
from callgate.batch.input.feed import Feed, PulledFeed, ThreadFeed
from callgate.batch.input.rows import Row
from callgate.batch.input.sources import Source
from callgate.batch.output.completed_keys import Finished
from callgate.batch.output.journal import Journal
from callgate.batch.output.results import RowResult
from callgate.batch.progress import Progress, ProgressSampler, waiting_for
from callgate.batch.stats import Stats
from callgate.errors import BatchStoppedError, BudgetExceededError, InputError, QuotaTooSmallError

__all__ = ["BatchRun", "Ending", "Summary"]

Ending = Literal["done", "failures", "stopped", "budget", "input", "output", "interrupted"]
"""How a run ended: all rows answered; some failed; all failing in the same way; the budget used up; a bad
row; an output that cannot be written; somebody interrupted it."""

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


class BatchRun:
    """Reads rows, skips those answered before, calls for the others, writes what comes of them.

    Args:
        engine: What calls.
        source: Where the rows come from.
        guard: When to stop because rows fail; None: the usual measure.
        budget: What it may cost at most.
        metadata: Kept on every calling; {"sample": 1} asks a cache for another answer than sample 0.

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
    ) -> None:
        self.engine = engine
        self.source = source
        self.stats = Stats()
        self.total: int | None = None
        self.skipped = 0
        self.draining = False
        self.budget = budget
        self._guard = guard
        self._metadata = metadata
        self._interrupted = False
        self._began: float | None = None
        self._sampler: ProgressSampler | None = None
        self._abandoned_before = 0
        self._stop_counting = threading.Event()

    def check(self) -> None:
        """Read ahead, so that most bad input is found before the first call: the first 4 MB of a file.

        Raises:
            InputError: naming the file and the line.
        """
        self.total = self.source.check(_CHECKED_BYTES)

    async def check_bounds(self) -> None:
        """Read ahead, so that a budget which cannot be kept shows before the output is touched: among the
        first ten thousand rows, one of each kind. Kinds differ in the model that they name, and in whether
        they bound their answer.

        Raises:
            InputError: naming the line, when nobody knows what it may cost at most.
        """
        if self.source.waits:
            return
        kinds: dict[tuple[str | None, bool], Row] = {}
        for row in islice(chain.from_iterable(self.source.blocks()), _BOUNDED_ROWS):
            model = row.request.get("model")
            kind = model if isinstance(model, str) else None, longest_answer(row.request) is None
            kinds.setdefault(kind, row)
        for row in kinds.values():
            calling = await self.engine.model.create_calling(request_payload=row.request)
            await worst_case(self.engine.model, calling, row)

    async def run(self, journal: Journal) -> Summary:
        """Do it. Errors of input, output and provider end it in order: they are in the summary."""
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
            ending, cause = "input", error
        except _OutputError as error:
            ending, cause = "output", error
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
            eta=left / speed if left is not None and speed > 0 else None,
            projected_cost=projected,
            budget=None if self.budget is None else self.budget.limit,
            longest=[(_name(row), seconds) for row, seconds in self.engine.longest(_NAMED)],
        )

    # -- the inside --------------------------------------------------------------------------------------

    async def _call_all(self, journal: Journal) -> None:
        if self.draining:  # before it had begun
            return
        stats = self.stats

        def record(result: RowResult) -> None:
            try:
                journal.write(result)
            except InputError as error:
                raise _OutputError(str(error)) from error
            stats.note(result)

        await self.engine.run_into(
            self._feed(journal.finished),
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

    def _feed(self, finished: Finished) -> Feed:
        blocks = self._unfinished(finished)
        return ThreadFeed(blocks) if self.source.waits else PulledFeed(blocks)

    def _unfinished(self, finished: Finished) -> Iterator[list[Row]]:
        if not len(finished):
            yield from self.source.blocks()
            return
        take = finished.take
        for block in self.source.blocks():
            left = [row for row in block if not take(row.key)]
            self.skipped += len(block) - len(left)
            yield left

    async def _count(self) -> None:
        loop = asyncio.get_running_loop()
        self.total = await loop.run_in_executor(None, self.source.count, self._stop_counting.is_set)


async def _keep_synced(journal: Journal) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(_SYNC_SECONDS)
        with suppress(InputError):  # written it is; that the disk refuses is told at the end
            await loop.run_in_executor(None, journal.sync)


def _name(row: Row) -> str:
    return f"line {row.line}" if row.custom_id is None else row.custom_id


class _OutputError(Exception):
    """The output cannot be written; kept apart from errors of the input."""
