"""`Gate`: the limits of one endpoint (rates, concurrency, pauses). Calls do not wait in it: see `Queue`."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, TypeAlias

from callgate.errors import ConfigurationError, QuotaTooSmallError
from callgate.policies.limit.adaptive import AdaptiveConcurrency
from callgate.policies.limit.errors import not_a_cost, too_small
from callgate.policies.limit.lease import Lease
from callgate.policies.limit.pushback import Hold
from callgate.policies.limit.quota import Quota, QuotaNews, Resource
from callgate.policies.limit.rates import Rates
from callgate.policies.limit.snapshot import Bottleneck, LimiterSnapshot
from callgate.policies.timeout.alarm import before_time
from callgate.reprs import live_repr

__all__ = ["Event", "Gate", "Listener"]

Event = Literal["admitted", "changed"]
Listener: TypeAlias = Callable[[Event], None]

# Seconds, so that a timer is never set for the present moment.
_SHORTEST_WAIT = 1e-6


class Gate:
    """The limits of one endpoint. Grants a lease to a call that fits.

    In every window of one period at most the rate is admitted (or the capacity of the quota, if that is
    more). Requests, tokens and a concurrency slot are taken together or not at all.

    A gate has no queue, no event loop and no timer. A `Queue` in front of it reads the seconds until there
    may be room from `wait`, and subscribes to events that bring room earlier. Not thread-safe.

    Args:
        concurrency: The most concurrent calls; None: no limit.
        requests: The quota of calls, each of which costs 1; None: not limited.
        tokens: The quota of tokens; None: not limited.
        adaptive: Finds the concurrency by trial; `concurrency` stays an upper bound.
        name: For messages and displays.

    Attributes:
        clock: The clock of all times here, in seconds; see `use_clock`.
        hold: Whether the gate is held after a 429; see `refused`.
        in_flight: The number of leases that are not released.
        listeners: The subscribed listeners.

    Raises:
        ConfigurationError: A concurrency below 1.

    >>> gate = Gate(requests=Quota(2, period=1.0))
    >>> gate.wait(0.0, now=10.0)
    0.0
    >>> leases = [gate.grant(0.0, now=10.0) for _ in range(2)]
    >>> round(gate.wait(0.0, now=10.0), 2)
    1.01
    """

    __slots__ = (
        "_adaptive",
        "_concurrency",
        "_granted",
        "_latest",
        "_paused_until",
        "_rates",
        "_slots",
        "clock",
        "hold",
        "in_flight",
        "listeners",
        "name",
    )

    def __init__(
        self,
        *,
        concurrency: int | None = None,
        requests: Quota | None = None,
        tokens: Quota | None = None,
        adaptive: AdaptiveConcurrency | None = None,
        name: str = "",
    ) -> None:
        self.name = name
        self.clock: Callable[[], float] = before_time
        self.in_flight = 0
        self._adaptive = adaptive
        self._rates = Rates(requests, tokens, -math.inf)
        self._granted = 0
        self._latest: Lease | None = None  # the one that was granted last
        self._paused_until = -math.inf
        self.hold = Hold()
        self.listeners: tuple[Listener, ...] = ()
        self._concurrency: int | None = None
        self._slots = math.inf
        self.set_concurrency(concurrency)

    def use_clock(self, clock: Callable[[], float]) -> None:
        """Read the time from `clock` from now on, for another event loop.

        If it is behind the former clock, times cannot be compared, and the quotas start unused.
        """
        now = clock()
        if now < self.clock():
            self._rates = self._rates.restarted(now)
            self._paused_until = -math.inf
            self.hold = Hold()
        self.clock = clock

    # -- admission

    def try_grant(self, tokens: float, now: float) -> Lease | None:
        """A lease for a call of this cost if it fits now, else None."""
        if self.in_flight >= self._slots or now < self._paused_until:
            return None
        if self.hold.held and self.hold.room(now) > 0.0:
            return None
        for window in self._rates.requests:
            if window.wait(1.0, now) > 0.0:
                return None
        for window in self._rates.tokens:
            if window.wait(tokens, now) > 0.0:
                return None
        return self.grant(tokens, now)

    def wait(self, tokens: float, now: float) -> float:
        """Seconds until a call of this cost may fit; 0.0 if it fits now.

        Infinity if only a "changed" event can bring room (see `subscribe`), or nothing can because the call
        is larger than a whole window (see `check_fits`). Exact as long as no such event comes.
        """
        if self.in_flight >= self._slots:
            if self._adaptive is None or not self._adaptive.follows:
                return math.inf
            look_again = self._follow_quota(self._adaptive, tokens, now)
            if self.in_flight >= self._slots:
                return max(look_again - now, _SHORTEST_WAIT)
        return max(self._closed_for(now), self._rates.wait(tokens, now)[0])

    def _closed_for(self, now: float) -> float:
        """Seconds until a pause or hold ends; 0.0 or less if there is none."""
        pause = self._paused_until - now
        return max(pause, self.hold.room(now)) if self.hold.held else pause

    def grant(self, tokens: float, now: float) -> Lease:
        """Take what a call costs. It must fit: `wait` has returned 0.0 for `now`.

        The queue calls `admitted` after the call has left it.
        """
        self.in_flight += 1
        self._granted += 1
        if self.hold.held:
            self.hold.granted(self._granted, now)
        lease = self._latest = Lease(self, tokens, now, self._granted)
        rates = self._rates
        for window in rates.requests:
            lease.request_charges += (window.take(1.0, now),)
        for window in rates.tokens:
            lease.token_charges += (window.take(tokens, now),)
        return lease

    def check_fits(self, tokens: float) -> None:
        """Check that a call of this cost can be admitted at some time.

        Raises:
            QuotaTooSmallError: It costs more than a whole window may hold.
            ConfigurationError: `tokens` is negative or not a number.
        """
        if not tokens >= 0.0:
            raise not_a_cost(tokens)
        if (refusal := self.refusal(tokens)) is not None:
            raise refusal

    def refusal(self, tokens: float) -> QuotaTooSmallError | None:
        """The error of a call that costs more than a whole window may hold; None if it can be admitted."""
        most = self._rates.most_tokens
        return None if tokens <= most else too_small(self.name, tokens, most)

    def eta(self, tokens: float, now: float, calls: int = 0, ahead: float = 0.0) -> float:
        """A lower bound of the seconds until a call fits behind `calls` others that cost `ahead` tokens.

        Counts quotas and pauses, but neither concurrency nor the wait for a probe's response, because the
        duration of calls is not known.
        """
        return max(self._paused_until - now, self._rates.eta(calls, ahead, tokens, now))

    def expected_wait(
        self, tokens: float = 1.0, call_seconds: float = 1.0, calls: int = 0, ahead: float = 0.0
    ) -> float:
        """A lower bound of the seconds that a call would wait; infinity if it never fits.

        Takes less than a microsecond for a gate that has room.

        Args:
            tokens: The cost of the call.
            call_seconds: The duration of a call, used when all concurrency slots are taken.
            calls: The number of calls before it in the queue.
            ahead: The cost of those calls together, in tokens.
        """
        now = self.clock()
        crowded = self.in_flight >= self._slots
        closed = self._closed_for(now)
        if not (calls or crowded or closed > 0.0 or self._rates.wait(tokens, now)[0] > 0.0):
            return 0.0
        if self.refusal(tokens) is not None:
            return math.inf
        wait = max(0.0, closed, self.eta(tokens, now, calls, ahead))
        return max(wait, call_seconds * (calls + 1) / self._slots) if crowded else wait

    def _follow_quota(self, adaptive: AdaptiveConcurrency, tokens: float, now: float) -> float:
        """Add concurrency slots at the rate of the known quota; returns when the next one may be added."""
        rates = self._rates
        wait, _ = rates.wait(tokens, now)
        look_again = now + wait if wait > 0.0 else adaptive.follow_quota(now, rates.seconds_per_call(tokens))
        self._slots = self._find_slots()
        return look_again

    # -- listeners

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each event, synchronously and in the order of subscription.

        "admitted": a call was admitted and has left its queue; its task may not have run yet.
        "changed": there may be room before the time that `wait` returned, after a release, a refund, a call
        that cost less than estimated, a report of the quota, or a new setting. There may also be none.

        A listener must not raise: its error would end the call that caused the event.

        Returns:
            A function that unsubscribes the listener. Idempotent.
        """
        entry = partial(listener)  # an object of its own: the same listener may subscribe twice
        self.listeners += (entry,)

        def unsubscribe() -> None:
            self.listeners = tuple(each for each in self.listeners if each is not entry)

        return unsubscribe

    def admitted(self) -> None:
        """Report to the listeners that a call was admitted."""
        for listener in self.listeners:
            listener("admitted")

    def changed(self) -> None:
        """Report to the listeners that there may be room."""
        for listener in self.listeners:
            listener("changed")

    def settled(self) -> None:
        """Report that a call in flight has cost less than estimated.

        Has no effect while all concurrency slots are taken: their release is reported anyway.
        """
        if self._adaptive is not None or self.in_flight < self._slots:
            self.changed()

    # -- feedback

    def pause_until(self, when: float) -> None:
        """Grant nothing before `when`, in seconds of the clock; infinity and earlier times are ignored."""
        if self._paused_until < when < math.inf:
            self._paused_until = when

    def learn(self, news: QuotaNews, lease: Lease | None = None) -> None:
        """Adjust a quota to what the headers of a response report.

        A reported limit is adopted if the user has set none, or a looser one. The remaining units can only
        lower what is admitted. A report is dropped if one of a call that was sent later has been used.

        Args:
            news: The report.
            lease: The call's lease; what was admitted after it is subtracted from the remaining units.
        """
        if self._rates.learn(news, lease, self.clock()):
            self.changed()

    def succeeded(self, lease: Lease, first_byte: float | None = None) -> bool:
        """Report a successful response.

        Args:
            lease: The call's lease, not released yet.
            first_byte: Seconds until the first byte of a streamed response, else None. (The time of a whole
                response depends on the length of the output.)

        Returns:
            True if it is the first one after a pause.
        """
        if self._adaptive is not None:
            now = self.clock()
            self._adaptive.on_success(now, now - lease.granted_at, self.in_flight, first_byte)
            self._count_slots()
        return self.hold.answered(lease.order)

    def refused(self, lease: Lease, certain: bool = False) -> bool:
        """Report a 429.

        At most one call at a time is granted until a call that was granted later is answered.

        Args:
            lease: The call's lease, not released yet.
            certain: True if it is known that other calls would get a 429 too.

        Returns:
            True if other calls would get a 429 too: call `pause_until`.
        """
        now = self.clock()
        self._rates.pushed_back(now)
        latest = self._latest
        sent_at = latest.sent_at if latest is not None and latest.in_use else None
        is_real = self.hold.refused(
            lease.order, now, now - lease.sent_at, self._granted, certain, latest_sent_at=sent_at
        )
        if is_real:
            self.pushed_back(lease)
        return is_real

    def pushed_back(self, lease: Lease) -> None:
        """Report an overload (529, a timeout) to the adaptive concurrency."""
        if self._adaptive is not None:
            self._adaptive.on_push_back(self.clock(), lease.granted_at, self.in_flight)
            self._count_slots()

    # -- settings

    def set_quota(self, resource: Resource, quota: Quota | None) -> None:
        """Change one of the user's quotas, or remove it (None), also while calls wait."""
        self._rates.set_quota(resource, quota, self.clock())
        self.changed()

    def set_concurrency(self, concurrency: int | None) -> None:
        """Change how many calls may run concurrently; None: no limit. Calls in flight go on.

        Raises:
            ConfigurationError: `concurrency` is below 1.
        """
        if concurrency is not None and not concurrency >= 1:
            raise ConfigurationError(f"concurrency must be at least 1, not {concurrency!r}")
        self._concurrency = concurrency
        self._count_slots()

    def expect(self, calls: int) -> None:
        """Start with this many concurrent calls, if the concurrency is adaptive and no call has ended."""
        if self._adaptive is not None:
            self._adaptive.expect(calls)
            self._count_slots()

    def _count_slots(self) -> None:
        before, self._slots = self._slots, self._find_slots()
        if self._slots > before:
            self.changed()

    def _find_slots(self) -> float:
        slots = math.inf if self._concurrency is None else self._concurrency
        return slots if self._adaptive is None else min(slots, self._adaptive.limit)

    # -- state

    def limited_by(self, tokens: float, now: float) -> Bottleneck | None:
        """The limit that a call of this cost would wait for now; None if it fits."""
        wait, resource = self._rates.wait(tokens, now)
        if self._closed_for(now) > wait:
            return "paused"
        if wait > 0.0:
            return resource
        return "concurrency" if self.in_flight >= self._slots else None

    def snapshot(self) -> LimiterSnapshot:
        """The state at this moment."""
        now = self.clock()
        return LimiterSnapshot(
            name=self.name,
            waiting=0,
            in_flight=self.in_flight,
            concurrency=None if self._slots == math.inf else int(self._slots),
            paused_for=max(0.0, self._closed_for(now)),
            bottleneck=None,
            requests=self._rates.snapshot("requests", now),
            tokens=self._rates.snapshot("tokens", now),
        )

    @live_repr
    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.snapshot()}>"
