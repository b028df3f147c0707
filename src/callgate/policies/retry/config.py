"""`RetryConfig`: which failures are retried, and when. `RetryBudget`: bounds all retries together. No I/O."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from callgate.errors import (
    RETRYABLE_STATUS,
    ConfigurationError,
    DeadlineExceededError,
    RefusedError,
    RetryAfterTooLongError,
)
from callgate.exception_names import from_names, to_names

__all__ = ["RetryBudget", "RetryConfig"]

# Bounds the exponent, because 2.0 ** 1024 overflows.
_MOST_DOUBLINGS: Final = 1000.0

ExceptionKinds = tuple[type[BaseException], ...]


@dataclass(frozen=True, slots=True, init=False)
class RetryConfig:
    """When a failed call is tried again.

    Args:
        max_retries: Further attempts after the first; 0 turns retrying off.
        base_delay: Seconds; the first delay, before jitter. Also `initial_delay`.
        max_delay: Seconds; no backoff is longer. (A Retry-After may be.)
        backoff_factor: Each delay is this many times the one before. Also `exponential_base`.
        jitter: Draw each backoff uniformly between 0 and its full length, so that calls that failed together
            are not repeated together.
        jitter_factor: With `jitter`, the most that is added to a Retry-After, as a share of it.
        retry_exceptions: Only these are retried; None: connection errors, timeouts, 408, 409, 425, 429 and
            5xx. callgate's own refusals are retried only if they are named here. Also `retry_on`.
        exclude_exceptions: These are never retried.
        max_retry_after: Seconds. A longer Retry-After ends the call.
        max_quota_wait: Seconds that one call may wait after 429s in all. A 429 does not count as a try.

    Raises:
        ConfigurationError: A value out of its range, or one setting given under both of its names.

    >>> config = RetryConfig(max_retries=5, jitter=False)
    >>> [config.delay(attempt, TimeoutError(), random.Random()) for attempt in (1, 2, 3)]
    [1.0, 2.0, 4.0]
    """

    max_retries: int
    base_delay: float
    max_delay: float
    backoff_factor: float
    jitter: bool
    jitter_factor: float
    retry_exceptions: ExceptionKinds | None
    exclude_exceptions: ExceptionKinds
    max_retry_after: float
    max_quota_wait: float

    def __init__(
        self,
        max_retries: int = 3,
        base_delay: float | None = None,
        max_delay: float = 60.0,
        backoff_factor: float | None = None,
        jitter: bool = True,
        jitter_factor: float = 0.2,
        retry_exceptions: Iterable[type[BaseException]] | type[BaseException] | None = None,
        exclude_exceptions: Iterable[type[BaseException]] | type[BaseException] = (),
        *,
        initial_delay: float | None = None,
        exponential_base: float | None = None,
        retry_on: Iterable[type[BaseException]] | type[BaseException] | None = None,
        max_retry_after: float = 120.0,
        max_quota_wait: float = 600.0,
    ) -> None:
        given = _one_of("base_delay", base_delay, "initial_delay", initial_delay)
        factor = _one_of("backoff_factor", backoff_factor, "exponential_base", exponential_base)
        kinds = _one_of("retry_exceptions", retry_exceptions, "retry_on", retry_on)
        values: dict[str, Any] = {
            "max_retries": max_retries,
            "base_delay": 1.0 if given is None else given,
            "max_delay": max_delay,
            "backoff_factor": 2.0 if factor is None else factor,
            "jitter": bool(jitter),
            "jitter_factor": jitter_factor,
            "retry_exceptions": None if kinds is None else _kinds("retry_exceptions", kinds),
            "exclude_exceptions": _kinds("exclude_exceptions", exclude_exceptions),
            "max_retry_after": max_retry_after,
            "max_quota_wait": max_quota_wait,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        if isinstance(max_retries, bool) or not isinstance(max_retries, int) or max_retries < 0:
            raise ConfigurationError(f"max_retries must be a whole number from 0, not {max_retries!r}")
        for name in ("base_delay", "max_delay", "jitter_factor", "max_retry_after", "max_quota_wait"):
            _check_number(name, values[name], 0.0)
        _check_number("backoff_factor", values["backoff_factor"], 1.0)

    @property
    def initial_delay(self) -> float:
        """The same as `base_delay`."""
        return self.base_delay

    @property
    def exponential_base(self) -> float:
        """The same as `backoff_factor`."""
        return self.backoff_factor

    @property
    def retry_on(self) -> ExceptionKinds | None:
        """The same as `retry_exceptions`."""
        return self.retry_exceptions

    def should_retry(self, error: BaseException) -> bool:
        """Whether the same call may succeed later. Attempts are not counted here.

        >>> RetryConfig().should_retry(ConnectionError()), RetryConfig().should_retry(KeyError())
        (True, False)
        """
        if not isinstance(error, Exception) or isinstance(error, self.exclude_exceptions):
            return False  # a cancellation is not a failure
        kinds = self.retry_exceptions
        if kinds is None:
            return _is_transient(error)
        if isinstance(error, RefusedError | DeadlineExceededError):
            # A builtin base does not count: a deadline is a TimeoutError, but leaves no time for a retry.
            return any(isinstance(error, kind) and issubclass(kind, RefusedError) for kind in kinds)
        return isinstance(error, kinds)

    def delay(self, attempt: int, error: BaseException | None, rng: random.Random) -> float:
        """Seconds to wait before the next attempt.

        Args:
            attempt: The number of attempts so far, from 1.
            error: The error of the last one; the delay is at least its `retry_after` seconds.
            rng: Source of the jitter.

        Raises:
            RetryAfterTooLongError: `retry_after` is above `max_retry_after`.
        """
        try:
            length = self.base_delay * self.backoff_factor ** min(attempt - 1.0, _MOST_DOUBLINGS)
        except OverflowError:
            length = math.inf
        backoff: float = min(length, self.max_delay)
        if self.jitter:
            backoff = rng.uniform(0.0, backoff)
        floor = getattr(error, "retry_after", None)
        if not isinstance(floor, int | float) or not floor > 0.0:
            return backoff
        if floor > self.max_retry_after:
            raise RetryAfterTooLongError(
                f"the service asks to come back in {floor:.0f} s, and max_retry_after is "
                f"{self.max_retry_after:.0f} s",
                retry_after=floor,
            ) from error
        spread = rng.uniform(0.0, self.jitter_factor * floor) if self.jitter else 0.0
        return max(backoff, floor + spread)

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON-safe values; exceptions by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.retry_exceptions is not None:
            values["retry_exceptions"] = to_names(self.retry_exceptions)
        values["exclude_exceptions"] = to_names(self.exclude_exceptions)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RetryConfig:
        """The configuration that `to_dict` returned.

        Raises:
            ConfigurationError: An unknown setting, a value out of its range, an unknown exception.
        """
        settings = dict(values)
        for name in ("retry_exceptions", "retry_on", "exclude_exceptions"):
            if settings.get(name) is not None:
                settings[name] = from_names(settings[name])
        try:
            return cls(**settings)
        except TypeError as error:
            raise ConfigurationError(f"not the settings of a RetryConfig: {error}") from error


def _is_transient(error: Exception) -> bool:
    retryable = getattr(error, "retryable", None)
    if isinstance(retryable, bool):
        return retryable
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return status >= 500 or status in RETRYABLE_STATUS
    return isinstance(error, ConnectionError | TimeoutError)


def _one_of(name: str, value: Any, alias: str, other: Any) -> Any:
    if value is not None and other is not None:
        raise ConfigurationError(f"{name} and {alias} are one setting: give one of them")
    return other if value is None else value


def _kinds(name: str, kinds: Iterable[type[BaseException]] | type[BaseException]) -> ExceptionKinds:
    result = (kinds,) if isinstance(kinds, type) else tuple(kinds)
    for kind in result:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise ConfigurationError(f"{name} holds exception classes, not {kind!r}")
    return result


def _check_number(name: str, value: Any, least: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < math.inf:
        raise ConfigurationError(f"{name} must be a finite number from {least:g}, not {value!r}")


class RetryBudget:
    """Bounds the retries of all calls together, so that an outage does not multiply the load.

    Each call deposits `ratio` and each retry withdraws 1; `per_second` retries are always allowed. Deposits
    and withdrawals expire after ten seconds.

    Args:
        ratio: Retries per call: 0.2 allows one for every five calls.
        per_second: Retries per second that are always allowed.
        clock: Returns monotonic seconds.

    Raises:
        ConfigurationError: A setting is negative or infinite.

    >>> budget = RetryBudget(ratio=0.5, per_second=0.0)
    >>> budget.deposit(); budget.deposit()
    >>> budget.withdraw(), budget.withdraw()
    (True, False)
    """

    __slots__ = ("_clock", "_ratio", "_reserve", "_second", "_seconds", "_sum")

    WINDOW: Final = 10

    def __init__(
        self, ratio: float = 0.2, per_second: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        _check_number("ratio", ratio, 0.0)
        _check_number("per_second", per_second, 0.0)
        self._ratio = ratio
        self._reserve = per_second * self.WINDOW
        self._clock = clock
        self._seconds = [0.0] * self.WINDOW  # a ring: the balance of each of the last seconds
        self._second = int(clock())
        self._sum = 0.0

    @property
    def balance(self) -> float:
        """The number of retries that may be made now."""
        self._advance()
        return self._sum + self._reserve

    def deposit(self) -> None:
        """Add the share of one call."""
        if int(self._clock()) > self._second:
            self._advance()
        self._seconds[self._second % self.WINDOW] += self._ratio
        self._sum += self._ratio

    def withdraw(self) -> bool:
        """Take one retry; False if the budget is spent."""
        self._advance()
        if self._sum + self._reserve < 1.0 - 1e-9:
            return False
        self._seconds[self._second % self.WINDOW] -= 1.0
        self._sum -= 1.0
        return True

    def _advance(self) -> None:
        second = int(self._clock())
        if second <= self._second:
            return
        for passed in range(self._second + 1, min(second, self._second + self.WINDOW) + 1):
            self._seconds[passed % self.WINDOW] = 0.0
        self._second = second
        self._sum = math.fsum(self._seconds)
