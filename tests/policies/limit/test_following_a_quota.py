"""Where a quota is known, calls at once grow as fast as it asks for them, and no further than is borne."""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from callgate.policies.limit.adaptive import AdaptiveConcurrency
from callgate.policies.limit.limiter import Limiter
from callgate.policies.limit.quota import Quota, QuotaNews
from callgate.testing import run_virtual


@dataclass
class Seen:
    """What came of a run."""

    seconds: float
    all_sent: float
    most_at_once: int
    pushed_back: int
    limit: int


class Server:
    """Each answer takes `seconds()`. Beyond `slots` at once, calls wait inside, or are refused at once."""

    def __init__(
        self, seconds: Callable[[], float] = lambda: 3.0, slots: float = math.inf, *, refuses: bool = False
    ) -> None:
        self.seconds = seconds
        self.slots = slots
        self.refuses = refuses
        self.running = 0
        self.at_once = 0
        self.most_at_once = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def answer(self) -> bool:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.running >= self.slots:
                if self.refuses:
                    await asyncio.sleep(0.05)
                    return False
                waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._waiting.append(waiter)
                await waiter
            else:
                self.running += 1
            await asyncio.sleep(self.seconds())
            if self._waiting:
                self._waiting.popleft().set_result(None)
            else:
                self.running -= 1
            return True
        finally:
            self.at_once -= 1


def run(
    server: Server,
    calls: int,
    *,
    rate: float | None = 6000,
    learned: float | None = None,
    tokens: float = 0.0,
) -> Seen:
    """Send so many calls, all of which are there from the beginning."""
    adaptive = AdaptiveConcurrency()

    async def main() -> Seen:
        loop = asyncio.get_running_loop()
        limiter = Limiter(
            requests=None if rate is None or tokens else Quota(rate),
            tokens=Quota(rate * tokens) if rate is not None and tokens else None,
            adaptive=adaptive,
        )
        pushed_back = 0
        all_sent = 0.0

        async def call() -> None:
            nonlocal pushed_back, all_sent
            answered = False
            while not answered:
                lease = await limiter.acquire(tokens, front=pushed_back > 0)
                all_sent = loop.time()
                answered = await server.answer()
                if answered:
                    if learned is not None:
                        limiter.learn(QuotaNews("requests", limit=learned, period=60.0), lease)
                    limiter.succeeded(lease)
                else:
                    pushed_back += 1
                    limiter.pushed_back(lease)
                lease.release()

        await asyncio.gather(*(call() for _ in range(calls)))
        assert limiter.in_flight == limiter.waiting == 0
        return Seen(loop.time(), all_sent, server.most_at_once, pushed_back, adaptive.limit)

    return run_virtual(main())


# --- servers that bear it -------------------------------------------------------------------------------


def test_a_known_quota_is_in_use_after_the_first_answers() -> None:
    # 100 a second, and 500 that the bucket holds: 25 s of admissions, and an answer's time at either end.
    assert run(Server(), 3000).seconds < 33.0
    assert run(Server(), 3000, rate=None).seconds < run(Server(), 3000).seconds  # nothing bounds these
    slow_start = run(Server(), 700, rate=None)
    assert run(Server(), 700).seconds < 0.8 * slow_start.seconds


def test_a_reported_quota_is_followed_too() -> None:
    assert run(Server(), 3000, rate=None, learned=6000).seconds < 33.0


def test_so_is_a_quota_of_tokens() -> None:
    assert run(Server(), 3000, tokens=800.0).seconds < 33.0


@pytest.mark.parametrize("seed", range(4))
def test_answers_of_very_different_length_do_not_look_like_too_much(seed: int) -> None:
    rng = random.Random(seed)
    seen = run(Server(lambda: rng.lognormvariate(1.0, 0.8)), 3000)
    assert seen.all_sent < 33.0
    assert seen.limit > 160


def test_no_more_calls_at_once_than_the_quota_keeps_busy() -> None:
    assert run(Server(), 3000).most_at_once <= 1.5 * 100 * 3.0
    # A day's stock is no speed: it is doubled as if there were no quota.
    assert run(Server(), 700, rate=60).limit == 20


def test_the_first_answer_is_waited_for() -> None:
    adaptive = AdaptiveConcurrency()
    assert adaptive.follow_quota(100.0, 0.01) == math.inf
    adaptive.on_success(101.0, 1.0, 4)
    assert adaptive.follow_quota(101.0, 0.01) == pytest.approx(101.005)
    assert adaptive.limit == 20


def test_places_come_twice_as_fast_as_the_quota_refills_and_no_burst_after_a_pause() -> None:
    adaptive = AdaptiveConcurrency()
    adaptive.on_success(10.0, 10.0, 20)
    assert adaptive.follow_quota(10.0, 0.1) == pytest.approx(10.05)
    assert adaptive.follow_quota(10.04, 0.1) == pytest.approx(10.05)
    assert adaptive.limit == 20
    assert adaptive.follow_quota(10.05, 0.1) == pytest.approx(10.1)
    assert adaptive.limit == 21
    adaptive.follow_quota(19.0, 0.1)
    assert adaptive.limit == 22
    adaptive.follow_quota(20.0, 0.001)
    assert adaptive.limit == 122  # what 50 ms bring
    adaptive.follow_quota(21.0, 0.001)
    assert adaptive.limit == 160  # eight times what has been borne
    assert adaptive.follow_quota(22.0, 0.001) == math.inf


# --- servers that do not --------------------------------------------------------------------------------


@pytest.mark.parametrize("slots", [4, 8, 12])
def test_a_server_with_few_places_that_queues_is_not_flooded_for_long(slots: int) -> None:
    """It never says 429. One step ahead shows that the answers do not come in time."""
    seen = run(Server(slots=slots), 900)
    assert seen.most_at_once <= 8 * 20
    assert seen.limit <= 44
    assert seen.seconds == pytest.approx(900 / slots * 3.0, rel=0.02)


def test_a_server_with_few_places_that_refuses_sees_few_calls_too_many() -> None:
    seen = run(Server(slots=60, refuses=True), 600)
    without = run(Server(slots=60, refuses=True), 600, rate=None)
    assert seen.pushed_back <= without.pushed_back + 40
    assert seen.most_at_once <= 60 + 40


def test_a_push_back_takes_the_places_back_and_the_limit_is_doubled_from_there() -> None:
    adaptive = AdaptiveConcurrency()
    adaptive.on_success(10.0, 10.0, 20)
    adaptive.follow_quota(10.0, 0.001)
    adaptive.follow_quota(11.0, 0.001)
    assert adaptive.limit == 120
    adaptive.on_push_back(11.1, 10.9, in_flight=100)
    assert adaptive.limit == 20
    assert adaptive.follow_quota(12.0, 0.001) == math.inf
    for _ in range(20):
        adaptive.on_success(22.0, 10.0, 20)
    assert adaptive.limit == 40


def test_a_push_back_below_what_had_been_borne_is_one_as_ever() -> None:
    adaptive = AdaptiveConcurrency()
    adaptive.on_success(10.0, 10.0, 20)
    adaptive.follow_quota(10.0, 0.001)
    adaptive.on_push_back(11.1, 10.9, in_flight=16)
    assert adaptive.limit == 12
    assert adaptive.follow_quota(12.0, 0.001) == math.inf


def test_a_round_that_is_not_busy_shows_nothing() -> None:
    adaptive = AdaptiveConcurrency()
    adaptive.on_success(10.0, 10.0, 20)
    adaptive.follow_quota(10.0, 0.001)
    adaptive.follow_quota(11.0, 0.001)
    assert adaptive.limit == 120
    for _ in range(20):
        adaptive.on_success(22.0, 10.0, 30)
    assert adaptive.follow_quota(23.0, 0.001) < math.inf
    assert adaptive.follow_quota(24.0, 0.001) == math.inf
    assert adaptive.limit == 160
