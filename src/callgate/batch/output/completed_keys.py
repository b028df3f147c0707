"""What an earlier run has already answered: read from its output, kept in twenty bytes a row."""

from __future__ import annotations

import re
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from json import JSONDecodeError
from operator import xor
from typing import Any, BinaryIO, TypeAlias
from zlib import crc32

import orjson

from callgate.batch.input.fingerprint import mark_of
from callgate.batch.input.rows import custom_id_key
from callgate.errors import InputError
from callgate.exact_json import dumps, loads

__all__ = ["CompletedKeys", "fingerprint_of", "read_answers", "read_completed_keys"]

_Marked: TypeAlias = "tuple[array[int], array[int]]"
"""Keys, and the mark of the fingerprint of each."""

_CHUNK = 1024 * 1024
_RUN = 1 << 20
_NAMED = 20
_LINE_START = b'{"id":"'
_LINE_END = re.compile(rb',"key":"[0-9a-f]{16}"\}\s*$')
_TAILS = re.compile(rb'(?:,"check":"[0-9a-f]{8}","key":"[0-9a-f]{16}"\})*')
_END = re.compile(rb',"check":"[0-9a-f]{8}","key":"([0-9a-f]{16})"\}\n')
_TAIL_OF_LINE = re.compile(rb',"check":"([0-9a-f]{8})","key":"[0-9a-f]{16}"\}')
_TAIL = 45
"""The length of the end of a line: its checksum and its key."""
_FINGERPRINT = b',"fingerprint":{'
_NAME = len(_FINGERPRINT) - 1


class CompletedKeys:
    """The keys of finished rows, as a multiset: two equal rows need two equal answers.

    >>> completed = CompletedKeys([7, 7, 9])
    >>> [completed.take(key) for key in (7, 9, 7, 7, 1)]
    [True, True, True, False, False]
    """

    def __init__(self, keys: Iterable[int] = ()) -> None:
        self._keys = _Multiset()
        self._asked = _Multiset()
        self.marked = False
        """Whether the fingerprint of any answer is known."""
        self.altered: list[int] = []
        """The numbers of lines that count although their checksum is wrong: edited ones, or damaged ones."""
        self._all_marked = True
        self.extend(array("Q", keys))

    def __len__(self) -> int:
        return len(self._keys)

    def extend(self, keys: array[int], marks: array[int] | None = None) -> None:
        """Take in more.

        Args:
            keys: Their keys.
            marks: The `mark_of` the fingerprint of each; 0 (None: of all) stands for an unknown one.
        """
        self._keys.extend(keys)
        if marks is None or 0 in marks:
            self._all_marked = self._all_marked and not keys
        if marks is not None:
            self.marked = self.marked or any(marks)
            self._asked.extend(array("Q", map(xor, keys, marks)))

    def take(self, key: int) -> bool:
        """Whether a row with this key is finished; each finished row is given once."""
        return self._keys.take(key)

    def take_asked(self, key: int, mark: int) -> bool:
        """As `take`, and counted apart from it: whether the row is finished and was asked what this mark
        stands for, as far as that is known."""
        return self._asked.take(key ^ mark) or (not self._all_marked and self._asked.take(key))

    def reset(self) -> None:
        """Forget which rows were given."""
        self._keys.reset()
        self._asked.reset()


class _Multiset:
    """Numbers of 64 bits, each given as often as it was added."""

    __slots__ = ("_last", "_runs", "_total")

    def __init__(self) -> None:
        # Sorted runs of a million: sorting makes Python integers, so one run of everything would for a
        # moment take five times the memory that it then keeps.
        self._runs: list[tuple[array[int], array[int]]] = []
        self._last: list[array[int]] = []
        self._total = 0

    def __len__(self) -> int:
        return self._total

    def extend(self, numbers: array[int]) -> None:
        if not self._last or len(self._last[-1]) >= _RUN:
            self._last.append(array("Q"))
        self._last[-1].extend(numbers)
        self._total += len(numbers)

    def take(self, number: int) -> bool:
        if self._last:
            self._sort()
        for numbers, taken in self._runs:
            first = bisect_left(numbers, number)
            # Equal numbers lie side by side; the first one's counter says how many of them are given.
            if first < len(numbers) and numbers[first] == number:
                place = first + taken[first]
                if place < len(numbers) and numbers[place] == number:
                    taken[first] += 1
                    return True
        return False

    def reset(self) -> None:
        self._runs = [(numbers, array("I", bytes(4 * len(numbers)))) for numbers, _ in self._runs]

    def _sort(self) -> None:
        while self._last:
            numbers = array("Q", sorted(self._last.pop()))
            self._runs.append((numbers, array("I", bytes(4 * len(numbers)))))


def read_completed_keys(stream: BinaryIO, name: str) -> tuple[CompletedKeys, int, bool]:
    """Read the output of an earlier run.

    Lines whose checksum is right are not parsed. All others are, as a whole: lines that were edited, and
    lines that a power cut or a bad disk has damaged, which hold no answer.

    Args:
        stream: The output, open for reading bytes, at its start.
        name: Its name, for errors.

    Returns:
        The keys of the answered rows; how many bytes of the file are whole lines (what follows was torn by a
        kill and can be cut); and whether the last line lacks nothing but its line end.

    Raises:
        InputError: when the file is no output of a batch, so that it is neither added to nor cut; or naming
            the lines that are damaged.
    """
    completed = CompletedKeys()
    damaged: list[int] = []
    number = 1
    good = 0
    rest = b""
    while chunk := stream.read(_CHUNK):
        chunk = rest + chunk
        whole = chunk.rfind(b"\n") + 1
        rest = chunk[whole:]
        good += whole
        intact = _keys_of_intact(chunk, whole)
        if intact is None:
            lines = chunk[:whole].split(b"\n")
            intact = _parsed_keys(lines, name, number, damaged)
            completed.altered += [at for at, line in enumerate(lines, number) if _is_altered(line)]
        completed.extend(*intact)
        number += chunk.count(b"\n")
    lacks_end = bool(rest) and _is_json(rest)
    if lacks_end:
        completed.extend(*_parsed_keys([rest], name, number, damaged))
        good += len(rest)
    elif rest and not _is_torn(rest):
        raise _not_ours(name, number)
    if damaged:
        raise _damaged(name, damaged)
    return completed, good, lacks_end


def _keys_of_intact(chunk: bytes, whole: int) -> _Marked | None:
    """The keys of lines that are all as we wrote them, by their checksums; None when one is not."""
    starts: list[bytes] = []
    ends: list[bytes] = []
    checks: list[int] = []
    marks: list[int] = []
    find, rfind = chunk.find, chunk.rfind
    start = 0
    while start < whole:
        end = find(b"\n", start)
        tail = end - _TAIL
        starts.append(chunk[start : start + 7])
        ends.append(chunk[tail:end])
        checks.append(crc32(chunk[start:tail]))
        place = rfind(_FINGERPRINT, start, tail)
        marks.append(0 if place < 0 else crc32(chunk[place + _NAME : tail]))
        start = end + 1
    if b"".join(starts) != _LINE_START * len(starts) or not _TAILS.fullmatch(b"".join(ends)):
        return None
    if _big_endian("I", [end[10:18] for end in ends]) != array("I", checks):
        return None
    return _big_endian("Q", [end[27:43] for end in ends]), array("I", marks)


def _big_endian(kind: str, digits: list[bytes]) -> array[int]:
    numbers = array(kind, bytes.fromhex(b"".join(digits).decode()))
    if sys.byteorder == "little":  # pragma: no branch
        numbers.byteswap()
    return numbers


def _parsed_keys(lines: list[bytes], name: str, first: int, damaged: list[int]) -> _Marked:
    """The keys of answered rows among whole lines; the numbers of damaged ones are added to a list."""
    keys, marks = array("Q"), array("I")
    for number, line in enumerate(lines, first):
        try:
            record = loads(line)
            key = _key_of(record)
        except JSONDecodeError:
            if _is_damaged(line):
                damaged.append(number)
            elif line and not line.isspace():
                raise _not_ours(name, number) from None
        except (TypeError, ValueError):
            raise _not_ours(name, number) from None
        else:
            if key is not None:
                keys.append(key)
                marks.append(mark_of(fingerprint_of(record) or b""))
    return keys, marks


def _key_of(record: Any) -> int | None:
    """The key of an answered row; None of a row that failed.

    Raises:
        TypeError: when it is no line of a batch's output.
        ValueError: when its key is not hexadecimal.
    """
    if not isinstance(record, dict) or "response" not in record or "error" not in record:
        raise TypeError
    if record["error"] is not None:
        return None
    key = record.get("key")
    if isinstance(key, str):
        return int(key, 16) & 0xFFFF_FFFF_FFFF_FFFF
    # A provider's own batch output, or a line that was edited.
    custom_id = record.get("custom_id")
    if not isinstance(custom_id, str):
        raise TypeError
    return custom_id_key(custom_id)


def fingerprint_of(record: dict[str, Any]) -> bytes | None:
    """The fingerprint in a parsed line; None of a line without one."""
    found = record.get("fingerprint")
    return dumps(found) if isinstance(found, dict) else None


def read_answers(stream: BinaryIO, name: str) -> Iterator[tuple[int, int, int]]:
    """Key, `mark_of` its fingerprint (0 without one), and start of each answer in an output.

    Raises:
        InputError: when it holds something else. (Torn and damaged lines are for `read_completed_keys`.)
    """
    start = 0
    for number, line in enumerate(stream, 1):
        tail = len(line) - _TAIL - 1
        if (end := _END.fullmatch(line, max(tail, 0))) is not None:
            place = line.rfind(_FINGERPRINT, 0, tail)
            yield int(end[1], 16), 0 if place < 0 else mark_of(line[place + _NAME : tail]), start
        elif not line.isspace():
            try:
                record = loads(line)
                key = _key_of(record)
            except (TypeError, ValueError):
                raise _not_ours(name, number) from None
            if key is not None:
                yield key, mark_of(fingerprint_of(record) or b""), start
        start += len(line)


def _is_altered(line: bytes) -> bool:
    """Whether a line has a checksum, and not the right one."""
    end = _TAIL_OF_LINE.fullmatch(line, max(0, len(line) - _TAIL))
    return end is not None and int(end[1], 16) != crc32(line[:-_TAIL])


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def _is_torn(rest: bytes) -> bool:
    """Whether it is the beginning of a line of ours (or the zeros that a power cut leaves)."""
    rest = rest.rstrip(b"\0")
    return rest.startswith(_LINE_START) or _LINE_START.startswith(rest)


def _is_damaged(line: bytes) -> bool:
    """Whether a line that is not JSON was one of ours: its start, its end or a block of zeros shows it."""
    return line.startswith(_LINE_START) or b"\0" in line or _LINE_END.search(line) is not None


def _damaged(name: str, numbers: list[int]) -> InputError:
    shown = ", ".join(map(str, numbers[:_NAMED])) + ", ..." * (len(numbers) > _NAMED)
    return InputError(
        f"damaged lines (not JSON, so their answers cannot be read): {shown}; delete them, and their rows are"
        " asked again",
        source=name,
        line=numbers[0],
    )


def _not_ours(name: str, number: int) -> InputError:
    return InputError(
        "is no output of callgate, so it is left as it is; choose another output",
        source=name,
        line=number,
        setting="overwrite",
        remedy="or start anew with",
    )
