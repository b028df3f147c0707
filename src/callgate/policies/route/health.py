"""How one endpoint of a pool has been doing, and when it is ejected. No I/O; time is passed in."""

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

# The request is not the cause of these: another endpoint may well answer it.
_OF_THE_ENDPOINT = (
    AuthenticationError, CircuitBreakerOpenError, QuotaTooSmallError, RateLimitError,
    ResourceNotFoundError, RetryAfterTooLongError,
)  # fmt: skip
# Failures in a row that eject an endpoint, if so many of its latest attempts failed, too: where 5 % fail at
# random, three in a row come once in 8,000 attempts. One that cannot be reached is not at fault by chance.
MOST_FAILURES: Final = 3
FAILING_SHARE: Final = 0.4
# So many of the attempts in flight count as not failed: errors come at once, and the answers to the attempts
# that were sent with them later. With more of them an endpoint that only fails would get too many calls.
MOST_PENDING: Final = 8
# Weight of the earlier attempts in that share when a new one ends.
FADE: Final = 0.9
# Seconds of nothing but 429s that eject it.
ONLY_429S: Final = 60.0
# A Retry-After above this, in seconds, ejects it for as long: no call waits for it.
LONG_WAIT: Final = 120.0
# Seconds until it is tried again: after transient failures, and after its key was refused.
EJECTED: Final = 30.0
EJECTED_KEY: Final = 300.0
# Latency differences below this, in seconds, do not matter: their quotas are used alike.
EQUAL_LATENCY: Final = 0.25
# Weight of the former average when a new latency comes in.
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
    """How one endpoint of a `Spread` has been doing.

    Attributes:
        name: The endpoint's name.
        answered: Calls that it has answered.
        ejections: How often it was ejected.
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

    Ejected for 30 s: after three failed attempts in a row, unless most of its latest attempts were answered,
    or a minute of nothing but 429s; as long as its open breaker or a long Retry-After asks; and for 5
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
        """Forget all times, for another event loop."""
        self.ejected_until = -math.inf
        self.key_refused = False
        """True while it is ejected for what does not pass by itself."""
        self._failures = 0  # in a row
        self._attempts = 0.0  # ended ones and failed ones, the later the more
        self._failed = 0.0
        self._only_429s_since: float | None = None
        self._waiting_since: float | None = None  # when its first attempt was sent, until one is answered
        self._latency: float | None = None

    def snapshot(self, name: str) -> EndpointHealth:
        """The counts so far."""
        return EndpointHealth(name, self.answered, self.ejections, self.error)

    def latency(self, now: float) -> float:
        """Usual seconds of an attempt; before the first answer, the seconds waited so far; 0.0 if unused."""
        if self._latency is not None:
            return max(self._latency, EQUAL_LATENCY)
        return 0.0 if self._waiting_since is None else max(now - self._waiting_since, EQUAL_LATENCY)

    def began(self, now: float) -> None:
        """Record that an attempt was admitted."""
        if self._waiting_since is None:
            self._waiting_since = now

    def succeeded(self, seconds: float) -> None:
        """Record an answer and how long it took."""
        self._failures = 0
        self._attempts = self._attempts * FADE + 1.0
        self._failed *= FADE
        self._only_429s_since = None
        self.answered += 1
        usual = self._latency
        self._latency = seconds if usual is None else DECAY * usual + (1.0 - DECAY) * seconds

    def failed(self, error: APIClientError, now: float, in_flight: int = 0) -> bool:
        """Record a failed attempt; True if it ejected the endpoint, which was not ejected before.

        Args:
            error: What it ended in.
            now: The present moment.
            in_flight: Attempts that have not ended.
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
        # When it is tried again after an ejection, one more failure is enough.
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
