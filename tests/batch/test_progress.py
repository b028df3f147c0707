"""Rates over the last half minute, and what a batch waits for."""

from __future__ import annotations

from typing import Any

import pytest

from callgate.batch.progress import Progress, ProgressSampler, RowStates, seconds_left, waiting_for
from callgate.batch.stats import Stats
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
        ({"bottleneck": "requests"}, 5, False, False, "requests per minute"),
        ({"bottleneck": "tokens"}, 5, False, False, "tokens per minute"),
        (
            {"bottleneck": "tokens", "tokens": RateSnapshot(Quota(5, 86400.0), True, 0, 0)},
            5, False, False, "tokens per day",
        ),
        (
            {"bottleneck": "requests", "requests": RateSnapshot(Quota(5, 10.0), True, 0, 0)},
            5, False, False, "requests per 10 s",
        ),
        ({"bottleneck": "concurrency"}, 5, False, False, "concurrency (20 at once)"),
        (
            {"bottleneck": "paused", "paused_for": 12.4},
            5, False, False, "the end of the provider's pause (12 s)",
        ),
        (
            {"paused_for": 3.0, "in_flight": 0},
            5, False, True, "the end of the provider's pause (3 s)",
        ),
        ({}, 5, False, False, "provider"),
        ({}, 5, False, True, "the rows in flight (5)"),
        ({"in_flight": 0}, RowStates(5, backing_off=4), False, False, "retries (4 backing off)"),
        ({"in_flight": 0}, RowStates(5, backing_off=1, sharing=4), False, False, "retries (1 backing off)"),
        ({"in_flight": 0}, RowStates(5, sharing=5), True, False, "identical requests of another run"),
        ({}, RowStates(5, backing_off=1, sharing=4), False, False, "provider"),
        ({"in_flight": 0}, RowStates(loading=3), False, False, "files to be read"),
        ({"in_flight": 1}, RowStates(calling=1, loading=3), False, False, "files to be read"),
        ({"in_flight": 3}, RowStates(calling=3, loading=3), False, False, "provider"),
        ({"in_flight": 0}, RowStates(2), False, False, "requests to be prepared"),
        ({}, 5, True, False, "input"),
        ({"in_flight": 0}, 0, True, False, "input"),
        ({"in_flight": 0}, 0, False, False, "nothing"),
    ],
)  # fmt: skip
def test_words(facts: dict[str, Any], rows: int | RowStates, idle: bool, draining: bool, says: str) -> None:
    at = rows if isinstance(rows, RowStates) else RowStates(calling=rows)
    assert waiting_for(limiter(**facts), at, idle=idle, draining=draining) == says


@pytest.mark.parametrize(
    ("pace", "requests", "tokens", "seconds"),
    [
        (0.0, None, None, None),
        (5.0, None, None, 20.0),
        (5.0, RateSnapshot(Quota(600), False, 0.0, 0.0), None, 20.0),
        (50.0, RateSnapshot(Quota(600), False, 0.0, 0.0), None, 20.0),  # two calls a row, ten a second
        (50.0, RateSnapshot(Quota(600), False, 100.0, 0.0), None, 10.0),
        (50.0, None, RateSnapshot(Quota(1200), False, -40.0, 0.0), 52.0),
        (1.0, None, RateSnapshot(Quota(1200), False, -40.0, 0.0), 100.0),
    ],
)
def test_the_time_left_is_that_of_the_pace_or_of_the_quota(
    pace: float, requests: RateSnapshot | None, tokens: RateSnapshot | None, seconds: float | None
) -> None:
    stats = Stats(done=50, calls=100, input_tokens=500)
    quotas = limiter(requests=requests, tokens=tokens)
    assert seconds_left(100, pace, stats, quotas) == seconds


def test_rates_are_those_of_the_last_half_minute() -> None:
    sampler = ProgressSampler(100.0)
    assert sampler.rows_per_second == 0.0
    for second in range(1, 61):
        sampler.sample(100.0 + second, Stats(done=second if second <= 30 else 30 + 2 * (second - 30)), "x")
    assert sampler.rows_per_second == pytest.approx(2.0)
    assert len(sampler._samples) <= 32


def test_the_most_frequent_reason_of_late_with_its_newest_figures() -> None:
    sampler = ProgressSampler(0.0)
    assert sampler.reason == "nothing"
    for reason in ("a", "pause (9 s left)", "pause (8 s left)", "b"):
        sampler.sample(1.0, Stats(), reason)
    assert sampler.reason == "pause (8 s left)"


def test_progress_counts_what_is_left() -> None:
    facts: dict[str, Any] = {
        "skipped": 3, "stats": Stats(done=2, failed=1), "seconds": 1.0, "rows_per_second": 1.0,
        "requests_per_minute": 1.0, "tokens_per_minute": 1.0, "limiter": limiter(), "in_flight": 0,
        "waiting_for": "nothing", "eta": None, "projected_cost": None, "longest": [], "budget": None,
    }  # fmt: skip
    assert (Progress(total=10, **facts).finished, Progress(total=10, **facts).left) == (5, 4)
    assert Progress(total=None, **facts).left is None
    assert Progress(total=5, **facts).left == 0
