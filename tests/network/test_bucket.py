"""A token bucket: steady refill, burst, debt and refunds."""

from __future__ import annotations

import random

import pytest

from callgate.network.bucket import Bucket
from callgate.policies.limit.quota import Quota


def test_it_is_full_at_first_and_refills_steadily_up_to_its_capacity() -> None:
    bucket = Bucket(Quota(2, 1.0, 10), now=0.0)
    assert bucket.level(0.0) == 10
    bucket.take(10, 0.0)
    assert [bucket.level(now) for now in (0.0, 0.5, 1.0, 100.0)] == [0, 1, 2, 10]


def test_a_start_level_is_bounded_by_the_capacity() -> None:
    assert Bucket(Quota(2, 1.0, 10), 0.0, level=3).level(0.0) == 3
    assert Bucket(Quota(2, 1.0, 10), 0.0, level=30).level(0.0) == 10


def test_without_a_capacity_it_holds_one_period() -> None:
    assert Bucket(Quota(5, 1.0), 0.0).ceiling == 5


def test_a_debt_is_paid_by_the_refill_before_anything_is_admitted() -> None:
    bucket = Bucket(Quota(2, 1.0, 10), 0.0)
    bucket.take(14, 0.0)
    assert bucket.level(0.0) == -4
    assert bucket.wait(2, 0.0) == pytest.approx(3.0)
    assert bucket.wait(2, 3.0) == 0.0


def test_settling_refunds_the_difference_and_never_overfills() -> None:
    bucket = Bucket(Quota(2, 1.0, 10), 0.0)
    bucket.take(8, 0.0)
    bucket.settle(None, 8, 3, 0.0)
    assert bucket.level(0.0) == 7
    bucket.settle(None, 8, 0, 0.0)
    assert bucket.level(0.0) == 10


def test_rounding_never_makes_a_client_wait_that_has_waited() -> None:
    rng = random.Random(1)
    bucket, now = Bucket(Quota(3, 0.7, 5), 0.0), 0.0
    for _ in range(10_000):
        cost = rng.uniform(0.1, 5.0)
        now += bucket.wait(cost, now)
        assert bucket.wait(cost, now) == 0.0
        bucket.take(cost, now)
    assert bucket.level(now) >= -1e-6
