"""Reservations: one FIFO queue in front of one rate, in which a turn is awaited, or reserved for a moment.

`Limiter` admits calls that wait. The rate limiters here also return in how many seconds a call may go, and
debit that turn at once; for that the queue must foresee the turns before it.
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

__all__ = ["Turns"]


_TOLERANCE = 1.0 + 1e-9
# Cancelled turns behind a head that waits long would pile up: the queue is rebuilt once they are this many
# and more than half of it.
_COMPACT_AT = 64


Charge: TypeAlias = tuple[Any, Any, float, float]


class _Window(Protocol):
    """What counts: `RateWindow` or `Bucket`. A bucket is not reserved, configured or tightened."""

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
    """A turn that a call waits for; `number` is its place among all turns ever requested."""

    __slots__ = ("cost", "future", "number")

    def __init__(self, number: int, cost: float, future: asyncio.Future[Charge]) -> None:
        self.number = number
        self.cost = cost
        self.future = future


class _Reserved:
    """A turn that is reserved for the moment `at`."""

    __slots__ = ("at", "cost", "number")

    def __init__(self, number: int, cost: float, at: float) -> None:
        self.number = number
        self.cost = cost
        self.at = at


class Turns:
    """A first-come, first-served line on one `RateWindow`; one timer, however many wait.

    A turn that was reserved is fixed: it is debited at its moment, whatever else changes. Those who wait are
    admitted as the window stands when they reach the head, so a new rate holds for all of them.

    Belongs to one event loop at a time; another one may take over when that is closed.

    Args:
        quota: The rate.
        level: Units in the bucket at the start; None: full.
        make_window: What counts: `RateWindow`, which promises the rate in every window, or `Bucket`.

    Example::

        turns = Turns(Quota(10, 1.0, 10))
        seconds = turns.tell(1)      # debited: sleep that long, then go
        await turns.wait(1)          # or wait here
    """

    __slots__ = (
        "_alarm",
        "_level",
        "_line",
        "_loop",
        "_make_window",
        "_number",
        "_plan",
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
        self._line: deque[_Waiting] = deque()
        self._waiting = 0  # turns in the queue that were neither admitted nor cancelled
        self._reserved: deque[_Reserved] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._window: _Window | None = None
        self._plan: _Window | None = None  # the window after all turns in the line; None: not worked out
        self._alarm = Alarm(self._on_timer)

    @property
    def quota(self) -> Quota:
        """The rate in force."""
        return self._quota

    @property
    def waiting(self) -> int:
        """Turns that have not come."""
        return self._waiting + len(self._reserved)

    def level(self) -> float:
        """Units that could be taken at once; negative when turns are owed."""
        window, now = self._bind()
        self._pump(now)
        owed = sum(turn.cost for turn in self._line if not turn.future.done())
        return window.level(now) - owed - sum(turn.cost for turn in self._reserved)

    def ceiling(self) -> float:
        """The largest cost that can ever be admitted."""
        ceiling: float = self._make_window(self._quota, 0.0).ceiling
        return ceiling

    def take(self, cost: float) -> Charge | None:
        """Take a turn now, or None when there is none to be had at once. What it gives can be given back."""
        window, now = self._bind()
        self._pump(now)
        if not self._is_free(window, cost, now):
            return None
        self._plan = None
        return window.take(cost, now)

    def tell(self, cost: float) -> float:
        """Take the next turn, and tell in how many seconds it is.

        Raises:
            QuotaTooSmallError: no turn can ever be as large.
            ConfigurationError: a cost that is not positive and finite.
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
        """Wait for the next turn. A wait that is cancelled, or meets its deadline, leaves the line.

        Args:
            cost: Units.
            deadline: In seconds of the loop's clock.

        Returns:
            What can be given back.

        Raises:
            TimeoutError: the deadline came first.
            QuotaTooSmallError: no turn can ever be as large.
            ConfigurationError: a cost that is not positive and finite.
        """
        window, now = self._bind()
        self._check(cost)
        self._pump(now)
        if self._is_free(window, cost, now):
            self._plan = None
            return window.take(cost, now)
        future: asyncio.Future[Charge] = asyncio.get_running_loop().create_future()
        self._number += 1
        self._line.append(_Waiting(self._number, cost, future))
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
        """Put back what was taken, at most once: nothing was done with it."""
        _, now = self._bind()
        charge[0].settle(charge[1], cost, 0.0, now)  # in the window it was debited in
        self._plan = None
        self._pump(now)

    def configure(self, quota: Quota) -> None:
        """Change the rate, also while others wait. What was admitted counts against the new one."""
        self._quota = quota
        if self._window is None or not _in_a_loop():
            return  # the next call finds it
        window, now = self._bind()
        ceiling = window.ceiling
        for turn in self._line:
            if turn.cost > ceiling * _TOLERANCE and not turn.future.done():
                turn.future.set_exception(_too_small(turn.cost, quota, ceiling))
                self._waiting -= 1
        self._pump(now)

    def tighten(self, remaining: float, reset_after: float | None) -> None:
        """Take a service's word that only so much is left. It never loosens. Outside a loop: no effect."""
        if not _in_a_loop():
            return
        window, now = self._bind()
        window.tighten(remaining, reset_after, now)
        self._plan = None
        self._pump(now)

    def refill(self) -> None:
        """Begin anew with a full bucket and nothing remembered. Turns in the line keep their places."""
        if self._window is None:
            return
        _, now = self._bind()
        self._window = self._make_window(self._quota, now)
        self._plan = None
        self._pump(now)

    def _check(self, cost: float) -> None:
        if not 0.0 <= cost < math.inf:
            raise ConfigurationError(f"a turn costs a number of tokens from 0, not {cost!r}")
        ceiling = self.ceiling()
        if cost > ceiling * _TOLERANCE:
            raise _too_small(cost, self._quota, ceiling)

    def _is_free(self, window: _Window, cost: float, now: float) -> bool:
        """Whether a new call may go at once: no turn is before it, and the window has room."""
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
            self._line.clear()
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
        """The window as it will be after all turns in the line."""
        plan = copy.deepcopy(window)
        turns: Iterator[_Waiting | _Reserved] = heapq.merge(
            self._line, self._reserved, key=attrgetter("number")
        )
        for turn in turns:
            if isinstance(turn, _Reserved):
                plan.reserve(turn.cost, max(now, turn.at))
            elif not turn.future.done():
                plan.reserve(turn.cost, now)
        return plan

    def _pump(self, now: float) -> None:
        """Debit the turns that have come, and set the timer for the next."""
        window, reserved, line = self._window, self._reserved, self._line
        assert window is not None
        while reserved and reserved[0].at <= now:
            window.take(reserved.popleft().cost, now)
        while line:
            head = line[0]
            if head.future.done():
                line.popleft()
                continue
            if reserved and reserved[0].number < head.number:
                break
            wait = window.wait(head.cost, now)
            if wait > 0.0:
                self._arm(min(now + wait, reserved[0].at) if reserved else now + wait)
                return
            line.popleft()
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
            if len(self._line) > _COMPACT_AT + 2 * self._waiting:
                self._line = deque(turn for turn in self._line if not turn.future.done())
        elif future.exception() is None:
            self.give_back(future.result(), cost)  # admitted in the moment of its cancellation
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
        f"{cost:g} tokens at once can never be had: at most {ceiling:g} are, at {quota.rate:g} "
        f"in {quota.period:g} s"
    )
