"""Admission to one endpoint: its limits, and the queue in front of them."""

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
    """Admits calls so that no quota is ever exceeded, and as much of it as possible is used.

    In every window of one period at most the rate is admitted (or the burst that was asked for, where that is
    more). Calls are served in the order they came; none overtakes because it is small. Retries (`front`) are
    a class of their own in front. One timer is held, however many wait; nothing polls.

    A limiter is a `Gate` with a queue of its own. It belongs to one event loop at a time (another one may
    take over when that is closed), and is not thread-safe.

    Args:
        concurrency: Concurrent calls; None: any number.
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
        """A lease at once, or None when the call would have to wait (or another one waits already).

        Raises:
            ConfigurationError: `tokens` is negative or not a number.
            RuntimeError: Called outside of an event loop, or on another one than the limiter's.
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
            tokens: The call's estimated cost.
            front: A retry: it stands before all fresh calls and behind the retries that came earlier.
            deadline: In seconds of the loop's clock. It is refused at once when what stands before it in the
                queue cannot be admitted in time, and leaves the queue when its deadline comes.
            on_head: Called once, with the time, when the call comes to the head of the queue or is admitted.

        Raises:
            QuotaTooSmallError: The call costs more than a whole window may hold.
            DeadlineRefusalError: It cannot be admitted, or was not, before its deadline.
            ConfigurationError: `tokens` is negative or not a number.
            RuntimeError: On another event loop than the limiter's.
        """
        candidate = FirstWithRoom(self._queue.gates, tokens)
        return await self._queue.acquire(candidate, front=front, deadline=deadline, on_head=on_head)

    def expected_wait(
        self, tokens: float = 1.0, call_seconds: float = 1.0, calls: int = 0, ahead: float = 0.0
    ) -> float:
        """As `Gate.expected_wait`, where the calls that wait here stand before it, too."""
        waiting, their_tokens = self._queue.ahead()
        return super().expected_wait(tokens, call_seconds, calls + waiting, ahead + their_tokens)

    def close(self, error: BaseException) -> None:
        """Fail all calls that wait with `error`. Calls in flight keep their leases; new ones may come."""
        self._queue.close(error)

    @property
    def waiting(self) -> int:
        """Calls in the queue."""
        return self._queue.waiting

    @property
    def bottleneck(self) -> Bottleneck | None:
        """What the head of the queue waits for; None when no call waits."""
        head = self._queue.head
        return None if head is None else self.limited_by(head.tokens, self.clock())

    def snapshot(self) -> LimiterSnapshot:
        """The state at this moment."""
        return replace(super().snapshot(), waiting=self.waiting, bottleneck=self.bottleneck)
