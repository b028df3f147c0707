"""How often each label occurs in the answers of a batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

__all__ = ["Labels", "labels_of"]

_MOST_VALUES = 30
_LONGEST = 60
_MOST_FIELDS = 50
TEXT = "text"
"""The name of the field that answers without `parsed` count as."""


class Labels:
    """Counts the values of the fields of `parsed`; of answers without it, their texts.

    Only values that can be labels are counted: booleans, numbers and short texts, also those in a list. A
    field with more than 30 different values is dropped: it holds prose or measurements.

    >>> labels = Labels()
    >>> for mood in ("good", "bad", "good"):
    ...     labels.add({"mood": mood, "tags": ["a", "b"]}, None)
    >>> labels.counts["mood"].most_common(), labels.answers["tags"]
    ([('good', 2), ('bad', 1)], 3)
    """

    __slots__ = ("_dropped", "answers", "counts")

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = {}
        """By the name of the field: how many answers have each value."""
        self.answers: Counter[str] = Counter()
        """By the name of the field: how many answers have it."""
        self._dropped: set[str] = set()

    def add(self, parsed: Any, text: str | None) -> None:
        """Count one answer."""
        for name, values in labels_of(parsed, text):
            if name in self._dropped:
                continue
            counts = self.counts.setdefault(name, Counter())
            counts.update(values)
            self.answers[name] += 1
            if None in values or len(counts) > _MOST_VALUES or len(self.counts) > _MOST_FIELDS:
                self._dropped.add(name)
                del self.counts[name], self.answers[name]

    def to_dict(self) -> dict[str, dict[str, int]]:
        """Field, value and count, ready for JSON; most frequent first."""
        return {name: dict(counts.most_common()) for name, counts in self.counts.items()}


def labels_of(parsed: Any, text: str | None) -> Iterator[tuple[str, set[Any]]]:
    """The fields of an answer with their values as text; a value that cannot be a label is None.

    >>> list(labels_of({"a": {"b": True}, "c": 7}, None)), list(labels_of(None, " yes\\n"))
    ([('a.b', {'true'}), ('c', {'7'})], [('text', {'yes'})])
    """
    if parsed is None:
        if text is not None:
            yield TEXT, {_label(text.strip())}
    elif isinstance(parsed, dict):
        for name, value in parsed.items():
            yield from _fields(name, value)
    else:
        yield from _fields("parsed", parsed)


def _fields(name: str, value: Any) -> Iterator[tuple[str, set[Any]]]:
    if isinstance(value, dict):
        for inner, each in value.items():
            yield from _fields(f"{name}.{inner}", each)
    elif isinstance(value, list):
        yield name, {_label(each) for each in value}
    else:
        yield name, {_label(value)}


def _label(value: Any) -> str | None:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, str | int | float):
        text = str(value)
        return text if len(text) <= _LONGEST else None
    return None
