"""Two outputs side by side: figures, and how far their answers agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from callgate.batch.output.paths import open_answers
from callgate.batch.report.axes import figure, span
from callgate.batch.report.figures import Report, quantile
from callgate.batch.report.labels import labels_of
from callgate.batch.report.reader import read_report
from callgate.batch.report.tables import money

__all__ = ["Agreement", "Comparison", "Metric", "compare"]

_SEPARATOR = " + "


@dataclass(slots=True)
class Agreement:
    """How often the answers of two outputs to the same row have the same label.

    Attributes:
        name: The field of `parsed`; "text" for answers that are a label by themselves.
        same: How many rows have the same label in both.
        different: How many rows have each pair of different labels, as (first, second).
        example: The name of a row with such a pair.

    >>> agreement = Agreement("mood")
    >>> for first, second in (("good", "good"), ("good", "bad"), ("bad", "bad"), ("bad", "bad")):
    ...     agreement.add(first, second, "r7")
    >>> agreement.share, agreement.kappa, agreement.different
    (0.75, 0.5, Counter({('good', 'bad'): 1}))
    """

    name: str
    same: int = 0
    different: Counter[tuple[str, str]] = field(default_factory=Counter)
    example: dict[tuple[str, str], str] = field(default_factory=dict)
    _first: Counter[str] = field(default_factory=Counter)
    _second: Counter[str] = field(default_factory=Counter)

    def add(self, first: str, second: str, row: str) -> None:
        """Count the row of this name, which has these labels."""
        self._first[first] += 1
        self._second[second] += 1
        if first == second:
            self.same += 1
        else:
            self.different[first, second] += 1
            self.example.setdefault((first, second), row)

    @property
    def rows(self) -> int:
        """Rows that have a label in both outputs."""
        return self.same + self.different.total()

    @property
    def share(self) -> float:
        """The share of the rows that have the same label; 0 without a row."""
        return self.same / self.rows if self.rows else 0.0

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa: 1 for full agreement, 0 for that of chance; None where chance alone agrees fully."""
        rows = self.rows
        by_chance = sum(count * self._second[label] for label, count in self._first.items())
        expected = by_chance / rows**2 if rows else 1.0
        return None if expected == 1.0 else (self.share - expected) / (1.0 - expected)

    def to_dict(self) -> dict[str, Any]:
        """The figures, ready for JSON."""
        return {
            "field": self.name,
            "rows": self.rows,
            "same": self.same,
            "share": self.share,
            "kappa": self.kappa,
            "different": [
                {"first": first, "second": second, "rows": count, "example": self.example[first, second]}
                for (first, second), count in self.different.most_common()
            ],
        }


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of both outputs as text, and how much larger the second is."""

    name: str
    first: str
    second: str
    change: str


@dataclass(slots=True)
class Comparison:
    """Two outputs side by side.

    Attributes:
        first, second: Their reports.
        common: Rows that are answered in both.
        same_text: Of these, rows with the same text.
        agreements: How far they agree, for each field that has labels in both.

    Example::

        comparison = compare("answers-mini.jsonl", "answers-large.jsonl")
        print([(each.name, each.share) for each in comparison.agreements])
    """

    first: Report
    second: Report
    common: int = 0
    same_text: int = 0
    agreements: list[Agreement] = field(default_factory=list)

    def metrics(self) -> list[Metric]:
        """The figures of both."""
        return [
            Metric(
                name, show(read(self.first)), show(read(self.second)), _change(read, self.first, self.second)
            )
            for name, read, show in _METRICS
        ]

    def to_dict(self) -> dict[str, Any]:
        """The figures, ready for JSON."""
        return {
            "first": self.first.to_dict(),
            "second": self.second.to_dict(),
            "rows_in_both": self.common,
            "same_text": self.same_text,
            "agreement": [agreement.to_dict() for agreement in self.agreements],
        }


def compare(first: str, second: str) -> Comparison:
    """Read two outputs and compare the answers to the rows that are in both: those with the same `custom_id`,
    else the same content.

    Raises:
        InputError: as of `read_report`.
    """
    comparison = Comparison(read_report(first), read_report(second))
    names = [name for name in comparison.first.labels.counts if name in comparison.second.labels.counts]
    agreements = {name: Agreement(name) for name in names}
    answers = {row["key"]: (hash(row.get("text")), _labels(row, agreements)) for row in _answers(first)}
    for row in _answers(second):
        found = answers.pop(row["key"], None)
        if found is None:
            continue
        text, labels = found
        comparison.common += 1
        comparison.same_text += text == hash(row.get("text"))
        for name, label in _labels(row, agreements).items():
            if name in labels:
                agreements[name].add(labels[name], label, row.get("custom_id") or f"line {row['line']}")
    comparison.agreements = [each for each in agreements.values() if each.rows]
    return comparison


def _answers(output: str) -> Iterator[dict[str, Any]]:
    stream, _ = open_answers(output)
    with stream:
        for line in stream:
            if line.endswith(b"\n") and line.strip():
                row = orjson.loads(line)
                if row.get("error") is None:
                    yield row


def _labels(row: dict[str, Any], names: dict[str, Agreement]) -> dict[str, str]:
    return {
        name: _SEPARATOR.join(sorted(values))
        for name, values in labels_of(row.get("parsed"), row.get("text"))
        if name in names
    }


_Read = Callable[[Report], float | None]


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _rate(value: float | None) -> str:
    return "-" if value is None else figure(value)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def _median(counts: str) -> _Read:
    return lambda report: quantile(getattr(report, counts), 50) if getattr(report, counts) else None


_METRICS: tuple[tuple[str, _Read, Callable[[float | None], str]], ...] = (
    ("rows answered", lambda report: report.answered, _count),
    ("rows failed", lambda report: report.failed, _count),
    ("answers cut off", lambda report: report.truncated, _count),
    ("cost", lambda report: report.known_cost, money),
    ("cost per 1,000 rows", lambda report: report.cost_per_1000_rows, money),
    ("tokens in, median row", _median("input_tokens"), _count),
    ("tokens out, median row", _median("output_tokens"), _count),
    ("median latency", _median("latencies"), _seconds),
    ("95th percentile", lambda report: report.percentiles().get(95), _seconds),
    ("rows a second", lambda report: report.rows_per_second, _rate),
    ("running time", lambda report: report.seconds, lambda seconds: span(seconds or 0.0)),
)


def _change(read: _Read, first: Report, second: Report) -> str:
    before, after = read(first), read(second)
    if not before or after is None:
        return ""
    return "0%" if after == before else f"{after / before - 1:+.0%}"
