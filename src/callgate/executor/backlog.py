"""Calls that wait behind a full queue in FIFO order, without a task each."""

from __future__ import annotations

import asyncio
from collections import deque
from heapq import heapify, heappop, heappush

from callgate.call.calling import Calling
from callgate.errors import DeadlineRefusalError
from callgate.pipeline import Service
from callgate.policies.timeout.alarm import Alarm

__all__ = ["Backlog"]

# The heap keeps callings that have left the backlog alive, and is rebuilt once it holds more of them than
# this.
_FEW = 64


class Backlog:
    """Callings, each with the service to call. Callings that have ended are skipped.

    A calling whose deadline passes here ends FAILED with a `DeadlineRefusalError`. One timer serves all of
    them. No hook runs for it, because the call has not begun.

    Example::

        backlog = Backlog()
        backlog.add(calling, service)
        waiting = backlog.pop()  # (calling, service), or None
    """

    __slots__ = ("_alarm", "_deadlines", "_entries", "_joined")

    def __init__(self) -> None:
        self._entries: deque[tuple[Calling, Service]] = deque()
        self._deadlines: list[tuple[float, int, Calling]] = []
        self._joined = 0  # equal deadlines keep their order
        self._alarm = Alarm(self._end_overdue)

    def __bool__(self) -> bool:
        entries = self._entries
        while entries and entries[0][0].done:
            entries.popleft()
        return bool(entries)

    def add(self, calling: Calling, service: Service) -> None:
        """Add a calling at the end."""
        self._entries.append((calling, service))
        if calling.deadline is not None:
            self._joined += 1
            heappush(self._deadlines, (calling.deadline, self._joined, calling))
            self._arm()

    def pop(self) -> tuple[Calling, Service] | None:
        """Remove and return the oldest entry, or None. The caller creates its task at once."""
        if not self:
            return None
        if len(self._deadlines) > _FEW + 2 * len(self._entries):
            self._deadlines = [entry for entry in self._deadlines if _waits(entry[2])]
            heapify(self._deadlines)
        return self._entries.popleft()

    def cancel_all(self) -> None:
        """Cancel all callings."""
        for calling, _ in self._entries:
            calling.cancel()
        self.clear()

    def clear(self) -> None:
        """Remove all entries."""
        self._entries.clear()
        self._deadlines.clear()
        self._alarm.silence()

    def _arm(self) -> None:
        """Set the one timer to the earliest deadline."""
        self._alarm.ring_by(asyncio.get_running_loop(), self._deadlines[0][0])

    def _end_overdue(self) -> None:
        now = asyncio.get_running_loop().time()
        deadlines = self._deadlines
        while deadlines:
            deadline, _, calling = deadlines[0]
            waits = _waits(calling)
            if waits and deadline > now:
                self._arm()
                return
            heappop(deadlines)
            if waits:
                calling.fail(_too_late(calling, deadline), now)


def _waits(calling: Calling) -> bool:
    """True if the calling has not ended and has no task."""
    return not calling.done and calling.task is None


def _too_late(calling: Calling, deadline: float) -> DeadlineRefusalError:
    return DeadlineRefusalError(
        f"call {calling.request_id} waited its {deadline - calling.made_at:g} s behind a full queue and was"
        " never sent; allow it more time with poll_timeout=, or lower the load"
    )
