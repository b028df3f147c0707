"""Time as the mechanisms see it: monotonic seconds, passed in; wall-clock time only where it is shown."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

__all__ = ["Clock", "SystemClock", "before_time"]


class Clock(Protocol):
    """Monotonic seconds, and how to show them. The zero of `time` means nothing.

    Example::

        def age(clock: Clock, since: float) -> float:
            return clock.time() - since
    """

    def time(self) -> float:
        """The present moment in monotonic seconds."""
        ...

    def to_datetime(self, moment: float) -> datetime:
        """A moment of `time()` as a datetime in UTC, for people."""
        ...


class SystemClock:
    """The clock that asyncio's own loops and uvloop use, so moments of `loop.time()` can be rendered, too.

    The wall clock is read once: later corrections of it move no timestamps against each other.

    >>> clock = SystemClock()
    >>> clock.to_datetime(clock.time()).tzinfo is UTC
    True
    """

    __slots__ = ("_anchor", "_zero")

    def __init__(self) -> None:
        self._anchor = time.monotonic()
        self._zero = datetime.now(UTC)

    def time(self) -> float:
        """The present moment in monotonic seconds."""
        return time.monotonic()

    def to_datetime(self, moment: float) -> datetime:
        """A moment of `time()` as a datetime in UTC."""
        return self._zero + timedelta(seconds=moment - self._anchor)


def before_time() -> float:
    """The time of what no event loop has used yet: earlier than any clock's.

    >>> before_time() < 0.0
    True
    """
    return -math.inf
