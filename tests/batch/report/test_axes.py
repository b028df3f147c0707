"""Axes with round figures."""

from __future__ import annotations

import pytest

from callgate.batch.report.axes import Unit, nice_ticks, time_ticks


@pytest.mark.parametrize("top", [1e-6, 0.00123, 0.3, 1.0, 7.2, 59.0, 100.0, 130.0, 98_765.0, 3e9])
def test_ticks_are_few_and_round_and_hold_the_highest_figure(top: float) -> None:
    ticks = nice_ticks(top)
    assert 2 <= len(ticks) <= 6
    assert ticks[-1] >= top > ticks[-2]
    digits = f"{ticks[1]:e}".split("e")[0].rstrip("0").rstrip(".")
    assert digits in ("1", "2", "5")


@pytest.mark.parametrize(
    ("seconds", "last"),
    [
        (0.9, "0.8 s"),
        (7.0, "6 s"),
        (95.0, "90 s"),
        (4000.0, "60 min"),
        (30_000.0, "8 h"),
        (900_000.0, "10 d"),
    ],
)
def test_times_have_round_labels_of_one_unit(seconds: float, last: str) -> None:
    ticks = time_ticks(seconds)
    assert ticks[-1][1] == last
    assert ticks[-1][0] <= seconds
    assert 3 <= len(ticks) <= 8


def test_the_labels_of_an_axis_have_the_same_decimals() -> None:
    assert Unit("$").labels(nice_ticks(0.1)) == ["$0.00", "$0.02", "$0.04", "$0.06", "$0.08", "$0.10"]
    assert Unit(after=" s").labels([0.0, 2000.0]) == ["0 s", "2,000 s"]
