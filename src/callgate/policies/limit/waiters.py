"""The calls that wait in a queue: their order and their deadlines."""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import deque
from collections.abc import Callable
from typing import Final

from callgate.policies.limit.candidate import Candidate
from callgate.policies.limit.gate import Gate
from callgate.policies.limit.lease import Lease

__all__ = ["Waiter", "Waiters"]

# Cancelled waiters are dropped when they reach the head. Behind a head that waits long they would pile up,
# so the lanes are rebuilt once this many of them, and more than half of all, have left.
COMPACT_AT: Final = 64


class Waiter:
    """One call in the queue; `waiting` ends once: by a grant, a cancellation, its deadline, a close."""

    __slots__ = ("candidate", "deadline", "front", "future", "number", "on_head", "tokens", "waiting")

    def __init__(
        self,
        candidate: Candidate,
        future: asyncio.Future[Lease],
        front: bool,
        deadline: float | None,
        on_head: Callable[[float], None] | None,
    ) -> None:
        self.candidate = candidate
        self.future = future
        self.tokens = candidate.tokens
        self.front = front
        self.deadline = deadline
        self.on_head = on_head
        self.number = 0  # by the order of joining
        self.waiting = True

    def before(self, other: Waiter) -> bool:
        """Whether it is admitted before `other`, where both have room."""
        return self.number < other.number if self.front is other.front else self.front


class Waiters:
    """The waiters in lanes, one for each class (retries, new calls) and each tuple of gates.

    All waiters in a lane have the same gates, so only the heads of lanes are examined. A waiter that has left
    stays in its lane until it comes to the head.

    Attributes:
        live: The number of waiters.
    """

    __slots__ = ("_dated", "_dead", "_deadlines", "_joined", "_lanes", "_retrying", "_tokens", "live")

    def __init__(self) -> None:
        self._lanes: dict[tuple[bool, tuple[Gate, ...]], deque[Waiter]] = {}
        self._deadlines: list[tuple[float, int, Waiter]] = []
        self._joined = 0
        self._dated = 0  # waiters with a deadline
        self._retrying = 0  # waiting retries
        self._dead = 0  # waiters in a lane that have left
        self._tokens = [0.0, 0.0]  # the tokens of new calls and of retries
        self.live = 0

    def join(self, waiter: Waiter) -> bool:
        """Add a waiter at the end of its lane; True if it is the head."""
        self._joined += 1
        waiter.number = self._joined
        key = waiter.front, waiter.candidate.gates
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = deque()
        lane.append(waiter)
        self.live += 1
        self._retrying += waiter.front
        self._tokens[waiter.front] += waiter.tokens
        if waiter.deadline is not None:
            self._dated += 1
            heapq.heappush(self._deadlines, (waiter.deadline, waiter.number, waiter))
        return len(lane) == 1 or self._head(lane) is waiter

    def first(self, claimed: set[Gate] | frozenset[Gate] = frozenset()) -> Waiter | None:
        """The next waiter to be admitted, among those with a gate that is not claimed."""
        best: Waiter | None = None
        if len(self._lanes) == 1 and not claimed:  # as it nearly always is
            (lane,) = self._lanes.values()
            best = self._head(lane)
            if best is None:
                self._lanes.clear()
            return best
        for key, lane in tuple(self._lanes.items()):
            if claimed and claimed.issuperset(key[1]):
                continue
            head = self._head(lane)
            if head is None:
                self._lanes.pop(key, None)
            elif best is None or head.before(best):
                best = head
        return best

    def _head(self, lane: deque[Waiter]) -> Waiter | None:
        while lane:
            waiter = lane[0]
            if not waiter.waiting:
                lane.popleft()
                self._dead -= 1
            elif waiter.future.done():  # cancelled, and its task has not run since
                self.leave(waiter)
            else:
                return waiter
        return None

    def leave(self, waiter: Waiter) -> None:
        """Remove a waiter. Idempotent."""
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
            self._tokens = [0.0, 0.0]  # clears the rounding errors of floats
        if self._dead > COMPACT_AT and self._dead > self.live:
            for lane in self._lanes.values():
                waiting = [waiter for waiter in lane if waiter.waiting]
                lane.clear()
                lane.extend(waiting)
            self._dead = 0
        if len(self._deadlines) > COMPACT_AT + 2 * self._dated:
            self._deadlines = [entry for entry in self._deadlines if entry[2].waiting]
            heapq.heapify(self._deadlines)

    def ahead(self, front: bool) -> tuple[int, float]:
        """The number of calls before a new one of this class, and their tokens."""
        if front:
            return self._retrying, self._tokens[True]
        return self.live, self._tokens[False] + self._tokens[True]

    def next_deadline(self) -> float:
        """The earliest deadline of a waiter; infinity if none has one."""
        deadlines = self._deadlines
        while deadlines and not deadlines[0][2].waiting:
            heapq.heappop(deadlines)
        return deadlines[0][0] if deadlines else math.inf

    def overdue(self, now: float) -> Waiter | None:
        """A waiter whose deadline has passed, if there is one."""
        return self._deadlines[0][2] if self.next_deadline() <= now else None
