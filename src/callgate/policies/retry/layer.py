"""Tries again what may succeed later.

Every attempt passes the limiter and pays it; backing off holds no permit. A 429 uses up no attempt: the limit
layer pauses the whole line for it, so the call only has to join again, and only the time spent so is bounded.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from callgate.call.calling import Calling
from callgate.errors import RateLimitError, RetryAfterTooLongError
from callgate.pipeline import Layer, Service
from callgate.policies.retry.config import RetryBudget, RetryConfig
from callgate.response import Response

__all__ = ["retry_layer"]


def retry_layer(
    config: RetryConfig,
    clock: Callable[[], float],
    *,
    rng: random.Random,
    budget: RetryBudget | None = None,
) -> Layer:
    """Repeat an attempt that failed for a passing reason.

    A call is not tried again once a piece of its stream has been delivered, when another model takes it
    (`calling.route`), when the wait would pass its deadline, or when the retry budget is spent; it then
    ends with its own last error.

    Args:
        config: What to retry, how often, how long to wait.
        clock: The loop's clock, in seconds.
        rng: Where the jitter comes from.
        budget: Shared by all calls of a model, so that retries never become a storm; None: unbounded.

    Raises (in the service):
        RetryAfterTooLongError: when the provider asks to wait longer than `config.max_retry_after`.
    """

    def wrap(call: Service) -> Service:
        async def persistent(calling: Calling) -> Response:
            if budget is not None:
                budget.deposit()
            try:
                return await call(calling)
            except Exception as error:
                last = error
            failed = _Failed(calling, config, rng, budget)
            while True:
                now = clock()
                if calling.delivered or not config.should_retry(last) or _is_for_another(calling, last):
                    raise last
                delay = failed.delay(last, now)
                if calling.deadline is not None and now + delay >= calling.deadline:
                    raise last
                # Also with no delay at all: the loop gets a turn between two attempts.
                await asyncio.sleep(delay)
                try:
                    return await call(calling)
                except Exception as error:
                    last = error

        return persistent

    return wrap


def _is_for_another(calling: Calling, error: BaseException) -> bool:
    """Whether another model, of several that may answer it, takes the call from here."""
    return calling.route is not None and calling.route(error)


class _Failed:
    """What a call that has failed before may still do: made with its first failure."""

    __slots__ = ("_budget", "_calling", "_config", "_pushed_back_since", "_rng", "_tries")

    def __init__(
        self, calling: Calling, config: RetryConfig, rng: random.Random, budget: RetryBudget | None
    ) -> None:
        self._calling = calling
        self._config = config
        self._rng = rng
        self._budget = budget
        self._tries = 0
        self._pushed_back_since: float | None = None

    def delay(self, error: Exception, now: float) -> float:
        """Seconds until the next attempt.

        Raises:
            Exception: `error`, when there is to be none.
            RetryAfterTooLongError: when it would be later than anybody waits.
        """
        if isinstance(error, RateLimitError):
            if self._pushed_back_since is None:
                self._pushed_back_since = now
            self._check_patience(error)
            if now - self._pushed_back_since > self._config.max_quota_wait:
                raise error
            return 0.0
        self._tries += 1
        if self._tries > self._config.max_retries or not (self._budget is None or self._budget.withdraw()):
            raise error
        self._check_patience(error)
        return self._config.delay(self._tries, error, self._rng)

    def _check_patience(self, error: Exception) -> None:
        # It may be an error of a backend of the user's own.
        asked = getattr(error, "retry_after", None)
        if isinstance(asked, int | float) and asked > self._config.max_retry_after:
            raise RetryAfterTooLongError(
                f"call {self._calling.request_id} was told to come back in {asked:.0f} s, more than"
                f" the {self._config.max_retry_after:g} s callgate waits",
                setting="max_retry_after",
                remedy="raise",
                status_code=getattr(error, "status_code", None),
                response_content=getattr(error, "response_content", None),
                headers=getattr(error, "headers", None),
                retry_after=asked,
            ) from error
