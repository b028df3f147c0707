"""Deadline timer: cancels tasks that take too long, with one loop timer for all of them.

`asyncio.timeout` creates a timer for each call, and most calls end long before it fires. Here each call is an
entry in a heap, and the loop has one timer, for the earliest entry.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from heapq import heapify, heappop, heappush

from callgate.policies.timeout.alarm import Alarm

__all__ = ["Reminder", "Watch", "Watched"]

# A timer that fires this many seconds late shows that the process was suspended or its loop blocked. Tasks
# then get that time again, up to the longest grace.
_STALLED = 0.1
_LONGEST_GRACE = 1.0
# The heap is rebuilt once it has more dead entries than this, and more dead than live ones.
_FEW = 64


class Reminder:
    """A function that is called at its time."""

    __slots__ = ("_call", "ended")

    def __init__(self, call: Callable[[], object]) -> None:
        self.ended = False
        self._call = call

    def expire(self) -> None:
        """Call the function."""
        self.ended = True
        self._call()


class Watched:
    """A task that is cancelled at its time."""

    __slots__ = ("_cancelling", "_settled", "ended", "expired", "task")

    def __init__(self, task: asyncio.Task[object]) -> None:
        self.task = task
        self.ended = False
        self.expired = False
        self._settled = False
        # Earlier cancellations from outside, to distinguish them from that of this timer.
        self._cancelling = task.cancelling()

    def expire(self) -> None:
        """Cancel the task."""
        # Counted as ended here, so that `end` does not look for it in the heap.
        self.ended = self.expired = True
        self.task.cancel()

    def was_it(self) -> bool:
        """True if a `CancelledError` that was just raised comes from this timer alone.

        The cancellation is then taken back, as `asyncio.timeout` does: the task goes on.
        """
        if not self.expired or self._settled:
            return False
        self._settled = True
        return self.task.uncancel() <= self._cancelling


class Watch:
    """Cancels each watched task at its time. Belongs to one event loop.

    Example::

        watched = watch.begin(asyncio.current_task(), loop.time() + 60.0)
        try:
            return await send()
        except asyncio.CancelledError:
            if watched.was_it():
                raise TimeoutError from None
            raise
        finally:
            watch.end(watched)
    """

    __slots__ = ("_alarm", "_dead", "_due", "_grace", "_heap", "_loop", "_number")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # The number orders entries of the same time, so that the objects are not compared.
        self._heap: list[tuple[float, int, Reminder | Watched]] = []
        self._number = 0
        self._dead = 0
        self._due = -math.inf  # the time that the alarm is set to
        self._grace = False
        self._alarm = Alarm(self._look)

    def begin(self, task: asyncio.Task[object], when: float) -> Watched:
        """Cancel a task at a time of the loop's clock."""
        watched = Watched(task)
        self._number += 1
        entry = when, self._number, watched
        heappush(self._heap, entry)
        if self._heap[0] is entry:
            self._arm()
        return watched

    def remind(self, when: float, call: Callable[[], object]) -> Reminder:
        """Call a function at a time of the loop's clock, unless `end` is called before."""
        reminder = Reminder(call)
        self._number += 1
        entry = when, self._number, reminder
        heappush(self._heap, entry)
        if self._heap[0] is entry:
            self._arm()
        return reminder

    def end(self, watched: Reminder | Watched) -> None:
        """Stop watching. The entry is dropped at its time, or when there are many such entries."""
        if watched.ended:
            # The awaited code may have returned a result or raised another error despite the cancellation.
            if isinstance(watched, Watched):
                watched.was_it()
            return
        watched.ended = True
        self._dead += 1
        if self._dead > _FEW and 2 * self._dead > len(self._heap):
            self._heap = [each for each in self._heap if not each[2].ended]
            heapify(self._heap)
            self._dead = 0
            self._arm()

    def _arm(self) -> None:
        """Set the one timer to the earliest end."""
        if self._grace:
            return  # set to the end of the grace
        if self._heap:
            self._ring_by(max(self._heap[0][0], self._loop.time()))
        else:
            self._alarm.silence()

    def _ring_by(self, when: float) -> None:
        self._due = when
        self._alarm.ring_by(self._loop, when)

    def _look(self) -> None:
        now = self._loop.time()
        late = now - self._due
        if late > _STALLED and not self._grace:
            # uvloop runs timers before it reads sockets, so let it read responses first.
            self._grace = True
            self._ring_by(now + min(late, _LONGEST_GRACE))
            return
        self._grace = False
        try:
            # Read again each time, because the called function may end entries and so replace the heap.
            while (heap := self._heap) and (heap[0][2].ended or heap[0][0] <= now):
                watched = heappop(heap)[2]
                if watched.ended:
                    self._dead -= 1
                else:
                    watched.expire()
        finally:
            self._arm()  # also if the called function raises

    def __len__(self) -> int:
        return len(self._heap) - self._dead

    def __repr__(self) -> str:
        return f"<Watch {len(self)} watched>"
