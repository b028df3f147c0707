"""The figures of a report."""

from __future__ import annotations

from array import array

from callgate.batch.report.figures import Report, quantile


def test_a_quantile_is_a_value_that_occurred() -> None:
    values = array("d", [1.0, 2.0, 3.0, 4.0, 5.0])
    assert [quantile(values, share) for share in (0, 20, 50, 90, 100)] == [1.0, 1.0, 3.0, 5.0, 5.0]


def test_the_last_bar_of_the_histogram_holds_all_that_is_above() -> None:
    report = Report("out.jsonl", latencies=array("d", [1.0] * 99 + [50.0]))
    assert [count for *_, count in report.histogram()][-1] == 100
    assert report.histogram()[-1][1] == 1.0
