"""When an endpoint of a pool is ejected, and for how long."""

from __future__ import annotations

import pytest

from callgate.errors import (
    APIClientError,
    APIConnectionError,
    AuthenticationError,
    CircuitBreakerOpenError,
    InvalidRequestError,
    QuotaExhaustedError,
    QuotaTooSmallError,
    RateLimitError,
    ServerError,
)
from callgate.policies.route.health import EndpointHealth, Health, is_of_endpoint

DOWN = ServerError("down", status_code=500)
UNREACHABLE = APIConnectionError("refused", surely_unsent=True)


@pytest.mark.parametrize(
    ("error", "failures", "seconds"),
    [
        (DOWN, 3, 30.0),
        (UNREACHABLE, 3, 30.0),
        (AuthenticationError("no such key", status_code=401), 1, 300.0),
        (QuotaExhaustedError("no credit", status_code=429), 1, 300.0),
        (CircuitBreakerOpenError("open", retry_after=12.0), 1, 12.0),
        (CircuitBreakerOpenError("open"), 1, 30.0),
        (RateLimitError("tomorrow", status_code=429, retry_after=86400.0), 1, 86400.0),
    ],
)
def test_failures_eject_an_endpoint_for_a_time(error: APIClientError, failures: int, seconds: float) -> None:
    health = Health()
    ejected = [health.failed(error, 100.0) for _ in range(failures)]
    assert ejected == [False] * (failures - 1) + [True]
    assert health.ejected_until == 100.0 + seconds
    assert health.snapshot("one") == EndpointHealth("one", answered=0, ejections=1, error=error)


def test_a_second_failure_while_it_is_ejected_is_no_second_ejection() -> None:
    health = Health()
    key = AuthenticationError("no such key", status_code=401)
    assert health.failed(key, 0.0)
    assert not health.failed(key, 1.0)
    assert (health.ejections, health.ejected_until) == (1, 301.0)


def test_an_answer_ends_a_row_of_failures() -> None:
    health = Health()
    for _ in range(20):
        health.failed(DOWN, 0.0)
        health.failed(DOWN, 0.0)
        health.succeeded(1.0)
        health.succeeded(1.0)
        health.succeeded(1.0)
    assert health.ejections == 0


def test_three_failures_by_chance_do_not_eject_an_endpoint_that_mostly_answers() -> None:
    health = Health()
    for _ in range(50):
        health.succeeded(1.0)
    ejected = [health.failed(DOWN, 0.0) for _ in range(5)]
    assert ejected == [False] * 4 + [True]


def test_failures_that_come_before_the_answers_to_calls_sent_with_them_do_not_eject_it() -> None:
    """An error comes at once, and an answer takes its time: three of sixteen first calls."""
    health = Health()
    assert not any(health.failed(DOWN, 0.0, in_flight) for in_flight in (15, 14, 13))
    broken = Health()
    assert any(broken.failed(DOWN, 0.0, in_flight) for in_flight in range(15, -1, -1))


def test_a_minute_of_nothing_but_429s_ejects_it() -> None:
    busy = RateLimitError("slow down", status_code=429)
    health = Health()
    assert [health.failed(busy, at) for at in (0.0, 30.0, 59.0, 60.0)] == [False, False, False, True]
    answering = Health()
    for at in (0.0, 30.0):
        answering.failed(busy, at)
    answering.succeeded(1.0)
    assert not answering.failed(busy, 60.0)


def test_a_call_that_is_too_large_for_it_says_nothing_of_its_health() -> None:
    health = Health()
    assert not any(health.failed(QuotaTooSmallError("too large"), 0.0) for _ in range(5))


def test_latency_is_averaged_and_counts_the_time_waited_for_a_first_answer() -> None:
    health = Health()
    assert health.latency(5.0) == 0.0
    health.began(5.0)
    assert health.latency(5.1) == 0.25
    assert health.latency(15.0) == 10.0
    health.succeeded(2.0)
    health.succeeded(4.0)
    assert health.latency(99.0) == pytest.approx(2.4)
    health.reset()
    assert health.latency(0.0) == 0.0


def test_three_attempts_in_a_row_that_cannot_connect_eject_an_endpoint_that_has_answered_a_lot() -> None:
    health = Health()
    for _ in range(100):
        health.succeeded(1.0)
    assert [health.failed(UNREACHABLE, 10.0) for _ in range(3)] == [False, False, True]
    assert health.ejected_until == 40.0


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (DOWN, True),
        (RateLimitError("slow down", status_code=429), True),
        (AuthenticationError("no", status_code=403), True),
        (InvalidRequestError("bad", status_code=400), False),
        (ValueError("a bug"), False),
    ],
)
def test_errors_that_another_endpoint_may_not_have(error: Exception, expected: bool) -> None:
    assert is_of_endpoint(error) is expected
