"""Process locks: among processes that share a cache, only one at a time sends the same request.

A lock covers one byte of a file, at an offset from the digest of the request. The kernel releases the locks
of a killed process, so that no lock is stale, and nothing is written to the file.
"""

from __future__ import annotations

import asyncio
import os
import struct
import sys
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path

from callgate.policies.cache.key import CacheKey

if sys.platform != "win32":  # pragma: no branch
    import fcntl

__all__ = ["ProcessLocks"]

# Threads that wait in the kernel for locks of other processes. A thread that gets its lock serves all waiting
# calls, so few are enough; more than one, because a lock may be held for long.
_MOST_WATCHERS = 16


class ProcessLocks:
    """The locks that one cache object holds, and the calls that wait for locks of other processes.

    Args:
        file: The file whose bytes are locked; it stays empty.

    Raises:
        OSError: the file cannot be opened.

    Example::

        locks = ProcessLocks(Path("cache/cache.sqlite3-claims"))
        if locks.take(key) or await locks.wait(key, patience=600.0):
            try:
                ...  # look into the cache again, else send the request and store the response
            finally:
                locks.release(key)
    """

    def __init__(self, file: Path) -> None:
        self._fd = os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        self._guard = threading.Lock()
        self._held: set[int] = set()
        self._waiting: dict[int, deque[_Waiter]] = {}
        self._watched: set[int] = set()
        self._watchers = 0
        self._closed = False

    def take(self, key: CacheKey) -> bool:
        """Lock a request if no other call or process holds it; takes 2 us."""
        place = _place(key)
        with self._guard:
            return place not in self._waiting and self._take(place)

    async def wait(self, key: CacheKey, patience: float) -> bool:
        """Wait until the request can be locked, in FIFO order.

        Args:
            key: The request.
            patience: Seconds to wait at most: the process that holds the lock may be suspended.

        Returns:
            True if it is locked; False after `patience` seconds.
        """
        place = _place(key)
        waiter = _Waiter(asyncio.get_running_loop())
        with self._guard:
            self._waiting.setdefault(place, deque()).append(waiter)
            self._grant(place)
            self._watch()
        try:
            async with asyncio.timeout(patience):
                await waiter.future
        except TimeoutError:
            self._give_up(place, waiter)
            return False
        except BaseException:
            self._give_up(place, waiter)
            raise
        return True

    def release(self, key: CacheKey) -> None:
        """Release the lock to the next waiting call."""
        with self._guard:
            self._release(_place(key))

    def close(self) -> None:
        """Release all locks, and resume the waiting calls."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            for place in self._held:
                self._unlock(place)
            for waiters in self._waiting.values():
                for waiter in waiters:
                    waiter.grant()
            self._waiting.clear()
            self._close_file()

    # -- with the guard held -----------------------------------------------------------------------------

    def _take(self, place: int) -> bool:
        if self._closed:
            return True
        if place in self._held:
            return False
        try:
            _lock(self._fd, place, wait=False)
        except BlockingIOError:
            return False
        except OSError:
            pass  # a file system without locks: a request sent twice is better than none
        self._held.add(place)
        return True

    def _release(self, place: int) -> None:
        if self._closed:
            return
        self._held.discard(place)
        self._unlock(place)
        if place in self._waiting:
            self._grant(place)
            self._watch()

    def _unlock(self, place: int) -> None:
        with suppress(OSError):
            _unlock(self._fd, place)

    def _close_file(self) -> None:
        # Not while a thread waits on the descriptor, whose number could be reused for another file.
        if self._closed and not self._watchers:
            os.close(self._fd)

    def _grant(self, place: int) -> None:
        """Give a free lock to the first waiting call."""
        waiters = self._waiting.get(place)
        while waiters and self._take(place):
            woken = waiters.popleft().grant()
            if not waiters:
                del self._waiting[place]
            if woken:
                return
            self._held.discard(place)
            self._unlock(place)

    def _give_up(self, place: int, waiter: _Waiter) -> None:
        with self._guard:
            if waiter.granted:
                self._release(place)
                return
            waiters = self._waiting[place]
            waiters.remove(waiter)
            if not waiters:
                del self._waiting[place]

    def _watch(self) -> None:
        """Start a thread for each awaited lock of another process; it waits in the kernel."""
        for place in self._waiting:
            if len(self._watched) >= _MOST_WATCHERS:
                return
            if place not in self._held and place not in self._watched:
                self._watched.add(place)
                self._watchers += 1
                # A daemon, because a thread that waits in the kernel cannot be stopped.
                threading.Thread(target=self._wait_in_kernel, args=(place,), daemon=True).start()

    # -- in a thread --------------------------------------------------------------------------

    def _wait_in_kernel(self, place: int) -> None:
        try:
            _lock(self._fd, place, wait=True)
        except OSError:
            # It would fail again. The offset stays in `_watched`, and the waiting calls time out.
            with self._guard:
                self._watchers -= 1
                self._close_file()
            return
        with self._guard:
            places = [place, *self._waiting]
        # Other locks may have been released meanwhile. The guard is released in between for the event loop.
        for other in places:
            with self._guard:
                self._grant(other)
        with self._guard:
            if self._closed or place not in self._held:
                self._unlock(place)
            self._watched.discard(place)
            self._watchers -= 1
            self._watch()
            self._close_file()


class _Waiter:
    """A call that waits for a lock, and its loop."""

    __slots__ = ("_loop", "future", "granted")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.granted = False
        self.future: asyncio.Future[None] = loop.create_future()

    def grant(self) -> bool:
        """Resume the call, from any thread; False if its loop is closed."""
        self.granted = True
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:
            return False
        return True

    def _wake(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


def _place(key: CacheKey) -> int:
    return int.from_bytes(key.digest[:8], "big") >> 2


if sys.platform == "linux":
    # Locks of the open file description, which also exclude two caches in one process.

    def _lock(fd: int, place: int, *, wait: bool) -> None:
        command = fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK
        fcntl.fcntl(fd, command, struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, place, 1, 0))

    def _unlock(fd: int, place: int) -> None:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack("hhqqi", fcntl.F_UNLCK, os.SEEK_SET, place, 1, 0))

elif sys.platform != "win32":  # pragma: no cover  locks of the process

    def _lock(fd: int, place: int, *, wait: bool) -> None:
        fcntl.lockf(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, place)

    def _unlock(fd: int, place: int) -> None:
        fcntl.lockf(fd, fcntl.LOCK_UN, 1, place)

else:  # pragma: no cover  Windows: no locks, each process sends its own request

    def _lock(fd: int, place: int, *, wait: bool) -> None:
        pass

    def _unlock(fd: int, place: int) -> None:
        pass
