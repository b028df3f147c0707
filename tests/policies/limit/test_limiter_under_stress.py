"""Cancellations, retries, pauses and changed limits at random moments: nothing leaks or is overtaken."""

from __future__ import annotations

import asyncio
import math
import random
from itertools import count

import pytest

from callgate.errors import DeadlineExceededError
from callgate.policies.limit.lease import Lease
from callgate.policies.limit.limiter import Limiter
from callgate.policies.limit.quota import Quota
from callgate.testing.clock import run_virtual
from tests.effort import scaled
from tests.policies.limit.window_checker import Admission, fullest_window, inversions

pytestmark = pytest.mark.slow

CHANGED_RATES = scaled(5_000, 100_000)
WAITERS = scaled(20_000, 200_000)


class CancelledCallers:
    """Callers of all kinds, cancelled at random moments."""

    def __init__(self, limiter: Limiter, seed: int) -> None:
        self.limiter = limiter
        self.rng = random.Random(seed)
        self.numbers = count()
        self.granted: dict[
            int, tuple[bool, int]
        ] = {}  # by order of the grants: a retry?, number of the comer
        self.kept: list[Admission] = []  # not refunded
        self.cancelled = 0
        self.refused = 0
        self.tasks: set[asyncio.Task[None]] = set()

    def send(self) -> None:
        task = asyncio.get_running_loop().create_task(self._call())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _call(self) -> None:
        rng = self.rng
        front = rng.random() < 0.1
        number = next(self.numbers)
        now = asyncio.get_running_loop().time()
        deadline = now + rng.expovariate(1 / 3) if rng.random() < 0.3 else None
        try:
            lease = await self.limiter.acquire(rng.randint(0, 30), front=front, deadline=deadline)
        except DeadlineExceededError:
            self.refused += 1
            assert deadline is not None
            assert asyncio.get_running_loop().time() <= deadline
            return
        self.granted[lease.order] = (front, number)
        await self._use(lease)

    async def _use(self, lease: Lease) -> None:
        sent = False
        try:
            if self.rng.random() < 0.5:
                await asyncio.sleep(0)  # cancelled here, it was never sent
            self.kept.append(Admission(lease.granted_at, 1))
            sent = True
            await asyncio.sleep(self.rng.expovariate(20))
            lease.settle(self.rng.randint(0, 40))
        finally:
            if not sent:
                lease.refund()
            lease.release()

    async def cancel_some(self, share: float) -> None:
        for task in [task for task in self.tasks if self.rng.random() < share]:
            self.cancelled += task.cancel()
        await asyncio.sleep(0)

    def inversions(self) -> int:
        """In either class, by the order of the grants; a cancelled one leaves a gap, and no more."""
        ordered = [self.granted[order] for order in sorted(self.granted)]
        return sum(inversions(number for front, number in ordered if front is kind) for kind in (True, False))


@pytest.mark.parametrize("seed", range(2))
def test_nothing_leaks_after_random_cancellations(seed: int) -> None:
    requests, tokens = Quota(1_000, 1.0), Quota(15_000, 1.0)
    limiter = Limiter(concurrency=50, requests=requests, tokens=tokens)

    async def main() -> None:
        callers = CancelledCallers(limiter, seed)
        rng = callers.rng
        loop = asyncio.get_running_loop()
        while callers.cancelled < scaled(10_000, 200_000):
            for _ in range(rng.randrange(200)):
                callers.send()
            await asyncio.sleep(rng.choice((0, 0, 0.001, 0.05)))
            await callers.cancel_some(rng.choice((0.0, 0.2, 0.9)))
            if rng.random() < 0.02:
                limiter.pause_until(loop.time() + rng.random())
        while callers.tasks:
            await asyncio.wait(callers.tasks)
        assert (limiter.in_flight, limiter.waiting) == (0, 0)
        assert callers.refused > 100
        assert callers.inversions() == 0
        assert fullest_window(callers.kept, 1.0).amount <= 1_000
        await _all_is_there_again(limiter)

    run_virtual(main())


async def _all_is_there_again(limiter: Limiter) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(3600)
    leases = [limiter.try_acquire(300) for _ in range(51)]
    assert sum(lease is not None for lease in leases) == 50
    assert all(lease is None or lease.granted_at == loop.time() for lease in leases)
    for lease in leases:
        if lease is not None:
            lease.refund()
            lease.release()
    state = limiter.snapshot()
    assert state.requests is not None
    assert state.tokens is not None
    assert (state.requests.level, state.requests.used) == (1_000, 0)
    assert (state.tokens.level, state.tokens.used) == (15_000, 0)


@pytest.mark.parametrize("seed", range(3))
def test_rates_changed_while_calls_wait_never_exceed_the_old_promise_or_the_new(seed: int) -> None:
    rng = random.Random(seed)
    rates = [20, 50, 200, 500]
    limiter = Limiter(requests=Quota(rates[0], 1.0))
    admissions: list[Admission] = []
    changes: list[tuple[float, int]] = [(0.0, rates[0])]

    async def caller() -> None:
        while len(admissions) < CHANGED_RATES:
            lease = await limiter.acquire()
            admissions.append(Admission(lease.granted_at, 1))
            lease.release()

    async def change() -> None:
        while len(admissions) < CHANGED_RATES:
            await asyncio.sleep(rng.expovariate(1 / 2))
            rate = rng.choice(rates)
            limiter.set_quota("requests", Quota(rate, 1.0))
            changes.append((asyncio.get_running_loop().time(), rate))

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(change())
            for _ in range(600):
                group.create_task(caller())

    run_virtual(main())
    for index, (start, rate) in enumerate(changes):
        # Every window that ends while this rate is in force, whatever was in force when it began.
        end = changes[index + 1][0] if index + 1 < len(changes) else math.inf
        until = [admission for admission in admissions if start - 1.0 <= admission.at < end]
        worst = fullest_window(until, 1.0, since=start)
        assert worst.amount <= rate, (worst, rate)
    assert len(changes) > 10


def test_many_waiters_hold_one_timer() -> None:
    limiter = Limiter(requests=Quota(100, 1.0))

    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def call(number: int) -> None:
            lease = await limiter.acquire(deadline=None if number % 2 else loop.time() + 5000 + number % 7)
            lease.release()

        tasks = [loop.create_task(call(number)) for number in range(WAITERS + 100)]
        await asyncio.sleep(0.5)
        assert limiter.waiting == WAITERS
        assert _timers(loop) == 1
        await asyncio.sleep(10)
        assert limiter.waiting < WAITERS
        assert _timers(loop) == 1
        for task in tasks:
            task.cancel()
        await asyncio.sleep(0)
        assert limiter.waiting == 0
        assert _timers(loop) == 0

    run_virtual(main())


def _timers(loop: asyncio.AbstractEventLoop) -> int:
    return sum(not timer.cancelled() for timer in loop._scheduled)  # type: ignore[attr-defined]
