"""`callgate run` after its options are read: run the batch, watch it, print how it ended."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from callgate.batch.display.live import Display, open_display
from callgate.batch.display.panel import Title
from callgate.batch.input.files import STDIN, describe
from callgate.batch.input.schema_file import read_schema
from callgate.batch.input.sources import Source
from callgate.batch.input.template import Template
from callgate.batch.job import check_paths, rarer_collections, run_job
from callgate.batch.options import RunOptions
from callgate.batch.output.journal import STDOUT, Journal
from callgate.batch.run import BatchRun, Ending
from callgate.batch.targets import Target, read_targets
from callgate.cli.dry_run import budget_left, estimate
from callgate.cli.ending import print_ending
from callgate.cli.interrupts import Interrupts
from callgate.cli.messages import explain
from callgate.cli.summary import print_forecast
from callgate.cli.terminal import write_line
from callgate.errors import InputError
from callgate.providers.hosts import HOSTS

try:
    import uvloop
except ImportError:  # pragma: no cover  (not on Windows)
    uvloop = None  # type: ignore[assignment]

__all__ = ["run_batch"]

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
    check_paths(options)
    if options.dry_run:
        forecast = asyncio.run(estimate(options, source, targets, schema))
        print_forecast(forecast, json=options.json, budget=budget_left(options))
        return 0

    @contextmanager
    def watch(batch: BatchRun, journal: Journal | None) -> Iterator[_Watcher]:
        with (
            open_display(batch, _title(options, targets), quiet=options.quiet, explain=explain) as display,
            Interrupts(batch, journal, display.note) as interrupts,
        ):
            yield _Watcher(display, interrupts)

    hosts = (HOSTS.get(target.provider) for target in targets)
    if not options.quiet and any(host is not None and host.embedded for host in hosts):
        # The display cannot show it: nothing else runs while llama.cpp loads.
        write_line("callgate: loading the model", err=True)
    runner = asyncio.Runner(loop_factory=None if uvloop is None else uvloop.new_event_loop)
    with rarer_collections(), runner:
        outcome = runner.run(run_job(options, source, targets, schema=schema, watch=watch, explain=explain))
    print_ending(options, outcome)
    return _EXIT_CODES[outcome.summary.ending]


class _Watcher:
    """Shows a run and lets Ctrl-C end it."""

    def __init__(self, display: Display, interrupts: Interrupts) -> None:
        self.note = display.note
        self._display = display
        self._interrupts = interrupts

    def publishing(self, output: str) -> None:
        """All calls have ended: Ctrl-C now stops the writing of the output."""
        self._display.show_activity(f"writing {output}")
        self._interrupts.publishing = True


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


def _title(options: RunOptions, targets: list[Target]) -> Title:
    names = (replace(target, base_url=None).name for target in targets)
    addresses = (f"at {target.base_url}" for target in targets if target.base_url is not None)
    return Title([*dict.fromkeys(names), *dict.fromkeys(addresses)], describe(options.input), options.output)
