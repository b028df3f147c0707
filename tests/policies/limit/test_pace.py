"""From a quota to the windows that are counted and the bucket that paces."""

from __future__ import annotations

import pytest

from callgate.policies.limit.pace import pace_of
from callgate.policies.limit.quota import Quota


@pytest.mark.parametrize(
    ("period", "guard"),
    [(0.01, 0.01), (1.0, 0.01), (2.0, 0.005), (2.5, 0.004), (60.0, 0.004), (86_400.0, 0.004)],
)
def test_short_periods_have_the_wider_guard(period: float, guard: float) -> None:
    pace = pace_of(Quota(10, period))
    assert pace.spans[0][0] == pytest.approx(period * (1.0 + guard))
    assert pace.refill == pytest.approx(10 / period / (1.0 + guard))


@pytest.mark.parametrize(
    ("quota", "burst", "capacity", "enough"),
    [
        (Quota(100, 1.0), 100, 10, 5),
        (Quota(10, 1.0), 10, 1.5, 1),
        (Quota(7, 0.01), 7, 7, 1),
        (Quota(600, 60.0), 50, 50, 50),
        (Quota(50, 60.0), 10, 50 / 12, 50 / 12),
        (Quota(3, 60.0), 3, 1, 1),
        (Quota(1000, 86_400.0), 1000, 1000, 1000),
        (Quota(100, 1.0, capacity=20), 20, 20, 20),
        (Quota(100, 1.0, capacity=300), 300, 300, 300),
    ],
)
def test_bursts(quota: Quota, burst: float, capacity: float, enough: float) -> None:
    pace = pace_of(quota)
    assert (pace.burst, pace.capacity, pace.enough) == pytest.approx((burst, capacity, enough))
    assert pace.ceiling == max(quota.rate, quota.capacity or 0)


def test_caution_widens_the_guard_and_takes_the_burst_away() -> None:
    half, full = pace_of(Quota(100, 1.0), 0.5), pace_of(Quota(100, 1.0), 1.0)
    assert (half.spans[0][0], half.burst) == pytest.approx((1.03, 55))
    assert (full.spans[0][0], full.burst) == pytest.approx((1.05, 10))
    assert pace_of(Quota(50), 1.0).sized is False


def test_caution_changes_no_burst_that_was_asked_for_and_no_stock() -> None:
    for quota in (Quota(100, 1.0, capacity=50), Quota(100, 86_400.0)):
        assert pace_of(quota, 1.0) == pace_of(quota)


def test_windows_of_a_rate_that_is_no_whole_number() -> None:
    assert pace_of(Quota(2.9, 10.0)).spans == ((pytest.approx(10.04), 3.0), (pytest.approx(100.4), 29.0))
    assert pace_of(Quota(0.5, 1.0)).spans == ((pytest.approx(2.01), 1.0),)
    assert pace_of(Quota(2.5, 1.0, capacity=3)).spans == ((pytest.approx(1.004), 3.0),)
    assert pace_of(Quota(2.5, 1.0, capacity=1)).spans == (
        (pytest.approx(1.004), 3.0),
        (pytest.approx(2.008), 5.0),
    )
