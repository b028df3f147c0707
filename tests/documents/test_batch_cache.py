"""The cache of answers across runs and processes."""

from __future__ import annotations

import asyncio
import json
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from callgate import CacheStore, Calling, Conversation, Engine, MemoryCache, SqliteCache, iModel, providers
from callgate.cli import main
from callgate.testing import Answer, Simulator

KEY = "sk-of-the-documents-0123456789"
CALLGATE = [sys.executable, "-m", "callgate"]


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """A provider whose answers are never the same twice."""
    with Simulator() as running:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", running.base_url)
        monkeypatch.delenv("CALLGATE_CACHE", raising=False)
        yield running


def complete(
    sim: Simulator, path: Path, questions: list[str], temperature: float = 0.3, **differs: Any
) -> list[Any]:
    provider = providers.OpenAICompatibleApiProvider(
        differs.get("key", KEY), sim.base_url, model_id=differs.get("model", "gpt-4o-mini")
    )
    talks = [Conversation.with_initial_message("user", each) for each in questions]
    return list(asyncio.run(Engine(provider, path).schedule_completions(talks, temperature, "example")))


def messages(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def model(cache: CacheStore | Path | None, **settings: Any) -> iModel:
    return iModel(provider="openai", model="gpt-4o-mini", cache=cache, **settings)


# Across runs


def test_what_was_answered_once_is_not_asked_again(sim: Simulator, tmp_path: Path) -> None:
    questions = [f"q{number % 20}" for number in range(50)]
    first = complete(sim, tmp_path / "cache", questions)
    assert sim.stats.requests == 20  # duplicates share one call, those in flight too
    assert [each["response"]["id"] for each in first[:10]] == [
        each["response"]["id"] for each in first[20:30]
    ]
    assert complete(sim, tmp_path / "cache", questions) == first
    assert sim.stats.requests == 20


@pytest.mark.parametrize("differs", [{"temperature": 0.4}, {"model": "gpt-4o"}])
def test_what_differs_in_the_request_is_another_entry(
    sim: Simulator, tmp_path: Path, differs: dict[str, Any]
) -> None:
    complete(sim, tmp_path, ["a", "b"])
    complete(sim, tmp_path, ["a", "b"], **differs)
    assert sim.stats.requests == 4


def test_another_origin_is_another_entry_and_another_key_is_not(sim: Simulator, tmp_path: Path) -> None:
    complete(sim, tmp_path, ["a", "b"])
    complete(sim, tmp_path, ["a", "b"], key="sk-another-0000000000")
    assert sim.stats.requests == 2
    with Simulator() as elsewhere:
        complete(elsewhere, tmp_path, ["a", "b"])
        assert elsewhere.stats.requests == 2


def test_the_order_of_a_requests_keys_makes_no_difference(sim: Simulator) -> None:
    async def ask() -> None:
        async with model(MemoryCache()) as asked:
            await asked.invoke(messages=[{"role": "user", "content": "a"}], seed=1, top_p=0.5)
            again = await asked.invoke(top_p=0.5, seed=1, messages=[{"content": "a", "role": "user"}])
            assert again.cached

    asyncio.run(ask())
    assert sim.stats.requests == 1


def test_the_cache_is_its_owners_alone_and_holds_no_key(sim: Simulator, tmp_path: Path) -> None:
    complete(sim, tmp_path / "cache", ["a", "b"])
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700
    files = [each for each in (tmp_path / "cache").rglob("*") if each.is_file()]
    assert files
    assert not any(KEY.encode() in each.read_bytes() for each in files)


def test_an_engine_without_a_folder_keeps_nothing(
    sim: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    provider = providers.OpenAICompatibleApiProvider(KEY, sim.base_url, model_id="m")
    for _ in range(2):
        talk = Conversation.with_initial_message("user", "a")
        asyncio.run(Engine(provider, None).schedule_completions([talk], 0.0, "example"))
    assert sim.stats.requests == 2
    assert list(tmp_path.iterdir()) == []


# Stores


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_an_answer_is_good_for_its_ttl_and_then_asked_for_anew(
    sim: Simulator, tmp_path: Path, kind: str
) -> None:
    now = 1_000.0

    def clock() -> float:
        return now

    async def ask() -> list[tuple[bool, int]]:
        nonlocal now
        store: Any = (
            MemoryCache(ttl=100.0, clock=clock)
            if kind == "memory"
            else SqliteCache(tmp_path / "cache", ttl=100.0, clock=clock)
        )
        seen = []
        async with model(store) as asked:
            for now in (1_000.0, 1_099.0, 1_101.0, 1_150.0, 1_300.0):  # noqa: B007 - the clock reads it
                calling = await asked.invoke(messages=messages("a"))
                seen.append((calling.cached, sim.stats.requests))
        return seen

    assert asyncio.run(ask()) == [(False, 1), (True, 1), (False, 2), (True, 2), (False, 3)]


def test_a_memory_cache_forgets_what_was_used_longest_ago(sim: Simulator) -> None:
    async def ask() -> list[bool]:
        async with model(MemoryCache(2)) as asked:
            return [(await asked.invoke(messages=messages(each))).cached for each in "abacab"]

    assert asyncio.run(ask()) == [False, False, True, False, True, False]


def test_a_hit_costs_nothing_is_no_attempt_and_waits_for_no_quota(sim: Simulator, tmp_path: Path) -> None:
    async def ask() -> list[Calling]:
        async with model(tmp_path / "cache", limit_requests=1) as asked:
            return [await asked.invoke(messages=messages("a"), poll_timeout=5.0) for _ in range(20)]

    first, *others = asyncio.run(ask())
    assert not first.cached
    assert first.cost is not None
    assert first.cost.total > 0
    for each in others:
        assert each.cached
        assert len(each.attempts) == 0
        assert each.cost is not None
        assert each.cost.total == 0
        assert each.response.text == first.response.text
        assert each.response.raw == first.response.raw


def test_samples_are_different_answers_to_one_request_each_kept_by_itself(
    sim: Simulator, tmp_path: Path
) -> None:
    async def ask() -> list[str]:
        async with model(tmp_path / "cache", temperature=1.0) as asked:
            ids = []
            for sample in (0, 1, 2):
                calling = await asked.invoke(messages=messages("a"), metadata={"sample": sample})
                ids.append(str(calling.response.id))
            return ids

    first = asyncio.run(ask())
    assert len(set(first)) == 3
    assert sim.stats.requests == 3
    assert asyncio.run(ask()) == first
    assert sim.stats.requests == 3


# Calls in flight, and failures


def test_identical_calls_in_flight_share_one() -> None:
    async def ask(sim: Simulator) -> None:
        async with iModel(
            provider="openai", model="m", api_key=KEY, base_url=sim.base_url, cache=MemoryCache()
        ) as asked:
            callings = [asked.submit(messages=messages("a" if number % 2 else "b")) for number in range(40)]
            for each in callings:
                await each
            assert len({each.response.id for each in callings}) == 2

    with Simulator(latency=0.05) as sim:
        asyncio.run(ask(sim))
        assert sim.stats.requests == 2


def test_a_waiter_is_answered_although_the_first_identical_call_is_cancelled() -> None:
    async def ask(sim: Simulator) -> None:
        async with iModel(
            provider="openai", model="m", api_key=KEY, base_url=sim.base_url, cache=MemoryCache()
        ) as asked:
            first, *others = [asked.submit(messages=messages("a")) for _ in range(4)]
            await asyncio.sleep(0.05)
            assert first.cancel()
            for each in (first, *others):
                await each
            assert first.cancelled
            assert [each.error for each in others] == [None] * 3
            assert (await asked.invoke(messages=messages("a"))).cached

    with Simulator(latency=0.2) as sim:
        asyncio.run(ask(sim))
        assert sim.stats.requests <= 2


@pytest.mark.parametrize("failure", [Answer(status=500), Answer(status=400), Answer("x", fault="truncated")])
def test_a_failure_is_never_kept(tmp_path: Path, failure: Answer) -> None:
    async def ask(sim: Simulator) -> list[tuple[bool, bool]]:
        async with iModel(
            provider="openai",
            model="m",
            api_key=KEY,
            base_url=sim.base_url,
            cache=tmp_path / "cache",
            retry_config=None,
        ) as asked:
            callings = [await asked.invoke(messages=messages("a")) for _ in range(3)]
            return [(each.error is None, each.cached) for each in callings]

    with Simulator(answers=[failure, "well"]) as sim:
        assert asyncio.run(ask(sim)) == [(False, False), (True, False), (True, True)]
        assert sim.stats.requests == 2


# Across processes


def write_rows(path: Path, count: int) -> Path:
    path.write_text("".join(f'{{"custom_id": "r{n}", "prompt": "q{n}"}}\n' for n in range(count)))
    return path


def run(rows: Path, output: Path, cache: Path, *more: str) -> int:
    arguments = ["run", str(rows), "-m", "openai/gpt-4o-mini", "-o", str(output), "--cache", str(cache), "-q"]
    return main([*arguments, *more])


def read(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_another_process_asked_is_found(sim: Simulator, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", 30)
    arguments = ["run", "rows.jsonl", "-m", "openai/gpt-4o-mini", "-o", "a.jsonl", "--cache", "cache", "-q"]
    subprocess.run([*CALLGATE, *arguments], cwd=tmp_path, check=True)
    assert sim.stats.requests == 30
    assert run(rows, tmp_path / "b.jsonl", tmp_path / "cache") == 0
    assert sim.stats.requests == 30
    there = {each["custom_id"]: each["text"] for each in read(tmp_path / "a.jsonl")}
    here = {each["custom_id"]: each["text"] for each in read(tmp_path / "b.jsonl")}
    assert there == here
    assert {each["cached"] for each in read(tmp_path / "b.jsonl")} == {True}
    assert {each["cost_usd"] for each in read(tmp_path / "b.jsonl")} == {0}


def test_the_cache_may_be_named_in_the_environment_and_left_out_all_the_same(
    sim: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = str(write_rows(tmp_path / "rows.jsonl", 5))
    monkeypatch.setenv("CALLGATE_CACHE", str(tmp_path / "cache"))
    asked = []
    for name, *more in (("a",), ("b",), ("c", "--no-cache")):
        arguments = ["run", rows, "-m", "openai/gpt-4o-mini", "-o", str(tmp_path / f"{name}.jsonl"), "-q"]
        assert main([*arguments, *more]) == 0
        asked.append(sim.stats.requests)
    assert asked == [5, 5, 10]
