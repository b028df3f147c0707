"""Rows of a batch that a person should look at: some at random, the slowest, the longest."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

import orjson

from callgate.batch.output.results import FIELDS

__all__ = ["Example", "ExamplePicker", "shortened"]

_KEPT = 5
_FIELDS = frozenset(FIELDS)
_LONGEST_ANSWER = 400
_LONGEST_COLUMN = 120
_COLUMNS = 3


@dataclass(frozen=True, slots=True)
class Example:
    """One answered row.

    Attributes:
        line: Its line in the input.
        custom_id: Its id, or None.
        columns: Its own columns, shortened, the first three.
        answer: Its text, shortened; of an answer without text, its data.
        output_tokens: How many were paid for it.
        latency: Seconds on the wire.
    """

    line: int
    custom_id: str | None
    columns: Mapping[str, str]
    answer: str
    output_tokens: int
    latency: float

    @property
    def name(self) -> str:
        """Its id, else its line.

        >>> Example(7, None, {}, "yes", 1, 0.5).name
        'line 7'
        """
        return f"line {self.line}" if self.custom_id is None else self.custom_id


class ExamplePicker:
    """Picks rows as they are read, and keeps few of them.

    >>> picker = ExamplePicker()
    >>> for line in range(1, 100):
    ...     picker.see({"line": line, "text": "yes"}, output_tokens=line % 50, latency=1.0 / line)
    >>> [each.line for each in picker.slowest], [each.output_tokens for each in picker.longest]
    ([1, 2, 3, 4, 5], [49, 49, 48, 48, 47])
    >>> len(picker.samples)
    5
    """

    def __init__(self) -> None:
        # Seeded: the same output has the same samples.
        self._random = Random(0)
        self._seen = 0
        self._samples: list[Example] = []
        # Each with the number of the row, so that rows are never compared.
        self._slowest: list[tuple[float, int, Example]] = []
        self._longest: list[tuple[float, int, Example]] = []

    @property
    def samples(self) -> list[Example]:
        """Some rows at random, in the order of the input."""
        return sorted(self._samples, key=lambda each: each.line)

    @property
    def slowest(self) -> list[Example]:
        """The rows with the highest latency, highest first."""
        return [each for *_, each in sorted(self._slowest, reverse=True)]

    @property
    def longest(self) -> list[Example]:
        """The rows with the most output tokens, most first."""
        return [each for *_, each in sorted(self._longest, reverse=True)]

    def see(self, row: Mapping[str, Any], *, output_tokens: int, latency: float) -> None:
        """Take note of an answered row.

        Args:
            row: Its line of the output.
            output_tokens: How many were paid for it; 0 for an answer of the cache.
            latency: Seconds on the wire; 0 for an answer of the cache.
        """
        self._seen += 1
        place = len(self._samples) if self._seen <= _KEPT else self._random.randrange(self._seen)
        slow = latency > (self._slowest[0][0] if len(self._slowest) == _KEPT else 0.0)
        long = output_tokens > (self._longest[0][0] if len(self._longest) == _KEPT else 0)
        if not (place < _KEPT or slow or long):
            return
        example = _example(row, output_tokens, latency)
        if place < len(self._samples):
            self._samples[place] = example
        elif place < _KEPT:
            self._samples.append(example)
        if slow:
            _keep(self._slowest, (latency, -self._seen, example))
        if long:
            _keep(self._longest, (output_tokens, -self._seen, example))


def _keep(heap: list[tuple[float, int, Example]], entry: tuple[float, int, Example]) -> None:
    if len(heap) < _KEPT:
        heapq.heappush(heap, entry)
    else:
        heapq.heapreplace(heap, entry)


def _example(row: Mapping[str, Any], output_tokens: int, latency: float) -> Example:
    # The column that became the `custom_id` is its name already.
    own = [
        (name, value)
        for name, value in row.items()
        if name not in _FIELDS and (value is None or str(value) != row.get("custom_id"))
    ][:_COLUMNS]
    answer = row.get("text") or _as_text(row.get("parsed"))
    return Example(
        line=row.get("line") or 0,
        custom_id=row.get("custom_id"),
        columns={name: shortened(_as_text(value), _LONGEST_COLUMN) for name, value in own},
        answer=shortened(answer, _LONGEST_ANSWER),
        output_tokens=output_tokens,
        latency=latency,
    )


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value, str).decode()


def shortened(text: str, longest: int) -> str:
    """The text, with an ellipsis for what is cut off.

    >>> shortened("a long answer", 6)
    'a long…'
    """
    return text if len(text) <= longest else f"{text[:longest].rstrip()}…"
