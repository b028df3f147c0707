"""The answers of a journal as a table: one row an answered row, in the order of the input.

A table has these columns:

- `custom_id`
- the row's own columns; rows may have different ones, so it is all of them in the order in which they first
  appear. One that has the name of another column here is called `input_NAME`.
- `text`; `parsed` (with a schema: the validated object, as JSON); `finish_reason`; `model`
- `input_tokens`, `output_tokens`, `cache_read_tokens`, `reasoning_tokens`
- `cost_usd`, `latency_s`, `attempts`, `cached`, `finished_at`, `line`, `key`, which mean what they mean in
  `results.encode_result`

What the table leaves out (the provider's whole body) is in the journal.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from callgate.batch.output.results import FIELDS, free_name
from callgate.errors import InputError
from callgate.exact_json import loads

__all__ = ["AnswerTable", "Column", "Kind", "WritingStoppedError"]

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

_PARSED = "parsed"
_ANSWER = {"text": _TEXT, _PARSED: _OTHER, "finish_reason": _TEXT, "model": _TEXT}
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
_OF_LINES = {"custom_id": _TEXT, **_ANSWER, **_FACTS}
_NOT_OWN = frozenset(FIELDS)

_RUN = 1 << 20
_ROW_BITS = 32
_ROW_MASK = _NO_LINE = (1 << _ROW_BITS) - 1


class WritingStoppedError(Exception):
    """Somebody does not want to wait for the output; the journal has it all."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table.

    >>> Column("cost_usd", "number").name
    'cost_usd'
    """

    name: str
    kind: Kind


class AnswerTable:
    """Reads a journal twice: once for its columns and the order of its rows, then row by row.

    Memory: some sixteen bytes a row.

    Args:
        journal: Its path. It holds whole lines, and none is added in the meantime.
        stopped: Asked at every row; once it is true, the table is given up.

    Attributes:
        columns: In their order.

    Raises:
        InputError: naming the line, when the journal holds something else than answers.
        WritingStoppedError: when `stopped` says so.

    Example::

        table = AnswerTable("out.csv.journal.jsonl", lambda: False)
        for cells in table.rows():
            print(dict(zip([column.name for column in table.columns], cells)))
    """

    def __init__(self, journal: str, stopped: Callable[[], bool]) -> None:
        self._journal = journal
        self._stopped = stopped
        self._starts = array("Q", [0])
        # Of each answered row its line in the input, then its line in the journal, in one number.
        self._places = array("Q")
        self._sorted = True
        self._own: dict[str, int] = {}
        self._seen = {**_OF_LINES, **_USAGE}
        self._has_parsed = False
        self._scan()
        answer = [name for name in _ANSWER if name != _PARSED or self._has_parsed]
        # A row's cells are what these names stand for in its line, with those of its usage in between.
        self._before_usage = ["custom_id", *self._own, *answer]
        self.columns = self._columns(answer)

    def __len__(self) -> int:
        return len(self._places)

    def rows(self) -> Iterator[list[Any]]:
        """The cells of each row, in the order of `columns`; None where a row has none."""
        before, starts = self._before_usage, self._starts
        with open(self._journal, "rb") as file:
            for place in self._in_order():
                self._check()
                row = place & _ROW_MASK
                file.seek(starts[row])
                record = loads(file.read(starts[row + 1] - starts[row]))
                cell = record.get
                yield [*map(cell, before), *map(_usage(record).get, _USAGE), *map(cell, _FACTS)]

    # -- the first pass ----------------------------------------------------------------------------------

    def _scan(self) -> None:
        start = 0
        last = -1
        with open(self._journal, "rb") as file:
            for row, line in enumerate(file):
                self._check()
                start += len(line)
                self._starts.append(start)
                if line.isspace():
                    continue
                record = self._read(line, row)
                if record.get("error") is not None:
                    continue
                place = _line(record) << _ROW_BITS | row
                self._places.append(place)
                self._sorted = self._sorted and place > last
                last = place
                self._note(record)

    def _read(self, line: bytes, row: int) -> dict[str, Any]:
        try:
            record = loads(line)
        except orjson.JSONDecodeError:
            record = None
        if not isinstance(record, dict):
            raise InputError("is no line of callgate's", source=self._journal, line=row + 1)
        return record

    def _note(self, record: dict[str, Any]) -> None:
        own, seen = self._own, self._seen
        for name, value in record.items():
            if name not in _NOT_OWN:
                own[name] = own.get(name, 0) | _kind(value)
        for name in _OF_LINES:
            seen[name] |= _kind(record.get(name))
        usage = _usage(record)
        for name in _USAGE:
            seen[name] |= _kind(usage.get(name))
        if record.get(_PARSED) is not None:
            self._has_parsed = True

    def _columns(self, answer: list[str]) -> list[Column]:
        seen, own = self._seen, self._own
        columns = [("custom_id", seen["custom_id"])]
        columns += [(free_name(name, own) if name in seen else name, bits) for name, bits in own.items()]
        columns += [(name, seen[name]) for name in (*answer, *_USAGE, *_FACTS)]
        return [Column(name, _KINDS.get(bits, "json")) for name, bits in columns]

    # -- the second --------------------------------------------------------------------------------------

    def _in_order(self) -> Iterable[int]:
        if self._sorted:
            return self._places
        # Sorting makes Python integers: one run of everything would for a moment take five times the memory.
        runs = [
            array("Q", sorted(self._places[start : start + _RUN]))
            for start in range(0, len(self._places), _RUN)
        ]
        return heapq.merge(*runs)

    def _check(self) -> None:
        if self._stopped():
            raise WritingStoppedError


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
