"""Why a request was not found: the nearest one that is there, and what differs."""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import orjson

from callgate.cache.key import CacheKey

__all__ = ["Difference", "Explanation", "explain"]

# So many of those with the fewest differences are compared by their texts too, which takes longer.
_FINALISTS = 25


@dataclass(frozen=True, slots=True)
class Difference:
    """One place in which two requests differ: "request.temperature"; `None` stands for nothing there."""

    where: str
    asked: Any
    kept: Any


@dataclass(frozen=True, slots=True)
class Explanation:
    """What became of one look into a cache.

    Attributes:
        outcome: "hit"; "miss"; "expired": it is there but older than the ttl; "damaged": it is there but
            cannot be read.
        nearest: On a miss, what the nearest entry was asked, or None in an empty cache.
        written_at: When that entry was written (UTC).
        differences: What differs from it, in the order of the request.
    """

    outcome: Literal["hit", "miss", "expired", "damaged"]
    nearest: Any = None
    written_at: datetime | None = None
    differences: tuple[Difference, ...] = ()


def explain(key: CacheKey, entries: Iterable[tuple[bytes, datetime | None]]) -> Explanation:
    """Find the nearest entry and say what differs.

    Args:
        key: The request that was not found.
        entries: The canonical requests to compare with, and when each was written; of equally near ones the
            first is chosen.

    >>> from callgate.cache.key import make_key
    >>> asked = make_key("here", "openai_chat", {"model": "m", "temperature": 0.5})
    >>> kept = make_key("here", "openai_chat", {"model": "m", "temperature": 1.0})
    >>> explain(asked, [(kept.request, None)]).differences
    (Difference(where='request.temperature', asked=0.5, kept=1.0),)
    """
    asked = dict(_leaves(orjson.loads(key.request)))
    # Both sorts are stable: of equally near ones the first stays the first.
    finalists = heapq.nsmallest(_FINALISTS, _read(entries), key=lambda entry: _count(asked, entry.leaves))
    if not finalists:
        return Explanation("miss")
    nearest = min(finalists, key=lambda entry: _distance(asked, entry.leaves))
    differences = tuple(_differences(asked, nearest.leaves))
    return Explanation("miss", orjson.loads(nearest.request), nearest.written_at, differences)


@dataclass(frozen=True, slots=True)
class _Entry:
    request: bytes
    written_at: datetime | None
    leaves: dict[str, Any]


def _read(entries: Iterable[tuple[bytes, datetime | None]]) -> Iterator[_Entry]:
    for request, written_at in entries:
        try:
            yield _Entry(request, written_at, dict(_leaves(orjson.loads(request))))
        except (ValueError, RecursionError):
            continue


def _leaves(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that holds no others, by its path: "request.messages[0].content"."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{where}.{name}" if where else name)
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{where}[{index}]")
    else:
        yield where, value


_NOTHING = object()


def _count(asked: dict[str, Any], kept: dict[str, Any]) -> int:
    same = sum(1 for where, value in asked.items() if kept.get(where, _NOTHING) == value)
    return len(asked) + len(kept) - 2 * same


def _distance(asked: dict[str, Any], kept: dict[str, Any]) -> float:
    return sum(_gap(difference) for difference in _differences(asked, kept))


def _gap(difference: Difference) -> float:
    """1 for another value; for another text, how much of it is another."""
    if isinstance(difference.asked, str) and isinstance(difference.kept, str):
        if len(difference.asked) + len(difference.kept) > 20_000:
            return 1.0
        return 1.0 - difflib.SequenceMatcher(None, difference.asked, difference.kept).quick_ratio()
    return 1.0


def _differences(asked: dict[str, Any], kept: dict[str, Any]) -> list[Difference]:
    wheres = [*asked, *(where for where in kept if where not in asked)]
    return [
        Difference(where, asked.get(where), kept.get(where))
        for where in wheres
        if asked.get(where, _NOTHING) != kept.get(where, _NOTHING)
    ]
