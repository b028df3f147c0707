"""The simulator's windows never exceed their limits, and their waits are exact."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, strategies as st

from callgate.testing.simulator.quota import Account, BucketWindow, FixedWindow, Shortage, SlidingWindow

PERIOD = 60.0

arrivals = st.lists(st.tuples(st.floats(0, 20, allow_nan=False), st.integers(1, 5)), min_size=1, max_size=80)


def admitted(window: SlidingWindow | FixedWindow | BucketWindow, steps: list[tuple[float, int]]):
    now, taken = 0.0, []
    for gap, amount in steps:
        now += gap
        if window.wait(now, amount) == 0:
            window.take(now, amount)
            taken.append((now, amount))
    return taken


@given(arrivals)
def test_a_sliding_window_holds_in_every_interval_of_one_period(steps):
    taken = admitted(SlidingWindow(10, PERIOD), steps)
    for start, _ in taken:
        assert sum(amount for time, amount in taken if start <= time < start + PERIOD - 1e-6) <= 10


@given(arrivals)
def test_a_fixed_window_holds_in_every_period_of_the_clock(steps):
    taken = admitted(FixedWindow(10, PERIOD), steps)
    for index in {math.floor(time / PERIOD) for time, _ in taken}:
        inside = [amount for time, amount in taken if math.floor(time / PERIOD) == index]
        assert sum(inside) <= 10


@given(arrivals)
def test_a_bucket_holds_from_every_start(steps):
    taken = admitted(BucketWindow(10, PERIOD), steps)
    for first, (start, _) in enumerate(taken):
        total = 0
        for time, amount in taken[first:]:
            total += amount
            assert total <= 10 + (time - start) * 10 / PERIOD + 1e-6


@pytest.mark.parametrize("kind", [SlidingWindow, FixedWindow, BucketWindow])
@given(arrivals, st.integers(1, 10))
def test_a_client_that_waits_the_stated_time_is_admitted(kind, steps, amount):
    window = kind(10, PERIOD)
    taken = admitted(window, steps)
    now = (taken[-1][0] if taken else 0.0) + 0.1
    wait = window.wait(now, amount)
    if wait > 1e-3:
        assert window.wait(now + wait - 1e-3, amount) > 0, "it told to wait longer than needed"
    assert window.wait(now + wait, amount) == 0


@pytest.mark.parametrize("kind", [SlidingWindow, FixedWindow, BucketWindow])
def test_an_amount_above_the_limit_never_fits(kind):
    assert kind(10, PERIOD).wait(0.0, 11) == math.inf


@pytest.mark.parametrize("kind", [SlidingWindow, FixedWindow, BucketWindow])
def test_settling_refunds_unused_units(kind):
    window = kind(100, PERIOD)
    debit = window.take(1.0, 80)
    window.settle(2.0, debit, 30)
    assert window.remaining(2.0) >= 70


@pytest.mark.parametrize("kind", [SlidingWindow, FixedWindow])
def test_settling_after_the_window_has_gone_changes_nothing(kind):
    window = kind(100, PERIOD)
    debit = window.take(1.0, 80)
    window.take(70.0, 10)
    window.settle(70.0, debit, 5)
    assert window.remaining(70.0) == 90


def test_a_refusal_charges_no_quota():
    account = Account.open({"requests": 10, "tokens": 100}, kind="sliding", period=PERIOD)
    refused = account.admit(0.0, {"requests": 1, "tokens": 101})
    assert isinstance(refused, Shortage)
    assert refused.quota == "tokens"
    assert account.windows["requests"].remaining(0.0) == 10


def test_leaving_releases_a_concurrency_slot():
    account = Account.open({}, kind="sliding", period=PERIOD, concurrency=1)
    assert isinstance(account.admit(0.0, {}), dict)
    assert isinstance(account.admit(0.0, {}), Shortage)
    account.leave()
    assert isinstance(account.admit(0.0, {}), dict)
    assert account.most_running == 1


def test_reset_is_when_the_whole_limit_is_free_again():
    window = SlidingWindow(10, PERIOD)
    window.take(0.0, 1)
    window.take(20.0, 1)
    assert window.reset(30.0) == 50.0
    bucket = BucketWindow(60, PERIOD)
    bucket.take(0.0, 30)
    assert bucket.reset(10.0) == pytest.approx(20.0)
