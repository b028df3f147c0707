"""What an earlier run has already answered: read from its output, kept in twelve bytes a row."""

from __future__ import annotations

import re
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO
from zlib import crc32

import orjson

from callgate.batch.input.rows import custom_id_key
from callgate.errors import InputError

__all__ = ["CompletedKeys", "read_completed_keys"]

_CHUNK = 1024 * 1024
_RUN = 1 << 20
_NAMED = 20
_LINE_START = b'{"id":"'
_LINE_END = re.compile(rb',"key":"[0-9a-f]{16}"\}\s*$')
_TAILS = re.compile(rb'(?:,"check":"[0-9a-f]{8}","key":"[0-9a-f]{16}"\})*')
_TAIL = 45
"""The length of the end of a line: its checksum and its key."""


class CompletedKeys:
    """The keys of finished rows, as a multiset: two equal rows need two equal answers.

    >>> completed = CompletedKeys([7, 7, 9])
    >>> [completed.take(key) for key in (7, 9, 7, 7, 1)]
    [True, True, True, False, False]
    """

    def __init__(self, keys: Iterable[int] = ()) -> None:
        # Sorted runs of a million: sorting makes Python integers, so one run of everything would for a
        # moment take five times the memory that it then keeps.
        self._runs: list[tuple[array[int], array[int]]] = []
        self._last: array[int] = array("Q")
        self.total = 0
        """How many rows are finished."""
        self.extend(array("Q", keys))
        self.seal()

    def __len__(self) -> int:
        return self.total

    def extend(self, keys: array[int]) -> None:
        """Take in more; `seal()` before asking."""
        self._last.extend(keys)
        self.total += len(keys)
        if len(self._last) >= _RUN:
            self.seal()

    def seal(self) -> None:
        """Sort what was added."""
        if self._last:
            keys = array("Q", sorted(self._last))
            self._runs.append((keys, array("I", bytes(4 * len(keys)))))
            self._last = array("Q")

    def take(self, key: int) -> bool:
        """Whether a row with this key is finished; each finished row is given once."""
        for keys, taken in self._runs:
            first = bisect_left(keys, key)
            # Equal keys lie side by side; the first one's counter says how many of them are given.
            if first < len(keys) and keys[first] == key:
                place = first + taken[first]
                if place < len(keys) and keys[place] == key:
                    taken[first] += 1
                    return True
        return False


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
        keys = _keys_of_intact(chunk, whole)
        if keys is None:
            keys = array("Q", _parsed_keys(chunk[:whole].split(b"\n"), name, number, damaged))
        completed.extend(keys)
        number += chunk.count(b"\n")
    lacks_end = bool(rest) and _is_json(rest)
    if lacks_end:
        completed.extend(array("Q", _parsed_keys([rest], name, number, damaged)))
        good += len(rest)
    elif rest and not _is_torn(rest):
        raise _not_ours(name, number)
    if damaged:
        raise _damaged(name, damaged)
    completed.seal()
    return completed, good, lacks_end


def _keys_of_intact(chunk: bytes, whole: int) -> array[int] | None:
    """The keys of lines that are all as we wrote them, by their checksums; None when one is not."""
    starts: list[bytes] = []
    ends: list[bytes] = []
    checks: list[int] = []
    find = chunk.find
    start = 0
    while start < whole:
        end = find(b"\n", start)
        tail = end - _TAIL
        starts.append(chunk[start : start + 7])
        ends.append(chunk[tail:end])
        checks.append(crc32(chunk[start:tail]))
        start = end + 1
    if b"".join(starts) != _LINE_START * len(starts) or not _TAILS.fullmatch(b"".join(ends)):
        return None
    if _big_endian("I", [end[10:18] for end in ends]) != array("I", checks):
        return None
    return _big_endian("Q", [end[27:43] for end in ends])


def _big_endian(kind: str, digits: list[bytes]) -> array[int]:
    numbers = array(kind, bytes.fromhex(b"".join(digits).decode()))
    if sys.byteorder == "little":  # pragma: no branch
        numbers.byteswap()
    return numbers


def _parsed_keys(lines: list[bytes], name: str, first: int, damaged: list[int]) -> Iterator[int]:
    """The keys of answered rows among whole lines; the numbers of damaged ones are added to a list."""
    for number, line in enumerate(lines, first):
        try:
            key = _key_of(orjson.loads(line))
        except orjson.JSONDecodeError:
            if _is_damaged(line):
                damaged.append(number)
            elif line and not line.isspace():
                raise _not_ours(name, number) from None
        except (TypeError, ValueError):
            raise _not_ours(name, number) from None
        else:
            if key is not None:
                yield key


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
        "is no output of callgate, so it is left as it is; choose another -o, or --overwrite to start anew",
        source=name,
        line=number,
    )
