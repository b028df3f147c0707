"""Which attempts count as attempts, and how many second attempts there may be."""

from __future__ import annotations

import random
from typing import Any

import pytest

from callgate.errors import ConfigurationError
from callgate.policies.hedge.policy import HedgePolicy, LateAttempts


def after(times: list[float], **policy: Any) -> LateAttempts:
    attempts = LateAttempts(HedgePolicy(**policy))
    for seconds in times:
        attempts.begin()
        attempts.note(seconds)
    return attempts


def test_nothing_is_late_before_enough_has_been_seen() -> None:
    assert after([], min_samples=3).patience is None
    assert after([1.0] * 2, min_samples=3).patience is None
    assert after([1.0] * 3, min_samples=3).patience is not None
    assert LateAttempts(HedgePolicy()).usual == 0.0


@pytest.mark.parametrize("share", [0.01, 0.05, 0.2, 0.5])
def test_the_promised_share_of_what_was_seen_is_later(share: float) -> None:
    rng = random.Random(3)
    times = [rng.lognormvariate(0.0, 1.0) for _ in range(1000)]
    attempts = after(times, share=share)
    assert attempts.patience is not None
    late = sum(seconds > attempts.patience / 1.01 for seconds in times)
    assert late == round(share * 1000)


def test_equal_times_make_no_stragglers() -> None:
    attempts = after([2.0] * 100)
    assert attempts.patience is not None
    assert attempts.patience > 2.0
    assert attempts.usual == 2.0


def test_what_was_seen_long_ago_is_forgotten() -> None:
    attempts = after([100.0] * 50 + [1.0] * 20, min_samples=10, window=20)
    assert attempts.patience == pytest.approx(1.01)


def test_never_more_than_the_share_is_sent_twice() -> None:
    attempts = LateAttempts(HedgePolicy(share=0.05))
    spent = 0
    for begun in range(1, 1001):
        attempts.begin()
        spent += attempts.spend()
        assert spent <= 0.05 * begun + 1e-6
    assert spent == 50


def test_a_quiet_time_saves_up_no_storm() -> None:
    attempts = after([1.0] * 10_000)
    spent = 0
    while attempts.spend():
        spent += 1
    assert spent == 20


def test_what_the_attempts_on_their_way_have_paid_in_is_not_lost() -> None:
    attempts = LateAttempts(HedgePolicy(share=0.05))
    for at_once in range(1_000):
        attempts.begin(at_once)
    spent = 0
    while attempts.affordable():
        assert attempts.spend()
        spent += 1
    assert spent == 50
    assert not attempts.spend()


def test_slightly_late_attempts_get_only_the_budget_that_surely_late_ones_left() -> None:
    attempts = LateAttempts(HedgePolicy(share=0.1, min_samples=10))
    for number in range(100):
        attempts.begin()
        attempts.note(8.0 if number % 20 == 19 else 1.0)  # 5 % take eight times the usual
    assert attempts.surely_late == 3.0
    little = 0
    while attempts.spend(at_once=0):
        little += 1
    assert 4 <= little <= 6
    assert attempts.affordable()
    sure = 0
    while attempts.spend():
        sure += 1
    assert little + sure in (9, 10)


def test_the_share_of_attempts_in_flight_is_not_for_slightly_late_ones() -> None:
    attempts = after([1.0] * 20, share=0.1, min_samples=10)
    assert attempts.affordable(at_once=10)
    assert not attempts.affordable(at_once=11)
    assert attempts.affordable()
    attempts.spend()
    attempts.give_back()
    assert attempts.affordable(at_once=10)


@pytest.mark.parametrize("share", [0.0, -0.1, 0.6, float("nan"), True, "0.05", None])
def test_a_share_that_cannot_be_is_refused(share: Any) -> None:
    with pytest.raises(ConfigurationError, match="hedge is the share"):
        HedgePolicy(share=share)


@pytest.mark.parametrize("policy", [{"min_samples": 1}, {"min_samples": 100, "window": 99}])
def test_a_window_too_small_to_tell_is_refused(policy: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="window"):
        HedgePolicy(**policy)
