"""`Limiter`: the limits of one endpoint, and the queue in front of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from callgate.policies.limit.adaptive import AdaptiveConcurrency
from callgate.policies.limit.candidate import FirstWithRoom
from callgate.policies.limit.errors import not_a_cost
from callgate.policies.limit.gate import Gate
from callgate.policies.limit.lease import Lease
from callgate.policies.limit.queue import Queue
from callgate.policies.limit.quota import Quota
from callgate.policies.limit.snapshot import Bottleneck, LimiterSnapshot

__all__ = ["Limiter"]


class Limiter(Gate):
    """A `Gate` with a queue: admits calls within quotas and concurrency, in FIFO order.

    In every window of one period at most the rate is admitted (or the capacity of the quota, if that is
    more). A small call does not overtake a large one; retries (`front`) go before new calls. There is one
    timer for all waiting calls, and no polling.

    It belongs to one event loop until that is closed. Not thread-safe.

    Args:
        concurrency: The most concurrent calls; None: no limit.
        requests: The quota of calls, each of which costs 1; None: not limited.
        tokens: The quota of tokens; None: not limited.
        adaptive: Finds the concurrency by trial; `concurrency` stays an upper bound.
        name: For messages and displays.

    Raises:
        ConfigurationError: A concurrency below 1.

    Example::

        limiter = Limiter(concurrency=64, requests=Quota(600), tokens=Quota(1_000_000))
        lease = limiter.try_acquire(tokens=500) or await limiter.acquire(tokens=500)
        try:
            answer = await send()
            lease.settle(answer.usage.total_tokens)
        finally:
            lease.release()
    """

    __slots__ = ("_queue",)

    def __init__(
        self,
        *,
        concurrency: int | None = None,
        requests: Quota | None = None,
        tokens: Quota | None = None,
        adaptive: AdaptiveConcurrency | None = None,
        name: str = "",
    ) -> None:
        super().__init__(
            concurrency=concurrency, requests=requests, tokens=tokens, adaptive=adaptive, name=name
        )
        self._queue = Queue([self], name)

    def try_acquire(self, tokens: float = 0.0) -> Lease | None:
        """A lease, or None if the call would have to wait or other calls are waiting.

        Raises:
            ConfigurationError: `tokens` is negative or not a number.
            RuntimeError: There is no running event loop, or another one than the limiter's.
        """
        queue = self._queue
        loop = asyncio.get_running_loop()
        if loop is not queue.loop:
            queue.bind(loop)
        if not tokens >= 0.0:
            raise not_a_cost(tokens)
        if queue.waiters.live:
            return None
        lease = self.try_grant(tokens, self.clock())
        if lease is not None and self.listeners:
            self.admitted()
        return lease

    async def acquire(
        self,
        tokens: float = 0.0,
        *,
        front: bool = False,
        deadline: float | None = None,
        on_head: Callable[[float], None] | None = None,
    ) -> Lease:
        """Wait in the queue until the call is admitted.

        Args:
            tokens: The estimated cost of the call.
            front, deadline, on_head: As for `Queue.acquire`.

        Raises:
            QuotaTooSmallError: The call costs more than a whole window may hold.
            DeadlineRefusalError: The call cannot be admitted, or was not admitted, before its deadline.
            ConfigurationError: `tokens` is negative or not a number.
            RuntimeError: The running event loop is not the limiter's.
        """
        candidate = FirstWithRoom(self._queue.gates, tokens)
        return await self._queue.acquire(candidate, front=front, deadline=deadline, on_head=on_head)

    def expected_wait(
        self, tokens: float = 1.0, call_seconds: float = 1.0, calls: int = 0, ahead: float = 0.0
    ) -> float:
        """As `Gate.expected_wait`, with the calls in the queue before it."""
        waiting, their_tokens = self._queue.ahead()
        return super().expected_wait(tokens, call_seconds, calls + waiting, ahead + their_tokens)

    def close(self, error: BaseException) -> None:
        """End all waiting calls with `error`. Calls in flight keep their leases; new calls may join."""
        self._queue.close(error)

    @property
    def waiting(self) -> int:
        """Calls in the queue."""
        return self._queue.waiting

    @property
    def bottleneck(self) -> Bottleneck | None:
        """The limit that the head of the queue waits for; None if the queue is empty."""
        head = self._queue.head
        return None if head is None else self.limited_by(head.tokens, self.clock())

    def snapshot(self) -> LimiterSnapshot:
        """The state at this moment."""
        return replace(super().snapshot(), waiting=self.waiting, bottleneck=self.bottleneck)
