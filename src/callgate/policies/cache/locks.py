"""Who asks for what: of all processes that share a cache, one at a time asks for the same answer.

A claim is a lock on one byte of a file, at the place that the request's digest names. The kernel gives the
locks of a process that was killed to whoever waits next, so no claim is ever stale and none is written down.
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

if sys.platform != "win32":
    import fcntl

__all__ = ["Claims"]

# Threads that wait in the kernel for another process. Each one that wakes looks after all who wait, so that
# few serve many; more than one, because the claim that one of them waits for may be held for long.
_MOST_WATCHERS = 16


class Claims:
    """The claims of one cache object, and of those who wait for claims of others.

    Args:
        file: The file whose bytes are locked; it stays empty.

    Raises:
        OSError: when the file cannot be opened.

    Example::

        claims = Claims(Path("cache/cache.sqlite3-claims"))
        if claims.take(key) or await claims.wait(key, patience=600.0):
            try:
                ...  # look into the cache again, else ask, and put the answer there
            finally:
                claims.release(key)
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
        """Claim a request if nobody else has; 2 us."""
        place = _place(key)
        with self._guard:
            return place not in self._waiting and self._take(place)

    async def wait(self, key: CacheKey, patience: float) -> bool:
        """Wait until the request can be claimed, in the order of arrival.

        Args:
            key: The request.
            patience: Seconds; whoever holds the claim may have been stopped, and not killed.

        Returns:
            Whether it is claimed now; False when patience ran out.
        """
        place = _place(key)
        waiter = _Waiter(asyncio.get_running_loop())
        with self._guard:
            self._waiting.setdefault(place, deque()).append(waiter)
            self._grant(place)
            self._watch()
        try:
            async with asyncio.timeout(patience):
                await waiter.told
        except TimeoutError:
            self._give_up(place, waiter)
            return False
        except BaseException:
            self._give_up(place, waiter)
            raise
        return True

    def release(self, key: CacheKey) -> None:
        """Let the next one have it."""
        with self._guard:
            self._release(_place(key))

    def close(self) -> None:
        """Release everything; who still waits is let go."""
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
            pass  # a file system without locks: better a call that is paid twice than none
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
        # Not while a thread waits on it: its number would be another file's.
        if self._closed and not self._watchers:
            os.close(self._fd)

    def _grant(self, place: int) -> None:
        """Give the claim to the first who waits for it, if it can be had."""
        waiters = self._waiting.get(place)
        while waiters and self._take(place):
            told = waiters.popleft().grant()
            if not waiters:
                del self._waiting[place]
            if told:
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
        """Have a thread wait in the kernel for each claim of another process that somebody waits for."""
        for place in self._waiting:
            if len(self._watched) >= _MOST_WATCHERS:
                return
            if place not in self._held and place not in self._watched:
                self._watched.add(place)
                self._watchers += 1
                # Who sits in the kernel cannot be called back: it must not keep the program alive.
                threading.Thread(target=self._wait_in_kernel, args=(place,), daemon=True).start()

    # -- in a thread of its own --------------------------------------------------------------------------

    def _wait_in_kernel(self, place: int) -> None:
        try:
            _lock(self._fd, place, wait=True)
        except OSError:
            # The place stays among the watched, as it would fail again: patience ends the wait.
            with self._guard:
                self._watchers -= 1
                self._close_file()
            return
        with self._guard:
            places = [place, *self._waiting]
        # Others may have been released meanwhile; the guard is let go between any two, for the loop's sake.
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
    """One who waits for a claim, on the loop it came from."""

    __slots__ = ("_loop", "granted", "told")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.granted = False
        self.told: asyncio.Future[None] = loop.create_future()

    def grant(self) -> bool:
        """Tell it, from whatever thread; False when its loop is closed."""
        self.granted = True
        try:
            self._loop.call_soon_threadsafe(self._tell)
        except RuntimeError:
            return False
        return True

    def _tell(self) -> None:
        if not self.told.done():
            self.told.set_result(None)


def _place(key: CacheKey) -> int:
    return int.from_bytes(key.digest[:8], "big") >> 2


if sys.platform == "linux":
    # These locks belong to the open file, so that two caches in one process keep each other off as well.

    def _lock(fd: int, place: int, *, wait: bool) -> None:
        command = fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK
        fcntl.fcntl(fd, command, struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, place, 1, 0))

    def _unlock(fd: int, place: int) -> None:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack("hhqqi", fcntl.F_UNLCK, os.SEEK_SET, place, 1, 0))

elif sys.platform != "win32":  # these belong to the process, which is what claims are for

    def _lock(fd: int, place: int, *, wait: bool) -> None:
        fcntl.lockf(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, place)

    def _unlock(fd: int, place: int) -> None:
        fcntl.lockf(fd, fcntl.LOCK_UN, 1, place)

else:  # no process can wait for another one there; each asks for itself

    def _lock(fd: int, place: int, *, wait: bool) -> None:
        pass

    def _unlock(fd: int, place: int) -> None:
        pass
