"""The line in front of a limiter: first come, first served, with retries as a class of their own in front."""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from callgate.policies.limit.limiter import Lease

__all__ = ["Line", "Waiter", "announce"]

# Cancelled waiters are dropped when they reach the head. Behind a head that waits long they would pile up,
# so the line is rebuilt once this many of them, and more than half of it, are dead.
COMPACT_AT: Final = 64


class Waiter:
    """One call in the line; `waiting` ends once: by a grant, a cancellation, its deadline, the line's end."""

    __slots__ = ("deadline", "front", "future", "on_head", "tokens", "waiting")

    def __init__(
        self,
        future: asyncio.Future[Lease],
        tokens: float,
        front: bool,
        deadline: float | None,
        on_head: Callable[[float], None] | None,
    ) -> None:
        self.future = future
        self.tokens = tokens
        self.front = front
        self.deadline = deadline
        self.on_head = on_head
        self.waiting = True

    def announce(self, now: float) -> bool:
        """Call `on_head` if that has not been done yet; True: it has been called just now."""
        on_head, self.on_head = self.on_head, None
        if on_head is None:
            return False
        announce(on_head, now, self.future.get_loop())
        return True


def announce(on_head: Callable[[float], None], now: float, loop: asyncio.AbstractEventLoop) -> None:
    """Call back that a call is at the head of the line; what the callback raises goes to the loop's handler.

    Whoever moves the line is mostly another call, and must not pay for it.
    """
    try:
        on_head(now)
    except Exception as error:
        loop.call_exception_handler(
            {"message": "a callback of a call at the head of the line raised", "exception": error}
        )


class Line:
    """Two queues read as one: retries in their order, then fresh calls in theirs.

    `live` counts those who really wait. Nobody is ever taken out of the middle.
    """

    __slots__ = (
        "_dated",
        "_dead",
        "_deadlines",
        "_fresh",
        "_joined",
        "_retries",
        "_retrying",
        "_tokens",
        "live",
    )

    def __init__(self) -> None:
        self._retries: deque[Waiter] = deque()
        self._fresh: deque[Waiter] = deque()
        self._deadlines: list[tuple[float, int, Waiter]] = []
        self._joined = 0  # those with a deadline, ever: equal deadlines keep their order
        self._dated = 0  # of those who wait, how many have a deadline
        self._retrying = 0  # of those who wait, how many are retries
        self._dead = 0  # still in a queue, and not waiting any more
        self._tokens = [0.0, 0.0]  # what the fresh ones and the retries ask for together
        self.live = 0

    def join(self, waiter: Waiter) -> None:
        """Stand at the end of the waiter's own class."""
        (self._retries if waiter.front else self._fresh).append(waiter)
        self.live += 1
        self._retrying += waiter.front
        self._tokens[waiter.front] += waiter.tokens
        if waiter.deadline is not None:
            self._dated += 1
            self._joined += 1
            heapq.heappush(self._deadlines, (waiter.deadline, self._joined, waiter))

    def head(self) -> Waiter | None:
        """The next to be admitted; those who have gone meanwhile are dropped on the way."""
        while queue := self._retries or self._fresh:
            waiter = queue[0]
            if not waiter.waiting:
                queue.popleft()
                self._dead -= 1
            elif waiter.future.done():  # cancelled, and its task has not run since
                self.leave(waiter)
            else:
                return waiter
        return None

    def leave(self, waiter: Waiter) -> None:
        """Count the waiter out, once; its place in the queue goes when it comes to the head."""
        if not waiter.waiting:
            return
        waiter.waiting = False
        self.live -= 1
        self._dead += 1
        self._retrying -= waiter.front
        self._tokens[waiter.front] -= waiter.tokens
        if waiter.deadline is not None:
            self._dated -= 1
        if self.live == 0:
            self._tokens = [0.0, 0.0]  # and with them whatever floats have lost
        if self._dead > COMPACT_AT and self._dead > self.live:
            self._retries = deque(waiter for waiter in self._retries if waiter.waiting)
            self._fresh = deque(waiter for waiter in self._fresh if waiter.waiting)
            self._dead = 0
        if len(self._deadlines) > COMPACT_AT + 2 * self._dated:
            self._deadlines = [entry for entry in self._deadlines if entry[2].waiting]
            heapq.heapify(self._deadlines)

    def ahead(self, front: bool) -> tuple[int, float]:
        """How many calls and tokens a newcomer of this class would find before it."""
        if front:
            return self._retrying, self._tokens[True]
        return self.live, self._tokens[False] + self._tokens[True]

    def next_deadline(self) -> float:
        """The earliest deadline of those who wait; infinity when none has one."""
        deadlines = self._deadlines
        while deadlines and not deadlines[0][2].waiting:
            heapq.heappop(deadlines)
        return deadlines[0][0] if deadlines else math.inf

    def overdue(self, now: float) -> Waiter | None:
        """Somebody whose deadline has come, if there is anybody."""
        return self._deadlines[0][2] if self.next_deadline() <= now else None
