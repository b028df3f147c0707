"""`CombinedLimiter`: the limiters of a pool's endpoints as one `LimiterView`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from callgate.policies.limit.gate import Gate, Listener
from callgate.policies.limit.quota import Quota
from callgate.policies.limit.snapshot import Bottleneck, LimiterSnapshot, RateSnapshot
from callgate.policies.route.pool import Pool

__all__ = ["CombinedLimiter"]


class CombinedLimiter:
    """The queue and the gates of a pool as one `LimiterView`.

    Example::

        view = CombinedLimiter(pool)
        print(view.in_flight, view.snapshot().requests)
    """

    __slots__ = ("_pool",)

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @property
    def waiting(self) -> int:
        """Calls in the queue; 0 while an endpoint has room (calls may still wait for a faster one)."""
        waiting, now = self._pool.queue.waiting, self._pool.clock()
        return 0 if waiting and any(gate.wait(1.0, now) <= 0.0 for gate in self._gates()) else waiting

    @property
    def in_flight(self) -> int:
        """Calls that were admitted at any endpoint and have not ended."""
        return sum(member.gate.in_flight for member in self._pool.members)

    @property
    def bottleneck(self) -> Bottleneck | None:
        """The limit that the head of the queue waits for at the first endpoint; None if there is none."""
        head = self._pool.queue.head
        return None if head is None else self._gates()[0].limited_by(head.tokens, self._pool.clock())

    def expected_wait(self, tokens: float = 1.0, call_seconds: float = 1.0) -> float:
        """A lower bound of the seconds that the next call would wait, over all endpoints."""
        ahead = self.waiting
        return min(gate.expected_wait(tokens, call_seconds, calls=ahead) for gate in self._gates())

    def expect(self, calls: int) -> None:
        """Start with this many concurrent calls, divided among the endpoints; see `LimiterView.expect`."""
        members = self._pool.members
        for member in members:
            member.gate.expect(-(-calls // len(members)))

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with the events of each gate; returns a function to unsubscribe."""
        subscriptions = [member.gate.subscribe(listener) for member in self._pool.members]

        def unsubscribe() -> None:
            for each in subscriptions:
                each()

        return unsubscribe

    def snapshot(self) -> LimiterSnapshot:
        """The sums over all endpoints in use, with rates per minute."""
        parts = [gate.snapshot() for gate in self._gates()]
        slots = [part.concurrency for part in parts]
        return LimiterSnapshot(
            name=self._pool.name,
            waiting=self._pool.queue.waiting,
            in_flight=self.in_flight,
            concurrency=None if None in slots else sum(slot or 0 for slot in slots),
            paused_for=min(part.paused_for for part in parts),
            bottleneck=self.bottleneck,
            requests=_sum_by_minute([part.requests for part in parts]),
            tokens=_sum_by_minute([part.tokens for part in parts]),
        )

    def _gates(self) -> list[Gate]:
        return [member.gate for member in self._pool.in_use()]


def _sum_by_minute(rates: Sequence[RateSnapshot | None]) -> RateSnapshot | None:
    """The sum of several rates, per minute; None if one of them is unlimited."""
    known = [rate for rate in rates if rate is not None]
    if len(known) < len(rates):
        return None
    return RateSnapshot(
        Quota(sum(60.0 * rate.quota.per_second for rate in known), 60.0),
        learned=all(rate.learned for rate in known),
        level=sum(rate.level for rate in known),
        used=sum(rate.used * 60.0 / rate.quota.period for rate in known),
    )
