"""Ends what takes too long: one timer, however many are watched.

`asyncio.timeout` makes a timer for each call, and most calls end long before it fires. Here a call that is
watched costs one entry in a heap, and the loop sees a single timer, that of the earliest end.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from heapq import heapify, heappop, heappush

from callgate.policies.timeout.alarm import Alarm

__all__ = ["Reminder", "Watch", "Watched"]

# An alarm that rings this many seconds late: the process was stopped, or something blocked its loop.
_STALLED = 0.1
_LONGEST_GRACE = 1.0
# Below this many dead entries nobody tidies up; above it, when they are more than the living.
_FEW = 64


class Reminder:
    """A function and when it is to be called (loop's clock, seconds)."""

    __slots__ = ("_call", "ended", "when")

    def __init__(self, when: float, call: Callable[[], object]) -> None:
        self.when = when
        self.ended = False
        self._call = call

    def __lt__(self, other: Reminder | Watched) -> bool:
        return self.when < other.when

    def expire(self) -> None:
        """Its time has come."""
        self.ended = True
        self._call()


class Watched:
    """One task and when its time is up (loop's clock, seconds)."""

    __slots__ = ("_cancelling", "_settled", "ended", "expired", "task", "when")

    def __init__(self, task: asyncio.Task[object], when: float) -> None:
        self.task = task
        self.when = when
        self.ended = False
        self.expired = False
        self._settled = False
        # Cancellations that are not ours, so that ours can be told from them later.
        self._cancelling = task.cancelling()

    def __lt__(self, other: Reminder | Watched) -> bool:
        return self.when < other.when

    def expire(self) -> None:
        """Its time is up: cancel the task."""
        # Counted as ended here, so that `end` does not look for it in the heap.
        self.ended = self.expired = True
        self.task.cancel()

    def was_it(self) -> bool:
        """Whether a `CancelledError` that just came is the watch's doing, and nobody else's.

        It then counts as dealt with, as `asyncio.timeout` does it: the task goes on.
        """
        if not self.expired or self._settled:
            return False
        self._settled = True
        return self.task.uncancel() <= self._cancelling


class Watch:
    """Cancels each watched task when its time is up. Belongs to one event loop.

    Example::

        watched = watch.begin(asyncio.current_task(), seconds=60.0)
        try:
            return await send()
        except asyncio.CancelledError:
            if watched.was_it():
                raise TimeoutError from None
            raise
        finally:
            watch.end(watched)
    """

    __slots__ = ("_alarm", "_dead", "_due", "_grace", "_heap", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._heap: list[Reminder | Watched] = []
        self._dead = 0
        self._due = -math.inf  # when the alarm was set to ring
        self._grace = False
        self._alarm = Alarm(self._look)

    def begin(self, task: asyncio.Task[object], seconds: float) -> Watched:
        """Watch a task from now on, for so many seconds."""
        return self.begin_until(task, self._loop.time() + seconds)

    def begin_until(self, task: asyncio.Task[object], when: float) -> Watched:
        """Watch a task until a moment of the loop's clock."""
        watched = Watched(task, when)
        heap = self._heap
        heappush(heap, watched)
        if heap[0] is watched:
            self._arm()
        return watched

    def remind(self, when: float, call: Callable[[], object]) -> Reminder:
        """Call a function at a moment of the loop's clock, unless it is ended before."""
        reminder = Reminder(when, call)
        heappush(self._heap, reminder)
        if self._heap[0] is reminder:
            self._arm()
        return reminder

    def end(self, watched: Reminder | Watched) -> None:
        """Watch it no more. Its entry is dropped when its time comes, or when there are many such."""
        if watched.ended:
            # What was awaited may have answered our cancellation with a result, or with another error.
            if isinstance(watched, Watched):
                watched.was_it()
            return
        watched.ended = True
        self._dead += 1
        if self._dead > _FEW and 2 * self._dead > len(self._heap):
            self._heap = [each for each in self._heap if not each.ended]
            heapify(self._heap)
            self._dead = 0
            self._arm()

    def _arm(self) -> None:
        """Set the one timer to the earliest end."""
        if self._grace:
            return  # it rings at the end of the grace
        if self._heap:
            self._ring_by(max(self._heap[0].when, self._loop.time()))
        else:
            self._alarm.silence()

    def _ring_by(self, when: float) -> None:
        self._due = when
        self._alarm.ring_by(self._loop, when)

    def _look(self) -> None:
        now = self._loop.time()
        late = now - self._due
        if late > _STALLED and not self._grace:
            # uvloop runs timers before it reads sockets: what has arrived meanwhile is read first.
            self._grace = True
            self._ring_by(now + min(late, _LONGEST_GRACE))
            return
        self._grace = False
        try:
            # Read anew each time: what is called may end others, and have the heap tidied up.
            while (heap := self._heap) and (heap[0].ended or heap[0].when <= now):
                watched = heappop(heap)
                if watched.ended:
                    self._dead -= 1
                else:
                    watched.expire()
        finally:
            self._arm()  # also when a function that was to be called raises

    def __len__(self) -> int:
        return len(self._heap) - self._dead

    def __repr__(self) -> str:
        return f"<Watch {len(self)} watched>"
