"""`CircuitBreaker`: refuses calls to a service that fails, and probes it after a recovery time. No I/O."""

from __future__ import annotations

import inspect
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any, Final

from callgate.errors import (
    CallCancelledError,
    CircuitBreakerOpenError,
    ConfigurationError,
    InputError,
)
from callgate.exception_names import from_names, to_names
from callgate.reprs import live_repr

__all__ = ["CircuitBreaker", "CircuitState"]

# The number of latest changes of state in `metrics`.
REMEMBERED_CHANGES: Final = 100


class CircuitState(StrEnum):
    """Closed: calls pass. Open: no call passes. Half-open: a few calls pass as probes."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class CircuitBreaker:
    """Refuses calls to a service that has failed too often, until it has had time to recover.

    It opens after `failure_threshold` failures in a row or, with a `failure_rate`, when that share of the
    last `window_size` calls has failed. After `recovery_time` it admits `half_open_max_calls` probes: the
    first success closes it, a failure opens it again. A cancellation, an excluded exception, a 429 or another
    4xx, and a refusal of callgate's own do not count: they neither close nor open it, and another probe may
    pass. Another probe may also pass if one has not ended within `recovery_time`. Results of calls that began
    before the last change of state do not count.

    Not thread-safe; may be shared between event loops of one thread.

    Args:
        failure_threshold: Consecutive failures that open it.
        recovery_time: Seconds from opening to the first probe.
        half_open_max_calls: The most concurrent probes.
        excluded_exceptions: Exceptions that are not failures of the service.
        name: For messages and displays.
        failure_rate: Share of failures (0 to 1] that opens it; None: only consecutive failures do.
        window_size: The number of latest calls for the share.
        minimum_calls: The number of calls from which on the share counts.
        clock: Returns monotonic seconds.
        is_failure: Returns True for an error that is a failure; None: the rule above.

    Raises:
        ConfigurationError: A setting is out of its range.

    >>> breaker = CircuitBreaker(failure_threshold=1, recovery_time=30.0, clock=lambda: 0.0)
    >>> breaker.record(breaker.admit(), ConnectionError("refused"))
    >>> breaker.state.value
    'open'
    """

    __slots__ = (
        "_changes",
        "_clock",
        "_entered",
        "_failed",
        "_failures",
        "_generation",
        "_in_a_row",
        "_is_failure",
        "_outcomes",
        "_places",
        "_places_at",
        "_rejected",
        "_state",
        "_successes",
        "excluded_exceptions",
        "failure_rate",
        "failure_threshold",
        "half_open_max_calls",
        "minimum_calls",
        "name",
        "recovery_time",
        "window_size",
    )

    def __init__(
        self,
        failure_threshold: int = 5,
        recovery_time: float = 30.0,
        half_open_max_calls: int = 1,
        excluded_exceptions: Iterable[type[BaseException]] | None = None,
        name: str = "default",
        *,
        failure_rate: float | None = None,
        window_size: int = 100,
        minimum_calls: int = 20,
        clock: Callable[[], float] = time.monotonic,
        is_failure: Callable[[BaseException], bool] | None = None,
    ) -> None:
        for setting, count in (
            ("failure_threshold", failure_threshold),
            ("half_open_max_calls", half_open_max_calls),
            ("window_size", window_size),
            ("minimum_calls", minimum_calls),
        ):
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise ConfigurationError(f"{setting} must be a whole number from 1, not {count!r}")
        if not 0.0 <= recovery_time < math.inf:
            raise ConfigurationError(f"recovery_time must be seconds from 0, not {recovery_time!r}")
        if failure_rate is not None and not 0.0 < failure_rate <= 1.0:
            raise ConfigurationError(f"failure_rate must be above 0 and at most 1, not {failure_rate!r}")
        if minimum_calls > window_size:
            raise ConfigurationError(
                f"minimum_calls ({minimum_calls}) would never be reached in a window of {window_size} calls"
            )
        self.failure_threshold = failure_threshold
        self.recovery_time = recovery_time
        self.half_open_max_calls = half_open_max_calls
        self.excluded_exceptions = tuple(excluded_exceptions or ())
        self.name = name
        self.failure_rate = failure_rate
        self.window_size = window_size
        self.minimum_calls = minimum_calls
        self._clock = clock
        self._is_failure = is_failure
        self._state = CircuitState.CLOSED
        self._generation = 0
        self._entered = -math.inf  # when it opened or half-opened
        self._places = 0  # probes that may still pass
        self._places_at = -math.inf  # when the latest probe passed
        self._in_a_row = 0
        self._outcomes: deque[bool] = deque()  # True: failed; only kept for a failure rate
        self._failed = 0  # how many of these are True
        self._successes = self._failures = self._rejected = 0
        self._changes: deque[dict[str, Any]] = deque(maxlen=REMEMBERED_CHANGES)

    @property
    def state(self) -> CircuitState:
        """The present state. After `recovery_time` an open breaker becomes half-open with the next call."""
        return self._state

    @property
    def metrics(self) -> dict[str, Any]:
        """Counts since the start: `success_count`, `failure_count`, `rejected_count`, and `state_changes`.

        `state_changes` has the last 100, each with `time` (seconds of the breaker's clock), `from` and `to`.
        """
        return {
            "success_count": self._successes,
            "failure_count": self._failures,
            "rejected_count": self._rejected,
            "state_changes": [dict(change) for change in self._changes],
        }

    def admit(self) -> int:
        """Admit a call. Each admitted call must be ended once, by `record` or `abandon`.

        Returns:
            The generation to end it with.

        Raises:
            CircuitBreakerOpenError: The call is refused; `retry_after` has the seconds until the next probe.
        """
        if self._state is CircuitState.CLOSED:
            return self._generation
        now = self._clock()
        due = self._entered + self.recovery_time
        if self._state is CircuitState.OPEN and now >= due:
            self._change(CircuitState.HALF_OPEN, now)
            self._places = self.half_open_max_calls
        if self._state is CircuitState.HALF_OPEN:
            due = self._places_at + self.recovery_time
            if self._places == 0 and now >= due:
                self._places = self.half_open_max_calls  # the results of the probes are unknown
            if self._places > 0:
                self._places -= 1
                self._places_at = now
                return self._generation
        self._rejected += 1
        wait = max(0.0, due - now)
        raise CircuitBreakerOpenError(
            f"the circuit breaker {self.name!r} is {self._state.value.replace('_', '-')}: the service failed "
            f"too often, nothing was sent; it will be tried again in {wait:.3g} s",
            retry_after=wait,
        )

    def record(self, generation: int, error: BaseException | None) -> None:
        """End a call with its outcome.

        Args:
            generation: The result of `admit`.
            error: The error of the call; None: it succeeded.
        """
        if error is None:
            self._successes += 1
            if generation != self._generation:
                return
            if self._state is CircuitState.HALF_OPEN:
                self._change(CircuitState.CLOSED, self._clock())
                self._forget()
                return
            self._in_a_row = 0
            if self.failure_rate is not None:
                self._note(False)
        elif self._counts(error):
            self._failures += 1
            if generation == self._generation:
                self._failed_once()
        else:
            self.abandon(generation)

    def abandon(self, generation: int) -> None:
        """End a call without a result of the service: it was cancelled, or never sent."""
        if generation == self._generation and self._state is CircuitState.HALF_OPEN:
            self._places = min(self._places + 1, self.half_open_max_calls)

    async def execute(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call `func` through the breaker; an awaitable result is awaited.

        Raises:
            CircuitBreakerOpenError: The breaker refused the call.
            BaseException: Any error of `func`.
        """
        generation = self.admit()
        try:
            result = func(*args, **kwargs)
            if inspect.isawaitable(result):
                result = await result
        except BaseException as error:
            self.record(generation, error)
            raise
        self.record(generation, None)
        return result

    def reset(self) -> None:
        """Close the breaker and clear its failures, but not the counts of `metrics`."""
        if self._state is not CircuitState.CLOSED:
            self._change(CircuitState.CLOSED, self._clock())
        self._forget()

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON-safe values, without the state, `clock` and `is_failure`."""
        return {
            "failure_threshold": self.failure_threshold,
            "recovery_time": self.recovery_time,
            "half_open_max_calls": self.half_open_max_calls,
            "excluded_exceptions": to_names(self.excluded_exceptions),
            "name": self.name,
            "failure_rate": self.failure_rate,
            "window_size": self.window_size,
            "minimum_calls": self.minimum_calls,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], **others: Any) -> CircuitBreaker:
        """A closed breaker with the settings that `to_dict` returned.

        Args:
            values: The settings.
            others: `clock`, `is_failure`.

        Raises:
            ConfigurationError: An unknown setting, a value out of its range, an unknown exception.
        """
        settings = {**values, **others}
        settings["excluded_exceptions"] = from_names(settings.get("excluded_exceptions") or ())
        try:
            return cls(**settings)
        except TypeError as error:
            raise ConfigurationError(f"not the settings of a CircuitBreaker: {error}") from error

    @live_repr
    def __repr__(self) -> str:
        detail = f", {self._in_a_row} failures in a row" if self._in_a_row else ""
        return f"<CircuitBreaker {self.name!r}: {self._state.value}{detail}>"

    def _counts(self, error: BaseException) -> bool:
        if not isinstance(error, Exception) or isinstance(error, self.excluded_exceptions):
            return False
        if self._is_failure is not None:
            return self._is_failure(error)
        verdict = getattr(error, "counts_as_failure", None)
        if isinstance(verdict, bool):
            return verdict
        return not isinstance(error, ConfigurationError | InputError | CallCancelledError)

    def _failed_once(self) -> None:
        self._in_a_row += 1
        trip = self._state is CircuitState.HALF_OPEN or self._in_a_row >= self.failure_threshold
        if self.failure_rate is not None:
            self._note(True)
            calls = len(self._outcomes)
            trip = trip or (calls >= self.minimum_calls and self._failed >= self.failure_rate * calls)
        if trip:
            self._change(CircuitState.OPEN, self._clock())

    def _note(self, failed: bool) -> None:
        self._outcomes.append(failed)
        self._failed += failed
        if len(self._outcomes) > self.window_size:
            self._failed -= self._outcomes.popleft()

    def _forget(self) -> None:
        self._in_a_row = 0
        self._outcomes.clear()
        self._failed = 0

    def _change(self, state: CircuitState, now: float) -> None:
        self._changes.append({"time": now, "from": self._state.value, "to": state.value})
        self._state = state
        self._generation += 1
        self._entered = now
