"""The state of a batch as a panel and as a line."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from callgate.batch.display.panel import Title, last_line, panel, plain_line
from callgate.batch.display.screen import cells
from callgate.batch.progress import EndpointProgress, Progress
from callgate.batch.stats import EndpointStats, ErrorGroup, Stats
from callgate.policies.limit.quota import Quota
from callgate.policies.limit.snapshot import LimiterSnapshot, RateSnapshot

NOW = datetime(2026, 11, 30, 14, 25, tzinfo=UTC)
TITLE = Title(["openai/gpt-4o-mini", "at http://10.0.0.5/v1"], "reviews.jsonl", "answers.csv")


def endpoint(
    name: str,
    answered: int,
    requests: RateSnapshot | None = None,
    *,
    ejected: bool = False,
    latency: float | None = None,
) -> EndpointProgress:
    stats = EndpointStats(calls=answered, answered=answered)
    stats.latencies.extend([] if latency is None else [latency])
    limiter = LimiterSnapshot(name, 0, 0, None, 0.0, None, requests, None)
    return EndpointProgress(name, stats, limiter, ejected)


TWO = [
    endpoint("openai/m at http://h #1", 600, RateSnapshot(Quota(600), False, 10.0, 590.0), latency=1.25),
    endpoint("openai/m at http://h #2", 300, None, ejected=True),
]


def progress(**facts: Any) -> Progress:
    requests = RateSnapshot(Quota(600), False, 10.0, 590.0)
    stats = Stats(done=900, failed=3, cached=20, calls=950, retries=47, moves=4, rate_limited=5, cost=0.5)
    stats.latencies.extend([1.0] * 90 + [4.0] * 10)
    stats.endpoints["m"] = EndpointStats(faults=Counter({"429": 5, "500": 42}))
    stats.errors["x"] = ErrorGroup("ServerError", 3, "500: upstream is down", 7, retryable=True)
    usual: dict[str, Any] = {
        "total": 5000,
        "skipped": 100,
        "stats": stats,
        "seconds": 75.0,
        "rows_per_second": 9.8,
        "requests_per_minute": 588.0,
        "tokens_per_minute": 45_300.0,
        "limiter": LimiterSnapshot("", 6, 12, 64, 0.0, "requests", requests, None),
        "in_flight": 18,
        "waiting_for": "requests per minute",
        "eta": 408.0,
        "projected_cost": 2.77,
        "budget": 5.0,
        "longest": [("r17", 42.0), ("line 9", 11.0), ("r3", 1.0)],
        "endpoints": TWO,
    }
    return Progress(**{**usual, **facts})


def shown(state: Progress, width: int = 80, activity: str = "") -> list[str]:
    lines = panel(state, TITLE, now=NOW, width=width, activity=activity)
    return ["   ".join(item.text for item in line) for line in lines]


@pytest.mark.parametrize("width", [39, 59, 79, 199])
def test_everything_is_shown_whole_at_every_width(width: int) -> None:
    lines = shown(progress(), width)
    assert max(map(cells, lines)) <= width
    assert "…" not in "".join(lines)
    text = "   ".join(lines)
    for item in (
        "openai/gpt-4o-mini",
        "at http://10.0.0.5/v1",
        "reviews.jsonl",
        "→ answers.csv",
        "20%",
        "1,003/5,000 rows",
        "9.8 rows/s",
        "elapsed 1m15s",
        "left 6m48s",
        "ends 14:31",
        "requests 590 of 600/min",
        "tokens 45.3k/min",
        "latency 1.00 s, p95 4.00 s",
        "in flight 12",
        "queued 6",
        "retries 47",
        "moved 4",
        "429s 5",
        "cached 20",
        "failed 3",
        "cost $0.50",
        "of about $2.77",
        "at most $5.00",
        "waiting for: requests per minute",
        "slowest rows:   r17 42s   line 9 11s",
        "failed attempts: 42 x 500, 5 x 429",
        "3 x 500: upstream is down",
        "#1: 600 rows (67%)",
        "latency 1.25 s",
        "#2: 300 rows (33%)",
        "ejected for now",
    ):
        assert item in text


def test_the_end_on_another_day_has_a_date() -> None:
    assert "ends Tue 01 Dec 14:25" in "   ".join(shown(progress(eta=86_400.0), 200))


def test_a_long_reason_is_broken_at_words() -> None:
    reason = "a very long reason that is wider than a narrow terminal"
    lines = shown(progress(waiting_for=reason), 39)
    assert f"waiting for: {reason}" in " ".join(line.strip() for line in lines)


def test_a_long_error_and_a_long_path_are_broken_and_not_cut() -> None:
    stats = Stats(failed=1)
    message = "400: this model's maximum context length is 128000 tokens, your messages have 130412"
    stats.errors["x"] = ErrorGroup("InvalidRequestError", 1, message, 7, retryable=False)
    lines = panel(
        progress(stats=stats),
        Title(["m"], "a/very/long/folder/of/reviews/of-2026.jsonl", "o"),
        now=NOW,
        width=39,
    )
    shown = ["   ".join(item.text for item in line) for line in lines]
    assert max(map(cells, shown)) <= 39
    assert f"1 x {message}" in " ".join(shown)
    assert "a/very/long/folder/of/reviews/of-2026.jsonl" in "".join(shown)


def test_an_activity_takes_the_place_of_what_is_waited_for() -> None:
    for text in (
        plain_line(progress(), "writing out.csv"),
        "\n".join(shown(progress(), 80, "writing out.csv")),
    ):
        assert "writing out.csv" in text
        assert "waiting for" not in text


def test_what_is_not_known_is_not_invented() -> None:
    state = progress(
        total=None,
        stats=Stats(done=5, unpriced=5),
        eta=None,
        projected_cost=None,
        budget=None,
        longest=[],
        endpoints=[endpoint("#1", 0), endpoint("#2", 0)],
    )
    text = "\n".join(shown(state))
    assert "105/? rows" in text
    assert "counting rows" in text
    assert "cost unknown" in text
    for absent in ("ends", "latency", "slowest", "at most", "failed attempts"):
        assert absent not in text
    assert plain_line(state).startswith("1m15s  105/? rows, 9.8 rows/s, cost unknown, waiting for: ")


def test_a_plain_line_names_only_counts_that_are_not_zero() -> None:
    assert plain_line(progress()) == (
        "1m15s  1,003/5,000 rows (20%), 9.8 rows/s, 3 failed, 47 retries, 5 x 429, cost $0.50"
        " of about $2.77 at most $5.00, 6m48s left, waiting for: requests per minute"
    )
    assert "failed" not in plain_line(progress(stats=Stats(done=5)))


def test_the_last_line_is_without_what_is_to_come() -> None:
    assert last_line(progress()).startswith("1m15s  1,003/5,000 rows")
    assert "waiting" not in last_line(progress())


def test_many_failures_and_endpoints_are_counted_and_not_listed() -> None:
    stats = Stats(failed=5)
    for number in range(5):
        stats.errors[str(number)] = ErrorGroup("ServerError", 1, f"boom {number}", 1, retryable=True)
    lines = panel(
        progress(stats=stats, endpoints=[endpoint(f"openai/m{number}", 0) for number in range(8)]),
        TITLE,
        now=NOW,
        width=80,
    )
    text = "\n".join(item.text for line in lines for item in line)
    assert "and 2 other kinds of errors" in text
    assert "and 2 other endpoints" in text


def test_control_characters_in_the_name_of_a_row_are_escaped() -> None:
    state = progress(longest=[("\x1b]0;title\x07", 42.0)])
    assert "\x1b" not in "".join(shown(state))
    assert "\x1b" not in plain_line(progress(waiting_for="\x1b[2J"))
