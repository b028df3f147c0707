"""Explains a cache miss by the most similar stored request and its differences."""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import orjson

from callgate.policies.cache.key import CacheKey

__all__ = ["Difference", "Explanation", "explain"]

# The number of entries, those with the fewest differences, whose texts are compared too, which takes longer.
_FINALISTS = 25


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference of two requests: its path ("request.temperature"), and both values; None if absent."""

    where: str
    asked: Any
    kept: Any


@dataclass(frozen=True, slots=True)
class Explanation:
    """The outcome of a lookup in a cache.

    Attributes:
        outcome: "hit"; "miss"; "expired": stored, but older than the ttl; "damaged": stored, but cannot be
            read.
        nearest: After a miss, the most similar stored request; None if the cache is empty.
        written_at: When that entry was written (UTC).
        differences: The differences from it, in the order of the request.
    """

    outcome: Literal["hit", "miss", "expired", "damaged"]
    nearest: Any = None
    written_at: datetime | None = None
    differences: tuple[Difference, ...] = ()


def explain(key: CacheKey, entries: Iterable[tuple[bytes, datetime | None]]) -> Explanation:
    """Find the most similar entry and its differences.

    Args:
        key: The request that was not found.
        entries: The canonical requests to compare with, and when each was written; of equally similar ones
            the first is used.

    >>> from callgate.policies.cache.key import make_key
    >>> asked = make_key("here", "openai_chat", {"model": "m", "temperature": 0.5})
    >>> kept = make_key("here", "openai_chat", {"model": "m", "temperature": 1.0})
    >>> explain(asked, [(kept.request, None)]).differences
    (Difference(where='request.temperature', asked=0.5, kept=1.0),)
    """
    asked = dict(_leaves(orjson.loads(key.request)))
    # Both sorts are stable: of equally similar entries the first stays first.
    finalists = heapq.nsmallest(_FINALISTS, _read(entries), key=lambda entry: _count(asked, entry.leaves))
    if not finalists:
        return Explanation("miss")
    nearest = min(finalists, key=lambda entry: _distance(asked, entry.leaves))
    differences = tuple(_differences(asked, nearest.leaves))
    return Explanation("miss", orjson.loads(nearest.request), nearest.written_at, differences)


@dataclass(frozen=True, slots=True)
class _Leaf:
    where: str
    value: Any


@dataclass(frozen=True, slots=True)
class _Entry:
    request: bytes
    written_at: datetime | None
    leaves: dict[str, _Leaf]


def _read(entries: Iterable[tuple[bytes, datetime | None]]) -> Iterator[_Entry]:
    for request, written_at in entries:
        try:
            yield _Entry(request, written_at, dict(_leaves(orjson.loads(request))))
        except (ValueError, RecursionError):
            continue


def _leaves(value: Any, where: str = "", place: str = "") -> Iterator[tuple[str, _Leaf]]:
    """Each scalar value with its place, by which two requests are compared, and its path in this request.

    A path is "request.messages[0].content".
    """
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            dot = "." if where else ""
            yield from _leaves(inner, f"{where}{dot}{name}", f"{place}{dot}{name}")
    elif isinstance(value, list) and value:
        # System messages have negative places, so that one more of them does not shift the other messages.
        first = -_instructions(value)
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{where}[{index}]", f"{place}[{first + index}]")
    else:
        yield place, _Leaf(where, value)


def _instructions(values: list[Any]) -> int:
    """The number of system messages at the beginning of a conversation; 0 for any other list."""
    count = 0
    for value in values:
        if not (isinstance(value, dict) and value.get("role") in ("system", "developer")):
            break
        count += 1
    return count


def _count(asked: dict[str, _Leaf], kept: dict[str, _Leaf]) -> int:
    same = sum(1 for place, leaf in asked.items() if _is_in(kept, place, leaf))
    return len(asked) + len(kept) - 2 * same


def _is_in(leaves: dict[str, _Leaf], place: str, leaf: _Leaf) -> bool:
    other = leaves.get(place)
    return other is not None and bool(other.value == leaf.value)


def _distance(asked: dict[str, _Leaf], kept: dict[str, _Leaf]) -> float:
    return sum(_gap(difference) for difference in _differences(asked, kept))


def _gap(difference: Difference) -> float:
    """1.0 for different values; for two texts the share in which they differ."""
    if isinstance(difference.asked, str) and isinstance(difference.kept, str):
        if len(difference.asked) + len(difference.kept) > 20_000:
            return 1.0
        return 1.0 - difflib.SequenceMatcher(None, difference.asked, difference.kept).quick_ratio()
    return 1.0


def _differences(asked: dict[str, _Leaf], kept: dict[str, _Leaf]) -> list[Difference]:
    nothing = _Leaf("", None)
    return [
        Difference(leaf.where, asked.get(place, nothing).value, kept.get(place, nothing).value)
        for place, leaf in [
            *asked.items(),
            *((place, leaf) for place, leaf in kept.items() if place not in asked),
        ]
        if not (_is_in(asked, place, leaf) and _is_in(kept, place, leaf))
    ]
