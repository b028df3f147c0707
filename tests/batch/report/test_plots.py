"""Plots as SVG."""

from __future__ import annotations

from callgate.batch.report.axes import Unit
from callgate.batch.report.plots import Series, bars, lines, plot


def test_a_line_breaks_at_a_gap_and_a_point_alone_is_a_dot() -> None:
    points = [(0.0, 1.0), (1.0, 2.0), (2.0, None), (3.0, 1.0), (4.0, None), (5.0, 3.0), (6.0, 3.0)]
    drawing = lines([Series("rows", points)], 6.0, label="Throughput", area=True)
    assert drawing.count("<polyline") == drawing.count("<polygon") == 2
    assert drawing.count("<circle") == 1


def test_a_screen_reader_is_given_what_is_drawn() -> None:
    series = [Series("median", [(0.0, 1.0), (60.0, 2.5)]), Series("most", [(0.0, 4.0), (60.0, None)])]
    drawing = lines(series, 90.0, label="Latency", unit=Unit(after=" s"))
    assert (
        'role="img" aria-label="Latency over 1 min 30 s of running time:'
        ' median from 1 s to 2.5 s; most from 4 s to 4 s"' in drawing
    )
    assert 'aria-label="Latency, up to 2 s: calls: most between 1.00 and 2.00 s"' in bars(
        [("calls", [(0.0, 1.0, 3), (1.0, 2.0, 5)])], label="Latency"
    )


def test_two_lines_have_a_legend_and_one_has_none() -> None:
    assert "median</span>" in plot("Latency", "seconds", "", ["median", "most"])
    assert "legend" not in plot("Latency", "seconds", "", ["median"])


def test_a_pause_is_marked() -> None:
    drawing = lines(
        [Series("rows", [(0.0, 1.0), (9.0, 1.0)])], 10.0, label="x", pauses=[(5.0, "pause of 2 h")]
    )
    assert "<title>pause of 2 h</title>" in drawing


def test_an_axis_that_has_an_end_is_not_left() -> None:
    drawing = lines([Series("share", [(0.0, 130.0), (1.0, 50.0)])], 1.0, label="Quota", top=100.0)
    assert ">120<" not in drawing
    assert ">100<" in drawing


def test_what_was_not_measured_is_not_drawn() -> None:
    assert "Nothing was measured" in lines([Series("rows", [(0.0, None)])], 1.0, label="x")
    assert "No call was answered" in bars([("calls", [])], label="x")
