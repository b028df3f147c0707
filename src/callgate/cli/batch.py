"""What `callgate run` does once its command line is read: open everything, run, tell how it ended."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import orjson
import typer

from callgate.batch.cost.budget import Budget
from callgate.batch.cost.ledger import Account, read_spent
from callgate.batch.engine import Engine
from callgate.batch.guard import FailureGuard
from callgate.batch.input.files import STDIN, describe, format_of
from callgate.batch.input.schema_file import read_schema
from callgate.batch.input.sources import Source
from callgate.batch.input.template import Template
from callgate.batch.output.journal import STDOUT, Journal
from callgate.batch.output.paths import (
    charges_path,
    errors_path,
    is_compressed_lines,
    journal_path,
)
from callgate.batch.output.sinks import sink_for
from callgate.batch.run import BatchRun, Ending, Summary
from callgate.cli.dry_run import foretell, left_of_budget
from callgate.cli.endpoints import LeftOut, Target, make_caller, read_targets
from callgate.cli.format import dollars
from callgate.cli.live import Display, open_display
from callgate.cli.messages import in_options
from callgate.cli.run import RunOptions
from callgate.cli.summary import print_forecast, print_summary, summary_to_dict
from callgate.errors import InputError
from callgate.model.spread import Spread
from callgate.policies.route.health import Standing
from callgate.schema.answer import AnswerSchema

try:
    import uvloop
except ImportError:  # pragma: no cover  (not on Windows)
    uvloop = None  # type: ignore[assignment]

__all__ = ["run_batch"]

_GIVEN_UP = "interrupted before the output was written; the next run writes it from the journal"
_ASSUMED = "The last run was killed: {} that its calls may have cost count as spent."
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
    """Run a batch as the command line says.

    Returns:
        The exit code.

    Raises:
        InputError: before any call, when a file, a row or an option cannot be used.
        ConfigurationError: before any call, when the provider or a limit cannot work.
    """
    # What is logged (a price that is not known, say) is in the summary too; it must not break the display.
    logging.getLogger("callgate").addHandler(logging.NullHandler())
    targets = read_targets(options)
    schema = None if options.schema is None else read_schema(options.schema)
    source = _source(options, targets)
    _check_places(options)
    if options.dry_run:
        told = asyncio.run(foretell(options, source, targets, schema))
        print_forecast(told, json=options.json, budget=left_of_budget(options))
        return 0
    runner = asyncio.Runner(loop_factory=None if uvloop is None else uvloop.new_event_loop)
    with _rarer_collections(), runner:
        summary, place, standing = runner.run(_run(options, source, targets, schema))
    _tell(options, summary, place, standing)
    return _EXIT_CODES[summary.ending]


@contextmanager
def _rarer_collections() -> Iterator[None]:
    """Nearly all garbage of a batch goes by its reference counts: looking for cycles at Python's usual pace
    costs a tenth of the processor time of a row, and finds next to nothing."""
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
        # Of several endpoints, each brings its own.
        model=targets[0].model if len(targets) == 1 else None,
        parameters=options.parameters,
        needs_model=any(target.model is None for target in targets),
    )


def _check_places(options: RunOptions) -> None:
    if options.json and options.output == STDOUT:
        raise InputError("--json and -o - both want standard output; write the answers to a file")
    sink_for(options.output)  # a name that cannot be written is told before anything else is done
    if options.input == STDIN or options.output == STDOUT:
        return
    for path in (options.output, journal_path(options.output), errors_path(options.output)):
        if _same_file(options.input, path):
            raise InputError(f"INPUT and the output {path} are the same file; choose another -o")


def _same_file(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False  # one of them is not there, so they are not the same


def _budget(options: RunOptions, journal: Journal) -> Budget | None:
    if options.budget is None:
        return None
    spent = read_spent(options.output) if journal.resumable else 0.0
    return Budget(options.budget, spent=spent, outstanding=journal.outstanding)


# -- running ---------------------------------------------------------------------------------------------


async def _run(
    options: RunOptions, source: Source, targets: list[Target], schema: AnswerSchema | None
) -> tuple[Summary, str, tuple[Standing, ...]]:
    """Returns how it ended; the file that has the answers: the journal, if the output was not written; and
    how each of several endpoints has been doing."""
    left_out = LeftOut()
    async with make_caller(options, targets, left_out) as model:
        # Only now: a wrong setting or a bad row must not touch the output of an earlier run.
        guard = FailureGuard(max_failures=options.max_failures)
        engine = Engine(model, max_inflight_requests=None, response_schema=schema)
        metadata = {"sample": options.sample} if options.sample else None
        batch = BatchRun(engine, source, guard=guard, metadata=metadata)
        batch.check()
        if options.budget is not None:
            await batch.check_bounds()
        summary: Summary | None = None
        place = options.output
        try:
            async with Journal(options.output, overwrite=options.overwrite) as journal:
                # What earlier runs have spent stands still now: nobody else writes to this output.
                batch.budget = _budget(options, journal)
                with (
                    open_display(batch, quiet=options.quiet) as display,
                    _Interrupts(batch, display, journal) as interrupts,
                ):
                    if journal.assumed:
                        display.say(_ASSUMED.format(dollars(journal.assumed)))
                    if not options.quiet:
                        left_out.say = display.say
                    summary = await batch.run(journal)
                    if not journal.is_output:
                        display.tell(f"writing {options.output}")
                        interrupts.publishing = True
                        if not await journal.publish():
                            place = journal.path
                            summary = replace(summary, ending="interrupted", message=_GIVEN_UP)
        except InputError as error:
            if summary is None:
                raise
            # Not everything could be written at the end.
            place = journal_path(options.output)
            summary = replace(summary, ending="output", message=str(error))
        return summary, place, model.standing if isinstance(model, Spread) else ()


class _Interrupts:
    """The first Ctrl-C (or SIGTERM, or the terminal's end) drains, the second aborts; none waits for the
    output to be written."""

    def __init__(self, batch: BatchRun, display: Display, journal: Journal) -> None:
        self.publishing = False
        """Whether all calls have ended and the output is being written from the journal."""
        self._batch = batch
        self._journal = journal
        self._display = display
        self._loop = asyncio.get_running_loop()
        self._signals = [signal.SIGINT, signal.SIGTERM]
        # Where it is ignored, as under nohup, it stays so.
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
            self._signals.append(signal.SIGHUP)

    def __enter__(self) -> _Interrupts:
        for name in self._signals:
            self._loop.add_signal_handler(name, self._interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        for name in self._signals:
            self._loop.remove_signal_handler(name)

    def _interrupt(self) -> None:
        if self.publishing:
            self._journal.stop_publishing()
        elif self._batch.draining:
            self._display.say("Stopping at once; what has been answered is written.")
            self._batch.abort()
        else:
            rows = self._batch.engine.on_wire
            self._batch.drain()
            self._display.say(
                f"Finishing the {rows} rows in flight, sending no more. Ctrl-C again stops at once."
            )


# -- telling how it ended --------------------------------------------------------------------------------


def _tell(options: RunOptions, summary: Summary, place: str, standing: tuple[Standing, ...]) -> None:
    command = _command_to_continue(without_budget=summary.ending == "budget")
    if options.json:
        sys.stdout.buffer.write(
            orjson.dumps(summary_to_dict(summary, options.output, standing), option=orjson.OPT_INDENT_2)
        )
        sys.stdout.buffer.write(b"\n")
        sys.stdout.flush()
    elif not options.quiet:
        print_summary(summary, options.output, standing)
    say: Callable[[str], None] = lambda text: typer.echo(text, err=True)  # noqa: E731
    if summary.message is not None:
        # Rows that were in flight then may have failed after it.
        say(f"callgate: {'stopped after ' * (summary.ending == 'stopped')}{in_options(summary.message)}")
    if summary.progress.total == 0 and options.limit != 0:
        say(f"callgate: there are no rows in {describe(options.input)}")
    if options.output == STDOUT:
        return
    if summary.ending == "budget" and (carried := Account(options.output).charged) > 0:
        say(
            f"{dollars(carried)} of it stand in no line of the output: rows that failed in earlier runs, and"
            f" calls that were cut off and may have been billed. See {charges_path(options.output)}"
        )
    if summary.ending in ("interrupted", "stopped", "budget", "input", "output"):
        left = summary.progress.left
        say(
            f"{summary.progress.finished:,} rows are answered in {place}"
            + ("" if left is None else f", {left + summary.progress.stats.failed:,} are not")
            + f". {_to_go_on(options, summary, command)}"
        )
    elif options.quiet or options.json:
        return
    elif summary.ending == "failures":
        say(f"The failed rows: {errors_path(options.output)}. To try them again: {command}")
    else:
        progress = summary.progress
        if progress.skipped and not progress.stats.ended:
            # Or somebody who has changed -m or --temperature believes these to be its answers.
            say(
                "Nothing was left to ask: rows are known by what they ask, not by the model or the settings."
                " To ask all anew: another -o, or --overwrite."
            )
        say(f"The answers: {options.output}. What next: {_next_steps(options.output)}")


def _to_go_on(options: RunOptions, summary: Summary, command: str) -> str:
    if summary.ending == "budget":
        # The same one is used up.
        return f"To go on, with a larger --budget than {options.budget:g}: {command}"
    if summary.ending == "input":
        return f"Once that is put right, to go on: {command}"
    return f"To go on: {command}"


def _next_steps(output: str) -> str:
    name = shlex.quote(output)
    steps = f"callgate report {name}"
    if journal_path(output) == output:
        return f"{steps}, or jq -r .text {name}"
    if is_compressed_lines(output):
        unpack = "gzip" if format_of(output)[1] == "gzip" else "zstd"
        return f"{steps}, or {unpack} -dc {name} | jq -r .text"
    # Whoever deletes it pays again.
    return f"{steps} (it reads {shlex.quote(journal_path(output))}, as does the next run: keep it)"


def _command_to_continue(*, without_budget: bool) -> str:
    """The same command, without what would throw away the output, and with a gap for the next budget."""
    words = [word for word in sys.argv[1:] if word != "--overwrite"]
    if without_budget:
        for place, word in enumerate(words):
            if word == "--budget" and place + 1 < len(words):
                words[place + 1] = "..."
            elif word.startswith("--budget="):
                words[place] = "--budget=..."
    return shlex.join(["callgate", *words])
