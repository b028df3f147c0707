"""Provider-side quotas: strict windows, and an account that holds one per resource.

Nothing here waits or reads a clock: `now` is passed in, in seconds of a monotonic clock.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

__all__ = [
    "Account",
    "BucketWindow",
    "Debit",
    "FixedWindow",
    "Shortage",
    "SlidingWindow",
    "Window",
    "WindowKind",
]

WindowKind = Literal["sliding", "fixed", "bucket"]

# Two sums of the same floating-point times may differ in the last bit. A client that waited exactly the
# stated time must not be refused for that.
_TICK = 1e-9


class Debit:
    """One amount taken from one window; a later settlement may correct it."""

    __slots__ = ("amount", "time")

    def __init__(self, time: float, amount: float) -> None:
        self.time = time
        self.amount = amount


class Window(Protocol):
    """A quota of `limit` units per `period` seconds."""

    limit: float
    period: float

    def wait(self, now: float, amount: float) -> float:
        """Seconds until `amount` fits: 0.0 when it fits now, infinity when it never fits."""
        ...

    def take(self, now: float, amount: float) -> Debit:
        """Take `amount`, whether or not it fits."""
        ...

    def settle(self, now: float, debit: Debit, amount: float) -> None:
        """Correct `debit` to `amount`. Does nothing once the debit has left the window."""
        ...

    def remaining(self, now: float) -> float:
        """Units that could be taken now, never below zero."""
        ...

    def reset(self, now: float) -> float:
        """Seconds until the whole limit is free again, if nothing more is taken."""
        ...


class SlidingWindow:
    """An exact log: no half-open interval of one period admits more than the limit.

    >>> window = SlidingWindow(limit=1, period=60.0)
    >>> debit = window.take(0.0, 1)
    >>> window.wait(20.0, 1), window.wait(60.0, 1)
    (40.0, 0.0)
    """

    __slots__ = ("_log", "_used", "limit", "period")

    def __init__(self, limit: float, period: float) -> None:
        self.limit = limit
        self.period = period
        self._log: deque[Debit] = deque()
        self._used = 0.0

    def _forget(self, now: float) -> None:
        log, horizon = self._log, now - self.period + _TICK
        while log and log[0].time <= horizon:
            self._used -= log.popleft().amount
        if not log:
            self._used = 0.0  # removes accumulated rounding errors

    def wait(self, now: float, amount: float) -> float:
        self._forget(now)
        excess = self._used + amount - self.limit
        if excess <= 0:
            return 0.0
        if amount > self.limit:
            return math.inf
        for debit in self._log:
            excess -= debit.amount
            if excess <= 0:
                return debit.time + self.period - now
        return math.inf

    def take(self, now: float, amount: float) -> Debit:
        debit = Debit(now, amount)
        self._log.append(debit)
        self._used += amount
        return debit

    def settle(self, now: float, debit: Debit, amount: float) -> None:
        self._forget(now)
        if debit.time > now - self.period + _TICK:
            self._used += amount - debit.amount
            debit.amount = amount

    def remaining(self, now: float) -> float:
        self._forget(now)
        return max(0.0, self.limit - self._used)

    def reset(self, now: float) -> float:
        self._forget(now)
        return self._log[-1].time + self.period - now if self._log else 0.0


class FixedWindow:
    """A counter that resets at every multiple of the period.

    >>> window = FixedWindow(limit=1, period=60.0)
    >>> debit = window.take(59.0, 1)
    >>> window.wait(59.5, 1), window.wait(60.0, 1)
    (0.5, 0.0)
    """

    __slots__ = ("_index", "_used", "limit", "period")

    def __init__(self, limit: float, period: float) -> None:
        self.limit = limit
        self.period = period
        self._index = 0
        self._used = 0.0

    def _turn(self, now: float) -> None:
        index = math.floor((now + _TICK) / self.period)
        if index > self._index:
            self._index, self._used = index, 0.0

    def wait(self, now: float, amount: float) -> float:
        self._turn(now)
        if self._used + amount <= self.limit:
            return 0.0
        return math.inf if amount > self.limit else self.reset(now)

    def take(self, now: float, amount: float) -> Debit:
        self._turn(now)
        self._used += amount
        return Debit(now, amount)

    def settle(self, now: float, debit: Debit, amount: float) -> None:
        self._turn(now)
        if math.floor((debit.time + _TICK) / self.period) == self._index:
            self._used += amount - debit.amount
            debit.amount = amount

    def remaining(self, now: float) -> float:
        self._turn(now)
        return max(0.0, self.limit - self._used)

    def reset(self, now: float) -> float:
        self._turn(now)
        return (self._index + 1) * self.period - now


class BucketWindow:
    """A bucket of `limit` units that refills evenly over one period; it starts full.

    >>> window = BucketWindow(limit=60, period=60.0)
    >>> debit = window.take(0.0, 60)
    >>> window.wait(0.0, 1), window.wait(1.0, 1)
    (1.0, 0.0)
    """

    __slots__ = ("_level", "_time", "limit", "period")

    def __init__(self, limit: float, period: float) -> None:
        self.limit = limit
        self.period = period
        self._level = limit
        self._time: float | None = None

    def _refill(self, now: float) -> None:
        if self._time is not None:
            self._level = min(self.limit, self._level + (now - self._time) * self.limit / self.period)
        self._time = now

    def wait(self, now: float, amount: float) -> float:
        self._refill(now)
        missing = amount - self._level
        if missing <= _TICK:
            return 0.0
        return math.inf if amount > self.limit else missing * self.period / self.limit

    def take(self, now: float, amount: float) -> Debit:
        self._refill(now)
        self._level -= amount
        return Debit(now, amount)

    def settle(self, now: float, debit: Debit, amount: float) -> None:
        self._refill(now)
        self._level = min(self.limit, self._level + debit.amount - amount)
        debit.amount = amount

    def remaining(self, now: float) -> float:
        self._refill(now)
        return max(0.0, self._level)

    def reset(self, now: float) -> float:
        self._refill(now)
        return (self.limit - self._level) * self.period / self.limit


_KINDS: dict[WindowKind, type[SlidingWindow] | type[FixedWindow] | type[BucketWindow]] = {
    "sliding": SlidingWindow,
    "fixed": FixedWindow,
    "bucket": BucketWindow,
}


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why a request was refused: the exceeded quota, and when there is room again.

    >>> Shortage("requests", limit=600, used=600, requested=1, wait=0.4).wait
    0.4
    """

    quota: str
    limit: float
    used: float
    requested: float
    wait: float
    """Seconds until the request fits; infinity when it never fits."""


@dataclass(slots=True)
class Account:
    """The quotas of one key: windows by name ("requests", "tokens", ...) and a concurrency limit.

    >>> account = Account.open({"requests": 1}, kind="sliding", period=60.0)
    >>> isinstance(account.admit(0.0, {"requests": 1}), dict)
    True
    >>> account.admit(30.0, {"requests": 1})
    Shortage(quota='requests', limit=1, used=1.0, requested=1, wait=30.0)
    """

    windows: dict[str, Window]
    concurrency: int | None = None
    running: int = 0
    most_running: int = field(default=0)

    @classmethod
    def open(
        cls, limits: Mapping[str, float], *, kind: WindowKind, period: float, concurrency: int | None = None
    ) -> Account:
        """An account with one window of this kind and period (seconds) for each named limit."""
        return cls({name: _KINDS[kind](limit, period) for name, limit in limits.items()}, concurrency)

    def admit(self, now: float, amounts: Mapping[str, float]) -> dict[str, Debit] | Shortage:
        """Take every amount from its window; or take nothing and return the shortage.

        Amounts without a quota in this account are ignored.
        """
        if self.concurrency is not None and self.running >= self.concurrency:
            return Shortage("concurrency", self.concurrency, self.running, 1, self._soonest())
        worst: Shortage | None = None
        for name, window in self.windows.items():
            amount = amounts.get(name, 0)
            wait = window.wait(now, amount)
            if wait > 0 and (worst is None or wait > worst.wait):
                used = window.limit - window.remaining(now)
                worst = Shortage(name, window.limit, used, amount, wait)
        if worst is not None:
            return worst
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        return {name: window.take(now, amounts.get(name, 0)) for name, window in self.windows.items()}

    def settle(self, now: float, debits: Mapping[str, Debit], amounts: Mapping[str, float]) -> None:
        """Correct the debits to `amounts`; quotas not named keep theirs."""
        for name, amount in amounts.items():
            if name in debits:
                self.windows[name].settle(now, debits[name], amount)

    def leave(self) -> None:
        """Release the request's concurrency slot."""
        self.running -= 1

    @staticmethod
    def _soonest() -> float:
        # The end of a running request is unknown, so providers state a short, fixed wait.
        return 1.0
