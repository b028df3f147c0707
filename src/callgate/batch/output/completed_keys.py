"""What an earlier run has already answered: read from its output, kept in twelve bytes a row."""

from __future__ import annotations

import re
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import orjson

from callgate.batch.input.rows import custom_id_key
from callgate.errors import InputError

__all__ = ["Finished", "read_output"]

_CHUNK = 1024 * 1024
_RUN = 1 << 20
_LINE_START = b'{"id":"'
_LINE_ENDS = re.compile(rb'(?:,"key":"[0-9a-f]{16}"\})*')


class Finished:
    """The keys of finished rows, as a multiset: two equal rows need two equal answers.

    >>> finished = Finished([7, 7, 9])
    >>> [finished.take(key) for key in (7, 9, 7, 7, 1)]
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


def read_output(stream: BinaryIO, name: str) -> tuple[Finished, int, bool]:
    """Read the output of an earlier run.

    Args:
        stream: The output, open for reading bytes, at its start.
        name: Its name, for errors.

    Returns:
        The finished rows; how many bytes of the file are whole lines (what follows was torn by a kill and can
        be cut); and whether the last line lacks nothing but its line end.

    Raises:
        InputError: when the file is no output of a batch, so that it is neither added to nor cut.
    """
    finished = Finished()
    number = 1
    good = 0
    rest = b""
    while chunk := stream.read(_CHUNK):
        chunk = rest + chunk
        whole = chunk.rfind(b"\n") + 1
        rest = chunk[whole:]
        good += whole
        keys = _keys_of_ours(chunk, whole)
        if keys is None:
            keys = array("Q", _keys_one_by_one(chunk[:whole].split(b"\n"), name, number))
        finished.extend(keys)
        number += chunk.count(b"\n")
    lacks_end = bool(rest) and _is_whole(rest)
    if lacks_end:
        key = _key_of(rest, name, number)
        finished.extend(array("Q", [] if key is None else [key]))
        good += len(rest)
    elif rest and not _is_torn(rest):
        raise _not_ours(name, number)
    finished.seal()
    return finished, good, lacks_end


def _keys_of_ours(chunk: bytes, whole: int) -> array[int] | None:
    """The keys of lines that are all as we write them: each ends in its key, so none is parsed or copied."""
    starts: list[bytes] = []
    ends: list[bytes] = []
    find = chunk.find
    start = 0
    while start < whole:
        end = find(b"\n", start)
        starts.append(chunk[start : start + 7])
        ends.append(chunk[end - 26 : end])
        start = end + 1
    if b"".join(starts) != _LINE_START * len(starts) or not _LINE_ENDS.fullmatch(b"".join(ends)):
        return None
    keys = array("Q", bytes.fromhex(b"".join([end[8:24] for end in ends]).decode()))
    if sys.byteorder == "little":  # pragma: no branch
        keys.byteswap()
    return keys


def _keys_one_by_one(lines: list[bytes], name: str, first: int) -> Iterator[int]:
    for number, line in enumerate(lines, first):
        if line and not line.isspace():
            key = _key_of(line, name, number)
            if key is not None:
                yield key


def _key_of(line: bytes, name: str, number: int) -> int | None:
    """The key of an answered row, None of a row that failed."""
    try:
        result = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise _not_ours(name, number) from None
    if not isinstance(result, dict) or "response" not in result or "error" not in result:
        raise _not_ours(name, number)
    if result["error"] is not None:
        return None
    key, custom_id = result.get("key"), result.get("custom_id")
    if isinstance(key, str):
        try:
            return int(key, 16) & 0xFFFF_FFFF_FFFF_FFFF
        except ValueError:
            raise _not_ours(name, number) from None
    # The provider's own batch output, or ours after somebody's editing.
    if isinstance(custom_id, str):
        return custom_id_key(custom_id)
    raise _not_ours(name, number)


def _is_whole(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def _is_torn(rest: bytes) -> bool:
    """Whether it is the beginning of a line of ours (or the zeros that a power cut leaves)."""
    rest = rest.rstrip(b"\0")
    return rest.startswith(_LINE_START) or _LINE_START.startswith(rest)


def _not_ours(name: str, number: int) -> InputError:
    return InputError(
        "is no output of callgate, so it is left as it is; choose another -o, or --overwrite to replace it",
        source=name,
        line=number,
    )
