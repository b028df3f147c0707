"""Whatever happens to a limiter, in whatever order: the history that breaks a promise is looked for."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass

from hypothesis import HealthCheck, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from callgate.errors import CallCancelledError, DeadlineExceededError, QuotaTooSmallError
from callgate.policies.limit.lease import Lease
from callgate.policies.limit.limiter import Limiter
from callgate.policies.limit.quota import Quota, QuotaNews
from callgate.testing.clock import VirtualClock
from tests.effort import examples
from tests.policies.limit.window_checker import Admission, fullest_window

PERIOD = 1.0


@dataclass
class Call:
    """One call, as the test sees it."""

    number: int
    front: bool
    tokens: int
    deadline: float | None
    task: asyncio.Task[None] | None = None
    lease: Lease | None = None
    granted_at: float = math.nan
    error: BaseException | None = None
    cancelled: bool = False

    @property
    def waits(self) -> bool:
        return self.lease is None and self.error is None and not self.cancelled


class LimiterMachine(RuleBasedStateMachine):
    @initialize(
        concurrency=st.one_of(st.none(), st.integers(1, 4)),
        requests=st.integers(1, 8),
        tokens=st.integers(20, 60),
        capacity=st.one_of(st.none(), st.integers(1, 90)),
    )
    def begin(self, concurrency: int | None, requests: int, tokens: int, capacity: int | None) -> None:
        self.clock = VirtualClock(100.0)
        self.loop = self.clock.new_event_loop()
        self.concurrency = concurrency
        self.limiter = Limiter(
            concurrency=concurrency,
            requests=Quota(requests, PERIOD),
            tokens=Quota(tokens, PERIOD, capacity),
        )
        self.request_bound = requests
        self.token_bound = max(tokens, capacity or 0)
        self.paused_until = 0.0
        self.calls: list[Call] = []
        self.held: list[Call] = []
        self.granted: list[Call] = []
        self.requests: list[Admission] = []
        self.tokens: list[Admission] = []
        self.since = 0.0  # the quotas in force have been so since then
        self.changed = False

    def _run(self) -> None:
        async def everything_that_can_run() -> None:
            for _ in range(4):
                await asyncio.sleep(0)

        self.loop.run_until_complete(everything_that_can_run())

    async def _acquire(self, call: Call) -> None:
        try:
            lease = await self.limiter.acquire(call.tokens, front=call.front, deadline=call.deadline)
        except asyncio.CancelledError:
            call.cancelled = True
            raise
        except (DeadlineExceededError, QuotaTooSmallError, CallCancelledError) as error:
            call.error = error
            return
        call.lease, call.granted_at = lease, lease.granted_at
        self.held.append(call)

    @rule(
        front=st.booleans(),
        tokens=st.integers(0, 70),
        patience=st.one_of(st.none(), st.floats(0.0, 5.0)),
    )
    def come(self, front: bool, tokens: int, patience: float | None) -> None:
        now = self.clock.time()
        deadline = None if patience is None else now + patience
        call = Call(len(self.calls), front, tokens, deadline)
        self.calls.append(call)
        call.task = self.loop.create_task(self._acquire(call))
        self._run()
        if tokens > self.token_bound:
            assert isinstance(call.error, QuotaTooSmallError)

    @rule(data=st.data())
    @precondition(lambda self: any(call.waits for call in self.calls))
    def leave(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from([call for call in self.calls if call.waits]))
        assert call.task is not None
        call.task.cancel()
        self._run()
        assert call.cancelled

    @rule(data=st.data(), how=st.sampled_from(["settle", "refund", "nothing", "cancel the next"]))
    @precondition(lambda self: self.held)
    def end(self, data: st.DataObject, how: str) -> None:
        call = data.draw(st.sampled_from(self.held))
        assert call.lease is not None
        self.held.remove(call)
        if how == "settle":
            call.lease.settle(data.draw(st.integers(0, max(call.tokens, 1))))
        elif how == "refund":
            call.lease.refund()
        call.lease.release()
        waiting = [other for other in self.calls if other.waits]
        if how == "cancel the next" and waiting:
            task = data.draw(st.sampled_from(waiting)).task
            assert task is not None
            task.cancel()  # perhaps after the grant, and before its task has run
        self._run()

    @rule(seconds=st.floats(0.0, 1.5))
    def pass_time(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))
        self._run()

    @rule(seconds=st.floats(0.0, 2.0))
    def pause(self, seconds: float) -> None:
        self.paused_until = max(self.paused_until, self.clock.time() + seconds)
        self.limiter.pause_until(self.clock.time() + seconds)

    @rule(remaining=st.integers(0, 60), reset_after=st.one_of(st.none(), st.floats(0.0, 3.0)), data=st.data())
    def hear(self, remaining: int, reset_after: float | None, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from([None, *self.held]))
        resource = data.draw(st.sampled_from(["requests", "tokens"]))
        news = QuotaNews(resource, remaining=remaining, reset_after=reset_after)
        self.limiter.learn(news, None if call is None else call.lease)

    @rule(concurrency=st.one_of(st.none(), st.integers(1, 6)))
    def change_concurrency(self, concurrency: int | None) -> None:
        self.concurrency = concurrency
        self.limiter.set_concurrency(concurrency)
        self._run()

    @rule(requests=st.integers(1, 8), tokens=st.integers(20, 90))
    def change_quotas(self, requests: int, tokens: int) -> None:
        self.limiter.set_quota("requests", Quota(requests, PERIOD))
        self.limiter.set_quota("tokens", Quota(tokens, PERIOD))
        self.request_bound, self.token_bound = requests, tokens
        self.since = math.nextafter(self.clock.time(), math.inf)
        self._run()

    @rule()
    def stop(self) -> None:
        self.limiter.close(CallCancelledError("stopped"))
        self._run()
        assert self.limiter.waiting == 0
        assert not any(call.waits for call in self.calls)

    @invariant()
    def the_counts_agree(self) -> None:
        assert self.limiter.waiting == sum(call.waits for call in self.calls)
        assert self.limiter.in_flight == len(self.held)

    @invariant()
    def no_window_holds_too_much(self) -> None:
        """By what is known of the costs at each admission: settling here never raises a cost."""
        granted = [call for call in self.calls if call.lease is not None]
        kept = [call for call in granted if call.lease is not None and call.lease.request_charges]
        requests = [Admission(call.granted_at, 1) for call in kept]
        costly = [call.lease for call in granted if call.lease is not None and call.lease.tokens > 0]
        tokens = [Admission(lease.granted_at, lease.tokens) for lease in costly]
        assert fullest_window(requests, PERIOD, self.since).amount <= self.request_bound
        assert fullest_window(tokens, PERIOD, self.since).amount <= self.token_bound

    @invariant()
    def nobody_is_overtaken(self) -> None:
        granted = sorted(
            (call for call in self.calls if call.lease is not None), key=lambda call: call.lease.order
        )
        for kind in (True, False):
            numbers = [call.number for call in granted if call.front is kind]
            assert numbers == sorted(numbers)
        for call in self.calls:
            if not call.waits:
                continue
            for other in granted:
                came_later = other.number > call.number
                assert not (came_later and (call.front or not other.front)), (call, other)

    @invariant()
    def nobody_waits_without_a_reason_or_past_its_deadline(self) -> None:
        now = self.clock.time()
        waiting = [call for call in self.calls if call.waits]
        assert all(call.deadline is None or call.deadline >= now for call in waiting)
        if not waiting:
            return
        head = next((call for call in waiting if call.front), waiting[0])
        state = self.limiter.snapshot()
        assert state.requests is not None
        assert state.tokens is not None
        free = state.concurrency is None or state.in_flight < state.concurrency
        room = state.requests.level >= 1 and state.tokens.level >= head.tokens
        assert not (free and room and now >= self.paused_until), (head, state)

    @invariant()
    def one_timer_at_most(self) -> None:
        timers = [timer for timer in self.loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        assert len(timers) <= 1

    def teardown(self) -> None:
        if not hasattr(self, "limiter"):
            return
        self.limiter.set_concurrency(None)
        for call in self.held:
            assert call.lease is not None
            call.lease.release()
        self.held.clear()
        tasks = [call.task for call in self.calls if call.task is not None and not call.task.done()]
        if tasks:  # nobody waits for ever: were it so, the loop would report a deadlock
            self.loop.run_until_complete(asyncio.wait(tasks))
        assert self.limiter.waiting == 0
        for call in self.held:
            assert call.lease is not None
            call.lease.release()
        assert self.limiter.in_flight == 0
        self.loop.close()


LimiterMachine.TestCase.settings = examples(
    30,
    stateful_step_count=40,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestLimiter = LimiterMachine.TestCase
