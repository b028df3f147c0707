"""The rows of an input that its output has no answer to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, get_args

from callgate.batch.changes import compare_rows, find_changes, is_unchanged
from callgate.batch.input.fingerprint import Fingerprints
from callgate.batch.input.record_source import RecordSource
from callgate.batch.input.renamed import RenamedRows
from callgate.batch.input.rows import Row
from callgate.batch.input.sources import BadRow, Source
from callgate.batch.input.template import is_empty
from callgate.batch.options import OnChange
from callgate.batch.output.completed_keys import CompletedKeys
from callgate.batch.output.journal import Journal
from callgate.batch.output.results import own_columns
from callgate.batch.output.row_order import RowOrder
from callgate.batch.output.table import InputRows, TableRow
from callgate.errors import ConfigurationError, InputError, RowsChangedError
from callgate.exact_json import dumps, loads

__all__ = ["UnfinishedRows", "name_of"]

_OF_JSON = frozenset({bool, int, float, str, list, dict})


class UnfinishedRows:
    """Reads the rows of an input block by block and leaves out those that have an answer.

    Args:
        source: The rows.
        order: Notes all rows in the order in which they are read.
        fingerprints: What the rows ask; None: any answer to a row counts, whatever was asked.
        on_change: What becomes of finished rows that would be asked differently now: "keep" their answers, or
            "reask" them; None: they are an error.

    Attributes:
        skipped: How many rows were left out.

    Raises:
        ConfigurationError: for any other `on_change`.

    Example::

        rows = UnfinishedRows(Source("in.jsonl"))
        for block in rows.blocks(journal.completed):
            print(len(block), rows.skipped)
    """

    def __init__(
        self,
        source: Source,
        *,
        order: RowOrder | None = None,
        fingerprints: Fingerprints | None = None,
        on_change: OnChange | None = None,
    ) -> None:
        if on_change not in (None, *get_args(OnChange)):
            raise ConfigurationError(
                f"on_change must be keep or reask, got {on_change!r}", setting="on_change"
            )
        self.source = source
        self.skipped = 0
        self._order = order
        self._noted = RowOrder() if order is None else order
        self._exhausted = False
        self._fingerprints = fingerprints
        self._on_change = on_change
        self._renamed: RenamedRows | None = None
        self._former: Callable[[int], int] | None = None
        self._all_finished = False

    async def compare(self, journal: Journal, stopped: Callable[[], bool]) -> str | None:
        """Compare all rows with their answers, before the first call, where the rows can be read twice.

        Args:
            journal: The answers. Those of rows that are to be asked again are set aside.
            stopped: Called now and then; once it returns True, the comparison is given up.

        Returns:
            The name of the file with the answers that were set aside, or None.

        Raises:
            RowsChangedError: when finished rows would be asked differently now, and `on_change` is None.
            InputError: when a file cannot be read or written.
        """
        fingerprints, source, kept = self._fingerprints, self.source, None
        if fingerprints is None or source.once or not journal.completed.marked:
            return None
        found = await compare_rows(source, journal.completed, fingerprints, self._order, stopped)
        if stopped():
            return None
        if found.left and found.unused and journal.completed.marked:
            changes = await find_changes(source, journal.path, fingerprints)
            if changes.rows and self._on_change is None:
                raise RowsChangedError(changes.rows, changes.differences, source=journal.output)
            if changes.rows and self._on_change == "reask":
                loop = asyncio.get_running_loop()
                kept = await loop.run_in_executor(None, journal.set_aside, changes.starts)
            self._take_up(changes.renamed)
        self._order = None  # it is complete
        self._fingerprints = None  # so are the changes
        if kept is None and not found.left and not found.bad:
            self._all_finished = True
            self.skipped = found.finished
        return kept

    def _take_up(self, renamed: RenamedRows) -> None:
        """Know rows by the keys that their answers have."""
        if not len(renamed):
            return
        self._renamed = renamed
        former, order = renamed.reader(), self._noted
        for place in order.by_line():
            order.keys[place] = former(order.keys[place])

    def blocks(
        self, finished: CompletedKeys, on_bad_row: Callable[[BadRow], object] | None = None
    ) -> Iterator[list[Row]]:
        """The rows that are left, in their order.

        Args:
            finished: The rows that have an answer.
            on_bad_row: As of `Source.blocks`.

        Raises:
            InputError: as `Source.blocks`; and of an input that can be read only once, after the rows before
                it, at a finished row that would be asked differently now.
        """
        if self._all_finished:
            return
        self._former = None if self._renamed is None else self._renamed.reader()
        if not len(finished) and self._order is None:
            yield from self.source.blocks(on_bad_row)
            return
        for block in self.source.blocks(on_bad_row):
            left, changed = self._without_finished(block, finished)
            yield left
            if changed is not None:
                raise self._refusal(changed)
        self._exhausted = True

    async def async_blocks(
        self,
        source: RecordSource,
        finished: CompletedKeys,
        on_bad_row: Callable[[BadRow], object] | None = None,
    ) -> AsyncGenerator[list[Row], None]:
        """As `blocks`, of an async iterator."""
        async with aclosing(source.async_blocks(on_bad_row)) as blocks:
            async for block in blocks:
                left, changed = self._without_finished(block, finished)
                yield left
                if changed is not None:
                    raise self._refusal(changed)
        self._exhausted = True

    def table_rows(self) -> InputRows:
        """All rows of the input, also those behind its limit, as the table of an output holds them.

        Of an input that can be read only once, these are the rows that were read, by their lines and keys.

        Raises:
            InputError: when the input cannot be read.
        """
        source = self.source
        if not source.once:
            types = own_columns(source.types)
            return InputRows(partial(_read_rows, source, types, self._renamed), types=types)
        order = self._noted

        def noted() -> Iterator[TableRow]:
            for place in order.by_line():
                yield TableRow(order.keys[place], order.lines[place], None, None)

        return InputRows(noted, whole=self._exhausted and source.limit is None)

    def _without_finished(self, block: list[Row], finished: CompletedKeys) -> tuple[list[Row], Row | None]:
        """The rows that are left, up to the first that would be asked differently now, and that one."""
        if self._order is not None:
            self._order.add(block)
        if not len(finished):
            return block, None
        prints = None if self._on_change == "keep" else self._fingerprints
        left: list[Row] = []
        if self._former is not None:
            for row in block:
                row.key = self._former(row.key)
        for row in block:
            as_asked = prints is None or is_unchanged(row, finished, prints)
            done = finished.take(row.key)
            if done and not as_asked:
                return left, row
            if done:
                self.skipped += 1
            else:
                left.append(row)
        return left, None

    def _refusal(self, row: Row) -> InputError:
        return InputError(
            f"{name_of(row)} has an answer, but would be asked differently now; to ask it again, put the rows"
            " into a list or a file, which can be read twice",
            source=self.source.name,
            line=row.line,
            setting="on_change",
            remedy='to keep its answer, give "keep" to',
        )


def _read_rows(source: Source, types: Mapping[str, Any], renamed: RenamedRows | None) -> Iterator[TableRow]:
    former = None if renamed is None else renamed.reader()
    for block in source.blocks(lambda _: None, beyond_limit=True):
        for row in block:
            columns = own_columns(row.columns or {}).items()
            own = {name: value if name in types else _as_written(value) for name, value in columns}
            yield TableRow(row.key if former is None else former(row.key), row.line, row.custom_id, own)


def _as_written(value: Any) -> Any:
    """A value as it comes back from a line of the journal."""
    if is_empty(value):
        return None
    return value if type(value) in _OF_JSON else loads(dumps(value, str))


def name_of(row: Row) -> str:
    """A row in messages.

    >>> name_of(Row(0, 3, None, 1, {}))
    'line 3'
    """
    return f"line {row.line}" if row.custom_id is None else row.custom_id
