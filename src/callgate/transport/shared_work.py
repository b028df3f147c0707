"""Blocking work that many calls wait for, done once."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future

__all__ = ["SharedWork"]


class SharedWork:
    """Runs one blocking function in a thread, once for all callers that wait, in whichever event loop."""

    __slots__ = ("_current", "_lock", "_pid", "_work")

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._current: Future[None] | None = None
        self._pid = os.getpid()

    def start(self) -> Future[None]:
        """The future of the run in progress; starts one if there is none."""
        if self._pid != os.getpid():
            # A forked child has no thread that would end the run, nor one that would release the lock.
            self._pid, self._lock, self._current = os.getpid(), threading.Lock(), None
        with self._lock:
            if self._current is None or self._current.done():
                self._current = Future()
                # Running from the start, so that a cancelled waiter does not cancel it for the others.
                self._current.set_running_or_notify_cancel()
                threading.Thread(target=self._run, args=(self._current,), daemon=True).start()
            return self._current

    async def wait(self) -> None:
        """Wait for the run in progress, or for a new one; raises what the function raises."""
        await asyncio.wrap_future(self.start())

    def _run(self, future: Future[None]) -> None:
        try:
            self._work()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(None)
