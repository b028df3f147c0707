"""Whether to try again, when, and how often all together."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest
from hypothesis import given, strategies as st

from callgate import errors
from callgate.errors import ConfigurationError, RateLimitError, RetryAfterTooLongError
from callgate.policies.retry.config import RetryBudget, RetryConfig
from callgate.transport.status import error_for_status


class HttpishError(Exception):
    """What a client library that is not ours might raise."""

    def __init__(self, status_code: int | None) -> None:
        self.status_code = status_code


class TestWhatIsRetried:
    @pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
    def test_what_may_pass(self, status: int) -> None:
        assert RetryConfig().should_retry(error_for_status(status, "no"))
        assert RetryConfig().should_retry(HttpishError(status))

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 451])
    def test_what_stays_wrong(self, status: int) -> None:
        assert not RetryConfig().should_retry(error_for_status(status, "no"))
        assert not RetryConfig().should_retry(HttpishError(status))

    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            (ConnectionResetError(), True),
            (TimeoutError(), True),
            (errors.APIConnectionError(), True),
            (HttpishError(None), False),
            (ValueError(), False),
            (errors.ContextLengthError(), False),
            (errors.ContentFilterError(), False),
            (errors.QuotaExhaustedError(), False),
            (errors.CircuitBreakerOpenError(), False),
            (errors.DeadlineExceededError(), False),  # a refusal, although it is a TimeoutError
            (KeyboardInterrupt(), False),
        ],
    )
    def test_by_kind(self, error: BaseException, expected: bool) -> None:
        assert RetryConfig().should_retry(error) is expected

    def test_only_what_is_named(self) -> None:
        config = RetryConfig(retry_exceptions=[KeyError])
        assert config.should_retry(KeyError())
        assert not config.should_retry(ConnectionError())

    def test_one_class_stands_for_itself(self) -> None:
        assert RetryConfig(retry_on=KeyError).retry_exceptions == (KeyError,)

    def test_what_is_excluded_never_is(self) -> None:
        config = RetryConfig(exclude_exceptions=(RateLimitError,))
        assert not config.should_retry(RateLimitError())
        assert config.should_retry(errors.ServerError())

    def test_our_refusals_only_where_they_are_named(self) -> None:
        refusal = errors.CircuitBreakerOpenError("open")
        assert not RetryConfig(retry_exceptions=(Exception,)).should_retry(refusal)
        assert RetryConfig(retry_exceptions=(Exception, errors.RefusedError)).should_retry(refusal)
        assert RetryConfig(retry_exceptions=(errors.CircuitBreakerOpenError,)).should_retry(refusal)

    def test_a_cancellation_never_is(self) -> None:
        assert not RetryConfig(retry_exceptions=(BaseException,)).should_retry(KeyboardInterrupt())


class TestDelays:
    def test_without_jitter_they_grow_by_the_factor_up_to_the_longest(self) -> None:
        config = RetryConfig(base_delay=0.5, backoff_factor=3.0, max_delay=10.0, jitter=False)
        rng = random.Random(0)
        assert [config.delay(attempt, None, rng) for attempt in range(1, 6)] == [0.5, 1.5, 4.5, 10.0, 10.0]

    @given(st.integers(1, 10_000_000), st.integers())
    def test_with_jitter_they_are_anything_up_to_that(self, attempt: int, seed: int) -> None:
        config = RetryConfig(backoff_factor=10.0)
        assert (
            0.0 <= config.delay(attempt, None, random.Random(seed)) <= min(60.0, 10.0 ** min(attempt - 1, 5))
        )

    def test_full_jitter_is_spread_evenly(self) -> None:
        rng = random.Random(1)
        delays = [RetryConfig(base_delay=8.0).delay(1, None, rng) for _ in range(4000)]
        assert [sum(low <= delay < low + 2 for delay in delays) // 100 for low in (0, 2, 4, 6)] == [
            pytest.approx(10, abs=1)
        ] * 4

    def test_a_retry_after_is_a_floor_with_a_little_on_top(self) -> None:
        rng = random.Random(2)
        error = RateLimitError(retry_after=20.0)
        delays = [RetryConfig(jitter_factor=0.1).delay(1, error, rng) for _ in range(500)]
        assert min(delays) >= 20.0
        assert max(delays) <= 22.0
        assert max(delays) - min(delays) > 1.5
        assert RetryConfig(jitter=False).delay(1, error, rng) == 20.0

    def test_a_backoff_that_is_longer_stays(self) -> None:
        config = RetryConfig(base_delay=30.0, jitter=False)
        assert config.delay(1, RateLimitError(retry_after=2.0), random.Random(0)) == 30.0

    @pytest.mark.parametrize("told", [None, 0, -3.0, math.nan, "soon"])
    def test_a_retry_after_that_is_none_is_ignored(self, told: Any) -> None:
        config = RetryConfig(jitter=False)
        assert config.delay(1, RateLimitError(retry_after=told), random.Random(0)) == 1.0

    @pytest.mark.parametrize("told", [120.5, math.inf])
    def test_a_retry_after_above_the_limit_ends_the_call(self, told: float) -> None:
        error = RateLimitError(retry_after=told)
        with pytest.raises(RetryAfterTooLongError, match="max_retry_after is 120 s") as caught:
            RetryConfig().delay(1, error, random.Random(0))
        assert caught.value.retry_after == told
        assert caught.value.__cause__ is error

    def test_a_factor_whose_power_overflows_is_the_longest_delay(self) -> None:
        config = RetryConfig(backoff_factor=1e300, jitter=False)
        assert config.delay(500, None, random.Random(0)) == 60.0


class TestSettings:
    def test_the_services_documents_names_are_the_same_settings(self) -> None:
        config = RetryConfig(initial_delay=2.0, exponential_base=3.0, retry_on=(KeyError,))
        assert config == RetryConfig(base_delay=2.0, backoff_factor=3.0, retry_exceptions=(KeyError,))
        assert (config.base_delay, config.initial_delay) == (2.0, 2.0)
        assert (config.backoff_factor, config.exponential_base) == (3.0, 3.0)
        assert config.retry_exceptions == config.retry_on == (KeyError,)

    def test_the_defaults_of_the_documents(self) -> None:
        config = RetryConfig()
        assert (config.max_retries, config.base_delay, config.max_delay) == (3, 1.0, 60.0)
        assert (config.backoff_factor, config.jitter, config.jitter_factor) == (2.0, True, 0.2)
        assert (config.retry_exceptions, config.exclude_exceptions) == (None, ())

    @pytest.mark.parametrize(
        "both",
        [
            {"base_delay": 1.0, "initial_delay": 1.0},
            {"backoff_factor": 2.0, "exponential_base": 2.0},
            {"retry_exceptions": (KeyError,), "retry_on": (KeyError,)},
        ],
    )
    def test_one_setting_under_both_names_is_refused(self, both: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError, match="are one setting"):
            RetryConfig(**both)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"max_retries": -1},
            {"max_retries": 1.5},
            {"max_retries": True},
            {"base_delay": -0.1},
            {"base_delay": math.nan},
            {"max_delay": math.inf},
            {"backoff_factor": 0.5},
            {"jitter_factor": "much"},
            {"max_retry_after": -1},
            {"max_quota_wait": True},
            {"retry_exceptions": ("TimeoutError",)},
            {"exclude_exceptions": (int,)},
        ],
    )
    def test_what_cannot_work_is_refused(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError, match=next(iter(wrong))):
            RetryConfig(**wrong)

    def test_there_and_back_through_json(self) -> None:
        config = RetryConfig(
            max_retries=7,
            base_delay=0.1,
            jitter=False,
            retry_exceptions=(TimeoutError, errors.ServerError, json.JSONDecodeError),
            exclude_exceptions=(errors.OverloadedError,),
        )
        assert RetryConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
        assert RetryConfig.from_dict(json.loads(json.dumps(RetryConfig().to_dict()))) == RetryConfig()
        assert RetryConfig.from_dict({"initial_delay": 3.0, "retry_on": ["KeyError"]}).retry_on == (KeyError,)

    @pytest.mark.parametrize(
        "wrong", [{"retries": 3}, {"retry_exceptions": ["NoSuchError"]}, {"max_delay": -1}]
    )
    def test_invalid_settings_are_refused(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError):
            RetryConfig.from_dict(wrong)

    def test_frozen_and_without_dict(self) -> None:
        config = RetryConfig()
        assert not hasattr(config, "__dict__")
        with pytest.raises(AttributeError):
            config.max_retries = 5  # type: ignore[misc]
        assert hash(config) == hash(RetryConfig())


class Seconds:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class TestBudget:
    def test_a_share_of_the_calls_and_a_few_a_second(self) -> None:
        budget = RetryBudget(ratio=0.2, per_second=1.0, clock=Seconds())
        for _ in range(50):
            budget.deposit()
        assert budget.balance == pytest.approx(20.0)
        assert sum(budget.withdraw() for _ in range(100)) == 20

    def test_what_is_old_is_forgotten_deposits_and_withdrawals_alike(self) -> None:
        clock = Seconds()
        budget = RetryBudget(ratio=1.0, per_second=0.1, clock=clock)
        budget.deposit()
        assert [budget.withdraw() for _ in range(3)] == [True, True, False]
        clock.now = 9.9
        assert not budget.withdraw()
        clock.now = 10.0
        assert budget.balance == pytest.approx(1.0)
        for clock.now in (11.0, 15.5, 19.0):
            budget.deposit()
        clock.now = 100.0
        assert budget.balance == pytest.approx(1.0)

    def test_a_storm_is_held_to_the_ratio(self) -> None:
        clock = Seconds()
        budget = RetryBudget(ratio=0.2, per_second=0.0, clock=clock)
        retries = 0
        for number in range(20_000):
            clock.now = number / 100
            budget.deposit()
            retries += budget.withdraw()
            retries += budget.withdraw()
        assert 0.19 * 20_000 <= retries <= 0.2 * 20_000

    @pytest.mark.parametrize("wrong", [{"ratio": -1}, {"per_second": math.inf}])
    def test_what_cannot_work_is_refused(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError):
            RetryBudget(**wrong)
