"""Reading rows: lazily, a block at a time, whatever the format.

A block is what one read returns (16 KB of a file; whatever is there of a pipe), so memory does not grow with
the input, and a row that comes through a pipe does not wait for the next one.
"""

from __future__ import annotations

import io
import itertools
import os
import sys
from array import array
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple, cast

from callgate.batch.input.files import (
    READ_ERRORS,
    STDIN,
    describe,
    format_of,
    is_regular,
    open_bytes,
    refuse_unknown_table,
)
from callgate.batch.input.records import (
    TABLE_ROWS,
    Block,
    count_parquet,
    parquet_types,
    read_json,
    read_parquet,
    read_table,
    read_text,
)
from callgate.batch.input.requests import RequestBuilder
from callgate.batch.input.rows import Row, content_key
from callgate.errors import InputError

__all__ = ["BadRow", "Source", "UnusableRowsError"]

_COUNTED_BYTES = 1024 * 1024
_NAMED_PROBLEMS = 20
_NAMED_LINES = 6
_BOM = b"\xef\xbb\xbf"
_UNREADABLE: tuple[type[Exception], ...] = (*READ_ERRORS, InputError)


class UnusableRowsError(InputError):
    """Rows that cannot be used. Raised before anything is sent.

    >>> str(UnusableRowsError("rows:1: the prompt is empty", remedy="skip it with"))
    'rows:1: the prompt is empty; skip it with on_bad_row="skip"'
    """

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message, setting="on_bad_row", remedy=remedy)

    def explain(self, name: str | None = None) -> str:
        return super().explain(name) + ('"skip"' if name is None else " skip")


class BadRow(NamedTuple):
    """A row that cannot be used.

    Attributes:
        error: Why; it names the input and the line.
        key: Identifies the row, as `Row.key` does.
    """

    error: InputError
    key: int


class Source:
    """The rows of one input. Of a regular file, `blocks()` can be called more than once.

    Args:
        path: A file, or "-" for standard input. Its name determines the format (`.jsonl` or anything else,
            `.csv`, `.tsv`, `.parquet`; `.txt` has a prompt a line) and the compression (`.gz`, `.zst`);
            standard input is JSONL when its first character is "{", else CSV.
        limit: At most so many rows.
        options: What `RequestBuilder` takes, without `source`, `fills_nulls` and `folder`.

    Raises:
        InputError: when it does not exist or is a directory.

    Example::

        source = Source("prompts.jsonl", system="Answer shortly.")
        for block in source.blocks():
            for row in block:
                print(row.line, row.request)
    """

    def __init__(self, path: str, *, limit: int | None = None, **options: Any) -> None:
        self.path = path
        self.name = describe(path)
        refuse_unknown_table(path)
        self.format, self.compression = format_of(path)
        self.limit = limit
        self.waits = not is_regular(path)
        """Whether a read may block, as of a pipe; such a source can be read only once."""
        self._options = options
        self._consumed = 0

    @property
    def once(self) -> bool:
        """Whether the rows can be read only once."""
        return self.waits

    def blocks(
        self, on_bad_row: Callable[[BadRow], object] | None = None, *, beyond_limit: bool = False
    ) -> Iterator[list[Row]]:
        """The rows, block by block, at most `limit` in all.

        Args:
            on_bad_row: Called with each row that cannot be used, which is then skipped; None: the first one
                ends the rows.
            beyond_limit: Whether to go on behind `limit`.

        Raises:
            InputError: naming the file and the line, after the rows before it: when a row cannot be used, or
                when the file cannot be read further.
        """
        left = sys.maxsize if self.limit is None or beyond_limit else self.limit
        if left <= 0:
            return
        builder = self._builder()
        index = 0
        for block in self._read(builder):
            for rows in self._build(builder, block, index, left, on_bad_row):
                index += len(rows)
                yield rows
            if index == left:
                return

    def _build(
        self,
        builder: RequestBuilder,
        block: Block,
        index: int,
        left: int,
        on_bad_row: Callable[[BadRow], object] | None,
    ) -> Iterator[list[Row]]:
        """The rows of a block, in one list. `index` is the index of the first one; at `left` reading ends."""
        rows: list[Row] = []
        build = builder.build
        for line, record in block:
            try:
                if isinstance(record, InputError):
                    raise record
                rows.append(build(record, index, line))
            except InputError as error:
                if on_bad_row is None:
                    yield rows
                    raise
                on_bad_row(BadRow(error, content_key({"line": line, "error": str(error)})))
            else:
                index += 1
                if index == left:
                    break
        yield rows

    def check(self, most_bytes: int, *, skips_bad_rows: bool = False) -> int | None:
        """Read ahead, so that bad rows are found before the first call: about `most_bytes` of a regular file.

        Args:
            most_bytes: How far to read.
            skips_bad_rows: Whether rows that cannot be used are skipped later, and no error here.

        Returns:
            How many rows there are, or None when the input goes on beyond that, or cannot be read twice.

        Raises:
            UnusableRowsError: naming up to 20 problems of rows, each with its lines.
            InputError: when one `custom_id` belongs to two
                different rows, which the next run could not distinguish. Nothing beyond what is read ahead is
                compared.
        """
        if self.waits:
            return None
        rows, self._consumed = 0, 0
        whole = True
        ids = array("Q")
        bad = _BadRows()
        for block in self.blocks(bad.add):
            rows += len(block)
            ids.extend([row.key for row in block if row.custom_id is not None])
            if self._consumed >= most_bytes:
                whole = False
                break
        if bad.count and not skips_bad_rows:
            raise bad.error(self.name)
        try:
            self._check_ids(ids, rows)
        except InputError:
            if not self._options.get("takes_id", True):
                raise
            # Where `id` does not identify rows, it is a column like any other.
            self._options["takes_id"] = False
            return self.check(most_bytes, skips_bad_rows=skips_bad_rows)
        return rows + bad.count if whole else None

    def _check_ids(self, ids: array[int], rows: int) -> None:
        """Refuse an id that two different rows have among the first `rows`; they are read again only if an id
        occurs twice."""
        ordered = sorted(ids)
        twice = {one for one, next_one in itertools.pairwise(ordered) if one == next_one}
        if not twice:
            return
        first: dict[int, tuple[int, int]] = {}
        for row in itertools.islice(itertools.chain.from_iterable(self.blocks(lambda _: None)), rows):
            if row.custom_id is None or row.key not in twice:
                continue
            content = content_key({"request": row.request, "columns": row.columns})
            line, content_before = first.setdefault(row.key, (row.line, content))
            if content != content_before:
                raise InputError(
                    f"custom_id {row.custom_id!r} is that of line {line} too, which is a different row; give"
                    " each row an id of its own",
                    source=self.name,
                    line=row.line,
                )

    def count(self, stopped: Callable[[], bool]) -> int | None:
        """Count the rows of a regular file quickly, by its line ends. Meant for a thread.

        Where a line may be no row of its own (it is blank, or inside a CSV cell), it is an upper bound.

        Args:
            stopped: Called now and then; once it returns True, the count is given up.

        Returns:
            The number, or None when it was given up or the file is damaged, which reading its rows reports.
        """
        try:
            if self.format == "parquet":
                rows: int | None = count_parquet(self.path, self.name)
            else:
                rows = self._lines_to_count(stopped)
        except _UNREADABLE:
            return None
        return rows if rows is None or self.limit is None else min(rows, self.limit)

    def _lines_to_count(self, stopped: Callable[[], bool]) -> int | None:
        lines, last = 0, b"\n"
        with open_bytes(self.path, self.compression) as stream:
            while chunk := stream.read(_COUNTED_BYTES):
                if stopped():
                    return None
                lines += chunk.count(b"\n")
                last = chunk[-1:]
        lines += last != b"\n"
        return max(0, lines - 1) if self.format in ("csv", "tsv") else lines  # without the header

    @property
    def types(self) -> Mapping[str, Any]:
        """The Arrow type of each column, where the input has such.

        Raises:
            InputError: when the input cannot be read.
        """
        return parquet_types(self.path, self.name) if self.format == "parquet" else {}

    # -- by format ---------------------------------------------------------------------------------------

    def _builder(self) -> RequestBuilder:
        folder = "" if self.path == STDIN else os.path.dirname(self.path)
        return RequestBuilder(
            source=self.name,
            folder=folder,
            fills_nulls=self.format == "parquet",
            **self._options,
        )

    def _read(self, builder: RequestBuilder) -> Iterator[Block]:
        if self.format == "parquet":
            yield from read_parquet(self.path, self.name, self._count_bytes, builder.check_columns)
            return
        with open_bytes(self.path, self.compression) as stream:
            if self._is_text() and not _looks_like_json(stream):
                yield from read_text(stream, self.name, self._count_bytes)
                return
            if self.format == "jsonl" and (self.path != STDIN or _looks_like_json(stream)):
                yield from read_json(stream, self.name, self._count_bytes)
                return
            yield from read_table(
                stream,
                self.name,
                self._count_bytes,
                builder.check_columns,
                delimiter="\t" if self.format == "tsv" else ",",
                block_rows=1 if self.waits else TABLE_ROWS,  # a row of a pipe is not to wait for others
            )

    def _is_text(self) -> bool:
        name = self.path.lower()
        return name.removesuffix(os.path.splitext(name)[1] if self.compression else "").endswith(".txt")

    def _count_bytes(self, size: int) -> None:
        self._consumed += size


class _BadRows:
    """The rows that cannot be used, by problem."""

    def __init__(self) -> None:
        self.count = 0
        self._problems: dict[str, tuple[array[int], str]] = {}
        """Each problem: its lines, and the first of them with its place."""

    def add(self, row: BadRow) -> None:
        self.count += 1
        error = row.error
        problem = str(error).removeprefix(f"{error.source}:{error.line}: ")
        if problem in self._problems or len(self._problems) < _NAMED_PROBLEMS:
            lines, _ = self._problems.setdefault(problem, (array("Q"), str(error)))
            lines.append(error.line or 0)

    def error(self, source: str) -> UnusableRowsError:
        problems = list(self._problems.values())
        if self.count == 1:
            return UnusableRowsError(problems[0][1], remedy="skip it with")
        named = "".join(f"\n  {first}{_also_on(lines)}" for lines, first in problems)
        left = self.count - sum(len(lines) for lines, _ in problems)
        more = f"\n  and {left:,} more" if left else ""
        return UnusableRowsError(
            f"{source}: {self.count:,} rows cannot be used:{named}{more}",
            remedy="put them right, or skip them with",
        )


def _also_on(lines: array[int]) -> str:
    """The further lines with a problem: " (also on lines 3, 4 and 5 more)"."""
    named = ", ".join(map(str, lines[1:_NAMED_LINES]))
    more = f" and {len(lines) - _NAMED_LINES:,} more" if len(lines) > _NAMED_LINES else ""
    return f" (also on line{'s' if len(lines) > 2 else ''} {named}{more})" if named else ""


def _looks_like_json(stream: BinaryIO) -> bool:
    """Whether standard input begins as JSON does; nothing of it is consumed."""
    start = cast(io.BufferedReader, stream).peek(1).removeprefix(_BOM).lstrip()
    return not start or start[:1] in (b"{", b"[")
