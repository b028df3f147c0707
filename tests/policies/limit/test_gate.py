"""A gate by itself: no loop, no queue, times passed in."""

from __future__ import annotations

import math

import pytest

from callgate.errors import ConfigurationError
from callgate.policies.limit.adaptive import AdaptiveConcurrency
from callgate.policies.limit.gate import Event, Gate
from callgate.policies.limit.quota import Quota, QuotaNews


def test_it_needs_no_event_loop() -> None:
    gate = Gate(concurrency=2, requests=Quota(3, 1.0))
    leases = [gate.try_grant(0.0, 5.0) for _ in range(3)]
    assert [lease is not None for lease in leases] == [True, True, False]
    assert gate.in_flight == 2


@pytest.mark.parametrize("seconds", [0.0, 0.5])
def test_the_seconds_until_room_come_true(seconds: float) -> None:
    gate = Gate(requests=Quota(1, 1.0), tokens=Quota(100, 4.0))
    gate.grant(80, 0.0)
    wait = gate.wait(30, seconds)
    assert gate.try_grant(30, seconds + wait * 0.999) is None
    assert gate.try_grant(30, seconds + wait) is not None


def test_only_a_release_brings_room_where_the_concurrency_is_used_up() -> None:
    gate = Gate(concurrency=1)
    lease = gate.grant(0.0, 0.0)
    assert gate.wait(0.0, 1e9) == math.inf
    assert gate.limited_by(0.0, 1.0) == "concurrency"
    lease.release()
    assert gate.wait(0.0, 0.0) == 0.0
    assert gate.limited_by(0.0, 0.0) is None


def test_a_pause_is_waited_out() -> None:
    gate = Gate()
    gate.pause_until(7.0)
    assert gate.wait(0.0, 5.0) == 2.0
    assert gate.limited_by(0.0, 5.0) == "paused"
    assert gate.try_grant(0.0, 5.0) is None
    assert gate.try_grant(0.0, 7.0) is not None


def test_after_a_refusal_one_call_passes_and_the_others_when_it_is_answered() -> None:
    now = 0.0
    gate = Gate()
    gate.use_clock(lambda: now)
    lease = gate.grant(0.0, 0.0)
    now = 0.2
    assert gate.refused(lease) is False
    lease.release()
    probe = gate.try_grant(0.0, 0.2)
    assert probe is not None
    assert gate.try_grant(0.0, 0.2) is None
    assert gate.limited_by(0.0, 0.2) == "paused"
    patience = gate.wait(0.0, 0.2)
    assert 0.2 < patience < 1.0
    assert gate.expected_wait() == patience
    assert gate.snapshot().paused_for == patience
    assert gate.eta(0.0, 0.2) <= 0.0  # a lower bound: the answer may come at once
    assert gate.succeeded(probe) is False
    assert gate.wait(0.0, 0.2) <= 0.0


def test_a_call_that_is_granted_and_not_sent_makes_room_for_another_probe() -> None:
    gate = Gate()
    gate.use_clock(lambda: 1.0)
    lease = gate.grant(0.0, 1.0)
    gate.refused(lease)
    lease.release()
    probe = gate.grant(0.0, 1.0)
    assert gate.wait(0.0, 1.0) > 0.0
    probe.release()
    assert gate.wait(0.0, 1.0) <= 0.0


def test_on_another_loop_whose_clock_is_behind_nothing_is_held() -> None:
    gate = Gate()
    gate.use_clock(lambda: 100.0)
    assert gate.refused(gate.grant(0.0, 100.0), certain=True)
    assert gate.hold.held
    gate.use_clock(lambda: 1.0)
    assert not gate.hold.held


def test_a_429_within_the_quota_widens_its_guard_and_shrinks_its_burst_until_time_has_healed_that() -> None:
    now = 0.0
    gate = Gate(requests=Quota(100, 1.0))
    gate.use_clock(lambda: now)

    def fits_at_once() -> int:
        count = 0
        while (lease := gate.try_grant(0.0, now)) is not None:
            gate.succeeded(lease)
            lease.release()
            count += 1
        return count

    assert fits_at_once() == 100
    now = 2.0
    gate.refused(lease := gate.grant(0.0, now))
    lease.release()
    gate.succeeded(gate.grant(0.0, now))
    bursts = []
    for _ in range(4):
        now += 2.2
        bursts.append(fits_at_once())
    assert 60 <= bursts[0] < 90
    assert bursts == sorted(bursts)
    assert bursts[-1] == 100


def test_a_place_that_the_quota_asks_for_comes_by_time_alone() -> None:
    gate = Gate(requests=Quota(100, 1.0), adaptive=AdaptiveConcurrency(start=1))
    now = 0.0
    lease = gate.grant(0.0, now)
    gate.clock = lambda: now
    now = 1.0
    gate.succeeded(lease)
    waits = [gate.wait(0.0, now)]
    assert 0.0 < waits[0] < 0.01
    assert gate.wait(0.0, now + waits[0]) == 0.0


class TestEvents:
    def test_each_kind_is_reported_to_every_listener_until_it_unsubscribes(self) -> None:
        gate = Gate(concurrency=2, requests=Quota(100), tokens=Quota(100))
        events: list[Event] = []
        unsubscribe = gate.subscribe(events.append)
        again = gate.subscribe(events.append)
        lease = gate.grant(10, 0.0)
        gate.admitted()
        assert events == ["admitted", "admitted"]
        again()
        again()
        lease.settle(5)
        lease.refund()
        lease.release()
        lease.release()
        assert events[2:] == ["changed"] * 3
        gate.set_quota("requests", Quota(50))
        gate.set_concurrency(3)
        gate.set_concurrency(1)
        gate.learn(QuotaNews("requests", limit=5.0))
        gate.learn(QuotaNews("requests", limit=5.0))
        assert events[5:] == ["changed"] * 3
        unsubscribe()
        gate.grant(1, 0.0).release()
        gate.admitted()
        assert len(events) == 8

    def test_a_settled_call_is_not_reported_while_all_places_are_taken_and_its_release_is(self) -> None:
        gate = Gate(concurrency=1, tokens=Quota(100))
        events: list[Event] = []
        gate.subscribe(events.append)
        lease = gate.grant(100, 0.0)
        lease.settle(5)
        assert events == []
        lease.release()
        assert events == ["changed"]

    def test_a_listener_may_unsubscribe_while_it_is_called(self) -> None:
        gate = Gate()
        events: list[Event] = []

        def once(event: Event) -> None:
            events.append(event)
            unsubscribe()

        unsubscribe = gate.subscribe(once)
        gate.subscribe(events.append)
        gate.admitted()
        gate.changed()
        assert events == ["admitted", "admitted", "changed"]


def test_the_wait_behind_others_is_foreseen() -> None:
    gate = Gate(requests=Quota(10, 1.0), tokens=Quota(100, 1.0))
    gate.clock = lambda: 0.0
    assert gate.expected_wait(10) == 0.0
    assert gate.eta(10, 0.0, calls=10, ahead=50) == pytest.approx(1.01)
    assert gate.eta(10, 0.0, calls=5, ahead=400) == pytest.approx(4 * 1.01)
    assert gate.expected_wait(10, calls=10, ahead=50) == pytest.approx(1.01)
    assert gate.expected_wait(101) == math.inf
    crowded = Gate(concurrency=4)
    for _ in range(4):
        crowded.grant(0.0, 0.0)
    assert crowded.expected_wait(0.0, call_seconds=8.0, calls=3) == 8.0


@pytest.mark.parametrize("tokens", [-1.0, math.nan])
def test_a_cost_that_is_no_number_of_tokens_is_refused(tokens: float) -> None:
    with pytest.raises(ConfigurationError):
        Gate().check_fits(tokens)
