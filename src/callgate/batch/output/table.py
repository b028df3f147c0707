"""The answers of a journal as a table: one row for each answered row of the input, in its order.

A table has these columns:

- `custom_id`
- the row's own columns, as the input has them now; rows may have different ones, so it is all of them in the
  order in which they first appear. One that has the name of another column here is called `input_NAME`.
- `text`; with a schema, the fields of the validated object, one whose name is taken as `parsed_NAME`;
  `finish_reason`; `model`
- `input_tokens`, `output_tokens`, `cache_read_tokens`, `reasoning_tokens`
- `cost_usd`, `latency_s`, `attempts`, `cached`, `finished_at`, `line`, `key`, which mean what they mean in
  `results.encode_result`

What the table leaves out (the provider's whole body, answers of rows that the input does not have any more)
is in the journal.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, repeat
from json import JSONDecodeError
from typing import Any, Literal, NamedTuple

from callgate.batch.output.answer_index import AnswerIndex
from callgate.batch.output.results import FIELDS, free_name
from callgate.errors import InputError
from callgate.exact_json import loads

__all__ = ["AnswerTable", "Column", "InputRows", "Kind", "TableRow", "WritingStoppedError"]

Kind = Literal["text", "integer", "number", "boolean", "json"]
"""What the cells of a column are: all texts, all whole numbers, all numbers, all booleans, or anything."""

# What the cells of a column were seen to be, as bits.
_BOOLEAN, _INTEGER, _WIDE_INTEGER, _NUMBER, _TEXT, _OTHER = 1, 2, 4, 8, 16, 32
_SEEN = {type(None): 0, bool: _BOOLEAN, float: _NUMBER, str: _TEXT}
_EXACT = 2**53  # further from zero, a float does not hold every integer
_INT64 = 2**63
_KINDS: dict[int, Kind] = {
    0: "text",
    _BOOLEAN: "boolean",
    _INTEGER: "integer",
    _WIDE_INTEGER: "integer",
    _INTEGER | _WIDE_INTEGER: "integer",
    _NUMBER: "number",
    _INTEGER | _NUMBER: "number",
    _TEXT: "text",
}

_ANSWER = {"finish_reason": _TEXT, "model": _TEXT}
_USAGE = {
    "input_tokens": _INTEGER,
    "output_tokens": _INTEGER,
    "cache_read_tokens": _INTEGER,
    "reasoning_tokens": _INTEGER,
}
_FACTS = {
    "cost_usd": _NUMBER,
    "latency_s": _NUMBER,
    "attempts": _INTEGER,
    "cached": _BOOLEAN,
    "finished_at": _NUMBER,
    "line": _INTEGER,
    "key": _TEXT,
}
_OF_LINES = {"custom_id": _TEXT, "text": _TEXT, **_ANSWER, **_FACTS}
_NOT_OWN = frozenset(FIELDS)

_NO_ANSWER = (1 << 64) - 1
_NO_LINE = 1 << 32


class WritingStoppedError(Exception):
    """Somebody does not want to wait for the output; the journal has it all."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table.

    Attributes:
        name: Its name.
        kind: What its cells are.
        type: Its Arrow type in the input, or None.

    >>> Column("cost_usd", "number").name
    'cost_usd'
    """

    name: str
    kind: Kind
    type: Any = None


class TableRow(NamedTuple):
    """A row of the input.

    Attributes:
        key: Its key.
        line: Its line in the input.
        custom_id: Its id.
        own: Its own columns by their names in the output; None: they and its id are those in the line of its
            answer.
    """

    key: int
    line: int
    custom_id: str | None
    own: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class InputRows:
    """The rows of the input, as a table holds them.

    Attributes:
        read: Returns them in their order; called twice.
        whole: Whether these are all; if not, the other answers of the journal follow them.
        types: Arrow types of own columns, where the input has such.

    >>> InputRows(lambda: iter([])).whole
    True
    """

    read: Callable[[], Iterator[TableRow]]
    whole: bool = True
    types: Mapping[str, Any] = field(default_factory=dict)


class AnswerTable:
    """Reads a journal and the input twice: once for columns, then row by row.

    Memory: some thirty bytes a row.

    Args:
        journal: Its path. It holds whole lines, and none is added in the meantime.
        rows: The rows of the input; None: all answers of the journal, in the order of the input's lines that
            they state.
        stopped: Asked at every row; once it is true, the table is given up.

    Attributes:
        columns: In their order.
        left_out: How many answers of the journal it does not hold.

    Raises:
        InputError: naming the line, when the journal holds something else than answers; or when the input
            cannot be read.
        WritingStoppedError: when `stopped` says so.

    Example::

        table = AnswerTable("out.csv.journal.jsonl", None, lambda: False)
        for cells in table.rows():
            print(dict(zip([column.name for column in table.columns], cells)))
    """

    def __init__(self, journal: str, rows: InputRows | None, stopped: Callable[[], bool]) -> None:
        self._journal = journal
        self._rows = InputRows(lambda: iter(()), whole=False) if rows is None else rows
        self._stopped = stopped
        # Where the line of each row of the input begins, and then those of the answers without such a row.
        self._starts = array("Q")
        self._own: dict[str, int] = {}
        self._seen = {**_OF_LINES, **_USAGE}
        self._fields: dict[str, int] = {}
        self.left_out = 0
        if rows is None:
            self._scan_answers()
        else:
            self._scan_rows()
        self.columns = self._columns()

    def __len__(self) -> int:
        return len(self._starts) - self._starts.count(_NO_ANSWER)

    def rows(self) -> Iterator[list[Any]]:
        """The cells of each row, in the order of `columns`; None where a row has none."""
        with open(self._journal, "rb") as file:
            for row, start in zip(chain(self._rows.read(), repeat(None)), self._starts, strict=False):
                self._check()
                if start == _NO_ANSWER:
                    continue
                file.seek(start)
                record = loads(file.readline())
                own, cell = _own(record, row), _facts(record, row).get
                yield [
                    cell("custom_id"),
                    *map(own.get, self._own),
                    cell("text"),
                    *map(_parsed(record).get, self._fields),
                    *map(cell, _ANSWER),
                    *map(_usage(record).get, _USAGE),
                    *map(cell, _FACTS),
                ]

    # -- the first pass ----------------------------------------------------------------------------------

    def _scan_rows(self) -> None:
        with AnswerIndex(self._journal) as index:
            for row in self._rows.read():
                self._check()
                place = index.take(row.key)
                self._starts.append(_NO_ANSWER if place is None else index.start(place))
                if place is not None:
                    self._note(loads(index.line(place)), row)
            for place in index.left():
                self._check()
                if self._rows.whole:
                    self.left_out += 1
                else:
                    self._starts.append(index.start(place))
                    self._note(loads(index.line(place)), None)

    def _scan_answers(self) -> None:
        starts, lines = array("Q"), array("Q")
        start = 0
        with open(self._journal, "rb") as file:
            for number, line in enumerate(file, 1):
                self._check()
                if not line.isspace():
                    record = self._read(line, number)
                    if record.get("error") is None:
                        self._note(record, None)
                        starts.append(start)
                        lines.append(_line(record))
                start += len(line)
        self._starts.extend([starts[place] for place in sorted(range(len(lines)), key=lines.__getitem__)])

    def _read(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            record = loads(line)
        except JSONDecodeError:
            record = None
        if not isinstance(record, dict):
            raise InputError("is no line of callgate's", source=self._journal, line=number)
        return record

    def _note(self, record: dict[str, Any], row: TableRow | None) -> None:
        seen, facts = self._seen, _facts(record, row)
        for kinds, values in ((self._own, _own(record, row)), (self._fields, _parsed(record))):
            for name, value in values.items():
                kinds[name] = kinds.get(name, 0) | _kind(value)
        for name in _OF_LINES:
            seen[name] |= _kind(facts.get(name))
        usage = _usage(record)
        for name in _USAGE:
            seen[name] |= _kind(usage.get(name))

    def _columns(self) -> list[Column]:
        seen, own, types = self._seen, self._own, self._rows.types
        ours = {name: Column(name, _KINDS.get(bits, "json")) for name, bits in seen.items()}
        rows = []
        for name, bits in own.items():
            shown = free_name(name, own) if name in seen else name
            rows.append(Column(shown, _KINDS.get(bits, "json"), types.get(name)))
        taken = {*ours, *(column.name for column in rows)}
        fields = []
        for name, bits in self._fields.items():
            shown = free_name(name, {*taken, *self._fields}, "parsed_") if name in taken else name
            fields.append(Column(shown, _KINDS.get(bits, "json")))
        after = (*_ANSWER, *_USAGE, *_FACTS)
        return [ours["custom_id"], *rows, ours["text"], *fields, *(ours[name] for name in after)]

    def _check(self) -> None:
        if self._stopped():
            raise WritingStoppedError


def _own(record: dict[str, Any], row: TableRow | None) -> Mapping[str, Any]:
    """The row's own columns."""
    if row is not None and row.own is not None:
        return row.own
    return {name: value for name, value in record.items() if name not in _NOT_OWN}


def _facts(record: dict[str, Any], row: TableRow | None) -> dict[str, Any]:
    """The other cells, by their columns."""
    if row is None:
        return record
    if row.own is None:
        return record | {"line": row.line}
    return record | {"line": row.line, "custom_id": row.custom_id}


def _parsed(record: dict[str, Any]) -> dict[str, Any]:
    """The fields of the validated answer; none without a schema."""
    parsed = record.get("parsed")
    return parsed if isinstance(parsed, dict) else {}


def _usage(record: dict[str, Any]) -> dict[str, Any]:
    usage = record.get("usage")
    return usage if isinstance(usage, dict) else {}


def _line(record: dict[str, Any]) -> int:
    """The row's line in the input; what does not say so comes last."""
    line = record.get("line")
    return line if type(line) is int and 0 <= line < _NO_LINE else _NO_LINE


def _kind(value: Any) -> int:
    if type(value) is int:
        if -_EXACT <= value <= _EXACT:
            return _INTEGER
        return _WIDE_INTEGER if -_INT64 <= value < _INT64 else _OTHER
    return _SEEN.get(type(value), _OTHER)
