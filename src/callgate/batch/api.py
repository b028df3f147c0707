"""`callgate.run` and `callgate.arun`: a batch in one call, with the options of the command."""

from __future__ import annotations

import asyncio
import difflib
import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, Literal

from pydantic import BaseModel
from typing_extensions import TypeVar

from callgate.batch.display.live import Display, open_display
from callgate.batch.display.panel import Title
from callgate.batch.input.files import describe
from callgate.batch.input.record_source import Records, RecordSource
from callgate.batch.input.requests import PARAMETERS
from callgate.batch.input.schema_file import read_schema
from callgate.batch.input.sources import Source
from callgate.batch.input.template import Template
from callgate.batch.job import Outcome, check_paths, rarer_collections, run_job
from callgate.batch.options import OnBadRow, OnChange, RunOptions, read_value, specifications
from callgate.batch.output.journal import Journal
from callgate.batch.output.row_order import RowOrder, open_index
from callgate.batch.results_view import Results
from callgate.batch.run import BatchRun
from callgate.batch.targets import Target, read_targets
from callgate.errors import BatchStoppedError, ConfigurationError, InputError
from callgate.model.base import Caller
from callgate.model.sync import Portal
from callgate.schema.answer import AnswerSchema, to_answer_schema
from callgate.schema.model_schema import ModelSchema

__all__ = ["arun", "run"]

T = TypeVar("T", bound=BaseModel, default=Any)
Rows = str | os.PathLike[str] | Records
Model = str | Sequence[str] | Caller
Schema = str | os.PathLike[str] | Mapping[str, Any] | AnswerSchema | None
Progress = Literal["auto"] | bool

_OF_THE_COMMAND = {
    "api_key": "name its variable with api_key_env=, or give iModel(..., api_key=...) as the model",
    "input": "give the rows as the first argument",
    "parameters": "give each parameter by its name, such as top_p=0.9",
    "dry_run": "use callgate run --dry-run",
    "quiet": "use progress=False",
    "json": "see summary of the results",
    "no_cache": "leave cache out",
}
"""Options of `callgate run` or `iModel` that `run` has not, and what takes their place."""
_KEYWORDS = specifications().keys() - {"model", "output", "schema"} - _OF_THE_COMMAND.keys()
"""The options without those that are arguments by themselves."""


async def arun(
    rows: Rows,
    model: Model,
    output: str | os.PathLike[str] | None = None,
    *,
    template: str | None = None,
    system: str | None = None,
    schema: type[T] | Schema = None,
    limit: int | None = None,
    max_tokens: int | None = None,
    temperature: float | None = None,
    rpm: float | None = None,
    tpm: float | None = None,
    concurrency: int | None = None,
    budget: float | None = None,
    cache: str | os.PathLike[str] | None = None,
    on_bad_row: OnBadRow | None = None,
    on_change: OnChange | None = None,
    overwrite: bool = False,
    progress: Progress = "auto",
    **options: Any,
) -> Results[T]:
    """`run`, to be awaited.

    Example::

        results = await callgate.arun(prompts, model="openai/gpt-4o-mini", max_tokens=100)
    """
    named = {
        "template": template,
        "system": system,
        "limit": limit,
        "max_tokens": max_tokens,
        "temperature": temperature,
        "rpm": rpm,
        "tpm": tpm,
        "concurrency": concurrency,
        "budget": budget,
        "cache": cache,
        "on_bad_row": on_bad_row,
        "on_change": on_change,
        "overwrite": overwrite,
    }
    return await _Call(rows, model, output, schema, progress, {**options, **named}).run()


def run(
    rows: Rows,
    model: Model,
    output: str | os.PathLike[str] | None = None,
    *,
    template: str | None = None,
    system: str | None = None,
    schema: type[T] | Schema = None,
    limit: int | None = None,
    max_tokens: int | None = None,
    temperature: float | None = None,
    rpm: float | None = None,
    tpm: float | None = None,
    concurrency: int | None = None,
    budget: float | None = None,
    cache: str | os.PathLike[str] | None = None,
    on_bad_row: OnBadRow | None = None,
    on_change: OnChange | None = None,
    overwrite: bool = False,
    progress: Progress = "auto",
    **options: Any,
) -> Results[T]:
    """Answer every row once, within the limits, as `callgate run` does.

    Works in scripts, and where an event loop is running already (a notebook); there, `await arun(...)` works
    as well. With `output`, every answer is written there as it arrives: after a kill, the same call resumes
    and pays for no answered row again.

    Args:
        rows: A file (.jsonl, .csv, .tsv, .parquet); or prompts, dicts, conversations, lists of messages, an
            iterator or async iterator of these, a frame (pandas, polars, Arrow) or a dataset.
        model: "openai/gpt-4o-mini"; several as a list share the rows; or an `iModel` or `Spread`, which stays
            open.
        output: A file for the answers, as of `callgate run`; None: in memory.
        template: Makes the prompt from columns: "Translate: {text}", or from a file: "@prompt.txt".
        system: The system prompt of rows that have none; may have columns.
        schema: A pydantic model, a JSON schema, or a file with one, that every answer must satisfy. A model
            is the type of `parsed`.
        limit: Only so many rows.
        max_tokens, temperature: Parameters of every request.
        rpm, tpm, concurrency: Requests and tokens per minute, and requests in flight; None: from the
            provider's headers, or found by trial.
        budget: The most to spend on `output`, over all runs, in US dollars; needs `max_tokens`.
        cache: A folder whose answers are reused for equal requests.
        on_bad_row: "stop" before the first call when a row cannot be used, or "skip" it.
        on_change: "keep" or "reask" finished rows of `output` that would be asked differently now; None:
            raise an error before the first call.
        overwrite: Start again instead of resuming `output`.
        progress: "auto" or True shows progress on stderr or in the notebook, False shows none.
        options: Further options of `callgate run` by name (`base_url`, `api_key_env`, `timeout`, `retries`,
            `endpoint`, ...); any other name is a parameter of every request (`top_p=0.9`).

    Returns:
        The answers in the order of the rows. Failed rows are in it, with their `error`; so are rows that were
        not called because the budget was spent.

    Raises:
        InputError: when rows or output cannot be used.
        RowsChangedError: when rows of `output` that have an answer would be asked differently now, and
            `on_change` is None. Nothing was sent.
        ConfigurationError: when a setting cannot work. Nothing was sent.
        BatchStoppedError: when the run ended early, because all rows failed in the same way or the output
            could not be written. Its `results` has the answers so far.

    Example::

        results = callgate.run(
            ["How big is the moon?", "How big is the sun?"], model="openai/gpt-4o-mini", max_tokens=100
        )
        print(results.texts, results.cost)
    """
    call = arun(
        rows,
        model,
        output,
        schema=schema,
        progress=progress,
        template=template,
        system=system,
        limit=limit,
        max_tokens=max_tokens,
        temperature=temperature,
        rpm=rpm,
        tpm=tpm,
        concurrency=concurrency,
        budget=budget,
        cache=cache,
        on_bad_row=on_bad_row,
        on_change=on_change,
        overwrite=overwrite,
        **options,
    )
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        runner = asyncio.Runner(loop_factory=_loop_factory())
        with rarer_collections(), runner:
            return runner.run(call)
    portal = Portal("callgate-run")
    try:
        return portal.run(call)
    finally:
        portal.stop()


class _Call:
    """One call of `run`: its arguments, read."""

    def __init__(
        self,
        rows: Rows,
        model: Model,
        output: str | os.PathLike[str] | None,
        schema: type[BaseModel] | Schema,
        progress: Progress,
        options: dict[str, Any],
    ) -> None:
        self._rows = rows
        self._model = model
        self._path = os.fspath(rows) if isinstance(rows, str | os.PathLike) else None
        self._answer_model = schema if isinstance(schema, type) else None
        self._schema = _read_schema(schema)
        own, parameters = _split_options(options)
        self._options = RunOptions(
            input=self._path or "rows",
            model=() if isinstance(model, Caller) else _several(model),
            output=read_value("output", output or ""),
            quiet=progress is False,
            parameters=parameters,
            **own,
        )

    async def run(self) -> Results[Any]:
        options = self._options
        targets = self._model if isinstance(self._model, Caller) else read_targets(options)
        source = self._source(targets)
        if options.output and self._path is not None:
            check_paths(options)
        order = RowOrder()

        @contextmanager
        def watch(batch: BatchRun, journal: Journal | None) -> Iterator[_Watcher]:
            with open_display(batch, self._title(targets), quiet=options.quiet) as display:
                yield _Watcher(display)

        outcome = await run_job(options, source, targets, schema=self._schema, watch=watch, order=order)
        results = self._results(outcome, order, source)
        summary = outcome.summary
        if summary.ending in ("stopped", "input", "output"):
            error = summary.error or RuntimeError(summary.message)
            if not isinstance(error, BatchStoppedError):
                error = BatchStoppedError(
                    "the run ended early", error=error, count=summary.progress.stats.failed
                )
            error.results = results
            raise error
        return results

    def _source(self, targets: list[Target] | Caller) -> Source:
        options = self._options
        single = targets[0].model if isinstance(targets, list) and len(targets) == 1 else None
        more: dict[str, Any] = {
            "limit": options.limit,
            "template": None if options.template is None else Template(options.template),
            "system": options.system,
            "model": single,
            "parameters": options.request,
            "endpoint": options.endpoint,
            "allow_files": options.allow_files,
            "needs_model": isinstance(targets, list) and any(target.model is None for target in targets),
        }
        if self._path is not None:
            if " " in self._path and not os.path.exists(self._path):
                wrong = f"there is no such file; to ask a prompt, put it into a list: [{self._path!r}]"
                raise InputError(wrong, source="rows")
            return Source(self._path, **more)
        assert not isinstance(self._rows, str | os.PathLike)
        return RecordSource(self._rows, **more)

    def _title(self, targets: list[Target] | Caller) -> Title:
        names = [targets.name] if isinstance(targets, Caller) else [target.name for target in targets]
        return Title(
            list(dict.fromkeys(names)), describe(self._options.input), self._options.output or "memory"
        )

    def _results(self, outcome: Outcome, order: RowOrder, source: Source) -> Results[Any]:
        count = len(order)
        if self._path is None:
            # Also rows that a stopped run has not read.
            count = max(source.count(lambda: False) or 0, max(order.lines, default=0))
        lines = _lines_of_memory(outcome.lines, order, by_place=self._path is None)
        return Results(
            open_index(self._options.output, order).line if self._options.output else lines,
            count,
            summary=outcome.summary,
            output=self._options.output or None,
            model=self._answer_model,
            frame=self._rows,
        )


class _Watcher:
    """Shows a run."""

    def __init__(self, display: Display) -> None:
        self.note = display.note
        self._display = display

    def publishing(self, output: str) -> None:
        """The output is written."""
        self._display.show_activity(f"writing {output}")


def _lines_of_memory(
    lines: Mapping[int, bytes], order: RowOrder, *, by_place: bool
) -> Callable[[int], bytes | None]:
    if by_place:
        return lambda place: lines.get(place + 1)
    places = order.by_line()
    return lambda place: lines.get(order.lines[places[place]])


def _several(model: str | Sequence[str]) -> tuple[str, ...]:
    if not isinstance(model, str | list | tuple):
        raise ConfigurationError(
            f'model must be "PROVIDER/MODEL", a list of such names, or a model, got {type(model).__name__}',
            setting="model",
        )
    return tuple(read_value("model", [model] if isinstance(model, str) else list(model)))


def _read_schema(schema: type[BaseModel] | Schema) -> AnswerSchema | None:
    if schema is None or isinstance(schema, AnswerSchema):
        return schema
    if isinstance(schema, type):
        if not issubclass(schema, BaseModel):
            raise ConfigurationError(f"schema must be a pydantic model, got {schema!r}", setting="schema")
        return ModelSchema(schema)
    if isinstance(schema, Mapping):
        return to_answer_schema(schema)
    if not isinstance(schema, str | os.PathLike):
        raise ConfigurationError(
            f"schema must be a pydantic model, a JSON schema or a file with one, got {schema!r}",
            setting="schema",
        )
    return read_schema(os.fspath(schema))


def _split_options(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of a run and the parameters of its requests.

    Raises:
        ConfigurationError: for a value that cannot work, or a name that is nearly that of an option.
    """
    own: dict[str, Any] = {}
    parameters: dict[str, Any] = {}
    for name, value in options.items():
        if name in _KEYWORDS:
            if value is not None:
                own[name] = read_value(name, value)
            continue
        if name in _OF_THE_COMMAND:
            raise ConfigurationError(f"run has no option {name}; {_OF_THE_COMMAND[name]}", setting=name)
        meant = [] if name in PARAMETERS else difflib.get_close_matches(name, _KEYWORDS, 1, cutoff=0.8)
        if meant:
            raise ConfigurationError(f"run has no option {name}; did you mean {meant[0]}=?", setting=meant[0])
        parameters[name] = value
    return own, parameters


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # on Windows
        return None
    return uvloop.new_event_loop


def _show_options(function: Callable[..., Any]) -> None:
    """Let the signature of a function name the other options too, for help and completion."""
    signature = inspect.signature(function, eval_str=True)
    *own, request = signature.parameters.values()
    defaults = {each.name: each.default for each in fields(RunOptions)}
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name], annotation=kind)
        for name, (_, kind) in specifications().items()
        if name in _KEYWORDS and name not in signature.parameters
    ]
    vars(function)["__signature__"] = signature.replace(
        parameters=[*own, *options, request.replace(name="request")]
    )


_show_options(run)
_show_options(arun)
