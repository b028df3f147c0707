"""Where the results of a batch go: a journal on disk, or memory."""

from __future__ import annotations

from typing import Protocol

import orjson

from callgate.batch.output.completed_keys import CompletedKeys
from callgate.batch.output.results import RowResult, encode_result

__all__ = ["MemoryStore", "ResultStore"]


class ResultStore(Protocol):
    """Keeps the lines of a batch; `Journal` and `MemoryStore` are the two of callgate."""

    completed: CompletedKeys
    all_tried: bool

    def write(self, result: RowResult) -> None:
        """Keep one result."""
        ...

    def append(self, line: bytes, *, failed: bool = False) -> None:
        """Keep one encoded line."""
        ...

    def sync(self) -> None:
        """Bring what was written to the disk."""
        ...


class MemoryStore:
    """Keeps the output line of each row in memory, by the row's line in the input."""

    def __init__(self) -> None:
        self.completed = CompletedKeys()
        self.all_tried = False
        self.lines: dict[int, bytes] = {}

    def write(self, result: RowResult) -> None:
        """Keep one result."""
        self.lines[result.row.line] = encode_result(result)

    def append(self, line: bytes, *, failed: bool = False) -> None:
        """Keep one encoded line."""
        self.lines[orjson.loads(line)["line"]] = line

    def sync(self) -> None:
        """There is no disk."""
