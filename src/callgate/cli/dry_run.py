"""`callgate run --dry-run`: estimates tokens, cost and time of a run without a call."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from callgate.batch.changes import compare_rows, find_changes
from callgate.batch.cost.forecast import Forecast, Sample, forecast, read_sample
from callgate.batch.cost.ledger import read_spent
from callgate.batch.input.files import READ_ERRORS
from callgate.batch.input.media import load_media
from callgate.batch.input.rows import Row
from callgate.batch.input.sources import Source
from callgate.batch.options import RunOptions
from callgate.batch.output.completed_keys import CompletedKeys
from callgate.batch.output.journal import STDOUT
from callgate.batch.output.paths import (
    has_answers,
    is_held_compressed,
    journal_path,
    lost_journal,
    open_answers,
)
from callgate.batch.targets import Target, fingerprints_of, open_model
from callgate.errors import ConfigurationError, InputError
from callgate.model.base import Caller
from callgate.policies.cache.sqlite_file import file_of
from callgate.providers.hosts import find_host
from callgate.schema.answer import AnswerSchema

__all__ = ["budget_left", "estimate"]

_ANY_KEY = "a dry run calls nothing"


def budget_left(options: RunOptions) -> float | None:
    """US dollars that a run may still spend; None without a budget.

    Raises:
        InputError: when the account of earlier runs cannot be read.
    """
    if options.budget is None:
        return None
    fresh = options.overwrite or options.output == STDOUT
    return max(0.0, options.budget - (0.0 if fresh else read_spent(options.output)))


async def estimate(
    options: RunOptions, source: Source, targets: list[Target], schema: AnswerSchema | None
) -> Forecast:
    """The forecast of a run, after every check that a run makes before its first call.

    Output and cache are read and not changed.

    Raises:
        InputError: when a file or a row cannot be used.
        ConfigurationError: when the provider or a limit cannot work.
    """
    if options.cache is not None and not file_of(Path(options.cache)).exists():
        # To open a cache that does not exist would create it.
        options = replace(options, cache=None, cache_ttl=None, sample=0)
    with _answers(options) as answers:
        async with open_model(options, _with_any_key(targets)) as model:
            return await _forecast(options, source, model, schema, answers)


async def _forecast(
    options: RunOptions, source: Source, model: Caller, schema: AnswerSchema | None, answers: str | None
) -> Forecast:
    metadata = {"sample": options.sample} if options.sample else None

    async def is_cached(row: Row) -> bool:
        calling = await model.create_calling(
            request_payload=await load_media(row.request), metadata=metadata, response_schema=schema
        )
        return await model.is_cached(calling)

    sample = Sample(CompletedKeys()) if answers is None else read_sample(answers)
    fingerprints = fingerprints_of(model, schema)
    renamed = None
    if answers is not None and sample.completed.marked and not source.once:
        compared = await compare_rows(source, sample.completed, fingerprints)
        if compared.left and compared.unused:
            renamed = (await find_changes(source, answers, fingerprints)).renamed
    return await forecast(
        model,
        source,
        sample,
        concurrency=options.concurrency,
        is_cached=None if options.cache is None else is_cached,
        fingerprints=fingerprints,
        renamed=renamed,
        asks_again=options.on_change == "reask",
    )


def _with_any_key(targets: list[Target]) -> list[Target]:
    """The targets, with any text for a key that is not set: nothing is sent."""
    return [replace(target, api_key=_ANY_KEY) if _lacks_key(target) else target for target in targets]


def _lacks_key(target: Target) -> bool:
    try:
        host = find_host(target.provider)
    except ConfigurationError:  # raised again when the model is made, unless the target has a base URL
        return False
    names = (host.api_key_env, *host.other_api_key_envs)
    given = target.api_key is not None or any(name and os.environ.get(name) for name in names)
    return host.api_key_required and not given


@contextmanager
def _answers(options: RunOptions) -> Iterator[str | None]:
    """The path of the answers of earlier runs as JSON lines; None: there are none."""
    output = options.output
    if options.overwrite or output == STDOUT or (os.path.exists(output) and not os.path.isfile(output)):
        yield None
        return
    if not has_answers(output):
        if os.path.exists(output):
            raise lost_journal(output)
        yield None
        return
    if not is_held_compressed(output):
        yield journal_path(output)
        return
    with TemporaryDirectory(prefix="callgate-") as folder:
        path = os.path.join(folder, os.path.basename(output))
        try:
            with open_answers(output)[0] as answers, open(path, "wb") as copy:
                shutil.copyfileobj(answers, copy)
        except READ_ERRORS as error:
            raise InputError(f"cannot be read to its end ({error}); is it damaged?", source=output) from None
        yield path
