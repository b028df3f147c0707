"""A report as one HTML page: figures, plots and errors, in a file that needs no other and no network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from callgate.batch.cost.budget import dollars
from callgate.batch.output.report import Report, quantile

__all__ = ["render_page"]

_WIDTH, _HEIGHT = 640, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 12, 28

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --quiet: #667085; --line: #dfe3ea; --card: #fff;
  --page: #f5f6f8; --main: #2563a8; --second: #c2571a; --bad: #b42318; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --quiet: #98a2b3; --line: #343b48;
  --card: #1c212b; --page: #12161d; --main: #6ea8e6; --second: #eb9a5e; --bad: #f97066; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 32px 16px; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1060px; margin: 0 auto; }
h1 { font-size: 22px; margin: 0; } h2 { font-size: 15px; margin: 0 0 4px; }
p.where { margin: 2px 0 24px; color: var(--quiet); overflow-wrap: anywhere; }
.tiles, .plots { display: grid; gap: 14px; margin-bottom: 14px; }
.tiles { grid-template-columns: repeat(auto-fit, minmax(148px, 1fr)); }
.plots { grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr)); }
.tile, .plot, .table { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: 14px 16px; }
.tile b { display: block; font-size: 21px; font-weight: 600; font-variant-numeric: tabular-nums; }
.tile span, .plot p, figcaption { color: var(--quiet); font-size: 13px; margin: 0; }
svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--quiet); font-size: 12px; } .grid { stroke: var(--line); }
.main { stroke: var(--main); fill: none; stroke-width: 2; } .second { stroke: var(--second); fill: none;
  stroke-width: 2; stroke-dasharray: 5 4; } .area { fill: var(--main); opacity: .18; }
.bar { fill: var(--main); } .bar:hover, .hit:hover { opacity: .7; } .hit { fill: transparent; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: 6px 12px 6px 0;
  border-top: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; }
th { border: 0; color: var(--quiet); font-weight: 500; font-size: 13px; }
td.count { color: var(--bad); font-variant-numeric: tabular-nums; white-space: nowrap; }
"""


def render_page(report: Report) -> str:
    """The page.

    Args:
        report: What `read_report` has read.
    """
    plots = [
        _plot(
            "Throughput",
            "rows answered a second",
            _over_time(report, lambda m: m.rows / report.slice_seconds, area=True),
        ),
        _plot(
            "Latency over time",
            "seconds on the wire: median, and dashed the 95th percentile",
            _over_time(
                report,
                lambda m: quantile(m.latencies, 50) if m.latencies else None,
                lambda m: quantile(m.latencies, 95) if m.latencies else None,
                unit=" s",
            ),
        ),
        _plot("Distribution of the latency", "calls by seconds on the wire", _histogram(report)),
        _plot("Cost", "US dollars spent so far", _spent(report)),
    ]
    name = escape(report.output)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name}: callgate report</title><style>{_STYLE}</style></head><body><main>"
        f'<h1>Report</h1><p class="where">{name}</p>'
        f'<section class="tiles">{"".join(_tile(*each) for each in _tiles(report))}</section>'
        f'<section class="plots">{"".join(plots)}</section>{_errors(report)}{_finishes(report)}'
        "</main></body></html>\n"
    )


def _tiles(report: Report) -> list[tuple[str, str]]:
    quantiles = report.percentiles()
    cost = "unknown" if report.unpriced and not report.cost else dollars(report.cost)
    rate = f"{report.answered / report.seconds:,.1f}" if report.seconds > 0 else "-"
    return [
        ("rows answered", f"{report.answered:,}"),
        ("rows failed", f"{report.failed:,}"),
        *([("of them refused by the provider", f"{report.refused:,}")] if report.refused else []),
        ("from the cache", f"{report.cached:,}"),
        ("calls", f"{report.attempts:,}"),
        ("tokens in", f"{report.usage.input_tokens:,}"),
        ("tokens out", f"{report.usage.output_tokens:,}"),
        ("cost", cost),
        ("rows a second", rate),
        ("median latency", f"{quantiles[50]:.2f} s" if quantiles else "-"),
        ("95th percentile", f"{quantiles[95]:.2f} s" if quantiles else "-"),
    ]


def _tile(label: str, figure: str) -> str:
    return f'<div class="tile"><b>{escape(figure)}</b><span>{escape(label)}</span></div>'


def _plot(title: str, caption: str, drawing: str) -> str:
    return f'<figure class="plot" style="margin:0"><h2>{title}</h2><p>{caption}</p>{drawing}</figure>'


def _over_time(
    report: Report, *series: Callable[..., float | None], area: bool = False, unit: str = ""
) -> str:
    drawn = [
        [(m.at + report.slice_seconds, value) for m in report.moments if (value := get(m)) is not None]
        for get in series
    ]
    return _lines(drawn, report.seconds, area=area, unit=unit)


def _spent(report: Report) -> str:
    total, points = 0.0, [(0.0, 0.0)]
    for moment in report.moments:
        total += moment.cost
        points.append((moment.at + report.slice_seconds, total))
    if not total:
        return "<p>No prices are known for these answers.</p>"
    return _lines([points], report.seconds, area=True, prefix="$")


def _lines(
    drawn: Sequence[Sequence[tuple[float, float]]],
    seconds: float,
    *,
    area: bool = False,
    unit: str = "",
    prefix: str = "",
) -> str:
    if not drawn[0]:
        return "<p>No call was answered.</p>"
    top = _round_up(max(value for points in drawn for _, value in points))
    span = seconds or 1.0
    parts = [_axes(top, span, unit, prefix)]
    for points, kind in zip(drawn, ("main", "second"), strict=False):
        path = " ".join(f"{_x(at / span):.1f},{_y(value / top):.1f}" for at, value in points)
        if area and kind == "main":
            first, last = _x(points[0][0] / span), _x(points[-1][0] / span)
            floor = _y(0)
            parts.append(f'<polygon class="area" points="{first:.1f},{floor} {path} {last:.1f},{floor}"/>')
        parts.append(f'<polyline class="{kind}" points="{path}"/>')
    for at, value in drawn[0]:
        label = f"{prefix}{_figure(value)}{unit} after {_figure(at)} s"
        parts.append(
            f'<rect class="hit" x="{_x(at / span) - 3:.1f}" y="{_TOP}" width="6" '
            f'height="{_HEIGHT - _TOP - _BOTTOM}"><title>{label}</title></rect>'
        )
    return _svg(parts)


def _histogram(report: Report) -> str:
    bars = report.histogram()
    if not bars:
        return "<p>No call was answered.</p>"
    top = _round_up(max(count for _, _, count in bars))
    longest = bars[-1][1]
    parts = [_axes(top, longest, "", "")]
    for low, high, count in bars:
        x, width = _x(low / longest), (_x(high / longest) - _x(low / longest)) - 2
        y = _y(count / top)
        parts.append(
            f'<rect class="bar" x="{x + 1:.1f}" y="{y:.1f}" width="{width:.1f}" '
            f'height="{_y(0) - y:.1f}"><title>{count:,} between {low:.3f} and {high:.3f} s</title></rect>'
        )
    return _svg(parts)


def _axes(top: float, span: float, unit: str, prefix: str) -> str:
    parts = []
    for step in range(5):
        y = _y(step / 4)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        label = f"{prefix}{_figure(top * step / 4)}{unit}"
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    for step in range(5):
        anchor = "start" if step == 0 else "end" if step == 4 else "middle"
        x = _x(step / 4)
        parts.append(
            f'<text x="{x:.1f}" y="{_HEIGHT - 8}" text-anchor="{anchor}">{_figure(span * step / 4)} s</text>'
        )
    return "".join(parts)


def _svg(parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">{"".join(parts)}</svg>'


def _errors(report: Report) -> str:
    if not report.errors:
        return ""
    rows = "".join(
        f'<tr><td class="count">{each.count:,}</td><td>{escape(each.type)}</td>'
        f"<td>{escape(each.example)}</td><td>{each.line if each.line is not None else ''}</td></tr>"
        for each in report.errors
    )
    head = "<tr><th>rows</th><th>error</th><th>for example</th><th>line</th></tr>"
    return (
        f'<section class="table" style="margin-bottom:14px"><h2>Rows that failed</h2>'
        f"<table>{head}{rows}</table></section>"
    )


def _finishes(report: Report) -> str:
    if not report.finish_reasons:
        return ""
    rows = "".join(
        f"<tr><td>{escape(reason)}</td><td>{count:,}</td></tr>"
        for reason, count in report.finish_reasons.most_common()
    )
    head = "<tr><th>finish reason</th><th>answers</th></tr>"
    return f'<section class="table"><h2>How the answers ended</h2><table>{head}{rows}</table></section>'


def _x(share: float) -> float:
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _y(share: float) -> float:
    return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def _round_up(value: float) -> float:
    """The next figure that divides well into four.

    >>> _round_up(7.2), _round_up(0), _round_up(130)
    (8.0, 1.0, 200.0)
    """
    if value <= 0:
        return 1.0
    power = 10.0 ** (len(f"{value:.0f}") - 1) if value >= 1 else 10.0 ** -len(str(int(1 / value)))
    # By now it is from 1 to 10 of these powers, or a hair more.
    return next(step * power for step in (1, 2, 4, 8, 10, 20) if value <= step * power)


def _figure(value: float) -> str:
    """A figure as short as it can be read.

    >>> _figure(12345), _figure(2.5), _figure(0.00123)
    ('12,345', '2.5', '0.0012')
    """
    if value == 0 or value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.1 else f"{value:.2g}"
