"""`Alarm`: one loop timer for many times. It fires at the earliest; its callback checks what is due."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

__all__ = ["Alarm", "before_time"]


class Alarm:
    """The only timer of an object with many deadlines.

    It may fire before the earliest one, so its callback checks the clock: an earlier timer is not replaced,
    because cancelled timers stay in the heap of asyncio.

    Args:
        ring: Called at the time, or one clock resolution before it.

    Example::

        alarm = Alarm(self._look)
        alarm.ring_by(loop, deadline)
    """

    __slots__ = ("_at", "_ring", "_timer")

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._timer: asyncio.Handle | None = None
        # Stored because uvloop's handle has no time if it is due already.
        self._at = math.inf

    def ring_by(self, loop: asyncio.AbstractEventLoop, when: float) -> None:
        """Fire no later than `when`, in seconds of the loop's clock; infinity: never."""
        if self._timer is not None:
            if self._at <= when:
                return
            self._timer.cancel()
            self._timer = None
        if when < math.inf:
            self._timer = loop.call_at(when, self._on_timer)
            self._at = when

    def silence(self) -> None:
        """Do not fire until it is set again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def forget(self) -> None:
        """Drop a timer whose loop is gone."""
        self._timer = None

    def _on_timer(self) -> None:
        self._timer = None
        self._ring()


def before_time() -> float:
    """A time before all times of any loop: the clock of an object that no loop has used yet.

    >>> before_time() < 0.0
    True
    """
    return -math.inf
