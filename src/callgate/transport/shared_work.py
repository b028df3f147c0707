"""`SharedWork`: one run of a blocking function for all calls that wait for it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future

__all__ = ["SharedWork"]


class SharedWork:
    """Runs a blocking function in a thread, once for all waiting callers, also of several event loops."""

    __slots__ = ("_current", "_lock", "_pid", "_work")

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._current: Future[None] | None = None
        self._pid = os.getpid()

    def start(self) -> Future[None]:
        """The future of the run in progress; starts one if there is none."""
        if self._pid != os.getpid():
            # A forked child has no threads, so a run would never end and a held lock never be released.
            self._pid, self._lock, self._current = os.getpid(), threading.Lock(), None
        with self._lock:
            if self._current is None or self._current.done():
                self._current = Future()
                # Marked as running, so that a cancelled waiter does not cancel it for the others.
                self._current.set_running_or_notify_cancel()
                threading.Thread(target=self._run, args=(self._current,), daemon=True).start()
            return self._current

    async def wait(self) -> None:
        """Wait for the run in progress, or a new one; raises the errors of the function."""
        await asyncio.wrap_future(self.start())

    def _run(self, future: Future[None]) -> None:
        try:
            self._work()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(None)
