"""The limiters of several models, seen as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from callgate.model.base import LimiterView
from callgate.policies.limit.gate import Listener
from callgate.policies.limit.quota import Quota
from callgate.policies.limit.snapshot import Bottleneck, LimiterSnapshot, RateSnapshot

__all__ = ["JointLimiter"]


class JointLimiter:
    """The limiters of the models in use, seen as one. It is a `LimiterView`.

    Args:
        name: For displays.
        every: All of them, also of models that get no calls at present.
        in_use: Gives those of the models that get calls at present; at least one.

    Example::

        view = JointLimiter("a + b", limiters, lambda: limiters)
        print(view.in_flight, view.snapshot().requests)
    """

    def __init__(
        self, name: str, every: Sequence[LimiterView], in_use: Callable[[], Sequence[LimiterView]]
    ) -> None:
        self._name = name
        self._every = every
        self._in_use = in_use

    @property
    def waiting(self) -> int:
        """Calls in the shortest line: while it is 0, one more could be on its way."""
        return min(limiter.waiting for limiter in self._in_use())

    @property
    def in_flight(self) -> int:
        """Calls that have been admitted by any of them."""
        return sum(limiter.in_flight for limiter in self._every)

    @property
    def bottleneck(self) -> Bottleneck | None:
        """What the first of them waits for; None while one has nobody waiting."""
        found = [limiter.bottleneck for limiter in self._in_use()]
        return None if None in found else found[0]

    def expected_wait(self, tokens: float = 1.0, call_seconds: float = 1.0) -> float:
        """Seconds that one more call would wait at least, where it waits least."""
        return min(limiter.expected_wait(tokens, call_seconds) for limiter in self._in_use())

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Have `listener` called with the events of each limiter; the returned function unsubscribes it."""
        subscriptions = [limiter.subscribe(listener) for limiter in self._every]

        def unsubscribe() -> None:
            for each in subscriptions:
                each()

        return unsubscribe

    def snapshot(self) -> LimiterSnapshot:
        """All together: sums, and rates by the minute."""
        parts = [limiter.snapshot() for limiter in self._in_use()]
        places = [part.concurrency for part in parts]
        return LimiterSnapshot(
            name=self._name,
            waiting=sum(part.waiting for part in parts),
            in_flight=self.in_flight,
            concurrency=None if None in places else sum(place or 0 for place in places),
            paused_for=min(part.paused_for for part in parts),
            bottleneck=self.bottleneck,
            requests=_together([part.requests for part in parts]),
            tokens=_together([part.tokens for part in parts]),
        )


def _together(rates: list[RateSnapshot | None]) -> RateSnapshot | None:
    """Several rates as one by the minute; None when one of them is without bound."""
    known = [rate for rate in rates if rate is not None]
    if len(known) < len(rates):
        return None
    return RateSnapshot(
        Quota(sum(60.0 * rate.quota.per_second for rate in known), 60.0),
        learned=all(rate.learned for rate in known),
        level=sum(rate.level for rate in known),
        used=sum(rate.used * 60.0 / rate.quota.period for rate in known),
    )
