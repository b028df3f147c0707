"""Rows from objects in memory: prompts, dicts, conversations, iterators and frames."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator, Mapping, Sized
from itertools import chain, islice
from typing import Any

from callgate.batch.input.records import Block
from callgate.batch.input.requests import RequestBuilder
from callgate.batch.input.rows import Row
from callgate.batch.input.sources import BadRow, Source
from callgate.batch.input.template import is_empty
from callgate.errors import InputError
from callgate.messages import Conversation

__all__ = ["RecordSource", "Records"]

Records = Iterable[Any] | AsyncIterable[Any]
"""Prompts, dicts, conversations (also as lists of messages), frames (pandas, polars, Arrow), datasets."""

_BLOCK = 256
_PLAIN = frozenset({str, int, bool, type(None)})
# As if a record had this size: how many are read ahead is given in bytes.
_BYTES = 1024


class RecordSource(Source):
    """The rows of records in memory. `line` is the place of a record among them, from 1.

    Lists and frames may be read more than once. An iterator is read once, in the thread of the event loop, as
    its rows are needed; an async iterator is read once.

    Args:
        records: The records.
        limit: At most so many rows.
        options: As of `Source`.

    Raises:
        InputError: when `records` is a single record, or cannot be iterated.

    >>> source = RecordSource(["How big is the moon?", {"prompt": "And the sun?"}])
    >>> [row.request["messages"][0]["content"] for block in source.blocks() for row in block]
    ['How big is the moon?', 'And the sun?']
    """

    def __init__(self, records: Records, *, limit: int | None = None, **options: Any) -> None:
        if isinstance(records, str | Mapping | Conversation):
            raise InputError("rows must be an iterable of rows, got a single row; put it into a list")
        if not any(hasattr(records, name) for name in ("__iter__", "__aiter__", "to_batches")):
            raise InputError(f"rows must be an iterable of rows, got {type(records).__name__}")
        self.path = self.name = "rows"
        self.format, self.compression = "records", None
        self.limit = limit
        self.waits = False
        self.is_async = isinstance(records, AsyncIterable)
        """Whether the rows come from `async_blocks`."""
        self._records = records
        self._options = options
        self._consumed = 0

    @property
    def once(self) -> bool:
        return self.is_async or isinstance(self._records, Iterator)

    def check(self, most_bytes: int, *, skips_bad_rows: bool = False) -> int | None:
        """As of `Source`; an iterator is not read ahead."""
        return None if self.once else super().check(most_bytes, skips_bad_rows=skips_bad_rows)

    def count(self, stopped: Callable[[], bool]) -> int | None:
        """The number of records, or None if it is unknown before they are read."""
        if not isinstance(self._records, Sized):
            return None
        return len(self._records) if self.limit is None else min(len(self._records), self.limit)

    @property
    def types(self) -> Mapping[str, Any]:
        schema = getattr(self._records, "schema", None) if hasattr(self._records, "to_batches") else None
        return {} if schema is None else {each.name: each.type for each in schema}

    async def async_blocks(
        self, on_bad_row: Callable[[BadRow], object] | None = None
    ) -> AsyncGenerator[list[Row], None]:
        """As `blocks`, of an async iterator: one row a block."""
        records, line, index = self._records, 0, 0
        assert isinstance(records, AsyncIterable)
        builder = self._builder()
        left = sys.maxsize if self.limit is None else self.limit
        if not left:
            return
        async for item in records:
            line += 1
            for rows in self._build(builder, [(line, _to_record(item))], index, left, on_bad_row):
                index += len(rows)
                yield rows
            if index == left:
                return

    def _builder(self) -> RequestBuilder:
        return RequestBuilder(
            source=self.name,
            folder=os.getcwd(),
            fills_nulls=hasattr(self._records, "columns"),
            **self._options,
        )

    def _read(self, builder: RequestBuilder) -> Iterator[Block]:
        # An iterator may take its time for each record, so no row is kept waiting for the next.
        size = 1 if self.once else _BLOCK
        numbered = enumerate(self._iterate(), 1)
        while block := list(islice(numbered, size)):
            self._count_bytes(_BYTES * len(block))
            yield [(line, _to_record(item)) for line, item in block]

    def _iterate(self) -> Iterator[Any]:
        records: Any = self._records
        if hasattr(records, "to_batches"):  # an Arrow table
            return (record for batch in records.to_batches(_BLOCK) for record in batch.to_pylist())
        if hasattr(records, "iter_rows"):  # a frame of polars
            return iter(records.iter_rows(named=True))
        if hasattr(records, "iloc"):  # a frame or a series of pandas
            return _read_pandas(records)
        return chain.from_iterable(map(_expand, records))


def _read_pandas(frame: Any) -> Iterator[Any]:
    columns = getattr(frame, "columns", None)
    if columns is not None and not columns.is_unique:
        twice = columns[columns.duplicated()][0]
        raise InputError(f"the frame names column {twice!r} twice", source="rows")
    for start in range(0, len(frame), _BLOCK):
        part = frame.iloc[start : start + _BLOCK]
        yield from part.to_dict("records") if hasattr(part, "columns") else part.tolist()


def _expand(item: Any) -> Iterable[Any]:
    """The records of an item: an Arrow batch holds several."""
    expanded: list[Any] = item.to_pylist() if hasattr(item, "to_pylist") else [item]
    return expanded


def _to_record(item: Any) -> Any:
    try:
        item = _plain(item)
    except RecursionError:
        return item  # which the builder refuses with its line
    if isinstance(item, str):
        return {"prompt": item}
    if isinstance(item, Conversation):
        return {"messages": item.to_messages()}
    if isinstance(item, list) and item and isinstance(item[0], Mapping):
        return {"messages": item}
    return item if isinstance(item, dict) or not isinstance(item, Mapping) else dict(item)


def _plain(value: Any) -> Any:
    """A value of a frame as one of JSON: pandas keeps lists as arrays, and has its own values for nothing."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is dict:
        return {name if type(name) is str else str(name): _plain(each) for name, each in value.items()}
    if kind is list:
        return [_plain(each) for each in value]
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        # As integers, dates of numpy would lose that they are dates.
        return _plain((value.astype(str) if value.dtype.kind in "mM" else value).tolist())
    return None if is_empty(value) else value
