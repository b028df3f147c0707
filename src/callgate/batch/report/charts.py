"""The plots of a report."""

from __future__ import annotations

from collections.abc import Callable

from callgate.batch.report.axes import Unit, span
from callgate.batch.report.figures import Moment, Report, quantile
from callgate.batch.report.plots import Series, bars, lines, plot

__all__ = ["distribution", "latency", "quotas", "spent", "throughput"]


def throughput(report: Report) -> str:
    """Rows answered a second over time."""
    rows = Series("rows a second", _points(report, lambda each: each.rows / (each.seconds or 1.0)))
    drawing = lines([rows], report.seconds, label="Throughput", pauses=_pauses(report), area=True)
    return plot("Throughput", "rows answered a second", drawing)


def latency(report: Report) -> str:
    """Median and 95th percentile over time."""

    def at(share: int) -> Callable[[Moment], float | None]:
        return lambda each: quantile(each.latencies, share) if each.latencies else None

    series = [Series("median", _points(report, at(50))), Series("95th percentile", _points(report, at(95)))]
    drawing = lines(series, report.seconds, label="Latency", unit=Unit(after=" s"), pauses=_pauses(report))
    return plot("Latency over time", "seconds on the wire", drawing, [each.name for each in series])


def distribution(report: Report) -> str:
    """How many calls took how long."""
    drawing = bars([("calls", report.histogram())], label="Distribution of the latency")
    return plot("Distribution of the latency", "calls by their latency", drawing)


def spent(report: Report) -> str:
    """What was spent so far, over time."""
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


def quotas(report: Report) -> str:
    """How full the quotas were; without a run that was logged, nothing."""
    shares: tuple[list[tuple[float, float | None]], ...] = ([], [])
    at = 0.0
    for run in report.runs:
        uses = [] if run.record is None else run.record.uses
        for points, name in zip(shares, ("requests", "tokens"), strict=True):
            points += [(at + use.at - run.began, getattr(use, name)) for use in uses]
            points.append((at + run.seconds, None))
        at += run.seconds
    series = [each for each in map(Series, ("requests", "tokens"), shares) if each.values]
    if not series:
        return ""
    drawing = lines(
        series, report.seconds, label="Quota used", unit=Unit(after=" %"), pauses=_pauses(report), top=100.0
    )
    caption = "share of the requests and tokens that a window allows"
    return plot("Quota used", caption, drawing, [each.name for each in series])


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
