"""Reading rows: lazily, a block at a time, whatever the format.

A block is what one read brought (16 KB of a file; whatever is there of a pipe), so memory does not grow with
the input, and a row that comes through a pipe is not kept waiting for the next.
"""

from __future__ import annotations

import csv
import io
import itertools
import os
import sys
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NoReturn, cast

import orjson

from callgate.batch.input.files import (
    READ_ERRORS,
    STDIN,
    describe,
    format_of,
    is_regular,
    open_bytes,
    refuse_unknown_table,
)
from callgate.batch.input.requests import RequestBuilder
from callgate.batch.input.rows import Row, content_key
from callgate.errors import InputError

__all__ = ["Source"]

# The rows of a block are made in one go, on the event loop: in a millisecond or so. A quarter of a megabyte
# takes it a fifth more for each row, and the loop stands still for twenty times as long.
_CHUNK = 16 * 1024
_TABLE_ROWS = 256
_LONGEST_LINE = 256 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"
_PACKED = (
    (b"\x1f\x8b", "gzip", "gzip -dc FILE | callgate run - ..., or end its name in .gz"),
    (b"\x28\xb5\x2f\xfd", "zstd", "zstd -dc FILE | callgate run - ..., or end its name in .zst"),
    (b"PAR1", "Parquet", "give the file itself, its name ending in .parquet"),
)
_UNREADABLE: tuple[type[Exception], ...] = (*READ_ERRORS, InputError)


class Source:
    """The rows of one input. Of a regular file, `blocks()` can be asked for more than once.

    Args:
        path: A file, or "-" for standard input. Its name tells the format (`.jsonl` or anything else, `.csv`,
            `.tsv`, `.parquet`) and the compression (`.gz`, `.zst`); standard input is JSONL when its first
            character is "{", else CSV.
        limit: At most so many rows.
        options: What `RequestBuilder` takes, without `source`, `table` and `folder`.

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
        """Whether a read may wait for somebody to write; such a source can be read only once."""
        self._options = options
        self._consumed = 0

    def blocks(self) -> Iterator[list[Row]]:
        """The rows, block by block, at most `limit` in all.

        Raises:
            InputError: naming the file and the line, when a row cannot be used. No row of its block is given.
        """
        left = sys.maxsize if self.limit is None else self.limit
        if left <= 0:
            return
        # Opened here and not in __init__: a second pass reads the file anew.
        for block in self._read():
            if len(block) >= left:
                yield block[:left]
                return
            left -= len(block)
            yield block

    def check(self, most_bytes: int) -> int | None:
        """Read ahead, so that bad rows are found before the first call: about `most_bytes` of a regular file.

        Returns:
            How many rows there are, or None when the input goes on beyond that, or cannot be read twice.

        Raises:
            InputError: as `blocks` does; and when one `custom_id` stands for two different rows, which the
                next run could not tell apart. That is looked for within what is read ahead, not beyond it.
        """
        if self.waits:
            return None
        rows, self._consumed = 0, 0
        whole = True
        ids = array("Q")
        for block in self.blocks():
            rows += len(block)
            ids.extend([row.key for row in block if row.custom_id is not None])
            if self._consumed >= most_bytes:
                whole = False
                break
        self._check_ids(ids, rows)
        return rows if whole else None

    def _check_ids(self, ids: array[int], rows: int) -> None:
        """Refuse an id that two different rows have among the first `rows`; they are read again only where
        one comes twice."""
        ordered = sorted(ids)
        twice = {one for one, next_one in itertools.pairwise(ordered) if one == next_one}
        if not twice:
            return
        first: dict[int, tuple[int, int]] = {}
        for row in itertools.islice(itertools.chain.from_iterable(self.blocks()), rows):
            if row.custom_id is None or row.key not in twice:
                continue
            said = content_key({"request": row.request, "columns": row.columns})
            line, said_before = first.setdefault(row.key, (row.line, said))
            if said != said_before:
                raise InputError(
                    f"custom_id {row.custom_id!r} is that of line {line} too, which says something else; give"
                    " each row an id of its own",
                    source=self.name,
                    line=row.line,
                )

    def count(self, stopped: Callable[[], bool]) -> int | None:
        """Count the rows of a regular file the quick way, by its line ends. Meant for a thread.

        Where a line may be no row of its own (it is blank, or inside a CSV cell), it is an upper bound.

        Args:
            stopped: Asked now and then; once it is true, the count is given up.

        Returns:
            The number, or None when it was given up or the file is damaged (whoever reads its rows says so).
        """
        try:
            rows = self._parquet_rows() if self.format == "parquet" else self._lines_to_count(stopped)
        except _UNREADABLE:
            return None
        return rows if rows is None or self.limit is None else min(rows, self.limit)

    def _lines_to_count(self, stopped: Callable[[], bool]) -> int | None:
        lines, last = 0, b"\n"
        with open_bytes(self.path, self.compression) as stream:
            while chunk := stream.read(64 * _CHUNK):
                if stopped():
                    return None
                lines += chunk.count(b"\n")
                last = chunk[-1:]
        lines += last != b"\n"
        return max(0, lines - 1) if self.format in ("csv", "tsv") else lines  # without the header

    # -- by format ---------------------------------------------------------------------------------------

    def _read(self) -> Iterator[list[Row]]:
        if self.format == "parquet":
            yield from self._read_parquet()
            return
        with open_bytes(self.path, self.compression) as stream:
            if self.format == "jsonl" and (self.path != STDIN or _looks_like_json(stream)):
                yield from self._read_json(stream)
            else:
                yield from self._read_table(stream)

    def _builder(self, *, table: bool) -> RequestBuilder:
        folder = "" if self.path == STDIN else os.path.dirname(self.path)
        return RequestBuilder(source=self.name, table=table, folder=folder, **self._options)

    def _read_json(self, stream: BinaryIO) -> Iterator[list[Row]]:
        build = self._builder(table=False).build
        loads = orjson.loads
        index = 0
        for first, lines in self._lines(stream):
            rows: list[Row] = []
            for number, text in enumerate(lines, first):
                if not text or text.isspace():
                    continue
                try:
                    record = loads(text)
                except orjson.JSONDecodeError as error:
                    self._no_json(text, number, error)
                if type(record) is list:
                    self._is_list(number)
                rows.append(build(record, index, number))
                index += 1
            yield rows

    def _lines(self, stream: BinaryIO) -> Iterator[tuple[int, list[bytes]]]:
        """The lines of each chunk, with the number of the first; a line is never cut."""
        number = 1
        pieces: list[bytes] = []  # of a line longer than a chunk
        held = 0
        read1 = cast(io.BufferedReader, stream).read1
        while True:
            try:
                chunk = read1(_CHUNK)
            except READ_ERRORS as error:
                self._damaged(error, number)
            if not chunk:
                break
            self._consumed += len(chunk)
            if number == 1 and not pieces:
                self._refuse_packed(chunk)
                chunk = chunk.removeprefix(_BOM)
            lines = chunk.split(b"\n")
            rest = lines.pop()
            if lines:
                pieces.append(lines[0])
                lines[0] = b"".join(pieces)
                yield number, lines
                number += len(lines)
                pieces, held = [], 0
            pieces.append(rest)
            held += len(rest)
            if held > _LONGEST_LINE:
                raise InputError(
                    "the line is longer than 256 MB; is this JSONL?", source=self.name, line=number
                )
        yield number, [b"".join(pieces)]

    def _refuse_packed(self, start: bytes) -> None:
        for magic, name, unpack in _PACKED:
            if start.startswith(magic):
                raise InputError(
                    f"is {name}, which its name does not tell; unpack it: {unpack}", source=self.name
                )

    def _no_json(self, text: bytes, line: int, error: orjson.JSONDecodeError) -> NoReturn:
        if line == 1 and text[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise InputError("is UTF-16; save it as UTF-8", source=self.name) from None
        if line == 1 and text.lstrip().startswith(b"["):
            self._is_list(line)
        start = text[:40].decode("utf-8", "replace") + ("..." if len(text) > 40 else "")
        raise InputError(f"is no JSON ({error.msg}): {start}", source=self.name, line=line) from None

    def _is_list(self, line: int) -> NoReturn:
        raise InputError(
            "is one JSON list, not one object a line; convert it: jq -c '.[]' FILE > rows.jsonl",
            source=self.name,
            line=line,
        ) from None

    def _read_table(self, stream: BinaryIO) -> Iterator[list[Row]]:
        builder = self._builder(table=True)
        csv.field_size_limit(_LONGEST_LINE)  # its own default, 128 KB, is less than a long document
        reader = csv.reader(self._texts(stream), delimiter="\t" if self.format == "tsv" else ",", strict=True)
        header: list[str] | None = None
        rows: list[Row] = []
        enough = 1 if self.waits else _TABLE_ROWS
        index = 0
        for line, cells in self._cells(reader):
            if not cells or cells == [""]:
                continue
            if header is None:
                header = self._header(cells, line)
                builder.check_columns(header, line)
                continue
            if len(cells) != len(header):
                wrong = f"has {len(cells)} cells, but the header names {len(header)} columns"
                raise InputError(wrong, source=self.name, line=line)
            rows.append(builder.build(dict(zip(header, cells, strict=True)), index, line))
            index += 1
            if len(rows) >= enough:
                yield rows
                rows = []
        yield rows

    def _texts(self, stream: BinaryIO) -> Iterator[str]:
        for first, lines in self._lines(stream):
            for number, line in enumerate(lines, first):
                try:
                    yield line.decode() + "\n"
                except UnicodeDecodeError:
                    wrong = "is not UTF-8; save it as UTF-8"
                    raise InputError(wrong, source=self.name, line=number) from None

    def _header(self, cells: list[str], line: int) -> list[str]:
        header = [cell.strip() for cell in cells]
        for separator, name in ((";", "semicolons"), ("\t", "tabs")):
            if len(header) == 1 and separator in header[0]:
                raise InputError(
                    f"the columns seem to be separated by {name}: a .csv has commas, a .tsv has tabs",
                    source=self.name,
                    line=line,
                )
        for name in header:
            if header.count(name) > 1:
                raise InputError(f"the header names column {name!r} twice", source=self.name, line=line)
        return header

    def _cells(self, reader: Any) -> Iterator[tuple[int, list[str]]]:
        """The records of a table, each with the line it begins on."""
        while True:
            line = reader.line_num + 1
            try:
                yield line, next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise InputError(f"is no CSV: {error}", source=self.name, line=line) from None

    def _read_parquet(self) -> Iterator[list[Row]]:
        builder = self._builder(table=False)
        numbers = itertools.count()
        with self._parquet() as table:
            if self._options.get("template") is not None:
                builder.check_columns(table.schema_arrow.names)
            for batch in table.iter_batches(batch_size=_TABLE_ROWS):
                self._consumed += batch.nbytes
                yield [builder.build(record, i := next(numbers), i + 1) for record in batch.to_pylist()]

    def _parquet_rows(self) -> int:
        with self._parquet() as table:
            return cast(int, table.metadata.num_rows)

    @contextmanager
    def _parquet(self) -> Iterator[Any]:
        pyarrow = _pyarrow(self.name)
        try:
            with pyarrow.parquet.ParquetFile(self.path) as table:
                yield table
        except (pyarrow.ArrowException, OSError) as error:
            raise InputError(f"is no Parquet file that can be read: {error}", source=self.name) from None

    def _damaged(self, error: Exception, line: int) -> NoReturn:
        raise InputError(
            f"cannot be read on from here ({error}); is the file damaged or cut off?",
            source=self.name,
            line=line,
        ) from None


def _looks_like_json(stream: BinaryIO) -> bool:
    """Whether what comes from standard input begins as JSON does; nothing of it is consumed."""
    start = cast(io.BufferedReader, stream).peek(1).removeprefix(_BOM).lstrip()
    return not start or start[:1] in (b"{", b"[")


def _pyarrow(source: str) -> Any:
    try:
        import pyarrow.parquet  # an optional extra
    except ImportError:
        wrong = "reading Parquet needs one more package: pip install 'callgate[parquet]'"
        raise InputError(wrong, source=source) from None
    return pyarrow
