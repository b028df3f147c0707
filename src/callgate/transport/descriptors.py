"""Bounds connections by file descriptors: a call waits instead of failing while the process has none left."""

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
# File descriptors left for files, name lookups and others, once the process has hit the limit.
_RESERVE: Final = 8


def is_shortage(error: OSError) -> bool:
    """True if an error means that no file descriptor is left."""
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
    """Counts the connections of all pools of one event loop. While no more can be opened, calls queue in FIFO
    order.

    The bound is set when an open fails, and removed when the number of connections has fallen to half of it.
    """

    __slots__ = ("__weakref__", "_bound", "_holders", "_open", "_waiting")

    def __init__(self) -> None:
        self._open = 0  # connections that are open or being opened
        self._bound = math.inf
        self._waiting: deque[_Waiting] = deque()
        # Weak, because a pool keeps its loop alive, which is the weak key of `_of_loops`.
        self._holders: WeakSet[_Holder] = WeakSet()

    @property
    def is_scarce(self) -> bool:
        """True if a free connection must be passed to `hand_over`, and closed if that returns False."""
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
        """Wait until one more connection can be opened. It counts as open from now on; see `closed`.

        Args:
            key: The key of connections that can serve the call.
            give_back: Called with a free connection for a call that was cancelled.
            deadline: In seconds of the loop's clock; None: no limit.
            front: Queue before the others, for a call that has waited before.

        Returns:
            A connection that has become free, or None: the caller opens one.

        Raises:
            TimeoutError: the deadline has passed.
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
        """Give a free connection to the first call in the queue; False if its key differs or none waits."""
        self._drop_ended()
        if not self._waiting or self._open > self._bound or self._waiting[0].key != key:
            return False
        self._waiting.popleft().future.set_result(connection)
        return True

    def closed(self) -> None:
        """Report that a counted connection was closed, or could not be opened."""
        self._open -= 1
        self._admit()

    def hit_limit(self) -> bool:
        """Report that no descriptor was left for a counted connection, and set the bound.

        Returns:
            False if no other connection is open, so that waiting for one is useless.
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
        """Remove a cancelled call, and return a connection that it was given at the same moment."""
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
    """The `Descriptors` of a loop."""
    found = _of_loops.get(loop)
    if found is None:
        found = _of_loops[loop] = Descriptors()
    return found
