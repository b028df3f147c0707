"""A report as one HTML page: figures, plots and tables, in a file that needs no other and no network."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Sequence
from datetime import datetime

from callgate.batch.cost.budget import dollars
from callgate.batch.report.axes import Unit, span
from callgate.batch.report.examples import Example
from callgate.batch.report.figures import Moment, Report, Run, quantile
from callgate.batch.report.markup import Cell, document, section, table, tiles
from callgate.batch.report.plots import Series, bars, lines, plot

__all__ = ["moment_of", "render_page"]


def render_page(report: Report, *, now: datetime) -> str:
    """The page.

    Args:
        report: What `read_report` has read.
        now: The date of the page; its zone is that of all times in it.
    """
    plots = (_throughput(report), _latency(report), _distribution(report), _spent(report))
    parts = [
        tiles(_figures(report)),
        f'<section class="plots" aria-label="Plots">{"".join(plots)}</section>',
        _errors(report),
        _runs(report, now),
        _models(report),
        _labels(report),
        _tokens(report),
        _finishes(report),
        *(
            _examples(title, rows)
            for title, rows in (
                ("Sample answers", report.samples),
                ("Slowest answers", report.slowest),
                ("Longest answers", report.longest),
            )
        ),
    ]
    name = os.path.basename(report.output)
    footer = f"{report.output} · page made on {moment_of(now.timestamp(), now)}"
    return document(f"{name}: callgate report", f"Report on {name}", _when(report, now), parts, footer)


def moment_of(seconds: float, now: datetime) -> str:
    """A time in the zone of `now`.

    >>> from datetime import UTC
    >>> moment_of(0.0, datetime(2026, 12, 1, tzinfo=UTC))
    '1970-01-01 00:00 UTC'
    """
    return f"{datetime.fromtimestamp(seconds, now.tzinfo):%Y-%m-%d %H:%M %Z}".strip()


def _when(report: Report, now: datetime) -> str:
    if not report.runs:
        return "no row has ended yet"
    first, last = report.runs[0], report.runs[-1]
    runs = "1 run" if len(report.runs) == 1 else f"{len(report.runs)} runs"
    times = f"{moment_of(first.began, now)} to {moment_of(last.ended, now)}"
    return f"{times} · {runs}, {span(report.seconds)} of running time"


def _figures(report: Report) -> list[tuple[str, str]]:
    quantiles, rate = report.percentiles(), report.rows_per_second
    figures = [
        ("rows answered", f"{report.answered:,}"),
        ("rows failed", f"{report.failed:,}"),
        ("of them refused by the provider", f"{report.refused:,}" if report.refused else ""),
        ("answers cut off", f"{report.truncated:,}" if report.truncated else ""),
        ("from the cache", f"{report.cached:,}" if report.cached else ""),
        ("cost", _money(report.known_cost)),
        ("cost per 1,000 rows", _money(report.cost_per_1000_rows)),
        ("calls", f"{report.attempts:,}"),
        ("of them repeated", f"{report.repeated:,}"),
        ("tokens in", f"{report.usage.input_tokens:,}"),
        ("tokens out", f"{report.usage.output_tokens:,}"),
        ("running time", span(report.seconds)),
        ("rows a second", "-" if rate is None else f"{rate:,.1f}"),
        ("median latency", f"{quantiles[50]:.2f} s" if quantiles else "-"),
        ("95th percentile", f"{quantiles[95]:.2f} s" if quantiles else "-"),
    ]
    return [(name, text) for name, text in figures if text]


def _money(amount: float | None) -> str:
    return "unknown" if amount is None else dollars(amount)


# -- plots -----------------------------------------------------------------------------------------------


def _throughput(report: Report) -> str:
    rows = Series("rows a second", _points(report, lambda each: each.rows / (each.seconds or 1.0)))
    drawing = lines([rows], report.seconds, label="Throughput", pauses=_pauses(report), area=True)
    return plot("Throughput", "rows answered a second", drawing)


def _latency(report: Report) -> str:
    def at(share: int) -> Callable[[Moment], float | None]:
        return lambda each: quantile(each.latencies, share) if each.latencies else None

    series = [Series("median", _points(report, at(50))), Series("95th percentile", _points(report, at(95)))]
    drawing = lines(series, report.seconds, label="Latency", unit=Unit(after=" s"), pauses=_pauses(report))
    return plot("Latency over time", "seconds on the wire", drawing, [each.name for each in series])


def _distribution(report: Report) -> str:
    drawing = bars([("calls", report.histogram())], label="Distribution of the latency")
    return plot("Distribution of the latency", "calls by their latency", drawing)


def _spent(report: Report) -> str:
    title, caption = "Cost", "US dollars spent so far"
    if not report.cost:
        return plot(title, caption, '<p class="none">No prices are known for these answers.</p>')
    total, points = 0.0, [(0.0, 0.0)]
    for moment in report.moments:
        total += moment.cost
        points.append((moment.at + moment.seconds, total))
    drawing = lines(
        [Series("cost", points)],
        report.seconds,
        label=title,
        unit=Unit("$"),
        pauses=_pauses(report),
        area=True,
    )
    return plot(title, caption, drawing)


def _points(report: Report, get: Callable[[Moment], float | None]) -> list[tuple[float, float | None]]:
    """A point in the middle of each slice; the line breaks between two runs."""
    points: list[tuple[float, float | None]] = []
    run = 0
    for moment in report.moments:
        if moment.run != run:
            points.append((moment.at, None))
            run = moment.run
        points.append((moment.at + moment.seconds / 2, get(moment)))
    return points


def _pauses(report: Report) -> list[tuple[float, str]]:
    """Where in the running time one run ends and the next begins."""
    at, pauses = 0.0, []
    for one, following in zip(report.runs, report.runs[1:], strict=False):
        at += one.seconds
        pauses.append((at, f"pause of {span(following.began - one.ended)}"))
    return pauses


# -- tables ----------------------------------------------------------------------------------------------


def _errors(report: Report) -> str:
    if not report.errors:
        return ""
    rows = [
        (each.type, each.example, f"{each.count:,}", "" if each.line is None else f"{each.line:,}")
        for each in report.errors
    ]
    return section("Rows that failed", table(["error", "for example", "rows", "line"], rows, texts=2))


def _runs(report: Report, now: datetime) -> str:
    columns = ["began", "ended", "running time", "answered", "failed", "rows a second", "cost"]
    rows = [_run_cells(run, now) for run in report.runs]
    return section("Runs", table(columns, rows, texts=2)) if rows else ""


def _run_cells(run: Run, now: datetime) -> tuple[str, ...]:
    rate = f"{run.answered / run.seconds:,.1f}" if run.seconds > 0 else "-"
    began, ended = moment_of(run.began, now), moment_of(run.ended, now)
    rows = f"{run.answered:,}", f"{run.failed:,}"
    return began, ended, span(run.seconds), *rows, rate, dollars(run.cost)


def _models(report: Report) -> str:
    if not report.models:
        return ""
    columns = ["model", "answered", "cut off", "tokens in", "tokens out", "cost", "median", "95th percentile"]
    rows = [
        (
            each.name,
            f"{each.answered:,}",
            f"{each.truncated:,}",
            f"{each.input_tokens:,}",
            f"{each.output_tokens:,}",
            _money(each.known_cost),
            *(f"{quantile(each.latencies, share):.2f} s" if each.latencies else "-" for share in (50, 95)),
        )
        for each in report.models
    ]
    return section("Models", table(columns, rows))


def _labels(report: Report) -> str:
    parts = []
    for name, counts in report.labels.counts.items():
        answers = report.labels.answers[name]
        rows: list[tuple[Cell, ...]] = [
            (value, count / answers, f"{count:,}", f"{count / answers:.1%}")
            for value, count in counts.most_common()
        ]
        parts.append(table([name, "share", "answers", "of all"], rows, texts=2, small=True))
    return section("Labels", *parts, note="how often each value occurs in the answers") if parts else ""


def _tokens(report: Report) -> str:
    def cells(name: str, counts: array[int]) -> tuple[str, ...]:
        return name, *(f"{quantile(counts, share):,}" for share in (0, 50, 95, 100))

    if not report.input_tokens:
        return ""
    rows = [cells("input", report.input_tokens), cells("output", report.output_tokens)]
    return section("Tokens of a row", table(["", "least", "median", "p95", "most"], rows, small=True))


def _finishes(report: Report) -> str:
    if not report.finish_reasons:
        return ""
    rows = [(reason, f"{count:,}") for reason, count in report.finish_reasons.most_common()]
    return section("How the answers ended", table(["finish reason", "answers"], rows, small=True))


def _examples(title: str, rows: Sequence[Example]) -> str:
    if not rows:
        return ""
    names = list(dict.fromkeys(name for each in rows for name in each.columns))
    cells = [
        (
            each.name,
            *(each.columns.get(name, "") for name in names),
            each.answer,
            f"{each.output_tokens:,}",
            f"{each.latency:.2f} s",
        )
        for each in rows
    ]
    columns = ["row", *names, "answer", "tokens out", "latency"]
    return section(title, table(columns, cells, texts=len(columns) - 2))
