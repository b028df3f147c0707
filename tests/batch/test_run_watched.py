"""What a run tells those who watch it: figures as the limiter counts them, and what it waits for."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from callgate import RetryConfig, Spread
from callgate.batch.display.format import rate_of
from callgate.batch.engine import Engine
from callgate.batch.input.media import MediaRequest
from callgate.batch.input.sources import Source
from callgate.batch.output.journal import Journal
from callgate.batch.progress import Progress, RowStates
from callgate.batch.run import BatchRun, Summary
from callgate.model.base import Caller
from callgate.policies.cache.layer import key_of
from callgate.policies.cache.sqlite import SqliteCache
from tests.batch.simulation import Simulation


def write_prompts(folder: Path, rows: int, **columns: str) -> Path:
    path = folder / "in.jsonl"
    path.write_bytes(b"".join(orjson.dumps({"prompt": f"p{row}"} | columns) + b"\n" for row in range(rows)))
    return path


async def watched(
    model: Caller,
    folder: Path,
    rows: int,
    look: Callable[[Progress, float], object],
    *,
    every: float = 0.25,
    at: tuple[float, Callable[[BatchRun], object]] | None = None,
    **columns: str,
) -> Summary:
    """Run so many rows, and look at the progress now and then; `at` does something at its moment."""
    loop = asyncio.get_running_loop()
    async with model, Journal(str(folder / "out.jsonl")) as journal:
        batch = BatchRun(Engine(model, None, None), Source(str(write_prompts(folder, rows, **columns))))
        batch.check()

        def tick() -> None:
            nonlocal timer
            look(batch.progress(), loop.time())
            timer = loop.call_later(every, tick)

        timer = loop.call_later(every, tick)
        if at is not None:
            loop.call_later(at[0], at[1], batch)
        try:
            return await batch.run(journal)
        finally:
            timer.cancel()


# --- against the quota ----------------------------------------------------------------------------------


def models(sim: Simulation, quotas: list[int]) -> Caller:
    made = [sim.model(limit_requests=quota, limit_concurrency=None) for quota in quotas]
    return made[0] if len(made) == 1 else Spread(made)


@pytest.mark.parametrize("quotas", [[500], [60], [50, 30]])
def test_a_quota_that_is_kept_is_never_shown_as_violated(quotas: list[int], tmp_path: Path) -> None:
    sim = Simulation(latency=0.5)
    shown: list[tuple[int, int, int]] = []

    def look(progress: Progress, now: float) -> None:
        text = rate_of(progress.requests_per_minute, progress.limiter.requests)
        found = re.search(r"(\d+) of (\d+)/min", text)
        assert found is not None
        shown.append((int(found[1]), int(found[2]), sim.stats.requests))

    rows = 3 * sum(quotas) // 2
    summary = sim.run(watched(models(sim, quotas), tmp_path, rows, look))
    assert summary.ending == "done"
    assert {of for _, of, _ in shown} == {sum(quotas)}
    assert max(used for used, _, _ in shown) == sum(quotas)
    # In the first minute the window holds whatever was sent.
    first = shown[: 4 * 59]
    assert [used for used, _, _ in first] == [sent for _, _, sent in first]


def test_each_endpoint_of_a_spread_has_its_own_figures(tmp_path: Path) -> None:
    sim = Simulation(latency=0.5, answers=[500, 500])
    last: list[Progress] = []
    named = [sim.model(limit_requests=quota, name=f"m #{quota}") for quota in (50, 30)]
    sim.run(watched(Spread(named), tmp_path, 40, lambda progress, _: last.append(progress)))
    one, two = last[-1].endpoints
    assert (one.name, two.name) == ("m #50", "m #30")
    assert one.stats.answered + two.stats.answered == last[-1].stats.done == 40
    assert one.stats.calls + two.stats.calls == last[-1].stats.calls == 42
    assert last[-1].stats.faults == one.stats.faults + two.stats.faults == {"500": 2}
    assert one.limiter.requests is not None
    assert one.limiter.requests.quota.rate == 50
    assert one.stats.latency() == pytest.approx((0.5, 0.5))


# --- what it waits for ----------------------------------------------------------------------------------


def test_only_rows_that_have_failed_are_said_to_back_off(tmp_path: Path) -> None:
    sim = Simulation(latency=0.1, answers=[500, 500])
    retry = RetryConfig(base_delay=30.0, max_delay=30.0, jitter=False)
    model = sim.model(retry_config=retry, limit_concurrency=4)
    said: list[str] = []
    summary = sim.run(watched(model, tmp_path, 4, lambda progress, _: said.append(progress.waiting_for)))
    assert summary.ending == "done"
    assert said[0] == "retries (2 backing off)"
    assert set(said) <= {"retries (2 backing off)", "provider", "nothing"}


def test_rows_that_another_run_has_asked_for_do_not_back_off(tmp_path: Path) -> None:
    sim = Simulation(latency=0.1)

    async def main() -> tuple[RowStates, list[str], Summary]:
        other = SqliteCache(tmp_path / "cache")  # as another process has it open
        cache = SqliteCache(tmp_path / "cache")
        model = sim.model(cache=cache)
        async with sim.model(cache=other) as first:
            calling = await first.create_calling(messages=[{"role": "user", "content": "p0"}])
            key = key_of(calling)
            assert key is not None
            assert other.claim(key) is True
            said: list[str] = []
            seen: list[RowStates] = []

            def leave(batch: BatchRun) -> None:
                seen.append(batch.engine.row_states)
                other.release(key)

            run = watched(
                model,
                tmp_path,
                1,
                lambda progress, _: said.append(progress.waiting_for),
                every=0.01,
                at=(0.3, leave),
            )
            summary = await run
            await cache.close()
            await other.close()
            return seen[0], said, summary

    waits, said, summary = asyncio.run(main())
    assert waits == RowStates(calling=1, sharing=1)
    assert "identical requests of another run" in said
    assert not [text for text in said if text.startswith("retries")]
    assert summary.ending == "done"


def test_rows_whose_images_are_read_are_counted_as_such(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def load(request: MediaRequest) -> dict[str, Any]:
        await asyncio.sleep(5.0)
        return request

    (tmp_path / "cat.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    monkeypatch.setattr(MediaRequest, "load", load)
    said: list[str] = []
    sim = Simulation(latency=0.1)
    look = lambda progress, _: said.append(progress.waiting_for)  # noqa: E731
    sim.run(watched(sim.model(), tmp_path, 3, look, image="cat.png"))
    assert said[:10] == ["files to be read"] * 10


# --- what was abandoned ---------------------------------------------------------------------------------


def test_what_was_sent_for_rows_that_were_cancelled_is_counted(tmp_path: Path) -> None:
    sim = Simulation(latency=60.0)
    model = sim.model(limit_concurrency=4)
    summary = sim.run(watched(model, tmp_path, 50, lambda *_: None, at=(2.0, BatchRun.abort)))
    assert (summary.ending, summary.abandoned) == ("interrupted", 4)
    assert summary.progress.stats.calls == sim.stats.requests == 4


def test_so_is_what_was_sent_for_rows_that_backed_off_when_it_was_drained(tmp_path: Path) -> None:
    sim = Simulation(latency=0.1, answers=[500, 429, "fine"])
    retry = RetryConfig(base_delay=600.0, max_delay=600.0, jitter=False)
    model = sim.model(retry_config=retry, limit_concurrency=1)
    summary = sim.run(watched(model, tmp_path, 50, lambda *_: None, at=(0.15, BatchRun.drain)))
    assert summary.ending == "interrupted"
    assert summary.progress.stats.calls == sim.stats.requests
    assert sim.stats.requests > summary.progress.stats.done
