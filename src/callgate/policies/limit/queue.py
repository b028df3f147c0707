"""`Queue`: one FIFO queue in front of one or several gates, with retries before new calls."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence

from callgate.policies.limit.candidate import Candidate, check_fits
from callgate.policies.limit.errors import another_loop, no_time, overdue
from callgate.policies.limit.gate import Event, Gate
from callgate.policies.limit.lease import Lease
from callgate.policies.limit.waiters import Waiter, Waiters
from callgate.policies.timeout.alarm import Alarm, before_time

__all__ = ["Queue"]


class Queue:
    """Calls that wait for one of several gates in FIFO order; retries come before new calls.

    A call that must wait blocks the calls behind it only at its own gates. There is one timer for all waiting
    calls, and no polling. If the queue is empty and a gate has room, a call passes without an `await`.

    It belongs to one event loop until that is closed. Not thread-safe.

    Args:
        gates: All gates that a candidate may pass.
        name: For messages.

    Example::

        queue = Queue([first.gate, second.gate])
        lease = await queue.acquire(FirstWithRoom(queue.gates, tokens=500))
    """

    __slots__ = ("_alarm", "_subscriptions", "gates", "loop", "name", "time", "waiters")

    def __init__(self, gates: Sequence[Gate], name: str = "") -> None:
        self.gates = tuple(gates)
        self.name = name
        self.loop: asyncio.AbstractEventLoop | None = None
        self.time: Callable[[], float] = before_time
        self._alarm = Alarm(self._on_timer)
        self.waiters = Waiters()
        self._subscriptions: list[Callable[[], None]] = []

    @property
    def waiting(self) -> int:
        """The number of waiting calls."""
        return self.waiters.live

    @property
    def head(self) -> Candidate | None:
        """The next call to be admitted; None if no call waits."""
        waiter = self.waiters.first()
        return None if waiter is None else waiter.candidate

    def ahead(self, front: bool = False) -> tuple[int, float]:
        """The number of calls before a new call (or, with `front`, a new retry), and their tokens."""
        return self.waiters.ahead(front)

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Use this loop and its clock, for the gates too.

        Raises:
            RuntimeError: The queue belongs to another loop that is still open.
        """
        if loop is self.loop:
            return
        if self.loop is not None and not self.loop.is_closed():
            raise another_loop(self.name)
        self.loop, self.time = loop, loop.time
        for gate in self.gates:
            gate.use_clock(loop.time)
        self._alarm.forget()
        self.waiters = Waiters()  # the waiting tasks have ended with the former loop
        self._unsubscribe()

    def try_acquire(self, candidate: Candidate) -> Lease | None:
        """A lease, or None if the call would have to wait or other calls are waiting.

        Raises:
            RuntimeError: There is no running event loop, or another one than the queue's.
            Exception: Any error of `candidate.admit`.
        """
        self.bind(asyncio.get_running_loop())
        if self.waiters.live:
            return None
        lease = candidate.admit(candidate.gates, self.time())
        if not isinstance(lease, Lease):
            return None
        lease.gate.admitted()
        return lease

    async def acquire(
        self,
        candidate: Candidate,
        *,
        front: bool = False,
        deadline: float | None = None,
        on_head: Callable[[float], None] | None = None,
    ) -> Lease:
        """Wait until the call is admitted.

        Args:
            candidate: The call.
            front: True for a retry: it goes before all new calls and behind earlier retries.
            deadline: In seconds of the loop's clock. The call is refused at once if the calls before it
                cannot be admitted in time, and leaves the queue at its deadline.
            on_head: Called once, with the time, when the call is next for one of its gates, or is admitted.

        Raises:
            DeadlineRefusalError: The call cannot be admitted, or was not admitted, before its deadline.
            RuntimeError: The running event loop is not the queue's.
            Exception: Any error of `candidate.admit`.
        """
        loop = asyncio.get_running_loop()
        self.bind(loop)
        now = self.time()
        if not self.waiters.live and (deadline is None or now < deadline):
            lease = candidate.admit(candidate.gates, now)
            if isinstance(lease, Lease):
                if on_head is not None:
                    _announce(on_head, now, loop)
                lease.gate.admitted()
                return lease
        self._refuse_hopeless(candidate, front, deadline, now)
        waiter = Waiter(candidate, loop.create_future(), front, deadline, on_head)
        if self.waiters.join(waiter):
            if not self._subscriptions:
                self._subscriptions = [gate.subscribe(self._on_event) for gate in self.gates]
            self._pump(now)
        elif deadline is not None:
            self._alarm.ring_by(loop, deadline)
        try:
            return await waiter.future
        except asyncio.CancelledError:
            self._abandon(waiter)
            raise

    def close(self, error: BaseException) -> None:
        """End all waiting calls with `error`. Calls in flight keep their leases; new calls may join."""
        while (waiter := self.waiters.first()) is not None:
            self.waiters.leave(waiter)
            waiter.future.set_exception(error)
        self._pump(self.time())

    def _refuse_hopeless(self, candidate: Candidate, front: bool, deadline: float | None, now: float) -> None:
        check_fits(candidate)
        if deadline is None:
            return
        # With several gates, the gates of the calls ahead are not known.
        ahead = self.waiters.ahead(front) if len(candidate.gates) == 1 else (0, 0.0)
        wait = min(gate.eta(candidate.tokens, now, *ahead) for gate in candidate.gates)
        if now + wait > deadline or now >= deadline:
            raise no_time(self.name, wait, self.waiters.live, deadline - now)

    def _pump(self, now: float) -> None:
        """Admit the calls that have room, in their order, and set the timer for the next one."""
        waiters = self.waiters
        claimed: set[Gate] = set()  # gates of calls that must wait: later calls do not pass them
        look_again = math.inf
        while (waiter := waiters.first(claimed)) is not None:
            candidate = waiter.candidate
            if waiter.on_head is not None:
                on_head, waiter.on_head = waiter.on_head, None
                _announce(on_head, now, waiter.future.get_loop())
                continue  # `on_head` may have cancelled it
            gates: Sequence[Gate] = candidate.gates
            if claimed:
                gates = [gate for gate in gates if gate not in claimed]
            try:
                outcome = candidate.admit(gates, now)
            except Exception as error:
                waiters.leave(waiter)
                waiter.future.set_exception(error)
                continue
            if isinstance(outcome, Lease):
                waiters.leave(waiter)
                waiter.future.set_result(outcome)
                outcome.gate.admitted()
            else:
                look_again = min(look_again, now + outcome)
                claimed.update(gates)
                if len(claimed) == len(self.gates):
                    break
        if waiters.live:
            assert self.loop is not None  # the loop that the calls wait in
            self._alarm.ring_by(self.loop, min(look_again, waiters.next_deadline()))
        else:
            self._alarm.silence()
            self._unsubscribe()

    def _on_event(self, event: Event) -> None:
        if event == "changed":
            self._pump(self.time())

    def _on_timer(self) -> None:
        now = self.time()
        while (waiter := self.waiters.overdue(now)) is not None:
            self.waiters.leave(waiter)
            if not waiter.future.done():
                waiter.future.set_exception(overdue(self.name))
        self._pump(now)

    def _abandon(self, waiter: Waiter) -> None:
        future = waiter.future
        if future.cancelled():
            self.waiters.leave(waiter)
            self._pump(self.time())
        elif future.exception() is None:  # cancelled between the grant and the next step of its task
            lease = future.result()
            lease.refund()
            lease.release()

    def _unsubscribe(self) -> None:
        for unsubscribe in self._subscriptions:
            unsubscribe()
        self._subscriptions = []

    def __repr__(self) -> str:
        return f"<Queue {self.name!r}: {self.waiting} waiting for {len(self.gates)} gates>"


def _announce(on_head: Callable[[float], None], now: float, loop: asyncio.AbstractEventLoop) -> None:
    """Call `on_head`. Its errors go to the loop's exception handler: they must not end another call."""
    try:
        on_head(now)
    except Exception as error:
        loop.call_exception_handler(
            {"message": "a callback of a call at the head of the queue raised", "exception": error}
        )
