"""`Health`: counts the results of an endpoint in a pool, and ejects it when it fails. No I/O."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from callgate.errors import (
    APIClientError,
    APIConnectionError,
    AuthenticationError,
    CircuitBreakerOpenError,
    QuotaExhaustedError,
    QuotaTooSmallError,
    RateLimitError,
    ResourceNotFoundError,
    RetryAfterTooLongError,
)

__all__ = ["EndpointHealth", "Health", "is_of_endpoint"]

# Not caused by the request: another endpoint may answer it.
_OF_THE_ENDPOINT = (
    AuthenticationError, CircuitBreakerOpenError, QuotaTooSmallError, RateLimitError,
    ResourceNotFoundError, RetryAfterTooLongError,
)  # fmt: skip
# Consecutive failures that eject an endpoint, if this share of its latest attempts failed too: with 5 % of
# random failures, three in a row occur once in 8,000 attempts. The share does not matter if it cannot be
# reached.
MOST_FAILURES: Final = 3
FAILING_SHARE: Final = 0.4
# Up to this many attempts in flight count as answered, because errors come sooner than responses. With a
# higher number an endpoint that only fails would get too many calls.
MOST_PENDING: Final = 8
# The factor by which each attempt lowers the weight of earlier ones in that share.
FADE: Final = 0.9
# Seconds with 429s only after which an endpoint is ejected.
ONLY_429S: Final = 60.0
# Seconds. A longer Retry-After ejects the endpoint for that time, because no call waits for it.
LONG_WAIT: Final = 120.0
# Seconds until the endpoint is tried again: after transient failures, and after its key was refused.
EJECTED: Final = 30.0
EJECTED_KEY: Final = 300.0
# Seconds. Latencies below this count as equal.
EQUAL_LATENCY: Final = 0.25
# Weight of the former mean when a new latency is added.
DECAY: Final = 0.8


def is_of_endpoint(error: BaseException) -> bool:
    """True if another endpoint may answer the request that ended in this error.

    >>> is_of_endpoint(AuthenticationError("no such key", status_code=401))
    True
    """
    return isinstance(error, APIClientError) and (
        isinstance(error, _OF_THE_ENDPOINT) or error.counts_as_failure
    )


@dataclass(frozen=True, slots=True)
class EndpointHealth:
    """The results of one endpoint of a `Spread` so far.

    Attributes:
        name: The endpoint's name.
        answered: The number of calls that it has answered.
        ejections: The number of times that it was ejected.
        error: The error of its last ejection, or None.

    >>> EndpointHealth("one", answered=12, ejections=0, error=None).answered
    12
    """

    name: str
    answered: int
    ejections: int
    error: APIClientError | None


class Health:
    """Counts the results of an endpoint's attempts and ejects it when it fails.

    It is ejected for 30 s after three consecutive failures (unless most of its latest attempts were answered)
    or a minute with 429s only; for the time that its open breaker or a long Retry-After names; and for 5
    minutes after a refused key (401) or an exhausted account.

    >>> health = Health()
    >>> health.failed(AuthenticationError("no such key", status_code=401), now=0.0)
    True
    >>> health.ejected_until, health.key_refused
    (300.0, True)
    """

    __slots__ = (
        "_attempts", "_failed", "_failures", "_latency", "_only_429s_since", "_waiting_since", "answered",
        "ejected_until", "ejections", "error", "key_refused",
    )  # fmt: skip

    def __init__(self) -> None:
        self.answered = 0
        self.ejections = 0
        self.error: APIClientError | None = None
        """The error of the last ejection."""
        self.reset()

    def reset(self) -> None:
        """Clear all times, for the clock of another event loop."""
        self.ejected_until = -math.inf
        self.key_refused = False
        """True while the endpoint is ejected for a refused key or an exhausted account."""
        self._failures = 0  # consecutive
        self._attempts = 0.0  # ended and failed attempts, with weights that fade
        self._failed = 0.0
        self._only_429s_since: float | None = None
        self._waiting_since: float | None = None  # when its first attempt was sent, until one is answered
        self._latency: float | None = None

    def snapshot(self, name: str) -> EndpointHealth:
        """The counts so far."""
        return EndpointHealth(name, self.answered, self.ejections, self.error)

    def latency(self, now: float) -> float:
        """Mean seconds of an attempt; before the first response, the seconds waited so far; 0.0 if unused."""
        if self._latency is not None:
            return max(self._latency, EQUAL_LATENCY)
        return 0.0 if self._waiting_since is None else max(now - self._waiting_since, EQUAL_LATENCY)

    def began(self, now: float) -> None:
        """Record that an attempt was admitted."""
        if self._waiting_since is None:
            self._waiting_since = now

    def succeeded(self, seconds: float) -> None:
        """Record a response and its latency in seconds."""
        self._failures = 0
        self._attempts = self._attempts * FADE + 1.0
        self._failed *= FADE
        self._only_429s_since = None
        self.answered += 1
        usual = self._latency
        self._latency = seconds if usual is None else DECAY * usual + (1.0 - DECAY) * seconds

    def failed(self, error: APIClientError, now: float, in_flight: int = 0) -> bool:
        """Record a failed attempt; returns True if this ejects the endpoint, which was not ejected before.

        Args:
            error: The error of the attempt.
            now: The present time.
            in_flight: The number of attempts that have not ended.
        """
        if isinstance(error, QuotaTooSmallError):
            return False
        self._waiting_since = None
        asked = error.retry_after or 0.0
        if isinstance(error, CircuitBreakerOpenError) or asked > LONG_WAIT:
            return self._eject(error, now, asked or EJECTED)
        if isinstance(error, RateLimitError) and not isinstance(error, QuotaExhaustedError):
            return self._pushed_back(error, now)
        if isinstance(error, QuotaExhaustedError) or error.status_code == 401:
            is_news = self._eject(error, now, EJECTED_KEY)
            self.key_refused = True
            return is_news
        self._failures += 1  # also for a 403, which may concern one request only
        self._attempts = self._attempts * FADE + 1.0
        self._failed = self._failed * FADE + 1.0
        if self._failures < MOST_FAILURES:
            return False
        # After an ejection one more failure is enough, because the count is not reset.
        unreachable = isinstance(error, APIConnectionError) and error.surely_unsent
        attempts = self._attempts + min(in_flight, MOST_PENDING)
        failing = unreachable or self._failed >= FAILING_SHARE * attempts
        return failing and self._eject(error, now, EJECTED)

    def _pushed_back(self, error: APIClientError, now: float) -> bool:
        if self._only_429s_since is None:
            self._only_429s_since = now
        return now - self._only_429s_since >= ONLY_429S and self._eject(error, now, EJECTED)

    def _eject(self, error: APIClientError, now: float, seconds: float) -> bool:
        is_news = self.ejected_until <= now
        self.error = error
        self.ejected_until = now + seconds
        self.key_refused = False
        self.ejections += is_news
        return is_news
