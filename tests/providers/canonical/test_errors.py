"""The wait that an error asks for, wherever it stands, and the quotas that no wait refills."""

from __future__ import annotations

import json
from typing import Any

import pytest

from callgate.errors import (
    APIClientError,
    AuthenticationError,
    OverloadedError,
    QuotaExhaustedError,
    RateLimitError,
)
from callgate.providers.canonical.errors import build_error
from callgate.providers.catalog import DIALECTS, find_dialect

DATE = {"date": "Thu, 01 Jan 2026 00:00:00 GMT"}
RESET = "1767225630000"  # half a minute after DATE, in milliseconds


def _error(content: Any, headers: dict[str, str] | None = None, **facts: Any) -> Any:
    facts = {"kind": RateLimitError, "status_code": 429, "message": "slow down", **facts}
    return build_error(facts.pop("kind"), content=content, headers=headers or DATE, **facts)


@pytest.mark.parametrize(
    "content",
    [
        {"retry_after": 30},
        {"error": {"retry_after": 30}},
        {"error": {"retryAfter": "30"}},
        {"error": {"retry_after_seconds": 30.0}},
        {"error": {"retry-after-ms": 30_000}},
        {"error": {"retryDelay": "30s"}},
        {"error": {"metadata": {"retry_after": "30 seconds"}}},
        {"error": {"details": {"retry_after": 30}}},
        {"error": {"details": [{"reason": "busy"}, {"retryDelay": "30s"}]}},
        {"error": {"metadata": {"headers": {"Retry-After": "30"}}}},
        {"error": {"metadata": {"headers": {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": RESET}}}},
        [{"error": {"retry_after": 30}}],
        {"error": {"resets_in_seconds": 30}},
        {"error": {"resets_at": 1767225630}},
        {"error": {"reset_time": "2026-01-01T00:00:30Z"}},
        {"error": {"innererror": {"retry_after": 30}}},
        {"error": {"details": [{"retry_delay": {"seconds": "30"}}]}},
        {"errors": [{"extra": {"retry_after": 30}}]},
    ],
    ids=json.dumps,
)
def test_a_wait_in_the_body_is_read(content: Any) -> None:
    assert _error(content).retry_after == 30.0


@pytest.mark.parametrize(
    "content",
    [
        None,
        "retry_after",
        {"error": {"retry_after": None}},
        {"error": {"retry_after": True}},
        {"error": {"retry_after": -1}},
        {"error": {"retry_after": "soon"}},
        {"error": {"metadata": {"headers": {"X-RateLimit-Remaining": "5", "X-RateLimit-Reset": RESET}}}},
        {"error": {"metadata": {"headers": "Retry-After: 30"}}},
        {"error": {"retryDelay": {"seconds": None}}},
        {"error": {"retryDelay": {"seconds": -5, "nanos": "x"}}},
    ],
    ids=str,
)
def test_what_is_no_wait_is_none(content: Any) -> None:
    assert _error(content).retry_after is None


def test_headers_go_before_the_body_and_the_body_before_the_words() -> None:
    body = {"error": {"retry_after": 20}}
    assert _error(body, {"retry-after": "10"}, message="try again in 30 s").retry_after == 10.0
    assert _error(body, message="try again in 30 s").retry_after == 20.0
    assert _error({}, message="try again in 30 s").retry_after == 30.0


@pytest.mark.parametrize(
    "headers",
    [
        {"x-ratelimit-remaining": "0", "x-ratelimit-reset": RESET},
        {"ratelimit-remaining": "0", "ratelimit-reset": "30"},
        {"ratelimit": "limit=10, remaining=0, reset=30"},
        {"ratelimit": '"default";r=0;t=30'},
        {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "30s"},
    ],
    ids=str,
)
def test_without_any_wait_a_refused_call_waits_for_the_quota_that_is_used_up(headers: dict[str, str]) -> None:
    assert _error({}, headers | DATE).retry_after == 30.0
    assert _error({}, headers | DATE, message="try again in 10 s").retry_after == 10.0
    assert _error({}, headers | DATE, status_code=500).retry_after is None
    assert _error({}, headers | DATE, trust_headers=False).retry_after is None


def test_headers_of_an_answer_that_began_well_name_no_wait() -> None:
    assert _error({}, {"retry-after": "10"}, trust_headers=False).retry_after is None


@pytest.mark.parametrize("kind", [RateLimitError, OverloadedError])
def test_words_count_for_throttled_calls_alone(kind: Any) -> None:
    words = "Please try again in 30 seconds."
    assert _error({}, kind=kind, status_code=None, message=words).retry_after == 30.0
    assert _error({}, kind=None, status_code=400, message=words).retry_after is None


@pytest.mark.parametrize("dialect", sorted(set(DIALECTS) - {"claude_code"}))
def test_every_dialect_reads_a_wait_in_words(dialect: str) -> None:
    words = "Slow down. Please Try Again in 2 minutes."
    body = json.dumps({"message": words, "error": {"message": words}}).encode()
    assert find_dialect(dialect).error(429, body, {}).retry_after == 120.0


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (None, "Rate limit exceeded: free-models-per-day"),
        ("requests_per_day", "Too many requests."),
        (None, "You have reached your daily limit."),
        (None, "Rate limit reached on requests per day (RPD)"),
        (None, "Limit exceeded: 1000 TPD"),
    ],
)
def test_a_spent_quota_of_a_day_is_not_retried(code: str | None, message: str) -> None:
    error = _error({}, code=code, message=message)
    assert type(error) is QuotaExhaustedError
    assert not error.retryable


@pytest.mark.parametrize(
    "message",
    [
        "Rate limit exceeded: 60 per minute, 1000 per day",
        "Rate limit: free-models-per-min",
        "Too many requests",
    ],
)
def test_a_quota_of_a_minute_is_retried(message: str) -> None:
    assert type(_error({}, message=message)) is RateLimitError


def test_a_quota_of_a_day_with_a_wait_is_retried_after_it() -> None:
    error = _error({}, message="Rate limit reached on tokens per day (TPD). Please try again in 7m12s.")
    assert type(error) is RateLimitError
    assert error.retry_after == 432.0


PAGE = "<!DOCTYPE html><html><head><title>Just a moment...</title></head></html>"


@pytest.mark.parametrize("dialect", sorted(set(DIALECTS) - {"claude_code"}))
@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (PAGE, {}),
        (PAGE, {"cf-mitigated": "challenge"}),
        ("\n <html>no</html>", {}),
        ("", {"cf-mitigated": "block"}),
    ],
)
def test_the_page_of_a_firewall_is_no_wrong_key(dialect: str, body: str, headers: dict[str, str]) -> None:
    error = find_dialect(dialect).error(403, body.encode(), headers)
    assert type(error) is APIClientError
    assert "firewall" in str(error)


@pytest.mark.parametrize("dialect", sorted(set(DIALECTS) - {"claude_code"}))
def test_a_refusal_by_the_api_itself_is_a_wrong_key(dialect: str) -> None:
    body = json.dumps({"message": "no access", "error": {"message": "no access"}}).encode()
    assert type(find_dialect(dialect).error(403, body, {})) is AuthenticationError
