"""Whatever ends in whatever order: the breaker against a model that keeps every call's history."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from callgate.errors import CircuitBreakerOpenError, RateLimitError, ServerError
from callgate.policies.breaker.breaker import CircuitBreaker, CircuitState
from tests.effort import examples


@dataclass
class Probe:
    stamp: int
    era: int
    at: float


class BreakerMachine(RuleBasedStateMachine):
    @initialize(threshold=st.integers(1, 3), places=st.integers(1, 3), recovery=st.floats(0.5, 5.0))
    def begin(self, threshold: int, places: int, recovery: float) -> None:
        self.now = 50.0
        self.breaker = CircuitBreaker(threshold, recovery, places, clock=lambda: self.now)
        self.threshold, self.places, self.recovery = threshold, places, recovery
        self.state = "closed"
        self.era = 0  # grows with each change of state
        self.since = self.now
        self.row = 0
        self.calls: list[Probe] = []
        self.free = 0
        self.latest_probe = 0.0
        self.rejected = 0

    def _enter(self, state: str) -> None:
        self.state, self.since, self.era = state, self.now, self.era + 1
        if state == "half_open":
            self.free = self.places
        if state == "closed":
            self.row = 0

    @rule(seconds=st.floats(0.0, 6.0))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def come(self) -> None:
        if self.state == "open" and self.now >= self.since + self.recovery:
            self._enter("half_open")
        if self.state == "half_open":
            if self.free == 0 and self.now >= self.latest_probe + self.recovery:
                self.free = self.places
            allowed = self.free > 0
        else:
            allowed = self.state == "closed"
        if not allowed:
            self.rejected += 1
            with pytest.raises(CircuitBreakerOpenError) as caught:
                self.breaker.admit()
            assert caught.value.retry_after is not None
            assert 0.0 <= caught.value.retry_after <= self.recovery + 1e-9
            return
        if self.state == "half_open":
            self.free -= 1
            self.latest_probe = self.now
        self.calls.append(Probe(self.breaker.admit(), self.era, self.now))

    @rule(data=st.data(), outcome=st.sampled_from(["success", "failure", "neutral", "abandoned"]))
    @precondition(lambda self: self.calls)
    def end(self, data: st.DataObject, outcome: str) -> None:
        call = data.draw(st.sampled_from(self.calls))
        self.calls.remove(call)
        if outcome == "abandoned":
            self.breaker.abandon(call.stamp)
        else:
            error = {"success": None, "failure": ServerError(), "neutral": RateLimitError()}[outcome]
            self.breaker.record(call.stamp, error)
        if call.era != self.era:
            return
        if outcome == "success":
            if self.state == "half_open":
                self._enter("closed")
            self.row = 0
        elif outcome == "failure":
            self.row += 1
            if self.state == "half_open" or self.row >= self.threshold:
                self._enter("open")
        elif self.state == "half_open":
            self.free = min(self.free + 1, self.places)

    @rule()
    def reset(self) -> None:
        self.breaker.reset()
        if self.state != "closed":
            self._enter("closed")
        self.row = 0

    @invariant()
    def they_agree(self) -> None:
        assert self.breaker.state == CircuitState(self.state)
        assert self.breaker.metrics["rejected_count"] == self.rejected

    def teardown(self) -> None:
        """However it got here, it is never wedged: two quiet recoveries and a good call close it."""
        if not hasattr(self, "breaker"):
            return
        self.now += 2 * self.recovery + 1.0
        self.breaker.record(self.breaker.admit(), None)
        assert self.breaker.state is CircuitState.CLOSED


BreakerMachine.TestCase.settings = examples(40, stateful_step_count=40, derandomize=True)
TestBreaker = BreakerMachine.TestCase
