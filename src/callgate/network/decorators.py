"""Decorators for any async function: retry and circuit breaker."""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from callgate.errors import ConfigurationError, RateLimitError
from callgate.policies.breaker.breaker import CircuitBreaker
from callgate.policies.retry.config import RetryConfig

__all__ = ["circuit_breaker", "retrying", "with_retry"]

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
ExceptionKinds = Iterable[type[BaseException]] | type[BaseException]

_rng = random.Random()


class _Guarded(Protocol[P, T_co]):
    """A function with its breaker as an attribute."""

    breaker: CircuitBreaker

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Awaitable[T_co]: ...


class _Retried(Protocol[P, T_co]):
    """A function with its retry settings as an attribute."""

    retry_config: RetryConfig

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Awaitable[T_co]: ...


def circuit_breaker(
    failure_threshold: int = 5,
    recovery_time: float = 30.0,
    half_open_max_calls: int = 1,
    excluded_exceptions: Iterable[type[BaseException]] | None = None,
    name: str | None = None,
    *,
    breaker: CircuitBreaker | None = None,
) -> Callable[[Callable[P, Awaitable[T]]], _Guarded[P, T]]:
    """Put a circuit breaker around an async function. All calls of the function share it.

    Args:
        failure_threshold, recovery_time, half_open_max_calls, excluded_exceptions: As for `CircuitBreaker`.
        name: For messages; None: the function's name.
        breaker: A breaker that several functions share; the other arguments are ignored.

    Raises (when the function is called):
        CircuitBreakerOpenError: the breaker refuses the call.

    Example::

        @circuit_breaker(failure_threshold=3, recovery_time=10.0)
        async def fetch(client, path):
            return await client.request("GET", path)

        print(fetch.breaker.state)
    """
    _refuse_bare_use("circuit_breaker", failure_threshold)

    def decorate(func: Callable[P, Awaitable[T]]) -> _Guarded[P, T]:
        own = breaker or CircuitBreaker(
            failure_threshold,
            recovery_time,
            half_open_max_calls,
            excluded_exceptions,
            name or str(getattr(func, "__qualname__", "default")),
        )

        @functools.wraps(func)
        async def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            return cast(T, await own.execute(func, *args, **kwargs))

        guarded.breaker = own  # type: ignore[attr-defined]
        return cast(_Guarded[P, T], guarded)

    return decorate


def with_retry(
    max_retries: int = 3,
    base_delay: float | None = None,
    max_delay: float = 60.0,
    backoff_factor: float | None = None,
    jitter: bool = True,
    jitter_factor: float = 0.2,
    retry_exceptions: ExceptionKinds | None = None,
    exclude_exceptions: ExceptionKinds = (),
    *,
    initial_delay: float | None = None,
    exponential_base: float | None = None,
    retry_on: ExceptionKinds | None = None,
    max_retry_after: float = 120.0,
    rng: random.Random = _rng,
) -> Callable[[Callable[P, Awaitable[T]]], _Retried[P, T]]:
    """Retry an async function after transient errors.

    Args:
        max_retries, base_delay, max_delay, backoff_factor, jitter, jitter_factor: As for `RetryConfig`.
        initial_delay, exponential_base, retry_on, max_retry_after: As for `RetryConfig`.
        retry_exceptions, exclude_exceptions: As for `RetryConfig`.
        rng: Source of the jitter.

    Raises (when the function is called):
        BaseException: the error of the last attempt.
        RetryAfterTooLongError: the Retry-After exceeds `max_retry_after`.

    Example::

        @with_retry(max_retries=3, base_delay=0.5, exclude_exceptions=(AuthenticationError,))
        async def fetch(client, path):
            return await client.request("GET", path)
    """
    _refuse_bare_use("with_retry", max_retries)
    config = RetryConfig(
        max_retries,
        base_delay,
        max_delay,
        backoff_factor,
        jitter,
        jitter_factor,
        retry_exceptions,
        exclude_exceptions,
        initial_delay=initial_delay,
        exponential_base=exponential_base,
        retry_on=retry_on,
        max_retry_after=max_retry_after,
    )

    def decorate(func: Callable[P, Awaitable[T]]) -> _Retried[P, T]:
        @functools.wraps(func)
        async def retried(*args: P.args, **kwargs: P.kwargs) -> T:
            return await retrying(lambda: func(*args, **kwargs), config, rng=rng)

        retried.retry_config = config  # type: ignore[attr-defined]
        return cast(_Retried[P, T], retried)

    return decorate


async def retrying(
    attempt: Callable[[], Awaitable[T]],
    config: RetryConfig,
    *,
    rng: random.Random = _rng,
    should_retry: Callable[[Exception], bool] | None = None,
    pause: Callable[[float], None] | None = None,
) -> T:
    """Make attempts until one succeeds or the error is final.

    Args:
        attempt: Makes one attempt.
        config: The number of retries and the backoff.
        rng: Source of the jitter.
        should_retry: Returns True for a retryable error; None: as `config`.
        pause: Called after a 429 with the end of its wait, in seconds of the loop's clock; the next attempt
            must then wait, and the 429 does not count as a try. None: the wait is here, and a 429 counts.
    """
    judge = config.should_retry if should_retry is None else should_retry
    clock = asyncio.get_running_loop().time
    tries = 0
    pushed_back_at: float | None = None
    while True:
        try:
            return await attempt()
        except Exception as error:
            if not judge(error):
                raise
            if isinstance(error, RateLimitError) and pause is not None and error.retry_after is not None:
                now = clock()
                pushed_back_at = now if pushed_back_at is None else pushed_back_at
                delay = config.delay(1, error, rng)
                if now + delay - pushed_back_at > config.max_quota_wait:
                    raise
                pause(now + delay)
                continue
            tries += 1
            if tries > config.max_retries:
                raise
            delay = config.delay(tries, error, rng)
        await asyncio.sleep(delay)


def _refuse_bare_use(name: str, first: Any) -> None:
    if callable(first):
        raise ConfigurationError(f"write @{name}(), with parentheses")
