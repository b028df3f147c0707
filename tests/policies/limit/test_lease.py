"""A lease: when its call counts, and what comes back when it is over."""

from __future__ import annotations

import pytest

from callgate.policies.limit.gate import Gate
from callgate.policies.limit.quota import Quota


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gate(clock: Clock) -> Gate:
    gate = Gate(concurrency=5, requests=Quota(1, 1.0), tokens=Quota(100, 1.0), name="mine")
    gate.use_clock(clock)
    return gate


def used(gate: Gate) -> tuple[float, float]:
    state = gate.snapshot()
    assert state.requests is not None
    assert state.tokens is not None
    return state.requests.used, state.tokens.used


def test_a_call_counts_from_when_it_was_sent(clock: Clock, gate: Gate) -> None:
    lease = gate.grant(40, 0.0)
    clock.now = 0.5
    lease.sent()
    assert lease.sent_at == 0.5
    clock.now = 1.4
    assert used(gate) == (1, 40)
    lease.settle(30)
    assert used(gate) == (1, 30)
    clock.now = 1.52
    assert used(gate) == (0, 0)


def test_a_delay_within_the_guard_changes_nothing(clock: Clock, gate: Gate) -> None:
    lease = gate.grant(40, 0.0)
    charges = lease.request_charges
    clock.now = 0.0005
    lease.sent()
    assert lease.request_charges is charges
    assert lease.sent_at == 0.0


def test_a_call_that_waits_for_its_connection_counts_until_it_is_sent_and_a_window_longer(
    clock: Clock, gate: Gate
) -> None:
    lease = gate.grant(40, 0.0)
    lease.hold()
    clock.now = 7.0
    assert used(gate) == (1, 40)
    lease.sent()
    clock.now = 8.0
    assert used(gate) == (1, 40)
    clock.now = 8.02
    assert used(gate) == (0, 0)


def test_a_call_that_ends_before_it_was_sent_is_given_back(clock: Clock, gate: Gate) -> None:
    lease = gate.grant(40, 0.0)
    lease.hold()
    lease.release()
    assert (gate.in_flight, *used(gate)) == (0, 0, 0)
    assert gate.wait(100, 0.0) == 0.0


def test_a_refund_while_it_waits_is_one_refund(clock: Clock, gate: Gate) -> None:
    lease = gate.grant(40, 0.0)
    lease.hold()
    lease.refund()
    lease.release()
    lease.release()
    assert (gate.in_flight, *used(gate)) == (0, 0, 0)


def test_it_shows_its_state(gate: Gate) -> None:
    lease = gate.grant(12, 0.0)
    assert not hasattr(lease, "__dict__")
    assert repr(lease) == "<Lease 1 of 'mine': 12 tokens, held>"
    lease.release()
    assert repr(lease) == "<Lease 1 of 'mine': 12 tokens, released>"
