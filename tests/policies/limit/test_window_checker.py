"""The judge is judged first: a checker that finds nothing proves nothing."""

from __future__ import annotations

from tests.policies.limit.window_checker import (
    Admission,
    Settled,
    fullest_known_window,
    fullest_window,
    inversions,
    utilisation,
)


def test_finds_the_double_burst_that_a_plain_bucket_lets_through() -> None:
    burst_then_refill = [Admission(0.0, 1.0)] * 60 + [
        Admission(float(second), 1.0) for second in range(1, 60)
    ]
    assert fullest_window(burst_then_refill, 60.0).amount == 119


def test_a_window_includes_both_of_its_ends() -> None:
    assert fullest_window([Admission(0.0, 1), Admission(1.0, 1)], 1.0).amount == 2
    assert fullest_window([Admission(0.0, 1), Admission(1.0001, 1)], 1.0).amount == 1


def test_windows_that_ended_before_a_moment_can_be_left_out() -> None:
    admissions = [Admission(0.0, 9), Admission(5.0, 1), Admission(5.5, 1)]
    assert fullest_window(admissions, 1.0, since=1.0).amount == 2
    assert fullest_window(admissions, 6.0, since=1.0).amount == 11


def test_the_order_of_the_list_does_not_matter_and_the_position_is_reported() -> None:
    worst = fullest_window([Admission(9.0, 5), Admission(0.0, 1), Admission(8.5, 5)], 1.0)
    assert (worst.start, worst.end, worst.amount) == (8.5, 9.0, 10)


def test_a_call_counts_by_its_estimate_until_its_cost_is_known() -> None:
    calls = [Settled(0.0, 100, 0.5, 10), Settled(0.4, 1, None, 0), Settled(0.6, 1, None, 0)]
    assert fullest_known_window(calls, 1.0).amount == 101
    assert fullest_known_window(calls[::2], 1.0).amount == 100
    assert fullest_known_window([Settled(0.0, 1, 0.1, 50), Settled(0.2, 1, None, 0)], 1.0).amount == 51


def test_a_cost_known_after_its_window_does_not_change_that_window() -> None:
    calls = [Settled(0.0, 10, 5.0, 1000), Settled(5.5, 1, None, 0)]
    assert fullest_known_window(calls, 1.0).amount == 10


def test_counts_inversions_and_utilisation() -> None:
    assert inversions([0, 1, 2, 5]) == 0
    assert inversions([0, 2, 1, 3, 2]) == 2
    assert utilisation([Admission(0.0, 5), Admission(1.0, 5), Admission(2.0, 99)], 10.0, 0.0, 2.0) == 0.5
