"""`LimiterView`: what can be read of a limiter, or of several that are seen as one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from callgate.policies.limit.gate import Listener
from callgate.policies.limit.snapshot import Bottleneck, LimiterSnapshot

__all__ = ["LimiterView"]


class LimiterView(Protocol):
    """What can be read of a limiter, or of several that are seen as one."""

    @property
    def waiting(self) -> int:
        """Calls that one more call would have to wait for; 0 while one more could be sent at once."""
        ...

    @property
    def in_flight(self) -> int:
        """Calls that were admitted and have not ended."""
        ...

    @property
    def bottleneck(self) -> Bottleneck | None:
        """What the head of the queue waits for; None while the queue is empty."""
        ...

    def expected_wait(self, tokens: float = 1.0, call_seconds: float = 1.0) -> float:
        """Seconds that one more call would wait at least, where a call takes `call_seconds`."""
        ...

    def expect(self, calls: int) -> None:
        """Begin with this many calls at once, where the concurrency is found by trial and none has ended."""
        ...

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Have `listener` called when a call is admitted or room may have come back; returns unsubscribe."""
        ...

    def snapshot(self) -> LimiterSnapshot:
        """The state at this moment."""
        ...
