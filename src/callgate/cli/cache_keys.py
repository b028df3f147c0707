"""The cache keys of a row, without a call."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from callgate.batch.input.media import load_media
from callgate.batch.input.rows import Row
from callgate.batch.input.schema_file import read_schema
from callgate.batch.input.sources import Source
from callgate.batch.input.template import Template
from callgate.batch.options import RunOptions
from callgate.batch.targets import Target, read_targets
from callgate.errors import InputError
from callgate.model.model import iModel
from callgate.policies.cache.key import CacheKey
from callgate.policies.cache.layer import key_of
from callgate.schema.answer import AnswerSchema

__all__ = ["find_row", "keys_of"]


def find_row(options: RunOptions, line: int, custom_id: str | None) -> tuple[str, Row]:
    """The input's name, and its first row with this id, or from this line on.

    Raises:
        InputError: when there is no such row.
    """
    source = Source(
        options.input,
        template=None if options.template is None else Template(options.template),
        system=options.system,
        parameters=options.request,
    )
    for block in source.blocks():
        for row in block:
            if row.custom_id == custom_id if custom_id is not None else row.line >= line:
                return source.name, row
    what = f"no row with the custom_id {custom_id!r}" if custom_id is not None else f"no row on line {line}"
    raise InputError(what, source=source.name)


def keys_of(options: RunOptions, row: Row) -> list[CacheKey]:
    """The key of the row at each target; a model is made for each, and never called.

    Raises:
        InputError: when the row is never cached, or a file or the schema cannot be read.
        ConfigurationError: when the options name no target.
    """
    schema = None if options.schema is None else read_schema(options.schema)
    # Nothing is sent, so no key is needed.
    targets = read_targets(replace(options, api_key_env=()))
    return asyncio.run(_keys_of(targets, row, schema, options.sample))


async def _keys_of(
    targets: list[Target], row: Row, schema: AnswerSchema | None, sample: int
) -> list[CacheKey]:
    request = await load_media(row.request)
    keys = []
    for target in targets:
        settings: dict[str, Any] = {"provider": target.provider, "api_key": "unused", "allow_http": True}
        if target.base_url is not None:
            settings["base_url"] = target.base_url
        payload = request if target.model is None else {**request, "model": target.model}
        async with iModel(**settings) as model:
            calling = await model.create_calling(
                request_payload=payload, response_schema=schema, metadata={"sample": sample}
            )
            key = key_of(calling)
        if key is None:
            raise InputError(
                "the row holds values that cannot be compared, so it is never cached", line=row.line
            )
        keys.append(key)
    return keys
