"""What `callgate run` does once its command line is read: open everything, run, tell how it ended."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import orjson
import typer

from callgate.batch.budget import Budget
from callgate.batch.engine import Engine
from callgate.batch.files import STDIN
from callgate.batch.finished import Finished, read_spent
from callgate.batch.forecast import Forecast, Sample, forecast, read_sample
from callgate.batch.guard import FailureGuard
from callgate.batch.journal import STDOUT, Journal, errors_path
from callgate.batch.run import BatchRun, Ending, Summary
from callgate.batch.sources import Source
from callgate.batch.template import Template
from callgate.cli.live import Display, open_display
from callgate.cli.run import RunOptions
from callgate.cli.summary import print_forecast, print_summary, summary_to_dict
from callgate.control.backoff import RetryConfig
from callgate.errors import InputError
from callgate.model import iModel

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
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")


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
    source = _source(options)
    _check_places(options)
    settings = _model_settings(options)
    if options.dry_run:
        print_forecast(asyncio.run(_foretell(options, source, settings)), json=options.json)
        return 0
    runner = asyncio.Runner(loop_factory=None if uvloop is None else uvloop.new_event_loop)
    with _rarer_collections(), runner:
        summary = runner.run(_run(options, source, settings))
    _tell(options, summary)
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


def _source(options: RunOptions) -> Source:
    _, model = _split_model(options.model)
    return Source(
        options.input,
        limit=options.limit,
        template=None if options.template is None else Template(options.template),
        system=options.system,
        model=model,
        parameters=options.parameters,
        needs_model=True,
    )


def _split_model(text: str) -> tuple[str, str | None]:
    """The provider is what stands before the first slash; a model's name may hold more of them."""
    provider, _, model = text.partition("/")
    if not provider:
        raise InputError(
            f"names no provider: {text!r}; write PROVIDER/MODEL, as in openai/gpt-4o-mini", source="-m"
        )
    return provider, model or None


def _check_places(options: RunOptions) -> None:
    if options.json and options.output == STDOUT:
        raise InputError("--json and -o - both want standard output; write the answers to a file")
    if options.input == STDIN or options.output == STDOUT:
        return
    for path in (options.output, errors_path(options.output)):
        if _same_file(options.input, path):
            raise InputError(f"INPUT and the output {path} are the same file; choose another -o")


def _same_file(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False  # one of them is not there, so they are not the same


def _model_settings(options: RunOptions) -> dict[str, Any]:
    provider, model = _split_model(options.model)
    settings: dict[str, Any] = {
        "provider": provider,
        "limit_requests": options.rpm,
        "limit_tokens": options.tpm,
        "limit_concurrency": options.concurrency or "auto",
        "cache": options.cache,
        "hedge": options.hedge,
        "prices": options.prices,
    }
    if model is not None:
        settings["model"] = model
    if options.base_url is not None:
        settings["base_url"] = options.base_url
    if options.timeout is not None:
        settings["timeout"] = options.timeout
    if options.no_bytes_timeout is not None:
        settings["read_timeout"] = options.no_bytes_timeout
    if options.retries is not None:
        settings["retry_config"] = RetryConfig(max_retries=options.retries) if options.retries else None
    if options.api_key_env is not None:
        settings["api_key"] = _key(options.api_key_env)
    return settings


def _key(variable: str) -> str:
    """The variable's name where the model reads it itself, else its value."""
    value = os.environ.get(variable)
    if not value:
        raise InputError(f"the variable {variable} is not set; export {variable}=...", source="--api-key-env")
    return variable if _VARIABLE.fullmatch(variable) else value


def _budget(options: RunOptions) -> Budget | None:
    if options.budget is None:
        return None
    spent = 0.0
    if not options.overwrite and options.output != STDOUT:
        spent = read_spent(options.output) + read_spent(errors_path(options.output))
    retries = RetryConfig().max_retries if options.retries is None else options.retries
    return Budget(options.budget, spent=spent, attempts=(1 + retries) * (1 if options.hedge is None else 2))


# -- running ---------------------------------------------------------------------------------------------


async def _foretell(options: RunOptions, source: Source, settings: dict[str, Any]) -> Forecast:
    """Everything that `_run` does before its first call; the output is read, and not touched."""
    settings["cache"] = None
    fresh = options.overwrite or options.output == STDOUT
    sample = Sample(Finished()) if fresh else read_sample(options.output)
    async with iModel(**settings) as model:
        return await forecast(model, source, sample, concurrency=options.concurrency)


async def _run(options: RunOptions, source: Source, settings: dict[str, Any]) -> Summary:
    async with iModel(**settings) as model:
        # Only now: a wrong setting or a bad row must not touch the output of an earlier run.
        guard = FailureGuard(most=options.max_failures)
        engine = Engine(model, max_inflight_requests=None)
        batch = BatchRun(engine, source, guard=guard, budget=_budget(options))
        batch.check()
        summary: Summary | None = None
        try:
            async with Journal(options.output, overwrite=options.overwrite) as journal:
                with open_display(batch, quiet=options.quiet) as display, _Interrupts(batch, display):
                    summary = await batch.run(journal)
        except InputError as error:
            if summary is None:
                raise
            # Closing told that not everything could be written.
            summary = replace(summary, ending="output", message=str(error))
        return summary


class _Interrupts:
    """The first Ctrl-C (or SIGTERM) drains, the second aborts."""

    def __init__(self, batch: BatchRun, display: Display) -> None:
        self._batch = batch
        self._display = display
        self._loop = asyncio.get_running_loop()
        self._signals = (signal.SIGINT, signal.SIGTERM)

    def __enter__(self) -> None:
        for name in self._signals:
            self._loop.add_signal_handler(name, self._interrupt)

    def __exit__(self, *_: object) -> None:
        for name in self._signals:
            self._loop.remove_signal_handler(name)

    def _interrupt(self) -> None:
        if self._batch.draining:
            self._display.say("Stopping at once; what has been answered is written.")
            self._batch.abort()
        else:
            rows = self._batch.engine.on_wire
            self._batch.drain()
            self._display.say(
                f"Finishing the {rows} rows in flight, sending no more. Ctrl-C again stops at once."
            )


# -- telling how it ended --------------------------------------------------------------------------------


def _tell(options: RunOptions, summary: Summary) -> None:
    command = _command_to_continue()
    if options.json:
        sys.stdout.buffer.write(
            orjson.dumps(summary_to_dict(summary, options.output), option=orjson.OPT_INDENT_2)
        )
        sys.stdout.buffer.write(b"\n")
        sys.stdout.flush()
    elif not options.quiet:
        print_summary(summary, options.output)
    say: Callable[[str], None] = lambda text: typer.echo(text, err=True)  # noqa: E731
    if summary.message is not None:
        say(f"callgate: {summary.message}")
    if options.output == STDOUT:
        return
    if summary.ending in ("interrupted", "stopped", "budget", "input", "output"):
        left = summary.progress.left
        say(
            f"{summary.progress.finished:,} rows are answered in {options.output}"
            + ("" if left is None else f", {left + summary.progress.tally.failed:,} are not")
            + f". To go on: {command}"
        )
    elif options.quiet or options.json:
        return
    elif summary.ending == "failures":
        say(f"The failed rows: {errors_path(options.output)}. To try them again: {command}")
    else:
        name = shlex.quote(options.output)
        say(f"The answers: {options.output}. What next: callgate report {name}, or jq -r .text {name}")


def _command_to_continue() -> str:
    """The same command, without what would throw away the output."""
    words = [word for word in sys.argv[1:] if word != "--overwrite"]
    return shlex.join(["callgate", *words])
