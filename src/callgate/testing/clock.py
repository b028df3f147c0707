"""Virtual time for asyncio: waits take no real time, and every run of a test is the same.

The loop runs all ready callbacks; when none is left, its clock jumps to the next timer. An hour of rate
limiting takes milliseconds, and times are exact, so tests need no tolerances.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn, TypeVar

__all__ = ["DeadlockError", "VirtualClock", "run_virtual"]

T = TypeVar("T")

# The date of a virtual clock's zero, by default.
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


class DeadlockError(RuntimeError):
    """No callback is ready, no timer is set and no thread runs: the awaited result can never arrive."""


class VirtualClock:
    """A clock that only event loops move. It is a `callgate.policies.timeout.clock.Clock`.

    Each `run` has a loop of its own; the time goes on from one run to the next.

    Args:
        start: Seconds at the beginning.
        epoch: The date and time of zero.

    >>> clock = VirtualClock()
    >>> clock.run(asyncio.sleep(3600, "an hour later"))
    'an hour later'
    >>> clock.time()
    3600.0
    """

    def __init__(self, start: float = 0.0, *, epoch: datetime = EPOCH) -> None:
        self._now = start
        self._epoch = epoch

    def time(self) -> float:
        """The present moment in seconds; `loop.time()` of a run gives the same."""
        return self._now

    def to_datetime(self, moment: float) -> datetime:
        """A moment of `time()` as a datetime in UTC."""
        return self._epoch + timedelta(seconds=moment)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end as `asyncio.run` does, on this clock.

        Raises:
            DeadlockError: The coroutine waits for a result that can never arrive.
            NotImplementedError: The coroutine opened a socket, a pipe or a process.
        """
        with asyncio.Runner(loop_factory=self.new_event_loop) as runner:
            return runner.run(coroutine)

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """A new loop on this clock, for example for `asyncio.Runner(loop_factory=...)`."""
        return _VirtualLoop(self)

    def _advance_to(self, moment: float) -> None:
        self._now = max(self._now, moment)


def run_virtual(coroutine: Coroutine[Any, Any, T], *, start: float = 0.0) -> T:
    """Run a coroutine on a virtual clock of its own, which begins at `start` seconds.

    >>> async def main():
    ...     loop = asyncio.get_running_loop()
    ...     await asyncio.sleep(60)
    ...     return loop.time()
    >>> run_virtual(main())
    60.0
    """
    return VirtualClock(start).run(coroutine)


class _Waker:
    """Takes the place of the loop's selector: instead of waiting for sockets it moves the clock.

    Threads (`run_in_executor`) take real time and no virtual time: the clock stands still while one runs.
    """

    def __init__(self, loop: _VirtualLoop) -> None:
        self._loop = loop
        self._called = threading.Event()

    def wake(self) -> None:
        self._called.set()

    def select(self, timeout: float | None) -> list[Any]:
        if timeout != 0.0 and not self._called.is_set():
            if self._loop.jobs:
                self._called.wait()
            elif timeout is None:
                raise DeadlockError(self._loop.describe_deadlock())
            else:
                self._loop.jump()
        self._called.clear()
        return []


class _VirtualLoop(asyncio.BaseEventLoop):
    _scheduled: list[asyncio.TimerHandle]
    _default_executor: ThreadPoolExecutor | None

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        super().__init__()
        self._selector = _Waker(self)
        self.jobs = 0  # functions that are running in threads
        self.time = clock.time  # type: ignore[method-assign]  # one call less, for a million timers

    @property
    def _clock_resolution(self) -> float:
        # The base class runs timers due before now + resolution: with one ulp, exactly those due now.
        return math.ulp(self._clock.time())

    @_clock_resolution.setter
    def _clock_resolution(self, resolution: float) -> None:
        """Ignored: the base class would set the system's resolution."""

    def jump(self) -> None:
        """Move the clock to the next timer; the base class has removed the cancelled ones before it."""
        self._clock._advance_to(self._scheduled[0].when())

    def describe_deadlock(self) -> str:
        waiting = [task for task in asyncio.all_tasks(self) if not task.done()]
        names = ", ".join(sorted(f"{task.get_name()} ({_where(task)})" for task in waiting))
        return (
            f"nothing can ever happen again at {self.time():g} s of virtual time: no callback is ready, no "
            f"timer is set, and these wait: {names}"
        )

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = super().run_in_executor(executor, func, *args)
        self.jobs += 1
        future.add_done_callback(self._job_done)
        return future

    def _job_done(self, future: asyncio.Future[Any]) -> None:
        self.jobs -= 1

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        # The base class joins the executor in a new thread, which `jobs` does not count.
        executor, self._default_executor = self._default_executor, None
        if executor is not None:
            executor.shutdown(wait=True)

    def _process_events(self, event_list: list[Any]) -> None:
        """Nothing: there are no sockets."""

    def _write_to_self(self) -> None:
        self._selector.wake()

    def _refuse(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise NotImplementedError(
            "a virtual clock has no sockets, pipes or processes: use MemoryTransport or a real event loop"
        )

    add_reader = add_writer = _refuse  # type: ignore[assignment]
    create_connection = create_server = create_datagram_endpoint = _refuse
    create_unix_connection = create_unix_server = subprocess_exec = subprocess_shell = _refuse
    connect_read_pipe = connect_write_pipe = sock_recv = sock_sendall = sock_connect = sock_accept = _refuse


def _where(task: asyncio.Task[Any]) -> str:
    frames = task.get_stack(limit=1)
    return f"{frames[0].f_code.co_qualname}:{frames[0].f_lineno}" if frames else "not started"
