"""Measure what random refusals cost, over real sockets against the simulator in this process.

    python bench/refusals.py            5,000 rows, 64 at once, 0.2 s an answer; 5 % of 429s and 5 % of 500s
    python bench/refusals.py --rows 20000 --concurrency 128 --latency 0.1

Each line is one run. The last one gives how many times longer the run with refusals took; the exit code is 1
when that is above 1.3, a row failed, or a call was sent before its own Retry-After.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from callgate import Engine, iModel
from callgate.call.attempt import Attempt
from callgate.testing import Simulator

FAULTS = {"429": 0.05, "500": 0.05}
MOST = 1.3


@dataclass(frozen=True, slots=True)
class Run:
    """What one run came to: seconds, failed rows, and attempts before the Retry-After of the one before."""

    seconds: float
    failed: int
    early: int


def early(attempts: Sequence[Attempt]) -> int:
    """How many attempts of a call were sent before the Retry-After of the one before."""
    count = 0
    for refused, following in pairwise(attempts):
        asked = getattr(refused.error, "retry_after", None) or 0.0
        count += following.started_at - (refused.ended_at or 0.0) < asked - 1e-9
    return count


async def run(sim: Simulator, rows: int, concurrency: int) -> Run:
    """Answer all rows."""
    failed = too_early = 0
    settings: dict[str, Any] = {"provider": "openai", "model": "m", "api_key": "k"}
    async with iModel(base_url=sim.base_url, limit_concurrency=concurrency, **settings) as model:
        began = time.perf_counter()
        async for result in Engine(model, max_inflight_requests=None).run(f"Row {n}" for n in range(rows)):
            failed += not result.ok
            too_early += early(result.calling.attempts)
        return Run(time.perf_counter() - began, failed, too_early)


def measure(rows: int, concurrency: int, latency: float, faults: dict[str, float]) -> Run:
    """One run against a fresh simulator."""
    with Simulator(latency=latency, faults=faults) as sim:
        outcome = asyncio.run(run(sim, rows, concurrency))
        statuses = dict(sorted(sim.stats.by_status.items()))
    print(
        f"{rows:,} rows, {concurrency} at once: {outcome.seconds:.2f} s, {outcome.failed} failed, "
        f"{outcome.early} sent too early, answers by status {statuses}",
        flush=True,
    )
    return outcome


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description="What random refusals cost, over sockets.")
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--latency", type=float, default=0.2, help="seconds of an answer")
    given = parser.parse_args()
    clean = measure(given.rows, given.concurrency, given.latency, {})
    faulty = measure(given.rows, given.concurrency, given.latency, FAULTS)
    ratio = faulty.seconds / clean.seconds
    print(f"{ratio:.2f} times the clean time; at most {MOST}")
    return int(ratio > MOST or faulty.failed > 0 or faulty.early > 0)


if __name__ == "__main__":
    raise SystemExit(main())
