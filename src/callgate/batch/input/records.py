"""Reading the records of one file: JSON lines, a table of text, or Parquet, a block at a time.

A record that cannot be read stands in its block as an `InputError`, so that the caller decides whether to go
on behind it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

from callgate.batch.input.files import READ_ERRORS
from callgate.errors import InputError
from callgate.exact_json import loads

__all__ = ["TABLE_ROWS", "Block", "count_parquet", "parquet_types", "read_json", "read_parquet", "read_table"]

Block = list[tuple[int, Any]]
"""Records, each with the line that it begins on; of one that cannot be read, its `InputError`."""

CheckHeader = Callable[[Sequence[str], int], None]
"""Called with the names of a table's columns and their line; raises `InputError` if a column is missing."""

TABLE_ROWS = 256
"""How many records a block of a table has."""

# The rows of a block are made in one go, on the event loop: in a millisecond or so. A quarter of a megabyte
# takes it a fifth more for each row, and the loop stands still for twenty times as long.
_CHUNK = 16 * 1024
_LONGEST_LINE = 256 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"
_NAMED = "is {}, but its name does not end so; {}"
_UNPACK = "unpack it: {} -dc FILE | callgate run - ..., or end its name in .{}"
_WORKBOOK = "is an Excel workbook or another packed file, not text; save its sheet as CSV (UTF-8)"
_OTHER_FILES = (
    (b"\x1f\x8b", _NAMED.format("gzip", _UNPACK.format("gzip", "gz"))),
    (b"\x28\xb5\x2f\xfd", _NAMED.format("zstd", _UNPACK.format("zstd", "zst"))),
    (b"PAR1", _NAMED.format("Parquet", "rename it to end in .parquet")),
    (b"PK\x03\x04", _WORKBOOK),
    (b"\xd0\xcf\x11\xe0", _WORKBOOK),
    (b"\xff\xfe", "is UTF-16; save it as UTF-8"),
    (b"\xfe\xff", "is UTF-16; save it as UTF-8"),
)
_CSV_ERRORS = {
    "unexpected end of data": 'a cell begins with a quote (") that no other one closes',
    "',' expected after '\"'": 'text follows the closing quote of a cell; a quote in a cell is written ""',
}
"""What the csv module raises, in other words."""
_NOT_UTF8 = "is not UTF-8; convert the file, from Latin-1 for example: iconv -f LATIN1 -t UTF-8 FILE > NEW"


def read_json(stream: BinaryIO, name: str, consumed: Callable[[int], None]) -> Iterator[Block]:
    """The records of JSON lines; blank lines are skipped.

    Args:
        stream: The decompressed bytes.
        name: The file's name, for errors.
        consumed: Called with the size of each chunk that was read, in bytes.

    Raises:
        InputError: when nothing more can be read, or the file as a whole is not JSON lines.
    """
    for first, lines in _lines(stream, name, consumed):
        block: Block = []
        for line, text in enumerate(lines, first):
            if not text or text.isspace():
                continue
            try:
                record = loads(text)
            except ValueError as error:
                record = _read_as_python(text, name, line, error)
            if line == 1 and type(record) is not dict:
                _refuse_other_formats(text, name)
            block.append((line, record))
        yield block


def read_text(stream: BinaryIO, name: str, consumed: Callable[[int], None]) -> Iterator[Block]:
    """A record for each line of a text file, which is its prompt; blank lines are skipped.

    Takes the arguments of `read_json` and raises what it raises.
    """
    for first, lines in _lines(stream, name, consumed):
        block: Block = []
        for line, text in enumerate(lines, first):
            if text and not text.isspace():
                try:
                    block.append((line, {"prompt": text.decode().rstrip("\r")}))
                except UnicodeDecodeError:
                    block.append((line, InputError(_NOT_UTF8, source=name, line=line)))
        yield block


def _read_as_python(text: bytes, name: str, line: int, error: ValueError) -> Any:
    """A record as Python writes JSON, with NaN for an empty value; or the error, if it is no JSON either."""
    try:
        record = json.loads(text.decode())
        json.dumps(record, ensure_ascii=False).encode()  # half a surrogate pair could not be sent
    except UnicodeDecodeError:
        return InputError(_NOT_UTF8, source=name, line=line)
    except (ValueError, RecursionError):
        start = text[:40].decode("utf-8", "replace") + ("..." if len(text) > 40 else "")
        why = getattr(error, "msg", error)
        return InputError(f"is no JSON ({why}): {start}", source=name, line=line)
    return record


def _refuse_other_formats(text: bytes, name: str) -> None:
    """Raise an error that explains it if the first line shows that the file is one JSON list."""
    if text.lstrip().startswith(b"["):
        raise InputError(
            "is one JSON list, not one object a line; convert it: jq -c '.[]' FILE > rows.jsonl",
            source=name,
            line=1,
        )


def read_table(
    stream: BinaryIO,
    name: str,
    consumed: Callable[[int], None],
    check_header: CheckHeader,
    *,
    delimiter: str,
    block_rows: int = TABLE_ROWS,
) -> Iterator[Block]:
    """The records of a table of text, whose first line names the columns; blank lines are skipped.

    Args:
        stream, name, consumed: As for `read_json`.
        check_header: Checks the names of the columns.
        delimiter: What separates the cells.
        block_rows: How many records a block has.

    Raises:
        InputError: when nothing more can be read, or the header cannot be used.
    """
    csv.field_size_limit(_LONGEST_LINE)  # its own default, 128 KB, is less than a long document
    undecoded: list[int] = []
    reader = csv.reader(_texts(_lines(stream, name, consumed), undecoded), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    block: Block = []
    while True:
        line = reader.line_num + 1
        wrong = None
        cells: list[str] | None = []
        try:
            cells = next(reader, None)
        except csv.Error as caught:
            wrong = f"is no CSV: {_CSV_ERRORS.get(str(caught), caught)}"
        if cells is None:
            break
        if undecoded:
            undecoded.clear()
            wrong = _NOT_UTF8
        elif not cells and wrong is None:
            continue
        elif header is not None and wrong is None and len(cells) != len(header):
            wrong = (
                f"has {_several(len(cells), 'cell')}, but the header names {_several(len(header), 'column')}"
            )
        error = None if wrong is None else InputError(wrong, source=name, line=line)
        if header is None:
            if error is not None:
                raise error
            header = _header(cells, name, line)
            check_header(header, line)
            continue
        block.append((line, error or dict(zip(header, cells, strict=True))))
        if len(block) >= block_rows:
            yield block
            block = []
    yield block


def _several(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _header(cells: list[str], name: str, line: int) -> list[str]:
    header = [cell.strip() for cell in cells]
    for separator, what in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and separator in header[0]:
            raise InputError(
                f"the columns seem to be separated by {what}: a .csv has commas, a .tsv has tabs",
                source=name,
                line=line,
            )
    seen: set[str] = set()
    for column in header:
        if column in seen:
            raise InputError(f"the header names column {column!r} twice", source=name, line=line)
        seen.add(column)
    return header


def _texts(lines: Iterator[tuple[int, list[bytes]]], undecoded: list[int]) -> Iterator[str]:
    """The lines as text. The number of a line that is not UTF-8 is added to `undecoded`."""
    for first, some in lines:
        for number, line in enumerate(some, first):
            try:
                text = line.decode()
            except UnicodeDecodeError:
                undecoded.append(number)
                text = line.decode("utf-8", "replace")
            yield text + "\n"


def _lines(stream: BinaryIO, name: str, consumed: Callable[[int], None]) -> Iterator[tuple[int, list[bytes]]]:
    """The lines of each chunk, with the number of the first; a line is never cut."""
    number = 1
    pieces: list[bytes] = []  # of a line longer than a chunk
    held = 0
    read1 = cast(io.BufferedReader, stream).read1
    while True:
        try:
            chunk = read1(_CHUNK)
        except READ_ERRORS as error:
            raise InputError(
                f"cannot be read further ({error}); the file is damaged or cut off", source=name, line=number
            ) from None
        if not chunk:
            break
        consumed(len(chunk))
        if number == 1 and not pieces:
            _refuse_other_files(chunk, name)
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
            raise InputError("the line is longer than 256 MB; is this JSONL?", source=name, line=number)
    yield number, [b"".join(pieces)]


def _refuse_other_files(start: bytes, name: str) -> None:
    for magic, problem in _OTHER_FILES:
        if start.startswith(magic):
            raise InputError(problem, source=name)


def read_parquet(
    path: str, name: str, consumed: Callable[[int], None], check_header: CheckHeader
) -> Iterator[Block]:
    """The records of a Parquet file; their lines are their numbers, from 1. As `read_table` otherwise."""
    line = 0
    with _parquet(path, name) as table:
        check_header(table.schema_arrow.names, 1)
        for batch in table.iter_batches(batch_size=TABLE_ROWS):
            consumed(batch.nbytes)
            block: Block = []
            for record in _records(batch):
                line += 1
                if isinstance(record, ValueError):
                    record = InputError(f"cannot be read: {record}", source=name, line=line)
                block.append((line, record))
            yield block


def _records(batch: Any) -> Iterator[Any]:
    """The records of a batch; in the place of one that cannot be read, its error."""
    try:
        records = batch.to_pylist()
    except ValueError:  # a text that is not UTF-8, a time that Python cannot express
        for row in range(batch.num_rows):
            try:
                yield batch.slice(row, 1).to_pylist()[0]
            except ValueError as error:
                yield error
    else:
        yield from records


def count_parquet(path: str, name: str) -> int:
    """The number of rows of a Parquet file.

    Raises:
        InputError: when it cannot be read.
    """
    with _parquet(path, name) as table:
        return cast(int, table.metadata.num_rows)


def parquet_types(path: str, name: str) -> dict[str, Any]:
    """The Arrow type of each column of a Parquet file.

    Raises:
        InputError: when it cannot be read.
    """
    with _parquet(path, name) as table:
        return {each.name: each.type for each in table.schema_arrow}


@contextmanager
def _parquet(path: str, name: str) -> Iterator[Any]:
    try:
        import pyarrow.parquet  # an optional extra
    except ImportError:
        wrong = "reading Parquet needs one more package: pip install 'callgate[parquet]'"
        raise InputError(wrong, source=name) from None
    try:
        with pyarrow.parquet.ParquetFile(path) as table:
            yield table
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"is no Parquet file that can be read: {error}", source=name) from None
