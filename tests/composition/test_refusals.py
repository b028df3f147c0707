"""What 429s cost: at random, against a strict quota, and at one of several keys. On the virtual clock.

The simulator's own count is the judge.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pytest

from callgate import Engine, RetryConfig, Spread, iModel
from callgate.batch.guard import FailureGuard
from callgate.call.attempt import Attempt
from callgate.call.calling import Calling
from callgate.errors import RateLimitError
from callgate.testing import MemoryTransport, Options, SimulatedProvider, run_virtual

ROWS = 5_000
AT_RANDOM = {"429": 0.05, "500": 0.05}
PATIENT = RetryConfig(max_quota_wait=3_600.0)


@dataclass(frozen=True, slots=True)
class Run:
    """A batch that has ended: the seconds it took, its callings, and the provider of each endpoint."""

    seconds: float
    callings: Sequence[Calling]
    providers: Sequence[SimulatedProvider]

    @property
    def failed(self) -> int:
        return sum(calling.error is not None for calling in self.callings)

    @property
    def refused(self) -> list[Attempt]:
        """The attempts that ended in a 429, by the time when they were sent."""
        attempts = [each for calling in self.callings for each in calling.attempts]
        refused = [each for each in attempts if isinstance(each.error, RateLimitError)]
        return sorted(refused, key=lambda each: each.started_at)

    @property
    def too_early(self) -> int:
        """Attempts that were sent before the Retry-After of an earlier one at their endpoint had passed."""
        return sum(
            later.endpoint == refused.endpoint
            and later.started_at - ended_at(refused) < asked_to_wait(refused) - 1e-9
            for calling in self.callings
            for refused, later in combinations(calling.attempts, 2)
        )


def asked_to_wait(attempt: Attempt) -> float:
    return getattr(attempt.error, "retry_after", None) or 0.0


def ended_at(attempt: Attempt) -> float:
    assert attempt.ended_at is not None
    return attempt.ended_at


def run(*endpoints: Options, rows: int = ROWS, latency: float = 0.0, **settings: Any) -> Run:
    """Answer all rows at one endpoint, or at several behind one `Spread`."""

    async def scenario() -> Run:
        loop = asyncio.get_running_loop()
        providers = [SimulatedProvider(options, clock=loop.time) for options in endpoints]
        models = []
        for number, provider in enumerate(providers):
            transport = MemoryTransport(provider, latency=latency)
            common = {"provider": "openai", "model": "m", "api_key": f"k-{number}", "name": f"key {number}"}
            model = iModel(
                **common,
                base_url=transport.base_url,
                transport=transport,
                **{"retry_config": PATIENT, "limit_concurrency": 64, **settings},
            )
            model._rng.seed(number)
            models.append(model)
        begun = loop.time()
        async with Spread(models) if len(models) > 1 else models[0] as caller:
            caller._rng.seed(0)
            engine = Engine(caller, max_inflight_requests=None)
            guard = FailureGuard(max_systematic=rows + 1, max_identical=rows + 1)
            rows_of_text = [f"Row {number}" for number in range(rows)]
            results = [result async for result in engine.run(rows_of_text, guard=guard)]
        return Run(loop.time() - begun, [result.calling for result in results], providers)

    return run_virtual(scenario())


def refusals_by_pause(outcome: Run) -> list[list[Attempt]]:
    """The refused attempts, apart where more than half a second passed between two of them."""
    pauses: list[list[Attempt]] = []
    for attempt in outcome.refused:
        if not pauses or attempt.started_at - ended_at(pauses[-1][-1]) > 0.5:
            pauses.append([])
        pauses[-1].append(attempt)
    return pauses


def sent_after_the_first(pause: Sequence[Attempt]) -> int:
    """How many of them were sent when the first refusal was known."""
    known = min(map(ended_at, pause))
    return sum(attempt.started_at > known for attempt in pause)


@pytest.mark.parametrize(("at_provider", "on_the_way"), [(0.2, 0.0), (0.0, 0.2), (0.18, 0.02)])
def test_refusals_at_random_cost_their_own_wait_and_not_that_of_all(
    at_provider: float, on_the_way: float
) -> None:
    """Also where a refusal comes at once, and an answer takes its time."""
    faulty = run(Options(latency=at_provider, faults=AT_RANDOM, seed=1), latency=on_the_way)
    assert faulty.seconds <= 1.3 * ROWS / 64 * 0.2
    assert faulty.failed == 0
    assert len(faulty.refused) > 200
    assert faulty.too_early == 0


@pytest.mark.parametrize("window", ["sliding", "fixed"])
@pytest.mark.parametrize("concurrency", [1, 8, 64])
def test_a_quota_that_is_not_known_costs_one_probe_more_for_each_pause(window: Any, concurrency: int) -> None:
    quota = Options(
        requests_per_minute=200, window_seconds=10.0, window=window, headers="none", retry_after="seconds"
    )
    outcome = run(quota, rows=1_200, latency=0.02, limit_concurrency=concurrency)
    pauses = refusals_by_pause(outcome)
    assert outcome.failed == outcome.too_early == 0
    assert 4 <= len(pauses) <= 8
    assert max(map(sent_after_the_first, pauses)) <= 1
    assert max(map(len, pauses)) <= 2 * concurrency  # those that were in flight
    assert outcome.seconds <= 60.0


def test_a_quota_that_is_set_a_little_too_high_costs_two_refusals_for_each_pause() -> None:
    quota = Options(requests_per_minute=200, window_seconds=10.0, window="fixed", headers="none")
    settings = {"limit_requests": 230, "capacity_refresh_time": 10.0}
    outcome = run(quota, rows=1_200, latency=0.02, **settings)
    assert outcome.failed == 0
    assert all(len(pause) <= 2 for pause in refusals_by_pause(outcome))
    assert outcome.seconds <= 65.0


@pytest.mark.parametrize("keys", [2, 5])
def test_several_keys_are_each_held_alone(keys: int) -> None:
    endpoints = [Options(latency=0.2, faults=AT_RANDOM, seed=key) for key in range(keys)]
    faulty = run(*endpoints, rows=4_000, limit_concurrency=16)
    assert faulty.failed == faulty.too_early == 0
    assert faulty.seconds <= 1.3 * 4_000 / (16 * keys) * 0.2


def test_calls_flow_to_the_other_keys_while_one_is_out_of_quota() -> None:
    spent = Options(
        latency=0.2, requests_per_minute=10, window="fixed", headers="none", retry_after="seconds"
    )
    outcome = run(spent, Options(latency=0.2), Options(latency=0.2), rows=2_000, limit_concurrency=16)
    assert outcome.failed == outcome.too_early == 0
    assert outcome.providers[0].stats.by_status[200] == 10
    # Those that were in flight, and one probe.
    assert outcome.providers[0].stats.refused <= 16 + 1
    assert outcome.seconds <= 1.1 * 0.2 * 2_000 / 32


@pytest.mark.parametrize("header", ["seconds", "ms", "date"])
def test_many_calls_with_a_retry_after_of_nothing_make_no_storm(header: Any) -> None:
    """64 calls at once, each of which is refused for ever."""
    outcome = run(
        Options(faults={"429": 1.0}, fault_retry_after=0.0, retry_after=header),
        rows=64,
        retry_config=RetryConfig(max_quota_wait=20.0),
    )
    assert outcome.failed == 64
    # A few at first, then one after each pause: of 0.1 s, up to a second.
    assert len(outcome.refused) <= 20 + 2 * outcome.seconds
