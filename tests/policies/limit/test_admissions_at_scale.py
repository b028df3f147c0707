"""Many admissions on the virtual clock, judged by the independent checker: two million in a soak."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import pytest

from callgate.policies.limit.limiter import Limiter
from callgate.policies.limit.quota import Quota
from callgate.testing.clock import run_virtual
from tests.effort import scaled
from tests.policies.limit.window_checker import (
    Admission,
    Settled,
    fullest_known_window,
    fullest_window,
    inversions,
    utilisation,
)

pytestmark = pytest.mark.slow


@dataclass
class BusyCallers:
    """Callers that never tire: each comes back for another call as soon as its last one has ended."""

    limiter: Limiter
    rng: random.Random
    goal: int
    costs: tuple[int, int] = (0, 0)  # tokens, estimated
    misjudged: tuple[float, float] | None = None  # actual / estimate
    duration: float = 0.0  # of a call, seconds
    numbers: Iterator[int] = field(default_factory=count)
    granted: dict[int, int] = field(default_factory=dict)  # number among the grants: number among the comers
    requests: list[Admission] = field(default_factory=list)
    tokens: list[Admission] = field(default_factory=list)
    settled: list[Settled] = field(default_factory=list)

    async def run(self, callers: int) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(self._caller())

    async def _caller(self) -> None:
        rng, limiter = self.rng, self.limiter
        loop = asyncio.get_running_loop()
        while len(self.granted) < self.goal:
            estimate = rng.randint(*self.costs)
            number = next(self.numbers)
            lease = await limiter.acquire(estimate)
            self.granted[lease.order] = number
            self.requests.append(Admission(lease.granted_at, 1))
            if estimate:
                self.tokens.append(Admission(lease.granted_at, estimate))
            if self.duration:
                await asyncio.sleep(rng.expovariate(1 / self.duration))
            if self.misjudged is not None:
                actual = round(estimate * rng.uniform(*self.misjudged))
                lease.settle(actual)
                self.settled.append(Settled(lease.granted_at, estimate, loop.time(), actual))
            lease.release()

    def inversions(self) -> int:
        """By the order of the grants: tasks that were granted in one moment may run in any order."""
        return inversions(self.granted[order] for order in sorted(self.granted))

    @property
    def end(self) -> float:
        return self.requests[-1].at


REQUESTS = {
    "1000 a second": (Quota(1000, 1.0), 20_000),
    "10 a second": (Quota(10, 1.0), 3_000),
    "6000 a minute, paced": (Quota(6_000, 60.0), 14_000),
    "600 a minute, all at once": (Quota(600, 60.0, capacity=600), 4_000),
    "small bursts": (Quota(500, 10.0, capacity=20), 6_000),
    "a burst on top": (Quota(300, 3.0, capacity=900), 8_000),
    "a short period": (Quota(7, 0.01), 5_000),
    "3 a minute": (Quota(3, 60.0), 300),
}
MISJUDGED = {"half": (0.4, 0.6), "double": (1.8, 2.2), "either": (0.5, 2.0)}
SETTLED = 4_000
ALL_THREE = 9_000
SHARE = scaled(1, 30)


@pytest.mark.parametrize(("quota", "admissions"), REQUESTS.values(), ids=REQUESTS)
def test_no_window_ever_holds_more_and_99_percent_are_used(quota: Quota, admissions: int) -> None:
    callers = BusyCallers(Limiter(requests=quota), random.Random(1), admissions * SHARE)
    run_virtual(callers.run(callers=200), start=1000.0)
    bound = max(quota.rate, quota.capacity or 0.0)
    worst = fullest_window(callers.requests, quota.period)
    assert worst.amount <= bound, worst
    assert callers.inversions() == 0
    # The last, unfinished window aside.
    start = callers.requests[0].at
    whole = int((callers.end - start) / quota.period / 1.004) * quota.period * 1.004
    assert utilisation(callers.requests, quota.per_second, start, start + whole) >= 0.99


@pytest.mark.parametrize("misjudged", MISJUDGED.values(), ids=MISJUDGED)
def test_tokens_settled_far_from_their_estimates_never_overfill_a_window_as_it_was_known(
    misjudged: tuple[float, float],
) -> None:
    quota = Quota(100_000, 60.0)
    limiter = Limiter(concurrency=50, tokens=quota)
    callers = BusyCallers(
        limiter, random.Random(2), SETTLED * SHARE, costs=(10, 400), misjudged=misjudged, duration=0.2
    )
    run_virtual(callers.run(callers=120))
    worst = fullest_known_window(callers.settled, quota.period)
    assert worst.amount <= quota.rate, worst
    assert callers.inversions() == 0
    actual = [Admission(call.at, call.actual) for call in callers.settled]
    assert utilisation(actual, quota.per_second, 60.0, callers.end - 60.0) >= 0.97
    assert (limiter.in_flight, limiter.waiting) == (0, 0)


def test_requests_tokens_and_concurrency_hold_together() -> None:
    requests, tokens = Quota(3_000, 60.0), Quota(400_000, 60.0)
    limiter = Limiter(concurrency=40, requests=requests, tokens=tokens)
    callers = BusyCallers(limiter, random.Random(3), ALL_THREE * SHARE, costs=(1, 250), duration=0.5)
    run_virtual(callers.run(callers=200))
    assert fullest_window(callers.requests, 60.0).amount <= requests.rate
    assert fullest_window(callers.tokens, 60.0).amount <= tokens.rate
    assert callers.inversions() == 0
    assert utilisation(callers.requests, requests.per_second, 0.0, callers.end - 60.0) >= 0.99
