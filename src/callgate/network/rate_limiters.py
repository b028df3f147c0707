"""Rate limiters for any function, on the same window mechanism as the limiter of models.

In every window of one period at most the rate is admitted, or the size of the bucket if that is larger.
`TokenBucket` is a plain token bucket instead: one window may hold the rate and the bucket.
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
from callgate.network.reservations import RateQueue
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
    """At most `rate` tokens in every period, in bursts of at most `max_tokens`, in FIFO order.

    Args:
        rate: Tokens per period.
        period: Seconds.
        max_tokens: The size of the bucket; None: the rate. If it is above the rate, one window may hold it.
        initial_tokens: Tokens in the bucket at the start; None: full.

    Raises:
        ConfigurationError: (a ValueError) a value is not a positive number.

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
        self._queue = RateQueue(
            Quota(rate, period, rate if max_tokens is None else max_tokens), initial_tokens
        )

    @property
    def rate(self) -> float:
        """Tokens per period."""
        return self._queue.quota.rate

    @property
    def period(self) -> float:
        """Seconds."""
        return self._queue.quota.period

    @property
    def max_tokens(self) -> float:
        """The size of the bucket."""
        return self._queue.quota.capacity or self.rate

    async def acquire(self, tokens: float = 1.0) -> float:
        """Reserve tokens; returns the seconds until they may be used, 0.0 for now.

        The caller sleeps for that time. A reservation cannot be cancelled; a call that waits in `execute`
        can.

        Raises:
            QuotaTooSmallError: (a ValueError) `tokens` exceeds the size of a window.
            ConfigurationError: (a ValueError) `tokens` is negative.
        """
        return self._queue.reserve(tokens)

    async def execute(self, func: Callable[..., Any], *args: Any, tokens: float = 1.0, **kwargs: Any) -> Any:
        """Wait for tokens, then call `func`; an awaitable result is awaited. A cancelled call leaves the
        queue.

        Raises:
            QuotaTooSmallError: (a ValueError) `tokens` exceeds the size of a window.
            BaseException: any error of `func`.
        """
        await self._queue.wait(tokens)
        result = func(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    def _configure(self, quota: Quota) -> None:
        self._queue.configure(quota)

    @live_repr
    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.rate:g} in {self.period:g} s, {self._queue.waiting} waiting>"


@dataclass(frozen=True, slots=True)
class RateLimitConfig:
    """The settings of a `TokenBucket`.

    Args:
        capacity: The size of the bucket.
        refill_rate: Tokens added per second.
        initial_tokens: Tokens in the bucket at the start; None: full.

    Raises:
        ConfigurationError: (a ValueError) a value is not a positive number.

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
        """The same as a `Quota`."""
        return Quota(self.refill_rate, 1.0, self.capacity)


class TokenBucket:
    """A bucket of tokens that refills steadily. Tokens can be taken, waited for and released.

    Example::

        bucket = TokenBucket(RateLimitConfig(capacity=10, refill_rate=2.0))
        if await bucket.acquire(3, timeout=1.0):
            ...
    """

    def __init__(self, config: RateLimitConfig) -> None:
        self.config = config
        self._queue = RateQueue(config.quota(), config.initial_tokens, Bucket)
        # Charges that were not released, the newest last.
        self._taken: deque[tuple[Charge, float]] = deque(maxlen=_REMEMBERED)

    async def acquire(self, tokens: float = 1, *, timeout: float | None = None) -> bool:
        """Take tokens; waits for them in FIFO order.

        Args:
            tokens: The number of tokens.
            timeout: Seconds to wait at most; None: no limit; 0: do not wait.

        Returns:
            False if `timeout` passed; no tokens are taken then.

        Raises:
            QuotaTooSmallError: (a ValueError) `tokens` exceeds the capacity, and there is no timeout.
            ConfigurationError: (a ValueError) `tokens` is not a positive number.
        """
        if timeout is not None and (timeout <= 0 or tokens > self.config.capacity):
            return await self.try_acquire(tokens)
        _check_tokens(tokens)
        deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
        try:
            charge = await self._queue.wait(tokens, deadline=deadline)
        except TimeoutError:
            return False
        self._remember(charge, tokens)
        return True

    async def try_acquire(self, tokens: float = 1) -> bool:
        """Take tokens if they are available and no other call waits; else return False and take none.

        Raises:
            ConfigurationError: (a ValueError) `tokens` is not a positive number.
        """
        _check_tokens(tokens)
        charge = self._queue.take(tokens)
        if charge is None:
            return False
        self._remember(charge, tokens)
        return True

    async def release(self, tokens: float = 1) -> None:
        """Return unused tokens to the bucket, at most as many as were taken."""
        while tokens > 0 and self._taken:
            charge, amount = self._taken.pop()
            back = min(amount, tokens)
            tokens -= back
            if amount > back:
                self._taken.append((charge, amount - back))
            self._queue.give_back(charge, back)

    async def reset(self) -> None:
        """Fill the bucket, and drop the record of tokens taken."""
        self._taken.clear()
        self._queue.refill()

    def to_dict(self) -> dict[str, float]:
        """The settings, ready for JSON: `capacity` (tokens) and `refill_rate` (tokens a second)."""
        return {"capacity": self.config.capacity, "refill_rate": self.config.refill_rate}

    def _remember(self, charge: Charge, tokens: float) -> None:
        if self._taken and self._taken[-1][0][1] is charge[1]:  # in the same slot of the log
            tokens += self._taken.pop()[1]
        self._taken.append((charge, tokens))

    @live_repr
    def __repr__(self) -> str:
        config = self.config
        return f"<TokenBucket {config.capacity:g}, {config.refill_rate:g}/s, {self._queue.waiting} waiting>"


class EndpointRateLimiter:
    """A rate and a queue for each endpoint.

    Args:
        default_rate: Tokens per period of endpoints without a rate of their own.
        default_period: Seconds.

    Example::

        limiter = EndpointRateLimiter(default_rate=10.0)
        await limiter.update_rate_limit("orders", rate=2.0)
        answer = await limiter.execute("orders", client.request, "GET", "/orders")
    """

    def __init__(self, default_rate: float = 10.0, default_period: float = 1.0) -> None:
        self.default_rate = default_rate
        self.default_period = default_period
        Quota(default_rate, default_period)  # raises for invalid values
        self._limiters: dict[str, TokenBucketRateLimiter] = {}

    def get_limiter(self, endpoint: str) -> TokenBucketRateLimiter:
        """The limiter of an endpoint, created on first use."""
        limiter = self._limiters.get(endpoint)
        if limiter is None:
            limiter = TokenBucketRateLimiter(self.default_rate, self.default_period)
            self._limiters[endpoint] = limiter
        return limiter

    async def execute(
        self, endpoint: str, func: Callable[..., Any], *args: Any, tokens: float = 1.0, **kwargs: Any
    ) -> Any:
        """As `TokenBucketRateLimiter.execute`, in the queue of `endpoint`."""
        return await self.get_limiter(endpoint).execute(func, *args, tokens=tokens, **kwargs)

    async def update_rate_limit(
        self,
        endpoint: str,
        rate: float,
        period: float | None = None,
        max_tokens: float | None = None,
        reset_tokens: bool = False,
    ) -> None:
        """Change an endpoint's rate, also of calls that wait.

        Tokens taken before count against the new rate: no window exceeds the larger of the two rates, and
            none that
        begins after the change exceeds the new one.

        Args:
            endpoint: Its name.
            rate: Tokens per period.
            period: Seconds; None: as before.
            max_tokens: The size of the bucket; None: the rate.
            reset_tokens: Fill the bucket, and do not count tokens taken before.

        Raises:
            ConfigurationError: (a ValueError) a value is not a positive number.
        """
        limiter = self.get_limiter(endpoint)
        limiter._configure(
            Quota(
                rate, limiter.period if period is None else period, rate if max_tokens is None else max_tokens
            )
        )
        if reset_tokens:
            limiter._queue.refill()


class AdaptiveRateLimiter(TokenBucketRateLimiter):
    """A rate that follows the quota headers of a service.

    The rate is the lower of the reported limit and the remaining quota divided by the time to its reset,
    times `safety_factor`. At most the remaining quota is admitted.

    Args:
        initial_rate: Tokens per period until a header reports a quota.
        initial_period: Seconds; it does not change.
        max_tokens: The size of the bucket; None: the rate.
        min_rate: The lowest rate, also when no quota remains.
        safety_factor: Above 0 and at most 1.
        quota_headers: The family of headers, a name of `quota_headers.FAMILIES`; "any" reads all of them.
        resource: The quota that a token counts for: "requests" or "tokens".

    Raises:
        ConfigurationError: (a ValueError) a value is out of its range.

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
        Quota(min_rate, initial_period)  # raises for invalid values
        read_quota(quota_headers, {})  # raises for an unknown family
        self.min_rate = min_rate
        self.safety_factor = safety_factor
        self._asked_burst = max_tokens
        self._family = quota_headers
        self._paused_until = -math.inf  # in seconds of the loop's clock
        self._resource = resource

    async def acquire(self, tokens: float = 1.0) -> float:
        """As for `TokenBucketRateLimiter`, and at least the rest of a Retry-After."""
        return max(await super().acquire(tokens), self._paused_until - _now())

    async def execute(self, func: Callable[..., Any], *args: Any, tokens: float = 1.0, **kwargs: Any) -> Any:
        """As for `TokenBucketRateLimiter`, after the end of a Retry-After."""
        if (pause := self._paused_until - _now()) > 0.0:
            await asyncio.sleep(pause)
        return await super().execute(func, *args, tokens=tokens, **kwargs)

    def update_from_headers(self, headers: Mapping[str, str]) -> None:
        """Adapt to the quota headers and the Retry-After of a response. Names may be in any case."""
        paces: list[float] = []
        received_at = {"date": formatdate(usegmt=True)}  # if the response has no date of its own
        lowered = {**received_at, **{name.lower(): value for name, value in headers.items()}}
        for news in read_quota(self._family, lowered):
            if news.resource != self._resource:
                continue
            if news.limit is not None and news.period is not None:
                paces.append(news.limit / news.period)
            if news.remaining is not None:
                if news.reset_after:
                    paces.append(news.remaining / news.reset_after)
                self._queue.tighten(news.remaining, news.reset_after)
        wait = read_retry_after(lowered, time.time())
        if wait is not None:
            self._paused_until = max(self._paused_until, _now() + wait)
        if paces:
            rate = max(min(paces) * self.safety_factor * self.period, self.min_rate)
            self._configure(Quota(rate, self.period, self._asked_burst or rate))


# The most charges that can be released; older ones count as used.
_REMEMBERED = 10_000


def _now() -> float:
    """The time of the running loop, or the monotonic clock outside of one."""
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
