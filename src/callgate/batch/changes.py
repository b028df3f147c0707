"""Finished rows that would be asked differently now: found before the first call.

All rows of the input are compared with the answers of the output by their marks, 32 bits each. Only when some
differ are their fingerprints read, to state what differs.
"""

from __future__ import annotations

import asyncio
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from callgate.batch.input.fingerprint import Fingerprints, mark_of
from callgate.batch.input.renamed import RenamedRows, digest_of
from callgate.batch.input.rows import Row
from callgate.batch.input.sources import BadRow, Source
from callgate.batch.output.answer_index import AnswerIndex
from callgate.batch.output.completed_keys import CompletedKeys, fingerprint_of
from callgate.batch.output.row_order import RowOrder
from callgate.exact_json import loads

__all__ = ["Changes", "Comparison", "compare_rows", "find_changes", "is_unchanged"]

_NAMED_ROWS = 3
_NAMED_VALUES = 3
_DIGEST = re.compile(r"[0-9a-f]{16}")
_NOT_SET = object()


@dataclass(slots=True)
class Comparison:
    """How the rows of an input compare with the answers of an output.

    Attributes:
        finished: Rows that have an answer to what would be asked now.
        left: All others.
        bad: Rows that cannot be used.
        unused: Answers that none of the finished rows has. Some may be answers of rows that are left: to
            another request, or under another key.

    >>> Comparison(finished=3).left
    0
    """

    finished: int = 0
    left: int = 0
    bad: int = 0
    unused: int = 0


async def compare_rows(
    source: Source,
    completed: CompletedKeys,
    fingerprints: Fingerprints,
    order: RowOrder | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Comparison:
    """Compare all rows of an input that can be read more than once.

    Args:
        source: The input.
        completed: The answers; they can be taken anew afterwards.
        fingerprints: Of the rows.
        order: Notes all rows.
        stopped: Called now and then; once it returns True, the comparison is given up.

    Raises:
        InputError: when the input cannot be read.
    """
    found = Comparison()

    def note_bad(row: BadRow) -> None:
        found.bad += 1
        if order is not None:
            order.add_bad(row)

    for block in source.blocks(note_bad):
        if order is not None:
            order.add(block)
        for row in block:
            if is_unchanged(row, completed, fingerprints):
                found.finished += 1
            else:
                found.left += 1
        if stopped():
            break
        await asyncio.sleep(0)
    completed.reset()
    found.unused = len(completed) - found.finished
    return found


def is_unchanged(row: Row, completed: CompletedKeys, fingerprints: Fingerprints) -> bool:
    """Take an answer of a row that was asked as it would be now; one without a fingerprint counts as such."""
    take, key = completed.take_asked, row.key
    return take(key, fingerprints.mark(row)) or any(take(key, mark) for mark in fingerprints.other_marks(row))


@dataclass(slots=True)
class Changes:
    """What became of the rows of an output whose answer is not simply theirs.

    Attributes:
        rows: How many finished rows would be asked differently now.
        starts: Where their lines begin in the journal.
        renamed: Rows that have another key now, and ask what they asked.

    >>> Changes().differences
    []
    """

    rows: int = 0
    starts: array[int] = field(default_factory=lambda: array("Q"))
    renamed: RenamedRows = field(default_factory=lambda: RenamedRows((), ()))
    _parts: dict[str, _Part] = field(default_factory=dict)

    def add(self, row: Row, start: int, was: dict[str, Any], now: dict[str, Any]) -> None:
        """Note a row, the start of its line, and its fingerprint then and now."""
        self.rows += 1
        self.starts.append(start)
        for name in _different(was, now):
            self._parts.setdefault(name, _Part()).add(row, was.get(name), now.get(name))

    @property
    def differences(self) -> list[str]:
        """What differs, each as text."""
        return [text for name, part in self._parts.items() for text in part.texts(name, self.rows)]


class _Part:
    """A part of the fingerprints that differs in some rows."""

    __slots__ = ("_count", "_rows", "_values")

    def __init__(self) -> None:
        self._count = 0
        self._rows: list[str] = []
        self._values: Counter[tuple[str, str] | None] = Counter()

    def add(self, row: Row, was: Any, now: Any) -> None:
        self._count += 1
        if len(self._rows) < _NAMED_ROWS:
            self._rows.append(f"line {row.line}" if row.custom_id is None else f"row {row.custom_id!r}")
        values = None if _is_digest(was) or _is_digest(now) else (_shown(was), _shown(now))
        if values not in self._values and len(self._values) > _NAMED_VALUES:
            values = None
        self._values[values] += 1

    def texts(self, name: str, rows: int) -> Iterator[str]:
        name = {"response_format": "schema"}.get(name, name)
        for values, count in self._values.items():
            if values is not None:
                of_rows = "" if count == rows else f" ({_rows(count)})"
                yield f"{name} {values[0]} -> {values[1]}{of_rows}"
        others = self._values[None]
        if others:
            more = ", ..." if self._count > len(self._rows) else ""
            yield f"the {name} of {_rows(others)}: {', '.join(self._rows)}{more}"


async def find_changes(source: Source, journal: str, fingerprints: Fingerprints) -> Changes:
    """The finished rows that would be asked differently now, and those that have another key.

    Args:
        source: The input; it can be read more than once.
        journal: The path of the journal.
        fingerprints: Of the rows.

    Raises:
        InputError: when the input cannot be read.
    """
    changes = Changes()
    keys, digests = array("Q"), array("Q")
    with await asyncio.to_thread(AnswerIndex, journal) as index:
        for block in source.blocks(lambda _: None):
            for row in block:
                prints = fingerprints.all_of(row)
                if index.take(row.key, [mark_of(each) for each in prints]) is not None:
                    continue
                place = index.take(row.key)
                if place is None:
                    keys.append(row.key)
                    digests.extend(map(digest_of, prints))
                    continue
                was = loads(index.line(place))["fingerprint"]
                now = min(map(loads, prints), key=lambda each: len(_different(was, each)))
                changes.add(row, index.start(place), was, now)
            await asyncio.sleep(0)
        width = len(digests) // max(1, len(keys))
        rows = ((key, digests[at * width : (at + 1) * width]) for at, key in enumerate(keys))
        changes.renamed = RenamedRows(rows, _answers_left(index))
    return changes


def _answers_left(index: AnswerIndex) -> Iterator[tuple[int, int]]:
    for place in index.left():
        fingerprint = fingerprint_of(loads(index.line(place)))
        if fingerprint is not None:
            yield index.key(place), digest_of(fingerprint)


def _different(was: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return sorted(
        name for name in was.keys() | now.keys() if was.get(name, _NOT_SET) != now.get(name, _NOT_SET)
    )


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value)


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"
