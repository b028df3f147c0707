"""`Pool`: several endpoints with one queue. Each attempt goes to the endpoint that will answer it soonest."""

from __future__ import annotations

import copy
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from callgate.call.calling import Calling
from callgate.errors import APIClientError
from callgate.policies.limit.gate import Gate
from callgate.policies.limit.lease import Lease
from callgate.policies.limit.queue import Queue
from callgate.policies.route.health import Health, is_of_endpoint
from callgate.policies.route.state import Route
from callgate.response import Response

__all__ = ["Member", "Pool", "Target"]


# Endpoints within this factor of the lowest latency count as equally fast, so that their quotas are used
# equally.
SIMILAR: Final = 1.5


class Target(Protocol):
    """One endpoint of a pool: its gate, and how a call is prepared for it and sent."""

    @property
    def name(self) -> str:
        """Name for messages and `Attempt.endpoint`."""
        ...

    @property
    def gate(self) -> Gate:
        """Its quotas and concurrency."""
        ...

    def turn(self, calling: Calling) -> None:
        """Give the call this endpoint's defaults, backend and prices."""
        ...

    def tokens(self, calling: Calling) -> float:
        """Tokens to reserve for the call, after `turn`."""
        ...

    def send(self, calling: Calling, lease: Lease) -> Awaitable[Response]:
        """Make one attempt with a lease of its gate."""
        ...


class Member:
    """One endpoint of a pool and its health."""

    __slots__ = ("admitted", "gate", "health", "target")

    def __init__(self, target: Target) -> None:
        self.target = target
        self.admitted = 0
        """Attempts so far; among equally good endpoints the one with the fewest is taken."""
        self.gate = target.gate
        self.health = Health()


class Pool:
    """Endpoints behind one FIFO queue, each with a gate of its own. It is a `Tier`.

    The head of the queue takes the free endpoint with the fewest calls in flight for its latency. A slow free
    endpoint is passed over while a fast one will have answered sooner, for the whole queue. A call prefers
    endpoints that it has not tried. An ejected endpoint gets no calls; while all are ejected for transient
    failures, the one whose ejection ends first is tried.

    Args:
        name: For messages.
        targets: At least one.
        on_ejected: Called with the target and the error each time that one is ejected.
    """

    def __init__(
        self,
        name: str,
        targets: Sequence[Target],
        on_ejected: Callable[[Target, APIClientError], None] | None = None,
    ) -> None:
        self.name = name
        self.members = tuple(Member(target) for target in targets)
        self.queue = Queue([member.gate for member in self.members], name)
        self.clock: Callable[[], float] = lambda: -math.inf
        self._on_ejected = on_ejected
        self._gates = self.queue.gates
        self._refusal: APIClientError | None = None

    def restart(self, clock: Callable[[], float]) -> None:
        """Use the clock of another event loop, and clear the times of the former one."""
        self.clock = clock
        for member in self.members:
            member.health.reset()

    # -- as a tier ---------------------------------------------------------------------------------------

    async def call(self, calling: Calling) -> Response:
        """Make one attempt at the first endpoint that admits it.

        Raises:
            APIClientError: the attempt failed, or no endpoint can take the call.
        """
        route: Route = calling.route
        route.target = None
        while True:
            candidate = _Candidate(self, calling)
            try:
                lease = self.queue.try_acquire(candidate)
                if lease is None:
                    calling.mark_queued(self.clock())
                    lease = await self.queue.acquire(
                        candidate,
                        front=bool(calling.attempts),
                        deadline=calling.deadline,
                        on_head=calling.mark_next,
                    )
                break
            except _NoneLeft:  # all its endpoints were ejected while it waited
                continue
        member = candidate.member
        assert member is not None  # set with the lease
        route.target = member.target
        route.tried.add(member)
        now = self.clock()
        member.admitted += 1
        member.health.began(now)
        try:
            response = await member.target.send(calling, lease)
        except APIClientError as error:
            if is_of_endpoint(error):
                self._failed(member, error)
            raise
        member.health.succeeded(self.clock() - now)
        return response

    def enter(self, calling: Calling) -> None:
        """Does nothing: each attempt prepares the call for its endpoint."""

    def close(self, route: Route, until: float) -> None:
        """Do not send the call to the endpoint of its latest attempt before `until`."""
        latest = self._latest(route)
        if latest is not None:
            route.closed[latest] = until
            route.tried.discard(latest)

    def pause(self, route: Route, now: float) -> float:
        """Seconds until the call may be sent to an endpoint in use, an untried one if there is any."""
        in_use = self._in_use(now) or self.members
        untried = [each for each in in_use if each not in route.tried]
        return max(0.0, min(route.closed.get(each, now) for each in untried or in_use) - now)

    def has_untried(self, route: Route) -> bool:
        """True if an endpoint in use has not been tried by this call."""
        return any(member not in route.tried for member in self._in_use(self.clock()))

    def is_ejected(self, route: Route) -> bool:
        """True if the endpoint of the call's latest attempt is ejected."""
        latest = self._latest(route)
        return latest is not None and latest.health.ejected_until > self.clock()

    def _latest(self, route: Route) -> Member | None:
        return next((each for each in self.members if each.target is route.target), None)

    # -- choosing ----------------------------------------------------------------------------------------

    def candidates(self, calling: Calling, now: float) -> tuple[Member, ...]:
        """The endpoints that a call may wait for: untried ones if possible, and none with a Retry-After for
        it.

        A hedge does not wait for an untried endpoint without room, because it would come too late.
        """
        route: Route = calling.route
        if not (route.tried or route.closed):
            return self.members
        allowed = [each for each in self._in_use(now) if route.closed.get(each, now) <= now]
        untried = [each for each in allowed if each not in route.tried]
        if calling.is_hedge:
            untried = [each for each in untried if each.gate.wait(calling.num_api_tokens_needed, now) <= 0.0]
        return tuple(untried or allowed) or self.members

    def admit(self, candidate: _Candidate, gates: Sequence[Gate], now: float) -> Lease | float:
        """Take a lease at the best endpoint for the candidate, or return the seconds until the next try."""
        usable = [each for each in candidate.members if each.health.ejected_until <= now]
        if not usable:
            usable = self._last_resort(candidate)
        if len(gates) < len(candidate.gates):
            usable = [each for each in usable if each.gate in gates]
        passed_over: set[Member] = set()
        while (member := self._best(candidate, usable, passed_over, now)) is not None:
            member.target.turn(candidate.calling)
            tokens = member.target.tokens(candidate.calling)
            lease = member.gate.try_grant(tokens, now)
            if lease is not None:
                candidate.member = member
                return lease
            passed_over.add(member)
            candidate.dearer[member] = tokens
        return self._look_again(candidate, usable, now)

    def _best(
        self, candidate: _Candidate, usable: Sequence[Member], without: set[Member], now: float
    ) -> Member | None:
        """The best endpoint with room; None if there is none, or a busy one is expected to answer sooner."""
        free: Member | None = None
        least, soonest = (math.inf, 0, 0), math.inf
        latencies = {member: member.health.latency(now) for member in usable if member not in without}
        fastest = min(filter(None, latencies.values()), default=0.0)
        for member, latency in latencies.items():
            gate, tokens = member.gate, candidate.tokens_at(member)
            if latency <= SIMILAR * fastest:
                latency = min(latency, fastest)
            if gate.wait(tokens, now) <= 0.0:
                load = ((gate.in_flight + 1) * latency, gate.in_flight, member.admitted)
                if free is None or load < least:
                    free, least = member, load
            else:
                # The whole queue is counted, so that slow endpoints are used under a lasting load.
                wait = gate.expected_wait(tokens, latency or 1.0, calls=self.queue.waiting)
                soonest = min(soonest, wait + latency)
        if free is not None and soonest < free.health.latency(now):
            return None
        return free

    def _look_again(self, candidate: _Candidate, usable: Sequence[Member], now: float) -> float:
        """Seconds until the candidate is tried again; infinity: not before one of its gates reports a change.

        Raises:
            QuotaTooSmallError: the call is larger than a whole window of each endpoint.
        """
        soonest = math.inf
        for member in usable:
            soonest = min(soonest, member.gate.wait(candidate.tokens_at(member), now) or math.inf)
        for member in candidate.members:
            if member.health.ejected_until > now:
                soonest = min(soonest, member.health.ejected_until - now)
        if soonest == math.inf and usable:
            refusals = [member.gate.refusal(candidate.tokens_at(member)) for member in usable]
            if refusals[0] is not None and None not in refusals:
                raise refusals[0]
        return soonest

    def _last_resort(self, candidate: _Candidate) -> list[Member]:
        """The endpoint whose ejection ends first, for a candidate with ejected endpoints only.

        Raises:
            APIClientError: all keys are refused.
            _NoneLeft: other endpoints of the pool may take the call.
        """
        if len(candidate.members) < len(self.members):
            raise _NoneLeft
        transient = [each for each in self.members if not each.health.key_refused]
        if transient:
            return [min(transient, key=lambda each: each.health.ejected_until)]
        cause = self._refusal or next(each.health.error for each in self.members if each.health.error)
        # A copy: one exception raised in many tasks would mix their tracebacks.
        error = copy.copy(cause)
        error.__cause__ = cause
        raise error

    # -- health ------------------------------------------------------------------------------------------

    def _failed(self, member: Member, error: APIClientError) -> None:
        if not member.health.failed(error, self.clock(), member.gate.in_flight):
            return
        self._refusal = error
        for each in self.members:
            each.gate.changed()  # calls that wait for the ejected endpoint choose again
        if self._on_ejected is not None:
            self._on_ejected(member.target, error)

    def _in_use(self, now: float) -> list[Member]:
        return [each for each in self.members if each.health.ejected_until <= now]

    def in_use(self) -> list[Member]:
        """The endpoints that get calls now; all of them if all are ejected."""
        return self._in_use(self.clock()) or list(self.members)


class _NoneLeft(Exception):
    """All endpoints that a call waited for are ejected."""


class _Candidate:
    """One call in the pool's queue."""

    __slots__ = ("_pool", "calling", "dearer", "gates", "member", "members", "tokens")

    def __init__(self, pool: Pool, calling: Calling) -> None:
        self._pool = pool
        self.calling = calling
        now = pool.clock()
        self.members = pool.candidates(calling, now)
        whole = self.members is pool.members
        self.gates = pool.queue.gates if whole else tuple(member.gate for member in self.members)
        self.member: Member | None = None
        first = self.members[0].target
        first.turn(calling)
        self.tokens = first.tokens(calling)
        self.dearer: dict[Member, float] = {}
        """The cost in tokens at endpoints that had no room for the call."""

    def tokens_at(self, member: Member) -> float:
        return self.dearer.get(member, self.tokens)

    def admit(self, gates: Sequence[Gate], now: float) -> Lease | float:
        return self._pool.admit(self, gates, now)
