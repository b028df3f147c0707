"""Quota headers of each provider family, and the forms of Retry-After."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

import pytest

from tests.testing.simulator.clocked_provider import ClockedProvider, parsed


def test_a_429_has_correct_quota_headers_and_wait():
    clocked = ClockedProvider(requests_per_minute=1, window_seconds=2.0)
    clocked.post()
    clocked.now = 0.5
    plan = clocked.post()
    headers = dict(plan.headers)
    assert headers["retry-after"] == "2"
    assert headers["retry-after-ms"] == "1500"
    assert headers["x-ratelimit-limit-requests"] == "1"
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert headers["x-ratelimit-reset-requests"] == "1.5s"
    error = parsed(plan)["error"]
    assert (error["type"], error["code"]) == ("requests", "rate_limit_exceeded")
    assert "1.500s" in error["message"]


@pytest.mark.parametrize(
    ("form", "header", "value"),
    [
        ("seconds", "retry-after", "30"),
        ("fraction", "retry-after", "30.000"),
        ("ms", "retry-after-ms", "30000"),
        ("none", "retry-after", None),
    ],
)
def test_forms_of_retry_after(form, header, value):
    clocked = ClockedProvider(requests_per_minute=1, retry_after=form)
    clocked.post()
    clocked.now = 30.0
    assert dict(clocked.post().headers).get(header) == value


def test_retry_after_as_a_date_equals_the_wait():
    clocked = ClockedProvider(requests_per_minute=1, retry_after="date")
    clocked.post()
    clocked.now = 30.0
    when = parsedate_to_datetime(dict(clocked.post().headers)["retry-after"])
    assert when.timestamp() - (1_767_225_600.0 + clocked.now) == 30


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("openai", {"x-ratelimit-remaining-tokens": "982", "x-ratelimit-reset-tokens": "1m0s"}),
        ("azure", {"x-ratelimit-reset-tokens": "60", "x-ratelimit-renewalperiod-tokens": "60"}),
        ("groq", {"x-ratelimit-limit-requests": "14400", "x-ratelimit-limit-tokens": "1000"}),
        (
            "anthropic",
            {
                "anthropic-ratelimit-tokens-remaining": "1000",
                "anthropic-ratelimit-requests-reset": "2026-01-01T00:01:00Z",
            },
        ),
        (
            "mistral",
            {"x-ratelimit-remaining-req-10-second": "9", "x-ratelimit-remaining-tokens-minute": "982"},
        ),
    ],
)
def test_quota_headers_of_each_family(family, expected):
    headers = dict(
        ClockedProvider(requests_per_minute=10, tokens_per_minute=1000, headers=family).post().headers
    )
    assert expected.items() <= headers.items()


def test_headers_none_sends_no_quota_headers():
    headers = ClockedProvider(requests_per_minute=1, headers="none").post().headers
    assert not [name for name, _ in headers if "ratelimit" in name]


def test_a_request_larger_than_the_limit_gets_no_retry_after():
    plan = ClockedProvider(tokens_per_minute=10).post("x" * 400)
    assert plan.status == 429
    assert "retry-after" not in dict(plan.headers)


def test_anthropic_sends_retry_after_with_successful_answers():
    plan = ClockedProvider(requests_per_minute=9, headers="anthropic").post()
    assert (plan.status, dict(plan.headers)["retry-after"]) == (200, "60")
