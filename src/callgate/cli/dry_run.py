"""`callgate run --dry-run`: what a run would come to, with what its command line names, without a call."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from callgate.batch.cost.forecast import Forecast, Sample, forecast, read_sample
from callgate.batch.cost.ledger import read_spent
from callgate.batch.input.files import READ_ERRORS
from callgate.batch.input.images import load_images
from callgate.batch.input.rows import Row
from callgate.batch.input.sources import Source
from callgate.batch.output.completed_keys import Finished
from callgate.batch.output.journal import STDOUT
from callgate.batch.output.paths import (
    has_answers,
    is_held_compressed,
    journal_path,
    lost_journal,
    open_answers,
)
from callgate.cli.endpoints import Target, make_caller
from callgate.cli.run import RunOptions
from callgate.errors import ConfigurationError, InputError
from callgate.policies.cache.sqlite import file_of
from callgate.providers.hosts import find_host
from callgate.schema.answer import AnswerSchema

__all__ = ["foretell", "left_of_budget"]

_NO_KEY = "a dry run calls nothing"


def left_of_budget(options: RunOptions) -> float | None:
    """The US dollars that may still be spent, before a run; None: there is no budget.

    Raises:
        InputError: when it cannot be read what was spent.
    """
    if options.budget is None:
        return None
    fresh = options.overwrite or options.output == STDOUT
    return max(0.0, options.budget - (0.0 if fresh else read_spent(options.output)))


async def foretell(
    options: RunOptions, source: Source, targets: list[Target], schema: AnswerSchema | None
) -> Forecast:
    """Everything that a run does before its first call; output and cache are read, and not touched.

    Raises:
        InputError: when a file or a row cannot be used.
        ConfigurationError: when the provider or a limit cannot work.
    """
    sample = _sample(options)
    if options.cache is not None and not file_of(Path(options.cache)).exists():
        options = replace(options, cache=None)  # to look into one that is not there would make it
    async with make_caller(options, _with_any_key(targets)) as model:
        remembers = model.as_alternative().remembers
        metadata = {"sample": options.sample} if options.sample else None

        async def is_cached(row: Row) -> bool:
            assert remembers is not None
            calling = await model.create_calling(
                request_payload=await load_images(row.request), metadata=metadata, response_schema=schema
            )
            return await remembers(calling)

        return await forecast(
            model,
            source,
            sample,
            concurrency=options.concurrency,
            is_cached=None if options.cache is None else is_cached,
        )


def _with_any_key(targets: list[Target]) -> list[Target]:
    """Who calls nothing needs no key: where the variable of one is not set, any text will do."""
    return [replace(target, api_key=_NO_KEY) if _lacks_key(target) else target for target in targets]


def _lacks_key(target: Target) -> bool:
    try:
        host = find_host(target.provider)
    except ConfigurationError:  # it is told when the model is made, if that is no server of the user's own
        return False
    names = (host.api_key_env, *host.other_api_key_envs)
    given = target.api_key is not None or any(name and os.environ.get(name) for name in names)
    return host.api_key_required and not given


def _sample(options: RunOptions) -> Sample:
    """What the answers of earlier runs teach."""
    output = options.output
    if options.overwrite or output == STDOUT or (os.path.exists(output) and not os.path.isfile(output)):
        return Sample(Finished())
    if not has_answers(output) and os.path.exists(output):
        raise lost_journal(output)
    if not is_held_compressed(output):
        return read_sample(journal_path(output))
    with TemporaryDirectory(prefix="callgate-") as folder:
        path = os.path.join(folder, os.path.basename(output))
        try:
            with open_answers(output)[0] as answers, open(path, "wb") as copy:
                shutil.copyfileobj(answers, copy)
        except READ_ERRORS as error:
            raise InputError(f"cannot be read to its end ({error}); is it damaged?", source=output) from None
        return read_sample(path)
