"""The rows of a run in the order of its input, and where the line of each is in the output files."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import cached_property
from typing import BinaryIO, cast

import orjson

from callgate.batch.input.rows import Row
from callgate.batch.input.sources import BadRow
from callgate.batch.output.paths import errors_path, journal_path, open_answers

__all__ = ["LineIndex", "RowOrder", "open_index"]

_KEY = b'","key":"'
_NOWHERE = (1 << 63) - 1


class RowOrder:
    """The lines and keys of the rows that a run has read; sixteen bytes a row."""

    def __init__(self) -> None:
        self.lines = array("Q")
        self.keys = array("Q")

    def __len__(self) -> int:
        return len(self.lines)

    def add(self, rows: Sequence[Row]) -> None:
        """Note rows in the order in which they are read."""
        self.lines.extend([row.line for row in rows])
        self.keys.extend([row.key for row in rows])

    def add_bad(self, row: BadRow) -> None:
        """Note a row that cannot be used."""
        self.lines.append(row.error.line or 0)
        self.keys.append(row.key)

    def by_line(self) -> list[int]:
        """The places of the rows here, in the order of their lines: a thread may note bad rows late."""
        return sorted(range(len(self.lines)), key=self.lines.__getitem__)


class LineIndex:
    """Finds the output line of each row of a run.

    The files are read when the first line is asked for. Memory: sixteen bytes a row from then on.

    Args:
        order: The rows.
        answers: The journal, seekable; its lines end in the key of their row.
        failures: The errors file, or None.

    Example::

        with open("out.jsonl", "rb") as answers:
            index = LineIndex(order, answers, None)
            print(index.line(0))
    """

    def __init__(self, order: RowOrder, answers: BinaryIO, failures: BinaryIO | None) -> None:
        self._order = order
        self._answers = answers
        self._failures = failures

    def __len__(self) -> int:
        return len(self._order)

    def line(self, index: int) -> bytes | None:
        """The output line of a row by its place in the input; None when there is none."""
        if index >= len(self._order):
            return None
        start = self._starts[index]
        if start == _NOWHERE:
            return None
        file = self._answers
        if start < 0:
            assert self._failures is not None
            file, start = self._failures, ~start
        file.seek(start)
        return file.readline()

    @cached_property
    def _starts(self) -> array[int]:
        """Where the line of each row begins, by its place in the input; `~start` in the errors file."""
        keys = array("Q", [self._order.keys[place] for place in self._order.by_line()])
        starts = array("q", [_NOWHERE]) * len(keys)
        rows = sorted(range(len(keys)), key=keys.__getitem__)  # stable: equal keys keep their order
        failures = ((key, ~start) for key, start in _keys_of_failures(self._failures))
        # An answer takes the place of a failure.
        for found in (failures, _keys_of_answers(self._answers)):
            _assign(starts, keys, rows, found)
        return starts


def _assign(starts: array[int], keys: array[int], rows: list[int], found: Iterator[tuple[int, int]]) -> None:
    """Give each row, in the order of keys, the start of its line; equal rows get theirs in turn."""
    line_keys, line_starts = array("Q"), array("q")
    for key, start in found:
        line_keys.append(key)
        line_starts.append(start)
    lines = iter(sorted(range(len(line_keys)), key=line_keys.__getitem__))
    line = next(lines, None)
    for row in rows:
        key = keys[row]
        while line is not None and line_keys[line] < key:
            line = next(lines, None)
        if line is not None and line_keys[line] == key:
            starts[row] = line_starts[line]
            line = next(lines, None)


def open_index(output: str, order: RowOrder) -> LineIndex:
    """The index of an output; its files stay open as long as the index exists.

    Raises:
        InputError: when the answers cannot be read.
    """
    journal, errors = journal_path(output), errors_path(output)
    with ExitStack() as stack:
        if os.path.exists(journal):
            answers: BinaryIO = stack.enter_context(open(journal, "rb"))
        else:  # it was removed once its lines were in the compressed output
            answers = cast(BinaryIO, stack.enter_context(tempfile.TemporaryFile(prefix="callgate-")))
            with open_answers(output)[0] as packed:
                shutil.copyfileobj(packed, answers)
        failures = None
        if os.path.exists(errors):
            failures = stack.enter_context(open(errors, "rb"))
        index = LineIndex(order, answers, failures)
        weakref.finalize(index, stack.pop_all().close)
    return index


def _keys_of_answers(file: BinaryIO) -> Iterator[tuple[int, int]]:
    start = 0
    file.seek(0)
    for line in file:
        if line[-28:-19] == _KEY:
            with suppress(ValueError):  # a damaged line is no answer
                yield int(line[-19:-3], 16), start
        start += len(line)


def _keys_of_failures(file: BinaryIO | None) -> Iterator[tuple[int, int]]:
    if file is None:
        return
    start = 0
    file.seek(0)
    for line in file:
        with suppress(ValueError, KeyError, TypeError):
            yield int(orjson.loads(line)["key"], 16), start
        start += len(line)
