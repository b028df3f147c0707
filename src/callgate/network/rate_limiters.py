"""The rate limiters of the documents, all on the one window mechanism of `control/`.

Every rate is a promise about every window of one period: never more in it than the rate, or than the bucket
where a larger one was asked for.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

from callgate.errors import ConfigurationError
from callgate.network.bucket import Bucket
from callgate.network.reservations import Turns
from callgate.policies.limit.quota import Quota, Resource
from callgate.policies.limit.window import Charge
from callgate.providers.quota_headers import read_quota, read_retry_after
from callgate.reprs import live_repr

__all__ = [
    "AdaptiveRateLimiter",
    "EndpointRateLimiter",
    "RateLimitConfig",
    "TokenBucket",
    "TokenBucketRateLimiter",
]


class TokenBucketRateLimiter:
    """So many tokens in every period, in bursts of at most `max_tokens`; first come, first served.

    Args:
        rate: Tokens per period.
        period: Seconds.
        max_tokens: The bucket; None: the rate. Above the rate it is a burst on top: one window may hold it.
        initial_tokens: In the bucket at the start; None: it is full.

    Raises:
        ConfigurationError: (a ValueError) a value that is no positive number.

    Example::

        limiter = TokenBucketRateLimiter(rate=5, period=1.0)
        answer = await limiter.execute(client.request, "GET", "/users")
    """

    def __init__(
        self,
        rate: float,
        period: float = 1.0,
        max_tokens: float | None = None,
        initial_tokens: float | None = None,
    ) -> None:
        _check_level(initial_tokens)
        self._turns = Turns(Quota(rate, period, rate if max_tokens is None else max_tokens), initial_tokens)

    @property
    def rate(self) -> float:
        """Tokens per period."""
        return self._turns.quota.rate

    @property
    def period(self) -> float:
        """Seconds."""
        return self._turns.quota.period

    @property
    def max_tokens(self) -> float:
        """What the bucket holds at most."""
        return self._turns.quota.capacity or self.rate

    async def acquire(self, tokens: float = 1.0) -> float:
        """Take tokens, and tell in how many seconds they may be used; 0.0: now.

        They are debited at once, so callers that sleep for that long never use more than the rate.
        To wait for a turn that can still be given up, use `execute`.

        Raises:
            QuotaTooSmallError: (a ValueError) more than one window ever holds.
            ConfigurationError: (a ValueError) a negative number.
        """
        return self._turns.tell(tokens)

    async def execute(self, func: Callable[..., Any], *args: Any, tokens: float = 1.0, **kwargs: Any) -> Any:
        """Wait for tokens, then call `func`, and await what it gives if that can be awaited.

        A call that is cancelled while it waits gives its place to the next.

        Raises:
            QuotaTooSmallError: (a ValueError) more tokens than one window ever holds.
            BaseException: whatever `func` raises.
        """
        await self._turns.wait(tokens)
        result = func(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    def _configure(self, quota: Quota) -> None:
        self._turns.configure(quota)

    @live_repr
    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.rate:g} in {self.period:g} s, {self._turns.waiting} waiting>"


@dataclass(frozen=True, slots=True)
class RateLimitConfig:
    """The settings of a `TokenBucket`.

    Args:
        capacity: The most that the bucket holds.
        refill_rate: Tokens a second that come back.
        initial_tokens: In the bucket at the start; None: it is full.

    Raises:
        ConfigurationError: (a ValueError) a value that is no positive number.

    >>> RateLimitConfig(capacity=10, refill_rate=2.0).initial_tokens is None
    True
    """

    capacity: float
    refill_rate: float
    initial_tokens: float | None = None

    def __post_init__(self) -> None:
        _check_level(self.initial_tokens)
        self.quota()

    def quota(self) -> Quota:
        """The same in the words of the control mechanisms."""
        return Quota(self.refill_rate, 1.0, self.capacity)


class TokenBucket:
    """A bucket of tokens that refills steadily: take some, or wait for them, or give them back.

    Example::

        bucket = TokenBucket(RateLimitConfig(capacity=10, refill_rate=2.0))
        if await bucket.acquire(3, timeout=1.0):
            ...
    """

    def __init__(self, config: RateLimitConfig) -> None:
        self.config = config
        self._turns = Turns(config.quota(), config.initial_tokens, Bucket)
        # What was taken and has not been given back, newest last.
        self._taken: deque[tuple[Charge, float]] = deque(maxlen=_REMEMBERED)

    async def acquire(self, tokens: float = 1, *, timeout: float | None = None) -> bool:
        """Take tokens, waiting for them in line.

        Args:
            tokens: How many.
            timeout: Seconds to wait at most; None: as long as it takes; 0: not at all.

        Returns:
            False when they could not be had in time; nothing has been taken then.

        Raises:
            QuotaTooSmallError: (a ValueError) more than the capacity, and no timeout to end the wait.
            ConfigurationError: (a ValueError) no positive number of tokens.
        """
        if timeout is not None and (timeout <= 0 or tokens > self.config.capacity):
            return await self.try_acquire(tokens)
        _check_tokens(tokens)
        deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
        try:
            charge = await self._turns.wait(tokens, deadline=deadline)
        except TimeoutError:
            return False
        self._remember(charge, tokens)
        return True

    async def try_acquire(self, tokens: float = 1) -> bool:
        """Take tokens if they are there now and no other call waits; False: nothing has been taken.

        Raises:
            ConfigurationError: (a ValueError) no positive number of tokens.
        """
        _check_tokens(tokens)
        charge = self._turns.take(tokens)
        if charge is None:
            return False
        self._remember(charge, tokens)
        return True

    async def release(self, tokens: float = 1) -> None:
        """Give tokens back that were taken and not used. More than was taken cannot be given back."""
        while tokens > 0 and self._taken:
            charge, amount = self._taken.pop()
            back = min(amount, tokens)
            tokens -= back
            if amount > back:
                self._taken.append((charge, amount - back))
            self._turns.give_back(charge, back)

    async def reset(self) -> None:
        """Fill the bucket and forget what was taken."""
        self._taken.clear()
        self._turns.refill()

    def to_dict(self) -> dict[str, float]:
        """The settings, ready for JSON: `capacity` (tokens) and `refill_rate` (tokens a second)."""
        return {"capacity": self.config.capacity, "refill_rate": self.config.refill_rate}

    def _remember(self, charge: Charge, tokens: float) -> None:
        if self._taken and self._taken[-1][0][1] is charge[1]:  # the same place in the log
            tokens += self._taken.pop()[1]
        self._taken.append((charge, tokens))

    @live_repr
    def __repr__(self) -> str:
        config = self.config
        return f"<TokenBucket {config.capacity:g}, {config.refill_rate:g}/s, {self._turns.waiting} waiting>"


class EndpointRateLimiter:
    """A rate for every endpoint, each with a line of its own.

    Args:
        default_rate: Tokens per period of endpoints that were not given a rate.
        default_period: Seconds.

    Example::

        limiter = EndpointRateLimiter(default_rate=10.0)
        await limiter.update_rate_limit("orders", rate=2.0)
        answer = await limiter.execute("orders", client.request, "GET", "/orders")
    """

    def __init__(self, default_rate: float = 10.0, default_period: float = 1.0) -> None:
        self.default_rate = default_rate
        self.default_period = default_period
        Quota(default_rate, default_period)  # refuses what cannot work
        self._limiters: dict[str, TokenBucketRateLimiter] = {}

    def get_limiter(self, endpoint: str) -> TokenBucketRateLimiter:
        """The limiter of an endpoint; always the same one."""
        limiter = self._limiters.get(endpoint)
        if limiter is None:
            limiter = TokenBucketRateLimiter(self.default_rate, self.default_period)
            self._limiters[endpoint] = limiter
        return limiter

    async def execute(
        self, endpoint: str, func: Callable[..., Any], *args: Any, tokens: float = 1.0, **kwargs: Any
    ) -> Any:
        """As `TokenBucketRateLimiter.execute`, in the line of `endpoint`."""
        return await self.get_limiter(endpoint).execute(func, *args, tokens=tokens, **kwargs)

    async def update_rate_limit(
        self,
        endpoint: str,
        rate: float,
        period: float | None = None,
        max_tokens: float | None = None,
        reset_tokens: bool = False,
    ) -> None:
        """Change an endpoint's rate, also while calls wait; those then wait by the new one.

        What was admitted before counts against the new rate, so no window holds more than the larger of the
        two, and none that begins after the change more than the new one.

        Args:
            endpoint: Its name.
            rate: Tokens per period.
            period: Seconds; None: as before.
            max_tokens: The bucket; None: the rate.
            reset_tokens: Fill the bucket and forget what was admitted.

        Raises:
            ConfigurationError: (a ValueError) a value that is no positive number.
        """
        limiter = self.get_limiter(endpoint)
        limiter._configure(
            Quota(
                rate, limiter.period if period is None else period, rate if max_tokens is None else max_tokens
            )
        )
        if reset_tokens:
            limiter._turns.refill()


class AdaptiveRateLimiter(TokenBucketRateLimiter):
    """A rate that follows what the service's quota headers say, in the forms of every provider.

    The rate is the lower of the reported limit and of the pace at which what remains lasts until the
    reset, times `safety_factor`; and never more is admitted than what remains.

    Args:
        initial_rate: Tokens per period until a header says something else.
        initial_period: Seconds; it stays.
        max_tokens: The bucket; None: the rate.
        min_rate: Tokens per period that are kept up even when nothing remains.
        safety_factor: Above 0 and at most 1.
        quota_headers: The provider's family of headers; "any" reads them all.
        resource: Which of the two quotas a token stands for: "requests" or "tokens".

    Raises:
        ConfigurationError: (a ValueError) a value out of its range.

    Example::

        limiter = AdaptiveRateLimiter(initial_rate=10.0, safety_factor=0.8)
        answer = await limiter.execute(client.request, "GET", "/users")
        limiter.update_from_headers(answer.headers)
    """

    def __init__(
        self,
        initial_rate: float,
        initial_period: float = 1.0,
        max_tokens: float | None = None,
        min_rate: float = 1.0,
        safety_factor: float = 0.9,
        *,
        quota_headers: str = "any",
        resource: Resource = "requests",
    ) -> None:
        super().__init__(initial_rate, initial_period, max_tokens)
        if not 0.0 < safety_factor <= 1.0:
            raise ConfigurationError(f"safety_factor is above 0 and at most 1, not {safety_factor!r}")
        Quota(min_rate, initial_period)  # refuses what cannot work
        read_quota(quota_headers, {})  # so is an unknown family
        self.min_rate = min_rate
        self.safety_factor = safety_factor
        self._asked_burst = max_tokens
        self._family = quota_headers
        self._paused_until = -math.inf  # in seconds of the loop's clock
        self._resource = resource

    async def acquire(self, tokens: float = 1.0) -> float:
        """As for `TokenBucketRateLimiter`; a Retry-After postpones the turn."""
        return max(await super().acquire(tokens), self._paused_until - _now())

    async def execute(self, func: Callable[..., Any], *args: Any, tokens: float = 1.0, **kwargs: Any) -> Any:
        """As for `TokenBucketRateLimiter`; a Retry-After is waited out first."""
        if (pause := self._paused_until - _now()) > 0.0:
            await asyncio.sleep(pause)
        return await super().execute(func, *args, tokens=tokens, **kwargs)

    def update_from_headers(self, headers: Mapping[str, str]) -> None:
        """Adapt to the quota headers and the Retry-After of an answer, if it has any. Names in any case."""
        paces: list[float] = []
        told_at = {"date": formatdate(usegmt=True)}  # unless the answer says itself what time it was
        lowered = {**told_at, **{name.lower(): value for name, value in headers.items()}}
        for news in read_quota(self._family, lowered):
            if news.resource != self._resource:
                continue
            if news.limit is not None and news.period is not None:
                paces.append(news.limit / news.period)
            if news.remaining is not None:
                if news.reset_after:
                    paces.append(news.remaining / news.reset_after)
                self._turns.tighten(news.remaining, news.reset_after)
        wait = read_retry_after(lowered, time.time())
        if wait is not None:
            self._paused_until = max(self._paused_until, _now() + wait)
        if paces:
            rate = max(min(paces) * self.safety_factor * self.period, self.min_rate)
            self._configure(Quota(rate, self.period, self._asked_burst or rate))


# More calls than are given back at once; beyond it the oldest are taken as used.
_REMEMBERED = 10_000


def _now() -> float:
    """The time of the running loop, or of the same clock outside of one."""
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return time.monotonic()


def _check_tokens(tokens: float) -> None:
    if not 0.0 < tokens < math.inf:
        raise ConfigurationError(f"tokens must be a positive number, got {tokens!r}", setting="tokens")


def _check_level(initial_tokens: float | None) -> None:
    if initial_tokens is not None and not 0.0 <= initial_tokens < math.inf:
        raise ConfigurationError(f"initial_tokens must be a number from 0, not {initial_tokens!r}")
