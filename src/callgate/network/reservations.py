"""`RateQueue`: one FIFO queue in front of one rate, in which a call waits or reserves a time.

`Limiter` admits calls that wait. The rate limiters of this package also return the seconds until a call may
be sent, and reserve that time at once. For that the queue computes when the calls before it will be admitted.
"""

from __future__ import annotations

import asyncio
import copy
import heapq
import math
from collections import deque
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any, Protocol, TypeAlias

from callgate.errors import ConfigurationError, QuotaTooSmallError
from callgate.policies.limit.quota import Quota
from callgate.policies.limit.window import RateWindow
from callgate.policies.timeout.alarm import Alarm

__all__ = ["RateQueue"]


_TOLERANCE = 1.0 + 1e-9
# Cancelled calls stay in the queue until they reach its head. It is rebuilt once there are more than this and
# more than half of it.
_COMPACT_AT = 64


Charge: TypeAlias = tuple[Any, Any, float, float]


class _Window(Protocol):
    """`RateWindow` or `Bucket`. A bucket is not reserved, configured or tightened."""

    @property
    def quota(self) -> Quota: ...
    @property
    def ceiling(self) -> float: ...
    def level(self, now: float) -> float: ...
    def wait(self, cost: float, now: float) -> float: ...
    def take(self, cost: float, now: float) -> Charge: ...
    def reserve(self, cost: float, now: float) -> float: ...
    def configure(self, quota: Quota, now: float) -> None: ...
    def tighten(self, remaining: float, reset_after: float | None, now: float) -> None: ...


class _Waiting:
    """A waiting call; `number` is its position among all calls so far."""

    __slots__ = ("cost", "future", "number")

    def __init__(self, number: int, cost: float, future: asyncio.Future[Charge]) -> None:
        self.number = number
        self.cost = cost
        self.future = future


class _Reserved:
    """A reservation of `cost` units at the time `at`."""

    __slots__ = ("at", "cost", "number")

    def __init__(self, number: int, cost: float, at: float) -> None:
        self.number = number
        self.cost = cost
        self.at = at


class RateQueue:
    """A FIFO queue in front of one `RateWindow`, with one timer for all waiting calls.

    A reservation is fixed: its units are taken at its time, even if the rate changes. A waiting call is
    admitted when it is at the head and the window has room, so a new rate applies to it.

    It belongs to one event loop until that is closed.

    Args:
        quota: The rate.
        level: Units in the bucket at the start; None: full.
        make_window: `RateWindow`, which keeps the rate in every window, or `Bucket`.

    Example::

        queue = RateQueue(Quota(10, 1.0, 10))
        await asyncio.sleep(queue.reserve(1))  # reserved at once
        await queue.wait(1)  # or wait in the queue
    """

    __slots__ = (
        "_alarm",
        "_level",
        "_loop",
        "_make_window",
        "_number",
        "_plan",
        "_queue",
        "_quota",
        "_reserved",
        "_waiting",
        "_window",
    )

    def __init__(
        self, quota: Quota, level: float | None = None, make_window: Callable[..., Any] = RateWindow
    ) -> None:
        self._make_window = make_window
        self._quota = quota
        self._level = level
        self._number = 0
        self._queue: deque[_Waiting] = deque()
        self._waiting = 0  # calls in the queue that were neither admitted nor cancelled
        self._reserved: deque[_Reserved] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._window: _Window | None = None
        self._plan: _Window | None = None  # the window after the whole queue; None: not computed
        self._alarm = Alarm(self._on_timer)

    @property
    def quota(self) -> Quota:
        """The rate in force."""
        return self._quota

    @property
    def waiting(self) -> int:
        """The number of waiting calls and future reservations."""
        return self._waiting + len(self._reserved)

    def level(self) -> float:
        """Units that can be taken now, less those of the whole queue."""
        window, now = self._bind()
        self._pump(now)
        owed = sum(entry.cost for entry in self._queue if not entry.future.done())
        return window.level(now) - owed - sum(entry.cost for entry in self._reserved)

    def ceiling(self) -> float:
        """The largest cost that can ever be admitted."""
        ceiling: float = self._make_window(self._quota, 0.0).ceiling
        return ceiling

    def take(self, cost: float) -> Charge | None:
        """Take units now; returns a charge for `give_back`, or None if they would have to be waited for."""
        window, now = self._bind()
        self._pump(now)
        if not self._is_free(window, cost, now):
            return None
        self._plan = None
        return window.take(cost, now)

    def reserve(self, cost: float) -> float:
        """Reserve units behind the whole queue; returns the seconds until they may be used.

        Raises:
            QuotaTooSmallError: `cost` is larger than the bucket.
            ConfigurationError: `cost` is negative or infinite.
        """
        window, now = self._bind()
        self._check(cost)
        self._pump(now)
        if self._is_free(window, cost, now):
            window.take(cost, now)
            self._plan = None
            return 0.0
        if self._plan is None:
            self._plan = self._foresee(window, now)
        wait = self._plan.reserve(cost, now)
        self._number += 1
        self._reserved.append(_Reserved(self._number, cost, now + wait))
        self._pump(now)
        return wait

    async def wait(self, cost: float, *, deadline: float | None = None) -> Charge:
        """Wait in the queue, and take units. A cancelled call leaves the queue.

        Args:
            cost: Units.
            deadline: In seconds of the loop's clock.

        Returns:
            A charge for `give_back`.

        Raises:
            TimeoutError: the deadline has passed.
            QuotaTooSmallError: `cost` is larger than the bucket.
            ConfigurationError: `cost` is negative or infinite.
        """
        window, now = self._bind()
        self._check(cost)
        self._pump(now)
        if self._is_free(window, cost, now):
            self._plan = None
            return window.take(cost, now)
        future: asyncio.Future[Charge] = asyncio.get_running_loop().create_future()
        self._number += 1
        self._queue.append(_Waiting(self._number, cost, future))
        self._waiting += 1
        if self._plan is not None:
            self._plan.reserve(cost, now)
        self._pump(now)
        try:
            async with asyncio.timeout_at(deadline):
                return await future
        except BaseException:
            self._leave(future, cost)
            raise

    def give_back(self, charge: Charge, cost: float) -> None:
        """Return units that were taken and not used. Call it at most once for a charge."""
        _, now = self._bind()
        charge[0].settle(charge[1], cost, 0.0, now)  # in the window that it was taken from
        self._plan = None
        self._pump(now)

    def configure(self, quota: Quota) -> None:
        """Change the rate, also while calls wait. Units taken before count against the new rate."""
        self._quota = quota
        if self._window is None or not _in_a_loop():
            return  # applied by the next call
        window, now = self._bind()
        ceiling = window.ceiling
        for entry in self._queue:
            if entry.cost > ceiling * _TOLERANCE and not entry.future.done():
                entry.future.set_exception(_too_small(entry.cost, quota, ceiling))
                self._waiting -= 1
        self._pump(now)

    def tighten(self, remaining: float, reset_after: float | None) -> None:
        """Lower the level to the units that a service reports. Has no effect outside of an event loop."""
        if not _in_a_loop():
            return
        window, now = self._bind()
        window.tighten(remaining, reset_after, now)
        self._plan = None
        self._pump(now)

    def refill(self) -> None:
        """Start again with a full bucket and an empty log. Waiting calls keep their places."""
        if self._window is None:
            return
        _, now = self._bind()
        self._window = self._make_window(self._quota, now)
        self._plan = None
        self._pump(now)

    def _check(self, cost: float) -> None:
        if not 0.0 <= cost < math.inf:
            raise ConfigurationError(f"tokens must be a number from 0, not {cost!r}")
        ceiling = self.ceiling()
        if cost > ceiling * _TOLERANCE:
            raise _too_small(cost, self._quota, ceiling)

    def _is_free(self, window: _Window, cost: float, now: float) -> bool:
        """True if a new call can be admitted now: the queue is empty and the window has room."""
        return self.waiting == 0 and window.wait(cost, now) <= 0.0

    def _bind(self) -> tuple[_Window, float]:
        """The window and the time, for the running loop."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if loop is not self._loop:
            if self._loop is not None and not self._loop.is_closed():
                raise RuntimeError("this rate limiter belongs to another event loop: make one for each")
            before = self._loop
            self._loop = loop
            self._alarm.forget()
            # The calls that waited ended with the former loop.
            self._queue.clear()
            self._reserved.clear()
            self._waiting = 0
            self._plan = None
            if before is not None and now < before.time():  # another clock
                self._window = None
        if self._window is None:
            self._window = self._make_window(self._quota, now, level=self._level)
        elif self._window.quota != self._quota:
            self._window.configure(self._quota, now)
            self._plan = None
        return self._window, now

    def _foresee(self, window: _Window, now: float) -> _Window:
        """A copy of the window as it will be after the whole queue."""
        plan = copy.deepcopy(window)
        entries: Iterator[_Waiting | _Reserved] = heapq.merge(
            self._queue, self._reserved, key=attrgetter("number")
        )
        for entry in entries:
            if isinstance(entry, _Reserved):
                plan.reserve(entry.cost, max(now, entry.at))
            elif not entry.future.done():
                plan.reserve(entry.cost, now)
        return plan

    def _pump(self, now: float) -> None:
        """Admit calls and reservations that are due, and set the timer for the next one."""
        window, reserved, queue = self._window, self._reserved, self._queue
        assert window is not None
        while reserved and reserved[0].at <= now:
            window.take(reserved.popleft().cost, now)
        while queue:
            head = queue[0]
            if head.future.done():
                queue.popleft()
                continue
            if reserved and reserved[0].number < head.number:
                break
            wait = window.wait(head.cost, now)
            if wait > 0.0:
                self._arm(min(now + wait, reserved[0].at) if reserved else now + wait)
                return
            queue.popleft()
            self._waiting -= 1
            head.future.set_result(window.take(head.cost, now))
        if reserved:
            self._arm(reserved[0].at)
        else:
            self._alarm.silence()

    def _arm(self, when: float) -> None:
        assert self._loop is not None
        self._alarm.ring_by(self._loop, when)

    def _on_timer(self) -> None:
        assert self._loop is not None
        self._pump(self._loop.time())

    def _leave(self, future: asyncio.Future[Charge], cost: float) -> None:
        self._plan = None
        _, now = self._bind()
        if future.cancelled():
            self._waiting -= 1
            if len(self._queue) > _COMPACT_AT + 2 * self._waiting:
                self._queue = deque(entry for entry in self._queue if not entry.future.done())
        elif future.exception() is None:
            self.give_back(future.result(), cost)  # admitted and cancelled at the same moment
            return
        self._pump(now)


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _too_small(cost: float, quota: Quota, ceiling: float) -> QuotaTooSmallError:
    return QuotaTooSmallError(
        f"{cost:g} tokens are never available at once: at most {ceiling:g} are, at {quota.rate:g} "
        f"in {quota.period:g} s"
    )
