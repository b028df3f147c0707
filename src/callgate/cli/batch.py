"""`callgate run` after its options are read: open everything, run the batch, print how it ended."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from callgate.batch.cost.budget import Budget, dollars
from callgate.batch.cost.ledger import read_spent
from callgate.batch.engine import Engine
from callgate.batch.guard import FailureGuard
from callgate.batch.input.files import STDIN, describe
from callgate.batch.input.schema_file import read_schema
from callgate.batch.input.sources import Source
from callgate.batch.input.template import Template
from callgate.batch.options import RunOptions
from callgate.batch.output.journal import STDOUT, Journal
from callgate.batch.output.paths import errors_path, journal_path
from callgate.batch.output.sinks import sink_for
from callgate.batch.run import BatchRun, Ending, Summary
from callgate.batch.targets import Target, open_model, read_targets
from callgate.cli.dry_run import budget_left, estimate
from callgate.cli.ending import print_ending
from callgate.cli.interrupts import Interrupts
from callgate.cli.live import open_display
from callgate.cli.messages import one_line
from callgate.cli.panel import Title
from callgate.cli.summary import print_forecast
from callgate.errors import APIClientError, InputError
from callgate.model.base import Caller
from callgate.model.spread import Spread
from callgate.policies.route.health import EndpointHealth
from callgate.schema.answer import AnswerSchema

try:
    import uvloop
except ImportError:  # pragma: no cover  (not on Windows)
    uvloop = None  # type: ignore[assignment]

__all__ = ["run_batch"]

_GIVEN_UP = "interrupted before the output was written; the next run writes it from the journal"
_KEPT = "The former output is kept as {}."
_ASSUMED = "The last run was killed: {} that its requests may have cost count as spent."
_EXIT_CODES: dict[Ending, int] = {
    "done": 0,
    "failures": 1,
    "stopped": 1,
    "output": 1,
    "input": 2,
    "budget": 3,
    "interrupted": 130,
}


def run_batch(options: RunOptions) -> int:
    """Run a batch with these options.

    Returns:
        The exit code.

    Raises:
        InputError: before any call, when a file or a row cannot be used.
        ConfigurationError: before any call, when an option, the provider or a limit cannot work.
    """
    # The summary has what is logged (an unknown price, for example); a log line would break the display.
    logging.getLogger("callgate").addHandler(logging.NullHandler())
    _check_streams(options)
    targets = read_targets(options)
    schema = None if options.schema is None else read_schema(options.schema)
    source = _source(options, targets)
    _check_paths(options)
    if options.dry_run:
        forecast = asyncio.run(estimate(options, source, targets, schema))
        print_forecast(forecast, json=options.json, budget=budget_left(options))
        return 0
    runner = asyncio.Runner(loop_factory=None if uvloop is None else uvloop.new_event_loop)
    with _rarer_collections(), runner:
        summary, path, health = runner.run(_run(options, source, targets, schema))
    print_ending(options, summary, path, health)
    return _EXIT_CODES[summary.ending]


@contextmanager
def _rarer_collections() -> Iterator[None]:
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


# -- from options to parts -------------------------------------------------------------------------------


def _source(options: RunOptions, targets: list[Target]) -> Source:
    return Source(
        options.input,
        limit=options.limit,
        template=None if options.template is None else Template(options.template),
        system=options.system,
        # Of several targets, each brings its own model.
        model=targets[0].model if len(targets) == 1 else None,
        parameters=options.request,
        endpoint=options.endpoint,
        allow_files=options.allow_files,
        needs_model=any(target.model is None for target in targets),
    )


def _check_streams(options: RunOptions) -> None:
    if options.json and options.output == STDOUT:
        raise InputError("--json and -o - both write to standard output; write the answers to a file")
    if options.output == STDOUT and sys.stdout is None:
        raise InputError("-o - writes to standard output, which is closed")
    if options.input == STDIN and sys.stdin is None:
        raise InputError("INPUT - reads standard input, which is closed")


def _check_paths(options: RunOptions) -> None:
    sink_for(options.output)  # an output format that does not exist is an error before anything else is done
    if options.input == STDIN or options.output == STDOUT:
        return
    for path in (options.output, journal_path(options.output), errors_path(options.output)):
        if _same_file(options.input, path):
            raise InputError(f"INPUT and the output {path} are the same file; choose another -o")


def _same_file(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False  # one of them does not exist


def _budget(options: RunOptions, journal: Journal) -> Budget | None:
    if options.budget is None:
        return None
    spent = read_spent(options.output) if journal.resumable else 0.0
    return Budget(options.budget, spent=spent, ledger=journal.ledger)


# -- running ---------------------------------------------------------------------------------------------


async def _run(
    options: RunOptions, source: Source, targets: list[Target], schema: AnswerSchema | None
) -> tuple[Summary, str, tuple[EndpointHealth, ...]]:
    """Run the batch.

    Returns:
        How it ended; the file that holds the answers (the journal if the output could not be written); the
        state of each of several targets.
    """
    reports = _EjectionReports()
    async with open_model(options, targets, reports.report) as model:
        guard = FailureGuard(max_failures=options.max_failures)
        engine = Engine(model, max_inflight_requests=None, response_schema=schema)
        metadata = {"sample": options.sample} if options.sample else None
        batch = BatchRun(engine, source, guard=guard, metadata=metadata, on_bad_row=options.on_bad_row)
        # Before the journal is opened: a wrong setting or a bad row must not touch an earlier output.
        batch.check()
        if options.budget is not None:
            await batch.check_bounds()
        summary: Summary | None = None
        path = options.output
        try:
            async with Journal(options.output, overwrite=options.overwrite) as journal:
                # Only now: while the journal is locked, no other run can spend on this output.
                batch.budget = _budget(options, journal)
                with (
                    open_display(batch, _title(options, targets), quiet=options.quiet) as display,
                    Interrupts(batch, journal, display.note) as interrupts,
                ):
                    if journal.ledger is not None and journal.ledger.assumed:
                        display.note(_ASSUMED.format(dollars(journal.ledger.assumed)))
                    if journal.kept is not None:
                        display.note(_KEPT.format(journal.kept))
                    if not options.quiet:
                        reports.note = display.note
                    summary = await batch.run(journal)
                    if not journal.is_output:
                        display.show_activity(f"writing {options.output}")
                        interrupts.publishing = True
                        if not await journal.publish():
                            path = journal.path
                            summary = replace(summary, ending="interrupted", message=_GIVEN_UP)
        except InputError as error:
            if summary is None:
                raise
            # The run itself has ended; only the output could not be written.
            path = journal_path(options.output)
            summary = replace(summary, ending="output", message=str(error), error=error)
        return summary, path, model.health if isinstance(model, Spread) else ()


class _EjectionReports:
    """Prints a line when a target is ejected for the first time."""

    def __init__(self) -> None:
        self.note = _print_nothing
        self._reported: set[str] = set()

    def report(self, model: Caller, error: APIClientError) -> None:
        """As `Spread(on_ejected=...)` calls it."""
        if model.name not in self._reported:
            self._reported.add(model.name)
            self.note(f"callgate: {model.name} is ejected for now: {one_line(error)}")


def _title(options: RunOptions, targets: list[Target]) -> Title:
    names = (replace(target, base_url=None).name for target in targets)
    addresses = (f"at {target.base_url}" for target in targets if target.base_url is not None)
    return Title([*dict.fromkeys(names), *dict.fromkeys(addresses)], describe(options.input), options.output)


def _print_nothing(text: str) -> None:
    pass
