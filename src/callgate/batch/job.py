"""A whole run with the options of `callgate run`: models, rows, budget and output are opened and closed.

The command and `callgate.run` both call `run_job`; they differ in what watches the run.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Protocol

from callgate.batch.cost.budget import Budget, dollars
from callgate.batch.cost.ledger import read_spent
from callgate.batch.display.text import one_line
from callgate.batch.engine import Engine
from callgate.batch.guard import FailureGuard
from callgate.batch.input.files import STDIN
from callgate.batch.input.sources import Source
from callgate.batch.options import RunOptions
from callgate.batch.output.journal import STDOUT, Journal
from callgate.batch.output.paths import errors_path, journal_path, runs_path
from callgate.batch.output.row_order import RowOrder
from callgate.batch.output.sinks import sink_for
from callgate.batch.output.store import MemoryStore
from callgate.batch.run import BatchRun, Summary
from callgate.batch.run_log import RunLog, run_facts
from callgate.batch.targets import Target, fingerprints_of, open_model
from callgate.errors import APIClientError, InputError
from callgate.model.base import Caller
from callgate.model.spread import Spread
from callgate.policies.route.health import EndpointHealth
from callgate.schema.answer import AnswerSchema

__all__ = ["Outcome", "Watch", "Watcher", "check_paths", "rarer_collections", "run_job"]

_NAMED = 20
_GIVEN_UP = "interrupted before the output was written; the next run writes it from the journal"
_KEPT = "The former output is kept as {}."
_SET_ASIDE = "The answers of rows that are asked again are kept as {}."
_NOT_LOGGED = "The report will not have all figures of this run: {}."
_ASSUMED = "The last run was killed: {} that its requests may have cost count as spent."


class Watcher(Protocol):
    """Watches a run beside its rows."""

    def note(self, text: str) -> None:
        """Called with a message for the user."""
        ...

    def publishing(self, output: str) -> None:
        """Called when all calls have ended and the output is written from the journal."""
        ...


Watch = Callable[[BatchRun, Journal | None], AbstractContextManager[Watcher]]
"""Opens the watcher of a run, within the running loop; without an output there is no journal."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    Attributes:
        summary: What it did.
        path: The file that holds the answers: the journal if the output could not be written.
        endpoints: The state of each of several targets.
        lines: Without an output, the line of each row.
    """

    summary: Summary
    path: str
    endpoints: tuple[EndpointHealth, ...]
    lines: Mapping[int, bytes]


async def run_job(
    options: RunOptions,
    source: Source,
    targets: list[Target] | Caller,
    *,
    schema: AnswerSchema | None,
    watch: Watch,
    explain: Callable[[BaseException], str] = str,
    order: RowOrder | None = None,
) -> Outcome:
    """Run a batch.

    Args:
        options: Its options. Without an output, the results stay in memory.
        source: Its rows.
        targets: What is called; a model of the caller's own stays open.
        schema: What every answer must satisfy.
        watch: Watches it.
        explain: Returns the text of an error, for notes.
        order: Notes the order of the rows.

    Raises:
        InputError: before any call, when the input or the output cannot be used.
        ConfigurationError: before any call, when a setting cannot work.
    """
    ejections = _EjectionNotes(explain)
    opened = (
        nullcontext(targets) if isinstance(targets, Caller) else open_model(options, targets, ejections.add)
    )
    async with opened as model:
        guard = FailureGuard(max_failures=options.max_failures)
        engine = Engine(model, max_inflight_requests=None, response_schema=schema)
        metadata = {"sample": options.sample} if options.sample else None
        if order is None and source.once:
            order = RowOrder()
        batch = BatchRun(
            engine,
            source,
            guard=guard,
            metadata=metadata,
            order=order,
            on_bad_row=options.on_bad_row,
            on_change=options.on_change,
            fingerprints=fingerprints_of(model, schema) if options.output else None,
        )
        # Before the journal is opened: a wrong setting or a bad row must not touch an earlier output.
        batch.check()
        if options.budget is not None:
            await batch.check_bounds()
        store = MemoryStore()
        if options.output:
            summary, path = await _run_into_journal(options, batch, watch, ejections)
        else:
            summary, path = await _run_into_memory(options, batch, watch, ejections, store), ""
        health = model.health if isinstance(model, Spread) else ()
        return Outcome(summary, path, health, store.lines)


async def _run_into_memory(
    options: RunOptions, batch: BatchRun, watch: Watch, ejections: _EjectionNotes, store: MemoryStore
) -> Summary:
    batch.budget = None if options.budget is None else Budget(options.budget)
    with watch(batch, None) as watcher:
        ejections.note = watcher.note
        return await batch.run(store)


async def _run_into_journal(
    options: RunOptions, batch: BatchRun, watch: Watch, ejections: _EjectionNotes
) -> tuple[Summary, str]:
    summary: Summary | None = None
    path = options.output
    try:
        opened = Journal(options.output, overwrite=options.overwrite, escape_formulas=options.escape_formulas)
        async with opened as journal:
            journal.rows = batch.table_rows
            # Only now: while the journal is locked, no other run can spend on this output.
            batch.budget = _budget(options, journal)
            with watch(batch, journal) as watcher:
                if journal.ledger is not None and journal.ledger.assumed:
                    watcher.note(_ASSUMED.format(dollars(journal.ledger.assumed)))
                if journal.kept is not None:
                    watcher.note(_KEPT.format(journal.kept))
                if altered := journal.completed.altered:
                    watcher.note(_altered(journal.path, altered))
                if not options.quiet:
                    ejections.note = watcher.note
                try:
                    set_aside = await batch.compare(journal)
                except InputError:
                    journal.stop_publishing()  # nothing has changed
                    raise
                if set_aside is not None:
                    watcher.note(_SET_ASIDE.format(set_aside))
                summary = await _run_logged(options, batch, journal, watcher)
                if not journal.is_output:
                    watcher.publishing(options.output)
                    if not await journal.publish():
                        path = journal.path
                        summary = replace(summary, ending="interrupted", message=_GIVEN_UP)
                    summary = replace(summary, left_out=journal.left_out)
    except InputError as error:
        if summary is None:
            raise
        # The run itself has ended; only the output could not be written.
        path = journal_path(options.output)
        summary = replace(summary, ending="output", message=str(error), error=error)
    return summary, path


async def _run_logged(options: RunOptions, batch: BatchRun, journal: Journal, watcher: Watcher) -> Summary:
    if not journal.resumable:
        return await batch.run(journal)
    with closing(RunLog(options.output, batch, run_facts(options, batch), time.time)) as log:
        summary = await batch.run(journal)
        log.end(summary)
        if log.error is not None:
            watcher.note(_NOT_LOGGED.format(log.error))
    return summary


def _altered(path: str, lines: list[int]) -> str:
    several = "1 line" if len(lines) == 1 else f"{len(lines):,} lines"
    shown = ", ".join(map(str, lines[:_NAMED])) + ", ..." * (len(lines) > _NAMED)
    return f"callgate: {path}: {several} with a wrong checksum, edited or damaged, count as answers: {shown}"


def _budget(options: RunOptions, journal: Journal) -> Budget | None:
    if options.budget is None:
        return None
    spent = read_spent(options.output) if journal.resumable else 0.0
    return Budget(options.budget, spent=spent, ledger=journal.ledger)


class _EjectionNotes:
    """Notes each target that is ejected, the first time."""

    def __init__(self, explain: Callable[[BaseException], str]) -> None:
        self.note: Callable[[str], object] = lambda text: None
        self._explain = explain
        self._noted: set[str] = set()

    def add(self, model: Caller, error: APIClientError) -> None:
        """As `Spread(on_ejected=...)` calls it."""
        if model.name not in self._noted:
            self._noted.add(model.name)
            self.note(f"callgate: {model.name} is ejected for now: {one_line(self._explain(error))}")


def check_paths(options: RunOptions) -> None:
    """Check before anything is read that the output has a known format and is not the input.

    Raises:
        InputError: otherwise.
    """
    sink_for(options.output)
    if options.input == STDIN or options.output == STDOUT:
        return
    for path_of in (str, journal_path, errors_path, runs_path):
        path = path_of(options.output)
        if _same_file(options.input, path):
            raise InputError(f"INPUT and the output {path} are the same file; choose another output")


def _same_file(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False  # one of them does not exist


@contextmanager
def rarer_collections() -> Iterator[None]:
    """Collect cycles less often: reference counts free nearly all garbage of a batch, and at Python's usual
    pace the search for cycles costs a tenth of the processor time of a row."""
    usual = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        gc.unfreeze()
