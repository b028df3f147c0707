"""Finding the number of calls at once: against services that say 429, and against one that never does."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any

import pytest

from callgate.errors import ConfigurationError
from callgate.policies.limit.adaptive import AdaptiveConcurrency


class Service:
    """A service under full demand: as many calls at once as the limit allows, each `latency` seconds long."""

    def __init__(
        self,
        adaptive: AdaptiveConcurrency,
        latency: Callable[[int], float] = lambda at_once: 1.0,
        *,
        capacity: float = float("inf"),
        demand: float = float("inf"),
        first_byte: Callable[[int], float | None] = lambda at_once: None,
    ) -> None:
        self.adaptive = adaptive
        self.latency = latency
        self.capacity = capacity
        self.demand = demand
        self.first_byte = first_byte
        self.now = 0.0
        self.calls: list[tuple[float, float, bool]] = []  # end, begin, pushed back
        self.push_backs = 0
        self.answers = 0

    def run(self, seconds: float) -> int:
        """Go on for so long, and give the limit found."""
        end = self.now + seconds
        while self.now < end:
            while len(self.calls) < min(self.adaptive.limit, self.demand):
                refused = len(self.calls) >= self.capacity
                duration = 0.01 if refused else self.latency(len(self.calls) + 1)
                heapq.heappush(self.calls, (self.now + duration, self.now, refused))
            at_once = len(self.calls)
            self.now, begun, refused = heapq.heappop(self.calls)
            if refused:
                self.push_backs += 1
                self.adaptive.on_push_back(self.now, begun, at_once)
            else:
                self.answers += 1
                self.adaptive.on_success(self.now, self.now - begun, at_once, self.first_byte(at_once))
        return self.adaptive.limit


def rounds(adaptive: AdaptiveConcurrency, now: float, latencies: list[float]) -> float:
    """Rounds whose calls all begin and end together, one after the other."""
    for latency in latencies:
        now += latency
        limit = adaptive.limit
        for _ in range(max(limit, 10)):
            adaptive.on_success(now, latency, limit)
    return now


class TestGrowth:
    def test_doubles_after_each_clean_round_until_the_first_push_back(self) -> None:
        service = Service(AdaptiveConcurrency(start=20))
        service.run(0.5)
        assert [service.run(1.0) for _ in range(5)] == [40, 80, 160, 320, 640]

    def test_not_while_the_limit_is_not_in_use(self) -> None:
        assert Service(AdaptiveConcurrency(start=20), demand=5).run(1000.0) == 20

    def test_never_above_the_ceiling(self) -> None:
        assert Service(AdaptiveConcurrency(start=20, ceiling=50)).run(50.0) == 50
        assert AdaptiveConcurrency(start=20, ceiling=8).limit == 8

    def test_after_a_push_back_it_adds_a_little_and_probes_ten_percent_above(self) -> None:
        service = Service(AdaptiveConcurrency(start=100))
        service.adaptive.on_push_back(0.0)
        assert service.adaptive.limit == 75
        assert service.run(10.5) == 85
        assert service.run(25.0) == 110
        assert service.run(9.0) == 110
        assert service.run(2.0) == 111  # ten clean rounds up there were believed

    def test_small_limits_probe_one_above(self) -> None:
        service = Service(AdaptiveConcurrency(start=4, step=5))
        service.adaptive.on_push_back(0.0)
        assert service.adaptive.limit == 3
        assert service.run(8.0) == 5


class TestPushBack:
    def test_one_cut_a_cascade(self) -> None:
        adaptive = AdaptiveConcurrency(start=100)
        for second in (0.0, 0.1, 5.0, 14.9):
            adaptive.on_push_back(second)
        assert adaptive.limit == 75
        adaptive.on_push_back(15.0)
        assert adaptive.limit == 56

    def test_calls_from_before_the_cut_belong_to_it_however_late_they_end(self) -> None:
        adaptive = AdaptiveConcurrency(start=100)
        adaptive.on_push_back(100.0, sent_at=90.0)
        adaptive.on_push_back(190.0, sent_at=99.0)
        assert adaptive.limit == 75
        adaptive.on_push_back(190.0, sent_at=101.0)
        assert adaptive.limit == 56

    def test_fewer_than_the_limit_were_too_many(self) -> None:
        adaptive = AdaptiveConcurrency(start=100)
        adaptive.on_push_back(0.0, in_flight=40)
        assert adaptive.limit == 30

    def test_never_below_the_floor(self) -> None:
        adaptive = AdaptiveConcurrency(start=3, floor=2)
        for minute in range(10):
            adaptive.on_push_back(60.0 * minute, in_flight=0)
        assert adaptive.limit == 2

    def test_answers_to_calls_from_before_it_make_no_clean_round(self) -> None:
        adaptive = AdaptiveConcurrency(start=10)
        adaptive.on_push_back(1.0)
        for _ in range(50):
            adaptive.on_success(1.5, 1.0, 10)
        assert adaptive.limit == 7
        for _ in range(10):
            adaptive.on_success(2.5, 1.0, 10)
        assert adaptive.limit == 8

    def test_one_ends_the_trial_of_the_highest_limit(self) -> None:
        adaptive = AdaptiveConcurrency(start=100)
        adaptive.on_push_back(0.0)
        now = rounds(adaptive, 0.0, [1.0] * (35 + 9))  # to 110, and nine clean ones up there
        adaptive.on_push_back(now, sent_at=-1.0)
        now = rounds(adaptive, now, [1.0] * 10)
        assert adaptive.limit == 110
        rounds(adaptive, now, [1.0])
        assert adaptive.limit == 111

    def test_finds_the_capacity_of_a_service_that_says_429(self) -> None:
        rng = random.Random(0)
        service = Service(AdaptiveConcurrency(), lambda at_once: rng.uniform(0.5, 2.0), capacity=130)
        service.run(120.0)
        begun, answers = service.push_backs, service.answers
        limits = [service.run(1.0) for _ in range(600)]
        assert 0.85 * 130 <= sum(limits) / len(limits) <= 1.05 * 130
        assert service.push_backs - begun < 0.03 * (service.answers - answers)


class TestServersThatNeverSay429:
    def test_a_server_with_a_queue_is_not_flooded(self) -> None:
        """Eight at once run in a second; more only wait inside. Twice as many are enough."""
        service = Service(AdaptiveConcurrency(start=4), lambda at_once: max(1.0, at_once / 8))
        assert 8 <= service.run(60.0) <= 18
        assert 8 <= service.run(3600.0) <= 18

    @pytest.mark.parametrize("seed", range(5))
    def test_answers_of_very_different_length_do_not_look_like_a_queue(self, seed: int) -> None:
        rng = random.Random(seed)
        service = Service(AdaptiveConcurrency(start=20, ceiling=640), lambda at_once: rng.expovariate(1.0))
        assert service.run(60.0) == 640

    def test_one_slow_round_is_no_reason(self) -> None:
        adaptive = AdaptiveConcurrency(start=20)
        limits, now = [], 0.0
        for latency in (1.0, 2.5, 1.0, 2.5, 1.0):
            now = rounds(adaptive, now, [latency])
            limits.append(adaptive.limit)
        assert limits == [40, 40, 80, 80, 160]
        rounds(adaptive, now, [2.5, 2.5])
        assert adaptive.limit == 80

    @pytest.mark.parametrize(("first_byte", "expected"), [(0.1, 160), (0.9, 20)])
    def test_longer_answers_with_as_quick_first_bytes_are_no_reason(
        self, first_byte: float, expected: int
    ) -> None:
        service = Service(
            AdaptiveConcurrency(start=20, ceiling=160),
            lambda at_once: at_once / 20,
            first_byte=lambda at_once: 0.1 if at_once <= 20 else first_byte,
        )
        assert service.run(100.0) == pytest.approx(expected, rel=0.1)

    def test_more_is_tried_again_when_the_server_has_become_quicker(self) -> None:
        service = Service(AdaptiveConcurrency(start=10), lambda at_once: max(1.0, at_once / 20))
        assert 20 <= service.run(300.0) <= 44
        service.latency = lambda at_once: max(1.0, at_once / 200)
        assert service.run(1000.0) > 60

    def test_answers_in_no_time_are_no_measure(self) -> None:
        adaptive = AdaptiveConcurrency(start=2)
        for _ in range(30):
            adaptive.on_success(1.0, 0.0, 8)
        assert adaptive.limit == 16


def test_shows_its_state() -> None:
    adaptive = AdaptiveConcurrency(start=20)
    assert repr(adaptive) == "<AdaptiveConcurrency: 20 at once, no bound found>"
    adaptive.on_push_back(0.0)
    assert repr(adaptive) == "<AdaptiveConcurrency: 15 at once, bound at about 20>"


@pytest.mark.parametrize("wrong", [{"floor": 0}, {"floor": 30}, {"ceiling": 0}, {"step": 0}, {"start": 0}])
def test_bounds_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="adaptive concurrency needs"):
        AdaptiveConcurrency(**wrong)


def test_more_calls_are_expected_only_before_the_first_answer() -> None:
    adaptive = AdaptiveConcurrency(start=20, ceiling=50)
    adaptive.expect(10)
    assert adaptive.limit == 20
    adaptive.expect(32)
    assert adaptive.limit == 32
    adaptive.expect(1000)
    assert adaptive.limit == 50
    pushed = AdaptiveConcurrency(start=20)
    pushed.on_push_back(0.0)
    answered = AdaptiveConcurrency(start=20)
    answered.on_success(1.0, 1.0, 1)
    for each, limit in ((pushed, 15), (answered, 20)):
        each.expect(32)
        assert each.limit == limit
