"""`LimiterView`: the readable state of a limiter, or of several limiters combined."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from callgate.policies.limit.gate import Listener
from callgate.policies.limit.snapshot import Bottleneck, LimiterSnapshot

__all__ = ["LimiterView"]


class LimiterView(Protocol):
    """The readable state of a limiter, or of several limiters combined."""

    @property
    def waiting(self) -> int:
        """Calls that are before the next one in the queue; 0 while it would be sent at once."""
        ...

    @property
    def in_flight(self) -> int:
        """Calls that were admitted and have not ended."""
        ...

    @property
    def bottleneck(self) -> Bottleneck | None:
        """The limit that the head of the queue waits for; None while the queue is empty."""
        ...

    def expected_wait(self, tokens: float = 1.0, call_seconds: float = 1.0) -> float:
        """A lower bound of the seconds that the next call would wait, if a call takes `call_seconds`."""
        ...

    def expect(self, calls: int) -> None:
        """Start with this many concurrent calls, if the concurrency is adaptive and no call has ended."""
        ...

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` when a call is admitted or there may be room; returns a function to unsubscribe."""
        ...

    def snapshot(self) -> LimiterSnapshot:
        """The state at this moment."""
        ...
