"""Rates over the last half minute, and what holds a batch back, in words."""

from __future__ import annotations

from typing import Any

import pytest

from callgate.batch.progress import Meter, Progress, Waits, holding_back
from callgate.batch.stats import Tally
from callgate.policies.limit.quota import Quota
from callgate.policies.limit.snapshot import LimiterSnapshot, RateSnapshot


def limiter(**facts: Any) -> LimiterSnapshot:
    rate = RateSnapshot(Quota(600), False, 0.0, 600.0)
    usual = {
        "name": "", "waiting": 0, "in_flight": 4, "concurrency": 20, "paused_for": 0.0, "bottleneck": None,
        "requests": rate, "tokens": None,
    }  # fmt: skip
    return LimiterSnapshot(**{**usual, **facts})


@pytest.mark.parametrize(
    ("facts", "rows", "idle", "draining", "says"),
    [
        ({"bottleneck": "requests"}, 5, False, False, "waiting for requests per minute"),
        ({"bottleneck": "tokens"}, 5, False, False, "waiting for tokens per minute"),
        (
            {"bottleneck": "tokens", "tokens": RateSnapshot(Quota(5, 86400.0), True, 0, 0)},
            5, False, False, "waiting for tokens per day",
        ),
        (
            {"bottleneck": "requests", "requests": RateSnapshot(Quota(5, 10.0), True, 0, 0)},
            5, False, False, "waiting for requests per 10 s",
        ),
        ({"bottleneck": "concurrency"}, 5, False, False, "concurrency, 20 at once"),
        (
            {"bottleneck": "paused", "paused_for": 12.4},
            5, False, False, "the provider asked to pause, 12 s left",
        ),
        ({"paused_for": 3.0, "in_flight": 0}, 5, False, True, "the provider asked to pause, 3 s left"),
        ({}, 5, False, False, "the provider is slow"),
        ({}, 5, False, True, "finishing the 5 rows in flight"),
        ({"in_flight": 0}, Waits(5, backing_off=4), False, False, "backing off before 4 retries"),
        ({"in_flight": 0}, Waits(5, backing_off=1, sharing=4), False, False, "backing off before 1 retry"),
        ({"in_flight": 0}, Waits(5, sharing=5), True, False, "another run asks for the same rows"),
        ({}, Waits(5, backing_off=1, sharing=4), False, False, "the provider is slow"),
        ({"in_flight": 0}, Waits(loading=3), False, False, "reading images"),
        ({"in_flight": 1}, Waits(calling=1, loading=3), False, False, "reading images"),
        ({"in_flight": 3}, Waits(calling=3, loading=3), False, False, "the provider is slow"),
        ({"in_flight": 0}, Waits(2), False, False, "preparing requests"),
        ({}, 5, True, False, "waiting for input"),
        ({"in_flight": 0}, 0, True, False, "waiting for input"),
        ({"in_flight": 0}, 0, False, False, "nothing"),
    ],
)  # fmt: skip
def test_words(facts: dict[str, Any], rows: int | Waits, idle: bool, draining: bool, says: str) -> None:
    at = rows if isinstance(rows, Waits) else Waits(calling=rows)
    assert holding_back(limiter(**facts), at, idle=idle, draining=draining) == says


def test_rates_are_those_of_the_last_half_minute() -> None:
    meter = Meter(100.0)
    assert meter.rows_per_second == 0.0
    for second in range(1, 61):
        meter.sample(100.0 + second, Tally(done=second if second <= 30 else 30 + 2 * (second - 30)), "x")
    assert meter.rows_per_second == pytest.approx(2.0)
    assert len(meter._samples) <= 32


def test_what_held_it_back_most_of_late_with_its_newest_figures() -> None:
    meter = Meter(0.0)
    assert meter.reason == "nothing"
    for reason in ("a", "pause, 9 s left", "pause, 8 s left", "b"):
        meter.sample(1.0, Tally(), reason)
    assert meter.reason == "pause, 8 s left"


def test_progress_counts_what_is_left() -> None:
    facts: dict[str, Any] = {
        "skipped": 3, "tally": Tally(done=2, failed=1), "seconds": 1.0, "rows_per_second": 1.0,
        "requests_per_minute": 1.0, "tokens_per_minute": 1.0, "limiter": limiter(), "in_flight": 0,
        "holding_back": "nothing", "eta": None, "projected_cost": None, "longest": [], "budget": None,
    }  # fmt: skip
    assert (Progress(total=10, **facts).finished, Progress(total=10, **facts).left) == (5, 4)
    assert Progress(total=None, **facts).left is None
    assert Progress(total=5, **facts).left == 0
