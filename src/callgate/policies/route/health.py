"""One model of a `Spread`, how it has been doing, and when it is left out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from callgate.call.calling import Calling
from callgate.errors import (
    APIClientError,
    APIConnectionError,
    CircuitBreakerOpenError,
    QuotaExhaustedError,
    QuotaTooSmallError,
    RateLimitError,
    RefusedError,
    RetryAfterTooLongError,
)
from callgate.model.base import Caller

__all__ = ["LeftOutError", "Member", "Standing"]

# Failures in a row that leave it out: each after the model's own retries; but where nobody can be reached any
# attempt is one, as nothing about the call is the cause.
_MOST_STRIKES = 3
# Seconds of nothing but 429s that leave it out.
_PUSHED_BACK = 60.0
# Seconds until it is tried again: after failures that pass, and after a key was refused.
_REST = 30.0
_LONG_REST = 300.0
# Seconds in which a model that could not be reached gets no further calls; usually the retries tell sooner.
_DOUBT = 5.0
# Seconds that are not worth a change: models that answer within this count as equally quick, so that their
# quotas are used alike, and nobody leaves a line that is as short.
_QUICK = 0.25
# What each answer leaves of the weight of those before it, for the time that a call takes.
_FADE = 0.8


class LeftOutError(RefusedError):
    """The call was sent on from the line of a model that has been left out, or has no place so soon."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How one model of a spread has been doing.

    Attributes:
        name: The model's name.
        answered: Calls that it has answered.
        times_out: How often it was left out.
        error: What it was left out for last, or None.

    >>> Standing("one", answered=12, times_out=0, error=None).answered
    12
    """

    name: str
    answered: int
    times_out: int
    error: APIClientError | None


class Member:
    """Counts what comes of a model's calls, and says whether it gets any.

    Args:
        model: The model.
        tell: Called with the model and the error each time it is left out.

    Example::

        member = Member(model)
        member.failed(AuthenticationError("no such key", status_code=401), now=0.0)
        assert member.out_until == 300.0
    """

    __slots__ = (
        "_noted", "_pushed_since", "_strikes", "_tell", "_usual_seconds", "_waited_since", "answered",
        "in_doubt_until", "limiter", "model", "name", "out_for", "out_until", "refused", "remembers",
        "service", "times_out", "turn",
    )  # fmt: skip

    def __init__(self, model: Caller, tell: Callable[[Caller, APIClientError], None] | None = None) -> None:
        alternative = model.as_alternative()
        self.model = model
        self.name = model.name
        self.turn = alternative.turn
        self.service = alternative.service
        self.remembers = alternative.remembers
        self.limiter = model.limiter
        self.answered = 0
        self.times_out = 0
        self.out_for: APIClientError | None = None
        """What it was left out for last."""
        self._tell = tell
        self.forget()

    def forget(self) -> None:
        """It may begin anew."""
        self.out_until = -math.inf
        self.refused = False
        """Whether it is out for what does not pass by itself: its key."""
        self.in_doubt_until = -math.inf
        """Until then who can go elsewhere does: it could not be reached, and is being tried again."""
        self._strikes = 0
        self._pushed_since: float | None = None  # since when there has been nothing but 429s
        self._waited_since: float | None = None  # when its first call was sent, until one is answered
        self._usual_seconds: float | None = None
        self._noted: APIClientError | None = None  # the error of an attempt that has been counted

    @property
    def standing(self) -> Standing:
        """How it has been doing."""
        return Standing(self.name, self.answered, self.times_out, self.out_for)

    def call_seconds(self, now: float) -> float:
        """How long a call takes here; before the first answer, as long as that has been waited for, and 0.0
        where none has been asked for."""
        if self._usual_seconds is None and self._waited_since is None:
            return 0.0
        return max(self._seconds(now), _QUICK)

    def lags_behind(self, free: Member, tokens: float, now: float) -> bool:
        """Whether who waits in its line does better at a model that has a place."""
        limiter = self.limiter
        if not limiter.waiting:
            return False
        if self.call_seconds(now) > free.call_seconds(now):
            return True
        return limiter.expected_wait(tokens, self._seconds(now)) >= _QUICK

    def _seconds(self, now: float) -> float:
        if self._usual_seconds is not None:
            return self._usual_seconds
        return 0.0 if self._waited_since is None else now - self._waited_since

    def begins(self, now: float) -> None:
        """It is given a call."""
        if self._waited_since is None:
            self._waited_since = now

    def succeeded(self, calling: Calling, now: float) -> None:
        """It has answered."""
        self._strikes = 0
        self.in_doubt_until = -math.inf
        self._pushed_since = None
        self.answered += 1
        if calling.sent_at is not None and not calling.cached:
            seconds, usual = now - calling.sent_at, self._usual_seconds
            self._usual_seconds = seconds if usual is None else _FADE * usual + (1.0 - _FADE) * seconds

    def attempt_failed(self, error: APIClientError, now: float) -> None:
        """Note an attempt that might be tried again here."""
        if isinstance(error, RateLimitError):
            if self._pushed_since is None:
                self._pushed_since = now
            elif now - self._pushed_since >= _PUSHED_BACK:
                self._leave_out(error, now, _REST)
        elif isinstance(error, APIConnectionError) and error.surely_unsent:
            self._noted = error
            self.in_doubt_until = now + _DOUBT
            self._strike(error, now)

    def failed(self, error: APIClientError, now: float) -> None:
        """Note what a call ended in, and leave it out when that says enough."""
        if isinstance(error, LeftOutError | QuotaTooSmallError):
            return
        self._waited_since = None
        if error is self._noted:
            self._noted = None
        elif isinstance(error, CircuitBreakerOpenError | RetryAfterTooLongError):
            self._leave_out(error, now, error.retry_after or _REST)
        elif isinstance(error, QuotaExhaustedError) or error.status_code == 401:
            self._leave_out(error, now, _LONG_REST)
            self.refused = True
        elif not isinstance(error, RateLimitError):
            self._strike(error, now)  # also for a 403, which may be about one request alone

    def _strike(self, error: APIClientError, now: float) -> None:
        self._strikes += 1
        # When it is tried again, one more failure is enough.
        if self._strikes >= _MOST_STRIKES:
            self._leave_out(error, now, _REST)

    def _leave_out(self, error: APIClientError, now: float, seconds: float) -> None:
        is_news = self.out_until <= now
        self.out_for = error
        self.out_until = now + seconds
        self.refused = False
        self.in_doubt_until = -math.inf  # when it may be called again, somebody has to try
        self.model.send_away(LeftOutError(f"{self.name} is left out for now: {error}"))
        if is_news:
            self.times_out += 1
            if self._tell is not None:
                self._tell(self.model, error)
