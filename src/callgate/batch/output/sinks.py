"""Outputs that are written from the journal, by their name: tables, and whatever is compressed.

JSON lines are their own journal and need none of this. The others cannot be added to after a kill, so each is
written anew at the end of a run, whole or not at all.
"""

from __future__ import annotations

import csv
import gzip
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any, BinaryIO, Protocol, cast

from callgate.batch.input.files import format_of, refuse_unknown_table
from callgate.batch.output.atomic_file import whole_file
from callgate.batch.output.paths import is_own_journal, journal_path, output_file
from callgate.batch.output.table import AnswerTable, Column, InputRows, WritingStoppedError
from callgate.errors import InputError
from callgate.exact_json import dumps

__all__ = ["Sink", "sink_for", "write_output"]

_COPY = 1024 * 1024
_GZIP_LEVEL = 6
_BATCH_ROWS = 4096
_BATCH_CHARACTERS = 16 * 1024 * 1024
_GROUP_BYTES = 32 * 1024 * 1024
_NESTED = (dict, list)
# What a spreadsheet may run as a formula, and what begins so without being one: a number.
_FORMULA = re.compile(r"[=+\-@\t\r\n\uFF1D\uFF0B\uFF0D\uFF20]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


class Sink(Protocol):
    """Writes an output from its journal.

    Example::

        sink = sink_for("out.csv.gz")
        assert sink is not None
        write_output(sink, "out.csv.gz", stopped=lambda: False)
    """

    def write(self, journal: str, file: BinaryIO, rows: InputRows | None, stopped: Callable[[], bool]) -> int:
        """Write all of it.

        Args:
            journal: The path of the journal.
            file: What is written to.
            rows: The rows of the input, which a table holds; None: a table holds all answers.
            stopped: Asked now and then; once it is true, writing is given up.

        Returns:
            How many answers were left out, as the input does not have their rows any more.

        Raises:
            OSError: when it cannot be written.
            InputError: when the journal holds something else than answers.
            WritingStoppedError: when `stopped` says so.
        """


def sink_for(output: str, *, escape_formulas: bool = False) -> Sink | None:
    """What writes an output of this name; None: it is plain JSON lines, and so its own journal.

    Args:
        output: The output's path.
        escape_formulas: Put an apostrophe before each text of a CSV or TSV that a spreadsheet would run.

    Raises:
        InputError: when nothing can be written under this name, or a package for it is missing.

    >>> sink_for("out.jsonl") is None, type(sink_for("out.tsv.gz")).__name__
    (True, 'CsvSink')
    """
    output = output_file(output)
    refuse_unknown_table(output)
    _refuse_json(output)
    if is_own_journal(output):
        return None
    try:
        mode = os.stat(output).st_mode
    except OSError:
        pass  # it is not there, or the journal beside it cannot be either: that is told then
    else:
        if stat.S_ISDIR(mode):
            raise InputError("is a directory; name a file", source=output)
        if not stat.S_ISREG(mode):
            raise InputError(
                "is no regular file, and only JSON lines can be written to such; name another", source=output
            )
    form, compression = format_of(output)
    pack = _packer(output, compression)
    if form == "parquet":
        if compression is not None:
            raise InputError("Parquet is compressed in itself; end the name in .parquet", source=output)
        return ParquetSink(_pyarrow(output))
    if form == "jsonl":
        return CompressedSink(pack)
    return CsvSink(pack, "\t" if form == "tsv" else ",", escape_formulas=escape_formulas)


def _refuse_json(output: str) -> None:
    """Refuse a name that promises one JSON document: answers are appended, one line for each."""
    stem, ending = os.path.splitext(output)
    compression = ""
    if format_of(output)[1] is not None:
        compression = ending
        stem, ending = os.path.splitext(stem)
    if ending.lower() == ".json":
        raise InputError(
            f"answers are JSON lines, not one JSON document; name the output {stem}.jsonl{compression}",
            source=output,
        )


def write_output(
    sink: Sink, output: str, *, rows: InputRows | None = None, stopped: Callable[[], bool]
) -> int:
    """Write an output anew from its journal; on any failure, the one that was there before stays.

    Takes and returns what `Sink.write` does.

    Raises:
        InputError: when it cannot be written.
        WritingStoppedError: when `stopped` says so.
    """
    try:
        with whole_file(output) as file:
            return sink.write(journal_path(output), file, rows, stopped)
    except OSError as error:
        raise InputError(
            f"cannot be written: {error.strerror or error}; nothing is lost, all answers are in"
            f" {journal_path(output)}",
            source=output,
        ) from None


Packer = Callable[[BinaryIO], AbstractContextManager[BinaryIO]]


class CompressedSink:
    """The lines of the journal, compressed."""

    def __init__(self, pack: Packer) -> None:
        self._pack = pack

    def write(self, journal: str, file: BinaryIO, rows: InputRows | None, stopped: Callable[[], bool]) -> int:
        with open(journal, "rb") as lines, self._pack(file) as packed:
            while chunk := lines.read(_COPY):
                if stopped():
                    raise WritingStoppedError
                packed.write(chunk)
        return 0


class CsvSink:
    """A table as UTF-8 text with a header: quoted where needed, nested values as JSON, None as nothing.

    Args:
        pack: Compresses the file.
        delimiter: What separates the cells.
        escape_formulas: Put an apostrophe before each text, of the header too, that begins as a formula does
            and is no number.
    """

    def __init__(self, pack: Packer, delimiter: str, *, escape_formulas: bool = False) -> None:
        self._pack = pack
        self._delimiter = delimiter
        self._cell: Callable[[Any], Any] = _inert_cell if escape_formulas else _cell

    def write(self, journal: str, file: BinaryIO, rows: InputRows | None, stopped: Callable[[], bool]) -> int:
        table = AnswerTable(journal, rows, stopped)
        with self._pack(file) as packed:
            # Of the line ends in cells, the writer quotes those that its own line end is made of. So it ends
            # lines in both characters, and the first of them is left out: "\n" is what Unix tools expect.
            writer = csv.writer(_Lines(packed), delimiter=self._delimiter, lineterminator="\r\n")
            writer.writerow([self._cell(column.name) for column in table.columns])
            for cells in table.rows():
                writer.writerow(map(self._cell, cells))
        return table.left_out


class _Lines:
    """Takes records as `csv.writer` gives them: each whole, with its line end."""

    __slots__ = ("_file",)

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, record: str) -> None:
        self._file.write(record[:-2].encode() + b"\n")


def _cell(value: Any) -> Any:
    if type(value) is bool:
        return "true" if value else "false"
    return dumps(value, str).decode() if type(value) in _NESTED else value


def _inert_cell(value: Any) -> Any:
    if type(value) is str and _FORMULA.match(value) and not _NUMBER.fullmatch(value):
        return "'" + value
    return _cell(value)


class ParquetSink:
    """A table with typed columns, written in groups of rows.

    A column of the input keeps its Arrow type, if it has one. Of the others, a column of all texts, all
    booleans, all integers or all numbers has that type; any other is JSON in text.
    """

    def __init__(self, pyarrow: Any) -> None:
        self._pyarrow = pyarrow

    def write(self, journal: str, file: BinaryIO, rows: InputRows | None, stopped: Callable[[], bool]) -> int:
        table = AnswerTable(journal, rows, stopped)
        pyarrow = self._pyarrow
        types = {
            "text": pyarrow.string(),
            "json": pyarrow.string(),
            "integer": pyarrow.int64(),
            "number": pyarrow.float64(),
            "boolean": pyarrow.bool_(),
        }
        fields = [
            (column.name, types[column.kind] if column.type is None else column.type)
            for column in table.columns
        ]
        schema = pyarrow.schema(fields)
        # A group of rows is to be large, to be read quickly; so it is held in Arrow's form, which takes less.
        group: list[Any] = []
        with pyarrow.parquet.ParquetWriter(file, schema) as writer:
            for batch in _batches(table):
                arrays = [
                    pyarrow.array(_typed(column, cells), kind)
                    for column, (_, kind), cells in zip(
                        table.columns, fields, zip(*batch, strict=True), strict=True
                    )
                ]
                group.append(pyarrow.record_batch(arrays, schema=schema))
                if sum(batch.nbytes for batch in group) >= _GROUP_BYTES:
                    writer.write_table(pyarrow.Table.from_batches(group))
                    group = []
            if group:
                writer.write_table(pyarrow.Table.from_batches(group))
        return table.left_out


def _batches(table: AnswerTable) -> Iterator[list[list[Any]]]:
    """The rows, as many at a time as are small enough to hold."""
    rows = table.rows()
    while True:
        batch: list[list[Any]] = []
        characters = 0
        for cells in islice(rows, _BATCH_ROWS):
            batch.append(cells)
            characters += sum(len(cell) for cell in cells if type(cell) is str)
            if characters >= _BATCH_CHARACTERS:
                break
        if not batch:
            return
        yield batch


def _typed(column: Column, cells: tuple[Any, ...]) -> list[Any] | tuple[Any, ...]:
    if column.kind != "json" or column.type is not None:
        return cells
    return [None if cell is None else dumps(cell, str).decode() for cell in cells]


def _packer(output: str, compression: str | None) -> Packer:
    if compression is None:
        return nullcontext
    if compression == "gzip":
        # Without a time in it: equal answers make equal files.
        return lambda file: cast(
            AbstractContextManager[BinaryIO],
            gzip.GzipFile("", "wb", compresslevel=_GZIP_LEVEL, fileobj=file, mtime=0),
        )
    try:
        import zstandard  # an optional extra
    except ImportError:
        wrong = "writing zstd needs one more package: pip install 'callgate[zstd]'"
        raise InputError(wrong, source=output) from None
    return lambda file: cast(
        AbstractContextManager[BinaryIO], zstandard.ZstdCompressor().stream_writer(file, closefd=False)
    )


def _pyarrow(output: str) -> Any:
    try:
        import pyarrow.parquet  # an optional extra
    except ImportError:
        wrong = "writing Parquet needs one more package: pip install 'callgate[parquet]'"
        raise InputError(wrong, source=output) from None
    return pyarrow
