"""Tries again what may succeed later.

Every attempt passes the limiter and pays it; backing off holds no permit. A 429 uses up no attempt: the limit
layer pauses the whole line for it, so the call only has to join again, and only the time spent so is bounded.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from callgate.calling import Calling
from callgate.control.backoff import RetryBudget, RetryConfig
from callgate.errors import RateLimitError, RetryAfterTooLongError
from callgate.pipeline import Layer, Service
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
    (`calling.elsewhere`), when the wait would pass its deadline, or when the retry budget is spent; it then
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
            tries = 0
            pushed_back_since: float | None = None
            while True:
                now = clock()
                calling.note_failure(last, now)
                if calling.delivered or not config.should_retry(last) or _is_for_another(calling, last):
                    raise last
                if isinstance(last, RateLimitError):
                    if pushed_back_since is None:
                        pushed_back_since = now
                    _check_patience(calling, last, config)
                    if now - pushed_back_since > config.max_quota_wait:
                        raise last
                    delay = 0.0
                else:
                    tries += 1
                    if tries > config.max_retries or (budget is not None and not budget.withdraw()):
                        raise last
                    _check_patience(calling, last, config)
                    delay = config.delay(tries, last, rng)
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
    return calling.elsewhere is not None and calling.elsewhere(error)


def _check_patience(calling: Calling, error: Exception, config: RetryConfig) -> None:
    """Whether anybody waits as long as the service asks; the error may be one of a backend of the user's."""
    asked = getattr(error, "retry_after", None)
    if isinstance(asked, int | float) and asked > config.max_retry_after:
        raise RetryAfterTooLongError(
            f"call {calling.request_id} was told to come back in {asked:.0f} s, more than"
            f" the {config.max_retry_after:g} s callgate waits (max_retry_after=)",
            status_code=getattr(error, "status_code", None),
            response_content=getattr(error, "response_content", None),
            headers=getattr(error, "headers", None),
            retry_after=asked,
        ) from error
