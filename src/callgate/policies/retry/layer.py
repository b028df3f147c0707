"""The retry layer: repeats attempts that failed for a transient reason.

Every attempt passes the limiter and is charged to the quota; a call holds no permit while it backs off. A 429
does not count as a try: the call waits for its Retry-After and joins the queue again, until `max_quota_wait`
seconds have passed. Without a Retry-After the backoff grows with each 429 in a row. From the third 429 in a
row on, the wait is at least the backoff of a first failure.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable

from callgate.call.calling import Calling
from callgate.errors import RateLimitError, RetryAfterTooLongError
from callgate.pipeline import Layer, Service
from callgate.policies.retry.config import RetryBudget, RetryConfig
from callgate.response import Response

__all__ = ["retry_layer"]


def retry_layer(
    config: RetryConfig | Callable[[Calling], RetryConfig | None] | None,
    clock: Callable[[], float],
    *,
    rng: random.Random,
    budget: RetryBudget | None = None,
) -> Layer:
    """Repeat an attempt that failed for a transient reason, at most `max_retries` times for each call.

    With several endpoints the number of attempts is the same (`Calling.route`). After an error that is not
    due to the request (a refused key, an open breaker) the next attempt goes to another endpoint at once.
    After its final failure the call goes to the next fallback, where its tries are counted from 0.

    A call ends with its last error if a delta of its stream was delivered, if the wait would pass its
    deadline, or while the retry budget is spent.

    Args:
        config: What to retry, how often, and the backoff; or a function that returns this for the endpoint of
            the latest attempt. None: no retries.
        clock: The loop's clock, in seconds.
        rng: Source of the jitter.
        budget: Bounds the retries of all calls of a model together; None: unbounded.

    Raises (in the service):
        RetryAfterTooLongError: the provider asks to wait longer than `config.max_retry_after`.
    """
    config_of = config if callable(config) else lambda calling: config

    def wrap(call: Service) -> Service:
        async def persistent(calling: Calling) -> Response:
            try:
                return await call(calling)
            except Exception as error:
                last = error
            finally:  # not before the call, whose deposit would expire while it waits in the queue
                if budget is not None:
                    budget.deposit()
            tries = _Tries(rng, budget)
            while True:
                delay = tries.delay(calling, last, config_of(calling), clock())
                # Also without a delay: the loop gets a turn between two attempts.
                await asyncio.sleep(delay)
                try:
                    return await call(calling)
                except Exception as error:
                    last = error

        return persistent

    return wrap


class _Tries:
    """The tries of one call; created after its first failure."""

    __slots__ = ("_budget", "_failed", "_pushed_back_since", "_refusals", "_rng", "_tries")

    def __init__(self, rng: random.Random, budget: RetryBudget | None) -> None:
        self._rng = rng
        self._budget = budget
        self._tries = 0
        self._refusals = 0  # 429s in a row
        self._pushed_back_since: float | None = None
        self._failed: list[Exception] = []  # final errors at other endpoints

    def delay(self, calling: Calling, error: Exception, config: RetryConfig | None, now: float) -> float:
        """Seconds until the next attempt.

        Raises:
            Exception: `error`, if there is to be none.
            RetryAfterTooLongError: the provider asks for a longer wait than allowed.
        """
        route, final = calling.route, error
        if not calling.delivered:
            if config is not None and config.should_retry(error):
                delay = self._backoff(calling, error, config, now)
                if delay == math.inf:
                    final = _too_long(calling, error, config)
                    if route is not None and route.has_untried():
                        return self._leave(final, route.pause(now))
                elif delay is not None and (calling.deadline is None or now + delay < calling.deadline):
                    return delay
            elif route is not None and route.may_move(error):
                return self._leave(final, route.pause(now))
            if route is not None and route.descend(calling, final):
                self._tries, self._refusals, self._pushed_back_since = 0, 0, None
                return self._leave(final, 0.0)
        for earlier in self._failed:
            final.add_note(f"before it: {type(earlier).__name__}: {earlier}")
        raise final

    def _leave(self, error: Exception, pause: float) -> float:
        self._failed.append(error)
        return pause

    def _backoff(self, calling: Calling, error: Exception, config: RetryConfig, now: float) -> float | None:
        """Seconds to wait before a repetition; None if no try is left, infinity if the wait is too long."""
        route = calling.route
        # It may be an error of a user's own backend.
        asked = getattr(error, "retry_after", None)
        too_long = isinstance(asked, int | float) and asked > config.max_retry_after
        if isinstance(error, RateLimitError):
            if self._pushed_back_since is None:
                self._pushed_back_since = now
            if now - self._pushed_back_since > config.max_quota_wait:
                return None
            if too_long:
                return math.inf
            self._refusals += 1
            wait: float = error.retry_after or 0.0
            if wait <= 0.0:
                wait = config.delay(self._refusals, None, self._rng)
            elif self._refusals > 2:  # not exponentially: the provider has named a time
                wait = config.delay(1, error, self._rng)
            return wait if route is None else route.wait(wait, now)
        self._refusals = 0
        self._tries += 1
        if self._tries > config.max_retries or not (self._budget is None or self._budget.withdraw()):
            return None
        if too_long:
            return math.inf
        if route is not None and route.needs_no_backoff():
            return float(route.pause(now))
        return config.delay(self._tries, error, self._rng)


def _too_long(calling: Calling, error: Exception, config: RetryConfig) -> RetryAfterTooLongError:
    """The error of a call whose provider asks for a longer wait than allowed."""
    asked: float = getattr(error, "retry_after", 0.0)
    too_long = RetryAfterTooLongError(
        f"call {calling.request_id} has to wait {asked:.0f} s (Retry-After), more than the allowed"
        f" {config.max_retry_after:g} s",
        setting="max_retry_after",
        remedy="raise",
        status_code=getattr(error, "status_code", None),
        response_content=getattr(error, "response_content", None),
        headers=getattr(error, "headers", None),
        retry_after=asked,
    )
    too_long.__cause__ = error
    return too_long
