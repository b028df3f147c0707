"""Figures as text."""

from __future__ import annotations

import pytest

from callgate.batch.display.format import amount, duration, in_columns, rate_of
from callgate.policies.limit.quota import Quota
from callgate.policies.limit.snapshot import RateSnapshot


@pytest.mark.parametrize(
    ("quota", "used", "text"),
    [
        (Quota(10, 1.0), 8.0, "8 of 10/s"),
        (Quota(90_000), 45_250.0, "45.2k of 90.0k/min"),
        (Quota(5_000, 86_400.0), 12.0, "12 of 5,000/day"),
        (Quota(40, 10.0), 7.0, "7 of 40/10 s"),
        (Quota(0.5, 1.0), 1.0, "1 of 1/2 s"),
    ],
)
def test_the_use_of_a_quota(quota: Quota, used: float, text: str) -> None:
    assert rate_of(1_000_000.0, RateSnapshot(quota, False, 0.0, used)) == text


def test_counts_and_seconds_are_shortened() -> None:
    assert [amount(number) for number in (9_999, 10_000, 2_500_000)] == ["9,999", "10.0k", "2.5M"]
    assert [duration(seconds) for seconds in (59, 60, 3599, 3600)] == ["59s", "1m00s", "59m59s", "1h00m"]


def test_two_columns_without_blanks_at_the_end() -> None:
    assert in_columns([("rows", "3"), ("tokens", "1 in")]) == ["rows    3", "tokens  1 in"]
