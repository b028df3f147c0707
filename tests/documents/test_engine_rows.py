"""`Engine.run`: rows are read when needed, and each ends once."""

from __future__ import annotations

import asyncio
import itertools
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import given, strategies as st

from callgate import Calling, Engine, providers
from callgate.testing import Simulator
from tests.effort import examples


class Numbers(providers.AbstractProvider):  # type: ignore[misc]
    """Answers with what it was told; a row that says "fail" fails with an error of its own."""

    async def call(self, calling: Calling) -> str:
        text: str = calling.payload["messages"][-1]["content"]
        await asyncio.sleep(0.05 if text.startswith("slow") else 0)
        if text.startswith("fail"):
            raise ValueError(f"no answer to {text}")
        return text


def test_a_provider_of_ones_own_needs_one_method() -> None:
    async def main() -> list[str | None]:
        return [result.text async for result in Engine(Numbers(), None).run(["one", "two"])]

    assert sorted(map(str, asyncio.run(main()))) == ["one", "two"]
    with pytest.raises(TypeError):
        providers.AbstractProvider()


def test_results_come_as_the_calls_end_and_know_their_row() -> None:
    async def main() -> list[int]:
        rows: list[Any] = ["slow 0", "1", {"prompt": "2"}, {"messages": [{"role": "user", "content": "3"}]}]
        found = [result async for result in Engine(Numbers(), None).run(rows)]
        assert {(each.row.index, each.text) for each in found} == {
            (0, "slow 0"),
            (1, "1"),
            (2, "2"),
            (3, "3"),
        }
        return [each.row.index for each in found]

    assert asyncio.run(main())[-1] == 0


@pytest.mark.parametrize("kind", ["iterable", "async iterable"])
def test_rows_without_end_are_read_only_as_they_are_needed(kind: str) -> None:
    read = 0

    def forever() -> Iterator[str]:
        nonlocal read
        for read in itertools.count(1):
            yield f"row {read}"

    async def forever_later() -> AsyncIterator[str]:
        for row in forever():
            await asyncio.sleep(0)
            yield row

    async def main() -> None:
        rows = forever() if kind == "iterable" else forever_later()
        taken = 0
        results = Engine(Numbers(), None, max_inflight_requests=8).run(rows)
        async for _ in results:
            taken += 1
            assert read <= taken + 2 * 8  # a slow reader bounds the rows read ahead
            await asyncio.sleep(0)
            if taken == 300:
                break
        await results.aclose()

    asyncio.run(main())


def test_neither_rows_nor_results_are_kept() -> None:
    async def main() -> int:
        found = 0
        rows = ({"prompt": f"row {number} " + "x" * 10_000} for number in range(1_500))
        async for result in Engine(Numbers(), None).run(rows):
            found += result.ok
        return found

    tracemalloc.start()
    try:
        assert asyncio.run(main()) == 1_500
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 5_000_000  # all rows together are 15 MB, and their answers as much


@examples(15)
@given(st.lists(st.sampled_from(["ok", "slow", "fail"]), max_size=12))
def test_every_row_ends_exactly_once(kinds: list[str]) -> None:
    async def main() -> list[Any]:
        rows = (f"{kind} {number}" for number, kind in enumerate(["ok", *kinds]))
        return [result async for result in Engine(Numbers(), None).run(rows)]

    found = asyncio.run(main())
    assert Counter(each.row.index for each in found) == Counter(range(len(kinds) + 1))
    for each in found:
        failed = ["ok", *kinds][each.row.index] == "fail"
        assert each.ok is not failed
        assert (each.text is None) is failed
        assert (each.error is not None) is failed


def test_a_failure_that_every_row_would_meet_ends_the_run_after_a_handful_of_calls() -> None:
    read = 0

    def rows() -> Iterator[str]:
        nonlocal read
        for read in range(1, 1_001):
            yield f"q{read}"

    async def main(sim: Simulator) -> list[Any]:
        found: list[Any] = []
        provider = providers.OpenAICompatibleApiProvider("sk-unknown-0000", sim.base_url, model_id="m")
        with pytest.raises(Exception, match="401|[Aa]uth|key") as stopped:
            async for result in Engine(provider, None).run(rows()):
                found.append(result)
        assert type(stopped.value).__name__ == "BatchStoppedError"
        return found

    with Simulator(keys=["another-key"]) as sim:
        found = asyncio.run(main(sim))
        assert 1 <= sim.stats.requests <= 10
        assert read <= 100
    assert not any(each.ok for each in found)
    assert len({each.row.index for each in found}) == len(found)


def test_a_failure_of_one_row_is_not_the_failure_of_all() -> None:
    async def main() -> Counter[bool]:
        rows = [f"{'fail' if number % 10 == 5 else 'ok'} {number}" for number in range(200)]
        return Counter([result.ok async for result in Engine(Numbers(), None).run(rows)])

    assert asyncio.run(main()) == {True: 180, False: 20}


def test_what_the_rows_raise_comes_after_the_results_of_the_rows_before() -> None:
    def rows() -> Iterator[str]:
        yield from ("1", "2", "3")
        raise OSError("the disk is gone")

    async def main() -> list[str | None]:
        found = []
        with pytest.raises(OSError, match="the disk is gone"):
            async for result in Engine(Numbers(), None).run(rows()):
                found.append(result.text)
        return found

    assert sorted(map(str, asyncio.run(main()))) == ["1", "2", "3"]


def test_the_engine_names_the_rows_that_are_still_waited_for() -> None:
    async def main() -> list[list[str]]:
        engine = Engine(Numbers(), None)
        waited_for = []
        rows = ["slow 0", *(str(number) for number in range(1, 30)), "slow 30"]
        async for _ in engine.run(rows):
            waited_for.append([row.request["messages"][-1]["content"] for row, _ in engine.longest(2)])
        assert engine.longest(2) == []
        return waited_for

    before_the_last = asyncio.run(main())[-3]
    assert before_the_last == ["slow 0", "slow 30"]  # the one that waits for longest comes first
