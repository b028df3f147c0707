"""A report as one HTML page: figures, plots and tables, in a file that needs no other and no network."""

from __future__ import annotations

import os
from datetime import datetime

from callgate.batch.report import charts, tables
from callgate.batch.report.axes import span
from callgate.batch.report.figures import Report
from callgate.batch.report.markup import document, tiles

__all__ = ["render_page"]


def render_page(report: Report, *, now: datetime) -> str:
    """The page.

    Args:
        report: What `read_report` has read.
        now: The date of the page; its zone is that of all times in it.
    """
    drawn = (charts.throughput, charts.latency, charts.quotas, charts.spent, charts.distribution)
    plots = "".join(draw(report) for draw in drawn)
    parts = [
        tiles(_figures(report)),
        f'<section class="plots" aria-label="Plots">{plots}</section>',
        tables.errors(report),
        tables.runs(report, now),
        tables.models(report),
        tables.endpoints(report),
        tables.waits(report),
        tables.labels(report),
        tables.tokens(report),
        tables.finishes(report),
        tables.settings(report),
        *(
            tables.examples(title, rows)
            for title, rows in (
                ("Sample answers", report.samples),
                ("Slowest answers", report.slowest),
                ("Longest answers", report.longest),
            )
        ),
    ]
    name = os.path.basename(report.output)
    footer = f"{report.output} · page made on {tables.moment_of(now.timestamp(), now)}"
    return document(f"{name}: callgate report", f"Report on {name}", _when(report, now), parts, footer)


def _when(report: Report, now: datetime) -> str:
    if not report.runs:
        return "no row has ended yet"
    first, last = report.runs[0], report.runs[-1]
    runs = "1 run" if len(report.runs) == 1 else f"{len(report.runs)} runs"
    times = f"{tables.moment_of(first.began, now)} to {tables.moment_of(last.ended, now)}"
    return f"{times} · {runs}, {span(report.seconds)} of running time"


def _figures(report: Report) -> list[tuple[str, str]]:
    quantiles, rate = report.percentiles(), report.rows_per_second
    figures = [
        ("rows answered", f"{report.answered:,}"),
        ("rows failed", f"{report.failed:,}"),
        ("of them refused by the provider", f"{report.refused:,}" if report.refused else ""),
        ("answers cut off", f"{report.truncated:,}" if report.truncated else ""),
        ("from the cache", f"{report.cached:,}" if report.cached else ""),
        ("cost", tables.money(report.known_cost)),
        ("cost per 1,000 rows", tables.money(report.cost_per_1000_rows)),
        ("calls", f"{report.attempts:,}"),
        ("of them repeated", f"{report.repeated:,}"),
        *_logged_figures(report),
        ("tokens in", f"{report.usage.input_tokens:,}"),
        ("tokens out", f"{report.usage.output_tokens:,}"),
        ("running time", span(report.seconds)),
        ("rows a second", "-" if rate is None else f"{rate:,.1f}"),
        ("median latency", f"{quantiles[50]:.2f} s" if quantiles else "-"),
        ("95th percentile", f"{quantiles[95]:.2f} s" if quantiles else "-"),
    ]
    return [(name, text) for name, text in figures if text]


def _logged_figures(report: Report) -> list[tuple[str, str]]:
    records = report.records
    if not records:
        return []
    return [
        (name, f"{sum(getattr(record, field) for record in records):,}")
        for name, field in (("retries", "retries"), ("429s", "rate_limited"))
    ]
