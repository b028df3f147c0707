"""Reads an input to its end and adds it up: rows, characters and bounds on their output."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from callgate.batch.changes import is_unchanged
from callgate.batch.cost.worst_case import longest_answer
from callgate.batch.input.fingerprint import Fingerprints
from callgate.batch.input.renamed import RenamedRows
from callgate.batch.input.rows import Row
from callgate.batch.input.sources import Source
from callgate.batch.output.completed_keys import CompletedKeys
from callgate.providers.canonical.size import count_characters

__all__ = ["AlikeRows", "InputTotals", "IsCached"]

IsCached = Callable[[Row], Awaitable[bool]]
"""Returns True if a cache answers a row, so that it costs nothing."""

_CHARACTERS_PER_TOKEN = 4.0


@dataclass(slots=True)
class AlikeRows:
    """The remaining rows that name the same model, or none.

    Attributes:
        count: The number of rows.
        characters: The characters of their requests together.
        unbounded: The number of rows without a bound on their output.
        bound: The most output tokens of the others together.

    >>> AlikeRows(count=2, characters=120, bound=400).unbounded
    0
    """

    count: int = 0
    characters: int = 0
    unbounded: int = 0
    bound: int = 0


class InputTotals:
    """The totals of a whole input.

    Attributes:
        rows: The number of rows to be called.
        groups: These rows by the model that they name.
        skipped: The number of answered rows.
        changed: The number of these that would be asked differently now.
        cached: The number of rows that a cache answers.
        ratio: Tokens per character.

    Example::

        totals = InputTotals()
        await totals.read(Source("in.jsonl"), CompletedKeys(), {})
        print(totals.rows, totals.groups)
    """

    __slots__ = ("cached", "changed", "groups", "ratio", "rows", "skipped")

    def __init__(self) -> None:
        self.groups: dict[str | None, AlikeRows] = {}
        self.rows = self.skipped = self.changed = self.cached = 0
        self.ratio = 1 / _CHARACTERS_PER_TOKEN

    async def read(
        self,
        source: Source,
        finished: CompletedKeys,
        inputs: Mapping[int, int],
        is_cached: IsCached | None = None,
        *,
        fingerprints: Fingerprints | None = None,
        renamed: RenamedRows | None = None,
        asks_again: bool = False,
    ) -> None:
        """Add up all rows.

        Args:
            source: The rows; read to its end.
            finished: The keys of answered rows.
            inputs: Input tokens of some of these, by their keys.
            is_cached: Returns True if a cache answers a row; None: no cache.
            fingerprints: The fingerprints of the rows' requests; None: answers count for any request.
            renamed: Rows whose answers have another key.
            asks_again: True to call answered rows that would be asked differently now.

        Raises:
            InputError: a row cannot be used; the message has the file and the line.
        """
        tokens = characters = 0
        former = None if renamed is None else renamed.reader()
        for row in (row for block in source.blocks() for row in block):
            size = count_characters(row.request)
            if former is not None:
                row.key = former(row.key)
            done = finished.take(row.key)
            if done and fingerprints is not None and not is_unchanged(row, finished, fingerprints):
                self.changed += 1
                done = not asks_again
            if not done:
                if is_cached is not None and await is_cached(row):
                    self.cached += 1
                else:
                    self._add(row.request, size)
                continue
            self.skipped += 1
            if row.key in inputs:
                characters += size
                tokens += inputs[row.key]
        if tokens and characters:
            self.ratio = tokens / characters

    def _add(self, request: dict[str, Any], size: int) -> None:
        self.rows += 1
        model = request.get("model")
        group = self.groups.setdefault(model if isinstance(model, str) else None, AlikeRows())
        group.count += 1
        group.characters += size
        longest = longest_answer(request)
        if longest is None:
            group.unbounded += 1
        else:
            group.bound += longest
