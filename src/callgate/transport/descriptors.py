"""File descriptors as a bound on connections: a process that has none left waits instead of failing."""

from __future__ import annotations

import asyncio
import errno
import math
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol
from weakref import WeakKeyDictionary, WeakSet

from callgate.transport.connection import Connection

__all__ = ["Descriptors", "descriptors_of", "is_shortage"]

_ERRNOS: Final = frozenset({errno.EMFILE, errno.ENFILE})
# Left to files, name lookups and whatever else the process opens once it has hit the limit.
_RESERVE: Final = 8


def is_shortage(error: OSError) -> bool:
    """Whether an error means that no file descriptor is left."""
    return error.errno in _ERRNOS


class _Waiting:
    """A call that waits for a free connection with its key, or for room to open one (None)."""

    __slots__ = ("future", "give_back", "key")

    def __init__(self, key: object, give_back: Callable[[Connection], None]) -> None:
        self.key = key
        self.give_back = give_back
        self.future: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()


class _Holder(Protocol):
    def close_idle(self) -> None: ...


class Descriptors:
    """Counts the connections of all pools of one event loop. Calls queue (FIFO) while there can be no more.

    The bound is found by running into it, and forgotten when the demand has fallen to half of it.
    """

    __slots__ = ("__weakref__", "_bound", "_holders", "_open", "_waiting")

    def __init__(self) -> None:
        self._open = 0  # connections that are open or being opened
        self._bound = math.inf
        self._waiting: deque[_Waiting] = deque()
        # Weakly: a pool keeps its loop alive, which is the key that this is found by.
        self._holders: WeakSet[_Holder] = WeakSet()

    @property
    def is_scarce(self) -> bool:
        """Whether a connection that becomes free goes to `hand_over`, and is closed unless that takes it."""
        return bool(self._waiting) or self._open > self._bound

    def register(self, holder: _Holder) -> None:
        """Add a pool: something that can close its idle connections."""
        self._holders.add(holder)

    async def claim(
        self,
        key: object,
        give_back: Callable[[Connection], None],
        deadline: float | None,
        *,
        front: bool = False,
    ) -> Connection | None:
        """Wait for room for one more connection. It counts as open from now on: see `closed`.

        Args:
            key: Which connections serve the call.
            give_back: Takes a connection that comes too late, for a call that has been cancelled.
            deadline: In seconds of the loop's clock; None: no limit.
            front: Queue before the others: the call has waited already.

        Returns:
            A connection that has become free meanwhile, or None: open one.

        Raises:
            TimeoutError: the deadline came first.
        """
        if self._open < self._bound and (front or not self._waiting):
            self._open += 1
            return None
        waiting = _Waiting(key, give_back)
        if front:
            self._waiting.appendleft(waiting)
        else:
            self._waiting.append(waiting)
        try:
            async with asyncio.timeout_at(deadline):
                return await waiting.future
        except BaseException:
            self._leave(waiting)
            raise

    def hand_over(self, key: object, connection: Connection) -> bool:
        """Give a free connection to the first call in the queue, if it serves that one."""
        self._drop_ended()
        if not self._waiting or self._open > self._bound or self._waiting[0].key != key:
            return False
        self._waiting.popleft().future.set_result(connection)
        return True

    def closed(self) -> None:
        """A connection that was counted has been closed, or has not been opened after all."""
        self._open -= 1
        self._admit()

    def hit_limit(self) -> bool:
        """No descriptor was left for a connection that was counted: keep to fewer from now on.

        Returns:
            False when no other connection is open, whose end could be waited for.
        """
        self._open -= 1
        if self._open == 0:
            return False
        self._bound = max(1, self._open - _RESERVE)
        for holder in list(self._holders):
            holder.close_idle()
        return True

    def _admit(self) -> None:
        self._drop_ended()
        while self._waiting and self._open < self._bound:
            self._open += 1
            self._waiting.popleft().future.set_result(None)
            self._drop_ended()
        if not self._waiting and self._open <= self._bound / 2:
            self._bound = math.inf

    def _drop_ended(self) -> None:
        while self._waiting and self._waiting[0].future.done():
            self._waiting.popleft()

    def _leave(self, waiting: _Waiting) -> None:
        """The call has been cancelled, perhaps in the moment in which its turn came."""
        future = waiting.future
        if not future.cancel() and not future.cancelled():
            connection = future.result()
            if connection is None:
                self.closed()
            else:
                waiting.give_back(connection)
        self._admit()


_of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, Descriptors] = WeakKeyDictionary()


def descriptors_of(loop: asyncio.AbstractEventLoop) -> Descriptors:
    """The count of a loop."""
    found = _of_loops.get(loop)
    if found is None:
        found = _of_loops[loop] = Descriptors()
    return found
