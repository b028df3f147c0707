"""A comparison as one HTML page."""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from datetime import datetime

from callgate.batch.report.axes import Unit
from callgate.batch.report.comparison import Agreement, Comparison
from callgate.batch.report.figures import quantile
from callgate.batch.report.markup import Cell, document, section, table
from callgate.batch.report.plots import bars, plot
from callgate.batch.report.tables import moment_of

__all__ = ["names_of", "render_comparison"]

_BARS = 30
_SHOWN = 15


def render_comparison(comparison: Comparison, *, now: datetime) -> str:
    """The page.

    Args:
        comparison: What `compare` has read.
        now: The date of the page.
    """
    first, second = names_of(comparison)
    rows = [(each.name, each.first, each.second, each.change) for each in comparison.metrics()]
    columns = ["", first, second, "change"]
    parts = [
        section("Figures", table(columns, rows, small=True), note=_models(comparison)),
        f'<section class="plots" aria-label="Plots">{_latencies(comparison)}{_labels(comparison)}</section>',
        _agreement(comparison),
        *(_differences(each, first, second) for each in comparison.agreements if each.different),
    ]
    where = f"{comparison.common:,} rows are answered in both, {comparison.same_text:,} with the same text"
    footer = f"{comparison.first.output} · {comparison.second.output} · page made on"
    return document(
        f"{first} and {second}: callgate report",
        f"{first} and {second}",
        where,
        parts,
        f"{footer} {moment_of(now.timestamp(), now)}",
    )


def _models(comparison: Comparison) -> str:
    reports = zip(names_of(comparison), (comparison.first, comparison.second), strict=True)
    return "; ".join(f"{name}: {', '.join(each.name for each in report.models)}" for name, report in reports)


def names_of(comparison: Comparison) -> tuple[str, str]:
    """The names of both outputs, as short as they differ.

    >>> from callgate.batch.report.figures import Report
    >>> names_of(Comparison(Report("runs/a/out.jsonl"), Report("runs/b/out.jsonl")))
    ('a/out.jsonl', 'b/out.jsonl')
    """
    paths = comparison.first.output, comparison.second.output
    for parts in range(1, max(path.count(os.sep) for path in paths) + 1):
        first, second = (os.sep.join(path.split(os.sep)[-parts:]) for path in paths)
        if first != second:
            return first, second
    return paths


def _latencies(comparison: Comparison) -> str:
    reports = comparison.first, comparison.second
    top = max((quantile(each.latencies, 99) for each in reports if each.latencies), default=0.0) or 1.0
    names = names_of(comparison)
    series = [
        (name, _shares(report.latencies, top / _BARS)) for name, report in zip(names, reports, strict=True)
    ]
    drawing = bars(series, label="Distribution of the latency", unit=Unit(after=" %"))
    return plot("Distribution of the latency", "share of the calls by their latency", drawing, names)


def _shares(latencies: array[float], width: float) -> list[tuple[float, float, float]]:
    """How many percent are in each bar: (from, to, percent); the last one holds what is above."""
    if not latencies:
        return []
    edges = [bisect_left(latencies, width * place) for place in range(_BARS)] + [len(latencies)]
    return [
        (width * place, width * (place + 1), 100 * (edges[place + 1] - edges[place]) / len(latencies))
        for place in range(_BARS)
    ]


def _labels(comparison: Comparison) -> str:
    """How often each label occurs in both."""
    tables = []
    first, second = comparison.first.labels, comparison.second.labels
    for agreement in comparison.agreements:
        name = agreement.name
        one, other = first.counts[name], second.counts[name]
        rows = [
            (label, f"{one[label] / first.answers[name]:.1%}", f"{other[label] / second.answers[name]:.1%}")
            for label, _ in (one + other).most_common()
        ]
        tables.append(table([name, *names_of(comparison)], rows, small=True))
    return section("Labels", *tables, note="share of the answers") if tables else ""


def _agreement(comparison: Comparison) -> str:
    rows: list[tuple[Cell, ...]] = [
        (
            each.name,
            each.share,
            f"{each.rows:,}",
            f"{each.share:.1%}",
            "-" if each.kappa is None else f"{each.kappa:.2f}",
        )
        for each in comparison.agreements
    ]
    if not rows:
        return ""
    note = "rows with the same label in both; kappa is 1 for full agreement and 0 for that of chance"
    columns = ["label", "share", "rows", "the same", "kappa"]
    return section("Agreement", table(columns, rows, texts=2, small=True), note=note)


def _differences(agreement: Agreement, first: str, second: str) -> str:
    rows = [
        (one, other, agreement.example[one, other], f"{count:,}")
        for (one, other), count in agreement.different.most_common(_SHOWN)
    ]
    columns = [first, second, "for example", "rows"]
    return section(f"Where {agreement.name} differs", table(columns, rows, texts=3, small=True))
