"""Plots as SVG that needs no script: axes with round ticks, a legend, a description for screen readers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

from callgate.batch.report.axes import PLAIN, Unit, nice_ticks, span, time_ticks

__all__ = ["Series", "bars", "lines", "plot"]

# Small, so that the labels can be read on a telephone, too, where the drawing shrinks.
_WIDTH, _HEIGHT = 440, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 24, 16, 40
_KINDS = ("first", "second")


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a plot.

    Attributes:
        name: Its name in the legend and in the description.
        points: (x, y) in order; the line breaks where y is None.
    """

    name: str
    points: Sequence[tuple[float, float | None]]

    @property
    def values(self) -> list[float]:
        """The figures without the gaps."""
        return [value for _, value in self.points if value is not None]


def plot(title: str, caption: str, drawing: str, legend: Sequence[str] = ()) -> str:
    """A drawing with its title, its caption, and the names of its lines if there are several."""
    keys = ""
    if len(legend) > 1:
        keys = "".join(
            f'<span class="key"><svg viewBox="0 0 24 8" aria-hidden="true">'
            f'<line class="{kind}" x1="0" x2="24" y1="4" y2="4"/></svg>{escape(name)}</span>'
            for kind, name in zip(_KINDS, legend, strict=False)
        )
        keys = f'<p class="legend">{keys}</p>'
    return (
        f'<figure class="plot"><h2>{escape(title)}</h2><figcaption>{escape(caption)}</figcaption>'
        f"{keys}{drawing}</figure>"
    )


def lines(
    series: Sequence[Series],
    seconds: float,
    *,
    label: str,
    unit: Unit = PLAIN,
    pauses: Sequence[tuple[float, str]] = (),
    area: bool = False,
    top: float | None = None,
) -> str:
    """Lines over the running time.

    Args:
        series: At most two.
        seconds: The running time.
        label: What is drawn, for screen readers.
        unit: Of the figures.
        pauses: Where the time stands still, and how long in words.
        area: Fill the area below the first line.
        top: The end of the upward axis; None: the highest figure.
    """
    values = [each for one in series for each in one.values]
    if not values:
        return '<p class="none">Nothing was measured.</p>'
    ticks = nice_ticks(max(values) if top is None else top)
    end = seconds or 1.0
    times = [(at / end, text) for at, text in time_ticks(end)]
    parts = [_axes(ticks, times, unit, "running time")]
    parts += [_pause(at / end, text) for at, text in pauses]
    for one, kind in zip(series, _KINDS, strict=False):
        for points in _unbroken(one.points):
            places = [(_x(at / end), _y(min(1.0, height / ticks[-1]))) for at, height in points]
            parts.append(_line(places, kind, area=area and kind == "first"))
    for at, height in series[0].points:
        if height is not None:
            parts.append(
                f'<rect class="hit" x="{_x(at / end) - 2:.1f}" y="{_TOP}" width="4"'
                f' height="{_y(0) - _TOP:.1f}"><title>{escape(unit(height))} at {span(at)}</title></rect>'
            )
    told = "; ".join(
        f"{one.name} from {unit(min(one.values))} to {unit(max(one.values))}" for one in series if one.values
    )
    return _svg(parts, f"{label} over {span(seconds)} of running time: {told}")


def bars(
    series: Sequence[tuple[str, Sequence[tuple[float, float, float]]]],
    *,
    label: str,
    unit: Unit = PLAIN,
) -> str:
    """Histograms over seconds; of two, the second one is drawn as an outline.

    Args:
        series: Name, and bars as (from, to, height); at most two.
        label: What is drawn, for screen readers.
        unit: Of the heights.
    """
    drawn = [(name, boxes) for name, boxes in series if boxes]
    if not drawn:
        return '<p class="none">No call was answered.</p>'
    ticks = nice_ticks(max(height for _, boxes in drawn for *_, height in boxes))
    end = max(boxes[-1][1] for _, boxes in drawn)
    parts = [_axes(ticks, [(at / end, text) for at, text in time_ticks(end)], unit, "seconds on the wire")]
    for (name, boxes), kind in zip(drawn, _KINDS, strict=False):
        for low, high, height in boxes:
            x, y = _x(low / end), _y(height / ticks[-1])
            parts.append(
                f'<rect class="bar {kind}" x="{x + 0.5:.1f}" y="{y:.1f}"'
                f' width="{max(0.5, _x(high / end) - x - 1):.1f}" height="{_y(0) - y:.1f}">'
                f"<title>{escape(name)}: {unit(height)} between {low:.2f} and {high:.2f} s</title></rect>"
            )
    peaks = (max(boxes, key=lambda box: box[2]) for _, boxes in drawn)
    told = "; ".join(
        f"{name}: most between {low:.2f} and {high:.2f} s"
        for (name, _), (low, high, _) in zip(drawn, peaks, strict=True)
    )
    return _svg(parts, f"{label}, up to {span(end)}: {told}")


def _unbroken(points: Sequence[tuple[float, float | None]]) -> list[list[tuple[float, float]]]:
    """The points in stretches without a gap."""
    groups = groupby(points, key=lambda point: point[1] is not None)
    return [[(at, height) for at, height in group if height is not None] for there, group in groups if there]


def _line(places: Sequence[tuple[float, float]], kind: str, *, area: bool) -> str:
    if len(places) == 1:
        # A line through one point cannot be seen.
        [(x, y)] = places
        return f'<circle class="{kind} dot" cx="{x:.1f}" cy="{y:.1f}" r="2"/>'
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    drawn = f'<polyline class="{kind}" points="{path}"/>'
    if not area:
        return drawn
    floor = _y(0)
    corners = f"{places[0][0]:.1f},{floor} {path} {places[-1][0]:.1f},{floor}"
    return f'<polygon class="area" points="{corners}"/>{drawn}'


def _axes(ticks: Sequence[float], across: Sequence[tuple[float, str]], unit: Unit, title: str) -> str:
    parts = []
    for tick, label in zip(ticks, unit.labels(ticks), strict=True):
        y = _y(tick / ticks[-1])
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{_LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{escape(label)}</text>'
        )
    for share, text in across:
        x = _x(share)
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_y(0):.1f}" y2="{_y(0) + 4:.1f}"/>'
            f'<text x="{x:.1f}" y="{_y(0) + 17:.1f}" text-anchor="middle">{text}</text>'
        )
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle:.0f}" y="{_HEIGHT - 5}" text-anchor="middle">{title}</text>')
    return "".join(parts)


def _pause(share: float, text: str) -> str:
    x = _x(share)
    return (
        f'<line class="pause" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_y(0):.1f}">'
        f"<title>{escape(text)}</title></line>"
        f'<text x="{x:.1f}" y="{_TOP - 5}" text-anchor="middle" aria-hidden="true">pause</text>'
    )


def _svg(parts: Sequence[str], described: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(described)}">'
        f"{''.join(parts)}</svg>"
    )


def _x(share: float) -> float:
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _y(share: float) -> float:
    return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)
