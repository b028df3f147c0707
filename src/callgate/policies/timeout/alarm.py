"""One timer for many moments. It fires at the earliest; its callback checks what is due."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

__all__ = ["Alarm", "before_time"]


class Alarm:
    """The single timer of something that waits for many moments.

    It may ring early, when the moment it was set for has passed away meanwhile: who hears it looks at the
    clock. Cancelled timers pile up in asyncio's heap, so one that rings soon enough is left alone.

    Args:
        ring: Called at the moment, or one clock resolution before it.

    Example::

        alarm = Alarm(self._look)
        alarm.ring_by(loop, deadline)
    """

    __slots__ = ("_at", "_ring", "_timer")

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._timer: asyncio.Handle | None = None
        # Kept here because uvloop's handle of a moment that is already due does not tell it.
        self._at = math.inf

    def ring_by(self, loop: asyncio.AbstractEventLoop, when: float) -> None:
        """Ring no later than `when`, by the loop's clock in seconds; infinity asks for nothing."""
        if self._timer is not None:
            if self._at <= when:
                return
            self._timer.cancel()
            self._timer = None
        if when < math.inf:
            self._timer = loop.call_at(when, self._on_timer)
            self._at = when

    def silence(self) -> None:
        """Ring no more, until it is set again."""
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
    """A moment in seconds, earlier than any that a loop returns: the time of what no loop has used yet.

    >>> before_time() < 0.0
    True
    """
    return -math.inf
