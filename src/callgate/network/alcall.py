"""`alcall`: calls a function with many inputs concurrently; the results are in the order of the inputs."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from typing import Any, Final

from callgate.errors import APITimeoutError, ConfigurationError

__all__ = ["alcall"]


class _Raise:
    def __repr__(self) -> str:
        return "<raise>"


_RAISE: Final = _Raise()
_UNBOUNDED = 1000
"""Concurrent calls if no bound is given, so that a million inputs do not create a million tasks."""


async def alcall(
    input_: Any,
    func: Callable[..., Any],
    /,
    *,
    num_retries: int = 0,
    initial_delay: float = 0,
    retry_delay: float = 0,
    backoff_factor: float = 1,
    retry_default: Any = _RAISE,
    retry_timeout: float | None = None,
    max_concurrent: int | None = None,
    throttle_period: float | None = None,
    flatten: bool = False,
    dropna: bool = False,
    unique_output: bool = False,
    **kwargs: Any,
) -> list[Any]:
    """Call `func` with each input; returns the results in the order of the inputs.

    When all attempts for one input have failed, its error is raised and the other calls are cancelled.

    Args:
        input_: An iterable or async iterable of inputs. A text, bytes, a mapping or any other value is one
            input.
        func: An async function, or a sync one, which is called in a thread. Its first argument is the input.
        num_retries: Further attempts after the first. Errors whose `retryable` is False are not retried.
        initial_delay: Seconds before the first call.
        retry_delay: Seconds before the second attempt.
        backoff_factor: The factor between a delay and the next one.
        retry_default: Returned instead of an error when all attempts have failed.
        retry_timeout: Timeout of one attempt in seconds.
        max_concurrent: The most concurrent calls; None: 1000.
        throttle_period: Seconds between the starts of two calls.
        flatten: Replace lists and tuples in the results, at any depth, by their items.
        dropna: Leave out None.
        unique_output: Leave out results that are equal to an earlier one.
        kwargs: Further arguments of every call.

    Raises:
        BaseException: the error of the last attempt for an input.
        APITimeoutError: the attempt took longer than `retry_timeout`.
        ConfigurationError: (a ValueError) `max_concurrent` or `num_retries` is too small.

    Example::

        users = await alcall(range(1, 11), fetch_user, max_concurrent=5, num_retries=3)
    """
    if max_concurrent is not None and max_concurrent < 1:
        raise ConfigurationError(f"max_concurrent must be at least 1, not {max_concurrent}")
    if num_retries < 0:
        raise ConfigurationError(f"num_retries must be at least 0, not {num_retries}")
    call = _awaitable(func, kwargs)
    attempts = _Attempts(call, num_retries, retry_delay, backoff_factor, retry_timeout, retry_default)
    inputs = [item async for item in input_] if isinstance(input_, AsyncIterable) else _inputs(input_)
    if initial_delay:
        await asyncio.sleep(initial_delay)
    results = await _run(attempts.at, inputs, max_concurrent or _UNBOUNDED, throttle_period or 0.0)
    return _tidy(results, flatten=flatten, dropna=dropna, unique=unique_output)


@dataclass(frozen=True, slots=True)
class _Attempts:
    """The attempts for one input: retries, delays, timeout, and the default for a failure."""

    call: Callable[[Any], Awaitable[Any]]
    retries: int
    first_delay: float
    backoff_factor: float
    timeout: float | None
    default: Any

    async def at(self, item: Any) -> Any:
        """The result for one input."""
        delay, left = self.first_delay, self.retries
        while True:
            try:
                return await _in_time(self.call(item), self.timeout)
            except Exception as error:
                if left == 0 or not _worth_it(error):
                    if isinstance(self.default, _Raise):
                        raise
                    return self.default
            left -= 1
            await asyncio.sleep(delay)
            delay *= self.backoff_factor


async def _run(
    one: Callable[[Any], Awaitable[Any]], inputs: Iterable[Any], at_once: int, period: float
) -> list[Any]:
    """Workers share one iterator, so that there are no more tasks than concurrent calls."""
    results: dict[int, Any] = {}
    todo = enumerate(inputs)
    loop = asyncio.get_running_loop()
    next_start = loop.time()

    async def work() -> None:
        nonlocal next_start
        for index, item in todo:
            if period:
                start = max(next_start, loop.time())
                next_start = start + period
                await asyncio.sleep(start - loop.time())
            results[index] = await one(item)

    count = min(at_once, len(inputs)) if isinstance(inputs, Sized) else at_once
    tasks = [loop.create_task(work()) for _ in range(count)]
    try:
        # Not a TaskGroup, which would raise a group with one error.
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return [results[index] for index in sorted(results)]


def _inputs(input_: Any) -> Iterable[Any]:
    if isinstance(input_, str | bytes | Mapping) or not isinstance(input_, Iterable):
        return [input_]
    return input_


def _awaitable(func: Callable[..., Any], kwargs: Mapping[str, Any]) -> Callable[[Any], Awaitable[Any]]:
    """The function as an async one."""
    if _is_async(func):
        return functools.partial(func, **kwargs)

    async def in_thread(item: Any) -> Any:
        result = await asyncio.to_thread(func, item, **kwargs)
        return await result if inspect.isawaitable(result) else result

    return in_thread


def _is_async(func: Callable[..., Any]) -> bool:
    while isinstance(func, functools.partial):
        func = func.func
    return inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(getattr(func, "__call__", None))  # noqa: B004


def _worth_it(error: Exception) -> bool:
    """False only for an error that has `retryable` False: unknown errors of the function are retried."""
    retryable = getattr(error, "retryable", None)
    return retryable if isinstance(retryable, bool) else True


async def _in_time(call: Awaitable[Any], seconds: float | None) -> Any:
    scope = asyncio.timeout(seconds)
    try:
        async with scope:
            return await call
    except TimeoutError as error:
        if not scope.expired():
            raise
        raise APITimeoutError(f"an attempt took longer than retry_timeout={seconds:g} s") from error


def _tidy(results: list[Any], *, flatten: bool, dropna: bool, unique: bool) -> list[Any]:
    if flatten:
        results = list(_flat(results))
    if dropna:
        results = [result for result in results if result is not None]
    if unique:
        seen: list[Any] = []
        hashed: set[Any] = set()
        for result in results:
            try:
                known = result in hashed
                hashed.add(result)
            except TypeError:  # a list or a dict
                known = result in seen
            if not known:
                seen.append(result)
        results = seen
    return results


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flat(value)
        else:
            yield value
