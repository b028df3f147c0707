"""Where each answer is in a journal, by the key of its row."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from typing import Self

from callgate.batch.output.completed_keys import read_answers

__all__ = ["AnswerIndex"]


class AnswerIndex:
    """The answers of a journal; each is given once.

    Memory: 24 bytes an answer.

    Args:
        journal: Its path. It is read to its end here, and then line by line; no line is added meanwhile.

    Raises:
        InputError: when it holds something else than answers.
        OSError: when it cannot be read.

    Example::

        with AnswerIndex("out.jsonl") as index:
            place = index.take(row.key)
            if place is not None:
                print(index.line(place))
    """

    def __init__(self, journal: str) -> None:
        keys, marks, starts = array("Q"), array("I"), array("Q")
        with ExitStack() as stack:
            self._file = stack.enter_context(open(journal, "rb"))
            for key, mark, start in read_answers(self._file, journal):
                keys.append(key)
                marks.append(mark)
                starts.append(start)
            self._closing = stack.pop_all()
        order = sorted(range(len(keys)), key=lambda place: keys[place] << 32 | marks[place])
        self._keys = array("Q", [keys[place] for place in order])
        self._marks = array("I", [marks[place] for place in order])
        self._starts = array("Q", [starts[place] for place in order])
        # Answers with the same key and mark lie side by side; the first counts how many are given.
        self._given = array("I", bytes(4 * len(order)))

    def take(self, key: int, marks: Collection[int] | None = None) -> int | None:
        """The place of an answer to a row that was not given yet; None when there is none.

        Args:
            key: The row's key.
            marks: If given, the mark of its fingerprint must be one of these, or 0 (it has none).
        """
        for first, end in self._groups(bisect_left(self._keys, key), key):
            mark = self._marks[first]
            place = first + self._given[first]
            if place < end and (marks is None or not mark or mark in marks):
                self._given[first] += 1
                return place
        return None

    def left(self) -> Iterator[int]:
        """The places of the answers that were not given, in the order of the journal."""
        left = array("Q")
        first = 0
        while first < len(self._keys):
            for group, end in self._groups(first, self._keys[first]):
                left.extend(range(group + self._given[group], end))
                first = end
        return iter(sorted(left, key=self._starts.__getitem__))

    def line(self, place: int) -> bytes:
        """The line of an answer."""
        self._file.seek(self._starts[place])
        return self._file.readline()

    def key(self, place: int) -> int:
        """The key of an answer."""
        return self._keys[place]

    def start(self, place: int) -> int:
        """Where the line of an answer begins in the journal."""
        return self._starts[place]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def _groups(self, first: int, key: int) -> Iterator[tuple[int, int]]:
        """The beginning and the end of each mark among the answers with a key, which begin at `first`."""
        keys, marks = self._keys, self._marks
        last = first
        while first < len(keys) and keys[first] == key:
            if last == first:
                last = bisect_right(keys, key, first)
            end = bisect_right(marks, marks[first], first, last)
            yield first, end
            first = end
