"""Admission: requests, tokens and calls at once, all three or not at all, first come, first served."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from callgate.errors import ConfigurationError, QuotaTooSmallError
from callgate.policies.limit.adaptive import AdaptiveConcurrency
from callgate.policies.limit.errors import another_loop, no_time, overdue, too_small
from callgate.policies.limit.lease import Lease
from callgate.policies.limit.queue import Line, Waiter, announce
from callgate.policies.limit.quota import Quota, QuotaNews, Resource
from callgate.policies.limit.rates import Rates
from callgate.policies.limit.snapshot import Bottleneck, LimiterSnapshot, RateSnapshot
from callgate.policies.timeout.alarm import Alarm, before_time

__all__ = ["Bottleneck", "Lease", "Limiter", "LimiterSnapshot", "RateSnapshot"]


class Limiter:
    """Admits calls so that no quota is ever exceeded, and as much of it as possible is used.

    In every window of one period at most the rate is admitted (or the burst that was asked for, where that is
    more). Callers are served in the order they came; none overtakes because it is small. Retries (`front`)
    have a line of their own in front. One timer is held, however many wait; nothing polls.

    A limiter belongs to one event loop at a time (another one may take over when that is closed), and is not
    thread-safe.

    Args:
        concurrency: Calls at once; None: any number.
        requests: The quota of calls, each of which costs 1; None: not limited.
        tokens: The quota of tokens; None: not limited.
        adaptive: Finds the concurrency by itself; `concurrency` stays an upper bound.
        name: For messages and displays.

    Raises:
        ConfigurationError: A concurrency below 1.

    Example::

        limiter = Limiter(concurrency=64, requests=Quota(600), tokens=Quota(1_000_000))
        lease = limiter.try_acquire(tokens=500) or await limiter.acquire(tokens=500)
        try:
            answer = await send()
            lease.settle(answer.usage.total_tokens)
        finally:
            lease.release()
    """

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
        self._adaptive = adaptive
        self._rates = Rates(requests, tokens, -math.inf)
        self._line = Line()
        self._in_flight = 0
        self._granted = 0
        self._paused_until = -math.inf
        self._loop: asyncio.AbstractEventLoop | None = None
        self._time: Callable[[], float] = before_time
        self._alarm = Alarm(self._on_timer)
        self._concurrency: int | None = None
        self._slots = math.inf
        self.set_concurrency(concurrency)

    # -- admission

    def try_acquire(self, tokens: float = 0.0) -> Lease | None:
        """A lease at once, or None when the call would have to wait (or somebody else waits already).

        Raises:
            ConfigurationError: `tokens` is negative or not a number.
            RuntimeError: Called outside of an event loop, or on another one than the limiter's.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._bind(loop)
        if self._line.live or self._in_flight >= self._slots:
            return None
        if not tokens >= 0.0:
            raise ConfigurationError(f"a call cannot cost {tokens!r} tokens")
        now = self._time()
        if now < self._paused_until:
            return None
        return self._grant(tokens, now) if self._rates.fits(tokens, now) else None

    async def acquire(
        self,
        tokens: float = 0.0,
        *,
        front: bool = False,
        deadline: float | None = None,
        on_head: Callable[[float], None] | None = None,
    ) -> Lease:
        """Wait in line until the call is admitted.

        Args:
            tokens: The call's estimated cost.
            front: A retry: it stands before all fresh calls and behind the retries that came earlier.
            deadline: In seconds of the loop's clock. It is refused at once when what stands before it in the
                line cannot be admitted in time, and leaves the line when its deadline comes.
            on_head: Called once, with the time, when the call comes to the head of the line or is admitted.

        Raises:
            QuotaTooSmallError: The call costs more than a whole window may hold.
            DeadlineExceededError: It cannot be admitted, or was not, before its deadline.
            ConfigurationError: `tokens` is negative or not a number.
            RuntimeError: On another event loop than the limiter's.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._bind(loop)
        if deadline is None or self._time() < deadline:
            lease = self.try_acquire(tokens)
            if lease is not None:
                if on_head is not None:
                    announce(on_head, lease.granted_at, loop)
                return lease
        now = self._time()
        self._refuse_hopeless(tokens, front, deadline, now)
        waiter = Waiter(loop.create_future(), tokens, front, deadline, on_head)
        self._line.join(waiter)
        if self._line.head() is waiter:
            self._pump(now)
        elif deadline is not None:
            self._alarm.ring_by(loop, deadline)
        try:
            return await waiter.future
        except asyncio.CancelledError:
            self._abandon(waiter)
            raise

    def check_fits(self, tokens: float) -> None:
        """Tell at once whether a call of this cost could ever be admitted.

        Raises:
            QuotaTooSmallError: It costs more than a whole window may hold.
        """
        if (refusal := self._too_small(tokens)) is not None:
            raise refusal

    def expected_wait(self, tokens: float = 1.0, call_seconds: float = 1.0) -> float:
        """Seconds that a call coming now would wait at least: 0.0 for not at all, infinity for ever.

        Where calls at once are the bottleneck, that depends on how long a call takes, `call_seconds`. Costs
        less than a microsecond while nobody waits.
        """
        now = self._time()
        crowded = self._in_flight >= self._slots
        if self._line.live or crowded or now < self._paused_until or not self._rates.fits(tokens, now):
            if tokens > self._rates.most_tokens():
                return math.inf
            wait = max(0.0, self._predict(tokens, False, now))
            return max(wait, call_seconds * (self._line.live + 1) / self._slots) if crowded else wait
        return 0.0

    def _refuse_hopeless(self, tokens: float, front: bool, deadline: float | None, now: float) -> None:
        if not tokens >= 0.0:
            raise ConfigurationError(f"a call cannot cost {tokens!r} tokens")
        self.check_fits(tokens)
        if deadline is None:
            return
        wait = self._predict(tokens, front, now)
        if now + wait > deadline or now >= deadline:
            raise no_time(self.name, wait, self._line.live, deadline - now)

    def _predict(self, tokens: float, front: bool, now: float) -> float:
        calls, ahead = self._line.ahead(front)
        return max(self._paused_until - now, self._rates.eta(calls, ahead, tokens, now))

    def _too_small(self, tokens: float) -> QuotaTooSmallError | None:
        most = self._rates.most_tokens()
        return None if tokens <= most else too_small(self.name, tokens, most)

    def _grant(self, tokens: float, now: float) -> Lease:
        self._in_flight += 1
        self._granted += 1
        lease = Lease(self, tokens, now, self._granted)
        self._rates.take(lease, now)
        return lease

    # -- the line

    def _pump(self, now: float) -> None:
        """Admit from the head as many as may go, and set the timer for the next."""
        line = self._line
        while (head := line.head()) is not None:
            if head.announce(now):
                continue  # which may have cancelled it
            if self._in_flight >= self._slots:
                look_again = self._follow_quota(head.tokens, now)
                if self._in_flight >= self._slots:
                    # Whoever releases looks, too; only deadlines and what the quota adds need the timer.
                    self._alarm.ring_by(head.future.get_loop(), min(look_again, line.next_deadline()))
                    return
            wait, _ = self._wait_of(head, now)
            if wait <= 0.0:
                line.leave(head)
                head.future.set_result(self._grant(head.tokens, now))
            elif (refusal := self._too_small(head.tokens)) is not None:  # the quota was cut meanwhile
                line.leave(head)
                head.future.set_exception(refusal)
            else:
                self._alarm.ring_by(head.future.get_loop(), min(now + wait, line.next_deadline()))
                return
        self._alarm.silence()

    def _wait_of(self, head: Waiter, now: float) -> tuple[float, Bottleneck | None]:
        """How long the head waits for its quota, and what for."""
        wait, bottleneck = self._rates.wait(head.tokens, now)
        pause = self._paused_until - now
        return (pause, "paused") if pause > wait else (wait, bottleneck)

    def _follow_quota(self, tokens: float, now: float) -> float:
        """Add the places that the known quota asks for; tells when the next one may be due."""
        adaptive, rates = self._adaptive, self._rates
        if adaptive is None or not adaptive.follows:
            return math.inf
        wait, _ = rates.wait(tokens, now)
        look_again = now + wait if wait > 0.0 else adaptive.follow_quota(now, rates.seconds_per_call(tokens))
        self._slots = self._find_slots()
        return look_again

    def _on_timer(self) -> None:
        now = self._time()
        while (waiter := self._line.overdue(now)) is not None:
            self._line.leave(waiter)
            if not waiter.future.done():
                waiter.future.set_exception(overdue(self.name))
        self._pump(now)

    def _abandon(self, waiter: Waiter) -> None:
        future = waiter.future
        if future.cancelled():
            self._line.leave(waiter)
            self._pump(self._time())
        elif future.exception() is None:  # granted, and cancelled before its task ran again
            lease = future.result()
            lease.refund()
            lease.release()

    def close(self, error: BaseException) -> None:
        """Fail everybody who waits with `error`. Calls in flight keep their leases; new ones may come."""
        while (waiter := self._line.head()) is not None:
            self._line.leave(waiter)
            waiter.future.set_exception(error)
        self._pump(self._time())

    # -- what leases tell

    def _give_back(self) -> None:
        self._in_flight -= 1
        if self._line.live:
            self._pump(self._time())

    def _settle(self, lease: Lease, tokens: float) -> None:
        now = self._time()
        self._rates.settle(lease, tokens, now)
        if self._line.live and self._in_flight < self._slots:
            self._pump(now)

    def _refund(self, lease: Lease) -> None:
        self._rates.refund(lease, self._time())
        if self._line.live:
            self._pump(self._time())

    # -- what answers tell

    def pause_until(self, when: float) -> None:
        """Admit nobody before `when`, in seconds of the loop's clock: a Retry-After. The latest moment rules.

        A moment that is not finite is no news and is ignored.
        """
        if self._paused_until < when < math.inf:
            self._paused_until = when
            if self._line.live:
                self._pump(self._time())

    def learn(self, news: QuotaNews, lease: Lease | None = None) -> None:
        """Take what an answer told of the quota.

        A limit is adopted where the user has set none, and otherwise where it is tighter than the user's.
        What remains can only lower what is admitted. News older than the newest (by the order in which the
        calls were sent) are dropped.

        Args:
            news: What the answer told.
            lease: The call's lease: what was admitted since is taken off what remained then.
        """
        if self._rates.learn(news, lease, self._time()) and self._line.live:
            self._pump(self._time())

    def succeeded(self, lease: Lease, first_byte: float | None = None) -> None:
        """Tell the adaptive concurrency of an answer.

        Args:
            lease: The call's lease, not released yet.
            first_byte: Seconds until the first byte of the answer, where it is known, as of a stream. (The
                time of one whole answer tells little: it follows the length of the output.)
        """
        if self._adaptive is not None:
            now = self._time()
            self._adaptive.on_success(now, now - lease.granted_at, self._in_flight, first_byte)
            self._count_slots()

    def pushed_back(self, lease: Lease) -> None:
        """Tell the adaptive concurrency that the service is overloaded: 429, 529, a timeout."""
        if self._adaptive is not None:
            self._adaptive.on_push_back(self._time(), lease.granted_at, self._in_flight)
            self._count_slots()

    # -- settings

    def set_quota(self, resource: Resource, quota: Quota | None) -> None:
        """Change or remove one of the user's own quotas, also while calls wait."""
        self._rates.set_quota(resource, quota, self._time())
        if self._line.live:
            self._pump(self._time())

    def set_concurrency(self, concurrency: int | None) -> None:
        """Change how many calls may run at once; None: any number. Those in flight are not touched."""
        if concurrency is not None and not concurrency >= 1:
            raise ConfigurationError(f"concurrency must be at least 1, not {concurrency!r}")
        self._concurrency = concurrency
        self._count_slots()

    def _count_slots(self) -> None:
        before, self._slots = self._slots, self._find_slots()
        if self._slots > before and self._line.live:
            self._pump(self._time())

    def _find_slots(self) -> float:
        slots = math.inf if self._concurrency is None else self._concurrency
        return slots if self._adaptive is None else min(slots, self._adaptive.limit)

    # -- the loop

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not None and not self._loop.is_closed():
            raise another_loop(self.name)
        if loop.time() < self._time():  # another clock
            self._rates = self._rates.restarted(loop.time())
            self._paused_until = -math.inf
        self._loop, self._time = loop, loop.time
        self._alarm.forget()
        self._line = Line()  # whoever waited has died with the former loop

    # -- what there is to see

    @property
    def waiting(self) -> int:
        """Calls in the line."""
        return self._line.live

    @property
    def in_flight(self) -> int:
        """Leases that have not been released."""
        return self._in_flight

    @property
    def bottleneck(self) -> Bottleneck | None:
        """What the head of the line waits for; None when nobody waits."""
        head = self._line.head()
        if head is None:
            return None
        wait, bottleneck = self._wait_of(head, self._time())
        if wait <= 0.0 and self._in_flight >= self._slots:
            return "concurrency"
        return bottleneck

    def snapshot(self) -> LimiterSnapshot:
        """The state at this moment."""
        now = self._time()
        return LimiterSnapshot(
            name=self.name,
            waiting=self.waiting,
            in_flight=self._in_flight,
            concurrency=None if self._slots == math.inf else int(self._slots),
            paused_for=max(0.0, self._paused_until - now),
            bottleneck=self.bottleneck,
            requests=self._rates.snapshot("requests", now),
            tokens=self._rates.snapshot("tokens", now),
        )

    def __repr__(self) -> str:
        return f"<Limiter {self.snapshot()}>"
