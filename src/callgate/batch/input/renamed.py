"""Rows without an answer under their key, to whose request there is one under another key.

A row without an id is identified by all that it holds, so a column that is added, or an id, makes another row
of it. If its request is that of an answer whose row is gone, the answer is the row's.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable
from hashlib import blake2b

__all__ = ["RenamedRows", "digest_of"]

_DIGEST_BYTES = 8


class RenamedRows:
    """Finds the former keys of rows.

    Memory: 20 bytes for each of the answers, and for each row that is found.

    Args:
        rows: The keys of rows without an answer, in their order, each with the `digest_of` the fingerprints
            that its answer may have.
        answers: The keys of answers without a row, with the `digest_of` their fingerprints.

    >>> renamed = RenamedRows([(7, [50]), (7, [50]), (8, [60])], [(1, 50), (2, 50), (3, 70)])
    >>> former = renamed.reader()
    >>> len(renamed), [former(key) for key in (7, 8, 7, 7)]
    (2, [1, 8, 2, 7])
    """

    def __init__(self, rows: Iterable[tuple[int, Iterable[int]]], answers: Iterable[tuple[int, int]]) -> None:
        answer_of = _Pairs((digest, key) for key, digest in answers)
        taken = answer_of.counters()

        def pairs() -> Iterable[tuple[int, int]]:
            for key, digests in rows:
                for digest in digests:
                    former = answer_of.take(digest, taken)
                    if former is not None:
                        yield key, former
                        break

        self._former = _Pairs(pairs())

    def __len__(self) -> int:
        return len(self._former)

    def reader(self) -> Callable[[int], int]:
        """A function for one pass over all rows, which returns the former key of a row, or the given one."""
        pairs, taken = self._former, self._former.counters()

        def former(key: int) -> int:
            found = pairs.take(key, taken)
            return key if found is None else found

        return former


class _Pairs:
    """Values by numbers of 64 bits; several may have the same number."""

    __slots__ = ("_numbers", "_values")

    def __init__(self, pairs: Iterable[tuple[int, int]]) -> None:
        numbers, values = array("Q"), array("Q")
        for number, value in pairs:
            numbers.append(number)
            values.append(value)
        order = sorted(range(len(numbers)), key=numbers.__getitem__)
        self._numbers = array("Q", [numbers[place] for place in order])
        self._values = array("Q", [values[place] for place in order])

    def __len__(self) -> int:
        return len(self._numbers)

    def counters(self) -> array[int]:
        """For `take`: of each number how many values were taken, at the place of its first one."""
        return array("I", bytes(4 * len(self._numbers)))

    def take(self, number: int, taken: array[int]) -> int | None:
        """The next value of a number, in the order in which they were given; None: there is none left."""
        numbers = self._numbers
        first = bisect_left(numbers, number)
        if first < len(numbers) and numbers[first] == number:
            place = first + taken[first]
            if place < len(numbers) and numbers[place] == number:
                taken[first] += 1
                return self._values[place]
        return None


def digest_of(fingerprint: bytes) -> int:
    """64 bits that stand for a fingerprint.

    >>> digest_of(b'{"model":"m"}') == digest_of(b'{"model":"n"}')
    False
    """
    return int.from_bytes(blake2b(fingerprint, digest_size=_DIGEST_BYTES).digest(), "big")
