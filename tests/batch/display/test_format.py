"""Figures as text."""

from __future__ import annotations

import pytest

from callgate.batch.display.format import rate_of
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
