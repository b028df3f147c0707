"""A circuit breaker in each of its states, and what counts as a failure."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import pytest

from callgate import errors
from callgate.errors import CircuitBreakerOpenError, ConfigurationError
from callgate.policies.breaker.breaker import CircuitBreaker, CircuitState
from callgate.testing.clock import run_virtual
from callgate.transport.status import error_for_status

DOWN = errors.ServerError("down", status_code=503)


class Seconds:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


def fail(breaker: CircuitBreaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.record(breaker.admit(), DOWN)


def succeed(breaker: CircuitBreaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.record(breaker.admit(), None)


def refused(breaker: CircuitBreaker) -> CircuitBreakerOpenError:
    with pytest.raises(CircuitBreakerOpenError) as caught:
        breaker.admit()
    return caught.value


def half_open(clock: Seconds, **settings: Any) -> tuple[CircuitBreaker, int]:
    """A breaker whose first probe is under way, and the probe's stamp."""
    breaker = CircuitBreaker(failure_threshold=1, recovery_time=30.0, clock=clock, **settings)
    fail(breaker)
    clock.now += 30.0
    return breaker, breaker.admit()


class TestClosed:
    def test_opens_after_so_many_failures_in_a_row(self, clock: Seconds) -> None:
        breaker = CircuitBreaker(failure_threshold=3, clock=clock)
        fail(breaker, 2)
        assert breaker.state is CircuitState.CLOSED
        fail(breaker)
        assert breaker.state is CircuitState.OPEN

    def test_a_success_in_between_begins_the_row_anew(self, clock: Seconds) -> None:
        breaker = CircuitBreaker(failure_threshold=3, clock=clock)
        for _ in range(10):
            fail(breaker, 2)
            succeed(breaker)
        assert breaker.state is CircuitState.CLOSED

    def test_what_is_no_failure_does_not_end_a_row(self, clock: Seconds) -> None:
        breaker = CircuitBreaker(failure_threshold=2, clock=clock)
        fail(breaker)
        breaker.record(breaker.admit(), errors.RateLimitError())
        breaker.abandon(breaker.admit())
        fail(breaker)
        assert breaker.state is CircuitState.OPEN

    def test_calls_that_were_under_way_when_it_opened_do_not_count(self, clock: Seconds) -> None:
        breaker = CircuitBreaker(failure_threshold=1, clock=clock)
        early = breaker.admit()
        late = breaker.admit()
        breaker.record(early, DOWN)
        clock.now += 30.0
        probe = breaker.admit()
        breaker.record(late, DOWN)
        assert breaker.state is CircuitState.HALF_OPEN
        breaker.record(probe, None)
        breaker.record(late, DOWN)
        assert breaker.state is CircuitState.CLOSED


class TestFailureRate:
    def test_opens_at_the_share_once_there_are_enough_calls(self, clock: Seconds) -> None:
        breaker = CircuitBreaker(100, failure_rate=0.5, window_size=20, minimum_calls=10, clock=clock)
        for _ in range(4):
            fail(breaker)
            succeed(breaker)
        succeed(breaker)
        assert breaker.state is CircuitState.CLOSED
        fail(breaker)
        assert breaker.state is CircuitState.OPEN

    def test_only_the_last_calls_count(self, clock: Seconds) -> None:
        breaker = CircuitBreaker(100, failure_rate=0.5, window_size=10, minimum_calls=10, clock=clock)
        succeed(breaker, 1000)
        fail(breaker, 4)
        assert breaker.state is CircuitState.CLOSED
        succeed(breaker, 10)
        fail(breaker, 4)
        assert breaker.state is CircuitState.CLOSED
        fail(breaker)
        assert breaker.state is CircuitState.OPEN

    def test_it_begins_with_no_calls_after_closing(self, clock: Seconds) -> None:
        breaker = CircuitBreaker(100, failure_rate=0.5, window_size=4, minimum_calls=4, clock=clock)
        fail(breaker, 4)
        clock.now += 30.0
        succeed(breaker)
        fail(breaker, 3)
        assert breaker.state is CircuitState.CLOSED


class TestOpen:
    def test_refuses_and_says_when_to_come_back(self, clock: Seconds) -> None:
        breaker = CircuitBreaker(failure_threshold=1, recovery_time=30.0, name="openai", clock=clock)
        fail(breaker)
        clock.now += 12.0
        error = refused(breaker)
        assert error.retry_after == 18.0
        assert error.surely_unsent
        assert "'openai' is open" in str(error)

    def test_one_probe_goes_after_the_recovery_time(self, clock: Seconds) -> None:
        breaker, _ = half_open(clock)
        assert breaker.state is CircuitState.HALF_OPEN
        assert "half-open" in str(refused(breaker))

    def test_without_recovery_time_the_next_call_is_the_probe(self, clock: Seconds) -> None:
        breaker = CircuitBreaker(failure_threshold=1, recovery_time=0.0, clock=clock)
        fail(breaker)
        breaker.admit()
        assert breaker.state is CircuitState.HALF_OPEN


class TestHalfOpen:
    def test_a_success_closes_it(self, clock: Seconds) -> None:
        breaker, probe = half_open(clock)
        breaker.record(probe, None)
        assert breaker.state is CircuitState.CLOSED
        succeed(breaker, 100)

    def test_a_failure_opens_it_for_the_whole_time_again(self, clock: Seconds) -> None:
        breaker, probe = half_open(clock)
        breaker.record(probe, DOWN)
        assert breaker.state is CircuitState.OPEN
        clock.now += 29.0
        assert refused(breaker).retry_after == 1.0

    def test_so_many_probes_at_once_and_no_more(self, clock: Seconds) -> None:
        breaker, _ = half_open(clock, half_open_max_calls=3)
        breaker.admit()
        breaker.admit()
        refused(breaker)

    @pytest.mark.parametrize(
        "outcome",
        [
            asyncio.CancelledError(),
            errors.RateLimitError(),
            errors.InvalidRequestError(),
            errors.DeadlineExceededError(),
            KeyError("excluded"),
            GeneratorExit(),
        ],
    )
    def test_what_is_no_failure_gives_the_place_back_and_decides_nothing(
        self, clock: Seconds, outcome: BaseException
    ) -> None:
        breaker, probe = half_open(clock, excluded_exceptions={KeyError})
        breaker.record(probe, outcome)
        assert breaker.state is CircuitState.HALF_OPEN
        breaker.record(breaker.admit(), None)
        assert breaker.state is CircuitState.CLOSED

    def test_an_abandoned_probe_gives_its_place_back_once(self, clock: Seconds) -> None:
        breaker, probe = half_open(clock)
        breaker.abandon(probe)
        breaker.abandon(probe)
        breaker.admit()
        refused(breaker)

    def test_a_probe_that_never_answers_does_not_wedge_it(self, clock: Seconds) -> None:
        breaker, lost = half_open(clock)
        clock.now += 29.0
        assert refused(breaker).retry_after == 1.0
        clock.now += 1.0
        breaker.admit()
        refused(breaker)
        breaker.record(lost, None)  # it answered after all
        assert breaker.state is CircuitState.CLOSED

    def test_the_second_of_two_probes_changes_nothing_after_the_first_has(self, clock: Seconds) -> None:
        breaker, first = half_open(clock, half_open_max_calls=2)
        second = breaker.admit()
        breaker.record(first, DOWN)
        breaker.record(second, None)
        assert breaker.state is CircuitState.OPEN


class TestWhatCounts:
    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            (ConnectionError(), True),
            (ValueError("any other exception"), True),
            (errors.APITimeoutError(), True),
            (errors.OverloadedError(), True),
            (error_for_status(500, "no"), True),
            (error_for_status(429, "no"), False),
            (error_for_status(404, "no"), False),
            (errors.QuotaTooSmallError(), False),
            (errors.ConfigurationError(), False),
            (errors.CallCancelledError(), False),
            (asyncio.CancelledError(), False),
            (KeyboardInterrupt(), False),
        ],
    )
    def test_by_kind(self, clock: Seconds, error: BaseException, expected: bool) -> None:
        breaker = CircuitBreaker(failure_threshold=1, clock=clock)
        breaker.record(breaker.admit(), error)
        assert (breaker.state is CircuitState.OPEN) is expected
        assert breaker.metrics["failure_count"] == int(expected)

    def test_a_rule_of_ones_own_decides_but_never_on_cancellations(self, clock: Seconds) -> None:
        breaker = CircuitBreaker(failure_threshold=1, clock=clock, is_failure=lambda error: True)
        breaker.record(breaker.admit(), asyncio.CancelledError())
        assert breaker.state is CircuitState.CLOSED
        breaker.record(breaker.admit(), errors.RateLimitError())
        assert breaker.state is CircuitState.OPEN


class TestExecute:
    def test_passes_arguments_results_and_errors_through(self, clock: Seconds) -> None:
        breaker = CircuitBreaker(failure_threshold=1, clock=clock)

        async def double(number: int, *, fails: bool = False) -> int:
            await asyncio.sleep(0)
            if fails:
                raise ConnectionError("gone")
            return number * 2

        async def main() -> None:
            assert await breaker.execute(double, 21) == 42
            assert await breaker.execute(lambda: "not a coroutine") == "not a coroutine"
            with pytest.raises(ConnectionError, match="gone"):
                await breaker.execute(double, 1, fails=True)
            with pytest.raises(CircuitBreakerOpenError):
                await breaker.execute(double, 1)

        run_virtual(main())

    def test_a_cancelled_probe_gives_its_place_back(self, clock: Seconds) -> None:
        breaker = CircuitBreaker(failure_threshold=1, recovery_time=5.0, clock=clock)
        fail(breaker)
        clock.now += 5.0

        async def main() -> None:
            task = asyncio.get_running_loop().create_task(breaker.execute(asyncio.sleep, 60))
            await asyncio.sleep(1)
            refused(breaker)
            task.cancel()
            await asyncio.wait([task])
            breaker.admit()

        run_virtual(main())


class TestBookkeeping:
    def test_metrics(self, clock: Seconds) -> None:
        breaker = CircuitBreaker(failure_threshold=2, clock=clock)
        succeed(breaker, 3)
        fail(breaker, 2)
        refused(breaker)
        assert breaker.metrics == {
            "success_count": 3,
            "failure_count": 2,
            "rejected_count": 1,
            "state_changes": [{"time": 1000.0, "from": "closed", "to": "open"}],
        }
        breaker.metrics["state_changes"][0]["to"] = "meddled with"
        assert breaker.metrics["state_changes"][0]["to"] == "open"

    def test_changes_are_not_kept_for_ever(self, clock: Seconds) -> None:
        breaker = CircuitBreaker(failure_threshold=1, recovery_time=1.0, clock=clock)
        for _ in range(500):
            fail(breaker)
            clock.now += 1.0
        assert len(breaker.metrics["state_changes"]) == 100

    def test_reset_closes_and_forgets(self, clock: Seconds) -> None:
        breaker = CircuitBreaker(failure_threshold=2, clock=clock)
        fail(breaker, 2)
        breaker.reset()
        fail(breaker)
        assert breaker.state is CircuitState.CLOSED
        breaker.reset()
        fail(breaker)
        assert breaker.state is CircuitState.CLOSED

    def test_shows_its_state(self, clock: Seconds) -> None:
        breaker = CircuitBreaker(name="openai", clock=clock)
        assert repr(breaker) == "<CircuitBreaker 'openai': closed>"
        fail(breaker, 2)
        assert repr(breaker) == "<CircuitBreaker 'openai': closed, 2 failures in a row>"

    def test_settings_there_and_back_through_json(self, clock: Seconds) -> None:
        breaker = CircuitBreaker(
            7,
            12.5,
            2,
            {KeyError, errors.OverloadedError},
            "mine",
            failure_rate=0.25,
            window_size=50,
            minimum_calls=5,
        )
        settings = breaker.to_dict()
        again = CircuitBreaker.from_dict(json.loads(json.dumps(settings)), clock=clock)
        assert sorted(settings.pop("excluded_exceptions")) == ["KeyError", "OverloadedError"]
        other = again.to_dict()
        assert set(other.pop("excluded_exceptions")) == {"KeyError", "OverloadedError"}
        assert other == settings
        fail(again, 5)
        assert again.metrics["state_changes"][0]["time"] == clock.now

    @pytest.mark.parametrize(
        "wrong",
        [
            {"failure_threshold": 0},
            {"failure_threshold": True},
            {"half_open_max_calls": 1.5},
            {"window_size": 0},
            {"minimum_calls": -1},
            {"recovery_time": -1.0},
            {"recovery_time": math.inf},
            {"failure_rate": 0.0},
            {"failure_rate": 1.1},
            {"minimum_calls": 101},
        ],
    )
    def test_what_cannot_work_is_refused(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError, match=next(iter(wrong))):
            CircuitBreaker(**wrong)

    def test_an_unknown_setting_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="not the settings of a CircuitBreaker"):
            CircuitBreaker.from_dict({"threshold": 3})
