"""What a call will cost, learned from what calls have cost."""

from __future__ import annotations

import math
import random
import statistics
import sys

import pytest

from callgate.errors import ConfigurationError
from callgate.policies.limit.estimate import TokenEstimator


class TestBeforeAnyData:
    def test_four_characters_a_token_and_the_bound_on_the_output(self) -> None:
        estimator = TokenEstimator()
        assert estimator.estimate(4000, 500, "input_output") == 1500
        assert estimator.estimate(4000, 500, "max_tokens") == 1500
        assert estimator.estimate(0, None, "input_output") == 256
        assert estimator.estimate(0, None, "max_tokens") == 256


class TestInput:
    def test_the_ratio_of_a_language_is_learned(self) -> None:
        estimator = TokenEstimator()
        for _ in range(50):
            estimator.observe(2000, 1500, None)
        assert estimator.estimate(1000, 0, "input_output") == pytest.approx(750, rel=0.05)

    def test_it_follows_a_change_within_some_hundred_calls(self) -> None:
        estimator = TokenEstimator()
        for _ in range(2000):
            estimator.observe(1000, 250, None)
        for _ in range(400):
            estimator.observe(1000, 500, None)
        assert estimator.estimate(1000, 0, "input_output") == pytest.approx(500, rel=0.05)

    def test_long_inputs_weigh_more(self) -> None:
        estimator = TokenEstimator()
        for _ in range(500):
            estimator.observe(10, 10, None)
            estimator.observe(10_000, 2_500, None)
        assert estimator.estimate(1000, 0, "input_output") == pytest.approx(250, rel=0.05)


class TestOutput:
    def test_nine_of_ten_answers_are_no_longer(self) -> None:
        rng = random.Random(0)
        estimator = TokenEstimator()
        lengths = [int(rng.lognormvariate(5, 0.7)) for _ in range(3000)]
        longer = 0
        for index, length in enumerate(lengths):
            if index > 200:
                longer += length > estimator.estimate(0, None, "input_output")
            estimator.observe(0, None, length)
        assert longer / 2800 == pytest.approx(0.1, abs=0.02)

    def test_it_is_exactly_that_quantile_of_the_last_two_hundred(self) -> None:
        estimator = TokenEstimator(quantile=0.5)
        for length in range(1, 1001):
            estimator.observe(0, None, length)
        assert estimator.estimate(0, None, "input_output") == statistics.median_low(range(801, 1001))

    def test_never_more_than_the_bound(self) -> None:
        estimator = TokenEstimator()
        estimator.observe(0, None, 900)
        assert estimator.estimate(0, 100, "input_output") == 100
        assert estimator.estimate(0, 1000, "input_output") == 900

    def test_a_provider_that_reserves_the_bound_is_paid_the_bound(self) -> None:
        estimator = TokenEstimator()
        estimator.observe(0, None, 7)
        assert estimator.estimate(0, 4096, "max_tokens") == 4096
        assert estimator.estimate(0, None, "max_tokens") == 7


@pytest.mark.parametrize("figure", [None, math.nan, math.inf, -1.0])
def test_figures_that_are_none_teach_nothing(figure: float | None) -> None:
    estimator = TokenEstimator()
    estimator.observe(1000, figure, figure)
    estimator.observe(0, 500, None)
    assert estimator.estimate(400, None, "input_output") == 356


def test_memory_is_bounded() -> None:
    estimator = TokenEstimator()
    for number in range(5000):
        estimator.observe(100, 30, number % 977)
    assert len(estimator._outputs) == len(estimator._sorted) == 200
    assert estimator._sorted == sorted(estimator._outputs)
    assert sys.getsizeof(estimator._sorted) < 4096


@pytest.mark.parametrize("quantile", [0.0, 1.0, math.nan])
def test_a_quantile_is_between_0_and_1(quantile: float) -> None:
    with pytest.raises(ConfigurationError, match="quantile"):
        TokenEstimator(quantile)
