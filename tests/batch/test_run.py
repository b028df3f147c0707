"""One run of a file: what is checked, counted, skipped, and how its progress is told."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from callgate.batch.engine import Engine
from callgate.batch.input.sources import Source
from callgate.batch.output.journal import Journal
from callgate.batch.run import BatchRun, Summary
from callgate.errors import ConfigurationError, InputError
from callgate.model.model import iModel
from callgate.testing import Simulator


def write_prompts(path: Path, count: int) -> str:
    path.write_bytes(b"".join(orjson.dumps({"prompt": f"p{i}"}) + b"\n" for i in range(count)))
    return str(path)


def run(
    source: str,
    output: str,
    *,
    check: bool = True,
    watch: Callable[[BatchRun], None] | None = None,
    on_bad_row: Any = "stop",
    **options: Any,
) -> tuple[Summary, Simulator]:
    async def main() -> tuple[Summary, Simulator]:
        async with Simulator(**options) as sim:
            settings: dict[str, Any] = {"model": "gpt-4o-mini", "api_key": "sk-x", "base_url": sim.base_url}
            async with iModel(provider="openai", **settings) as model:
                batch = BatchRun(Engine(model), Source(source), on_bad_row=on_bad_row)
                if check:
                    batch.check()
                async with Journal(output) as journal:
                    if watch is not None:
                        watch(batch)
                    return await batch.run(journal), sim

    return asyncio.run(main())


@pytest.fixture
def output(tmp_path: Path) -> str:
    return str(tmp_path / "out.jsonl")


def test_all_rows_answered(tmp_path: Path, output: str) -> None:
    summary, _ = run(write_prompts(tmp_path / "in.jsonl", 20), output)
    assert (summary.ending, summary.message, summary.abandoned) == ("done", None, 0)
    assert (summary.progress.total, summary.progress.finished, summary.progress.left) == (20, 20, 0)


def test_rows_are_counted_on_the_way_when_the_check_ended_before_them(tmp_path: Path, output: str) -> None:
    summary, _ = run(write_prompts(tmp_path / "in.jsonl", 200), output, check=False)
    assert (summary.progress.total, summary.progress.left) == (200, 0)


def test_equal_questions_about_different_things_are_each_answered_once_in_the_end(
    tmp_path: Path, output: str
) -> None:
    path = tmp_path / "in.csv"
    path.write_text("n,prompt\n" + "".join(f"{n},the same\n" for n in range(40)))
    failures = [422 if n % 3 == 0 else "ok" for n in range(40)]
    summary, _ = run(str(path), output, answers=failures)
    assert (summary.ending, summary.progress.stats.done) == ("failures", 26)
    summary, _ = run(str(path), output)
    assert (summary.ending, summary.progress.skipped, summary.progress.stats.done) == ("done", 26, 14)
    told = [orjson.loads(line)["n"] for line in Path(output).read_bytes().splitlines()]
    assert sorted(told, key=int) == [str(n) for n in range(40)]


def test_a_bound_of_the_number_of_rows_becomes_the_number(tmp_path: Path, output: str) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(f'{{"prompt": "p{i}"}}\n\n' for i in range(100)))  # each second line is blank
    summary, _ = run(str(path), output, check=False)
    assert (summary.ending, summary.progress.total, summary.progress.left) == ("done", 100, 0)


def test_rows_of_a_pipe_are_counted_when_they_have_come(tmp_path: Path, output: str) -> None:
    path = str(tmp_path / "pipe")
    os.mkfifo(path)

    def write() -> None:
        with open(path, "wb") as pipe:
            for i in range(10):
                pipe.write(orjson.dumps({"prompt": f"p{i}"}) + b"\n")

    writer = threading.Thread(target=write)
    writer.start()
    summary, _ = run(path, output)
    writer.join()
    assert (summary.ending, summary.progress.total, summary.progress.left) == ("done", 10, 0)


def test_progress_while_it_runs(tmp_path: Path, output: str) -> None:
    seen = []

    def watch(batch: BatchRun) -> None:
        first = batch.progress()
        assert (first.rows_per_second, first.eta, first.projected_cost) == (0.0, None, None)
        loop = asyncio.get_running_loop()

        def look() -> None:
            progress = batch.progress()
            if progress.left and progress.stats.done:
                assert progress.total == 300
                assert progress.rows_per_second > 0
                assert progress.eta is not None
                assert progress.eta > 0
                assert progress.projected_cost is not None
                assert progress.projected_cost > progress.stats.cost > 0
                seen.append(progress.waiting_for)
            loop.call_later(0.02, look)

        look()

    run(write_prompts(tmp_path / "in.jsonl", 300), output, watch=watch, latency=0.01)
    assert seen
    assert set(seen) <= {"provider", "nothing"} | {f"concurrency ({n} at once)" for n in range(2000)}


def test_interrupting_before_anything_is_sent(tmp_path: Path, output: str) -> None:
    summary, sim = run(write_prompts(tmp_path / "in.jsonl", 20), output, watch=lambda batch: batch.drain())
    assert (summary.ending, summary.progress.stats.ended, summary.progress.left) == ("interrupted", 0, 20)
    assert sim.stats.requests == 0
    summary, sim = run(write_prompts(tmp_path / "in.jsonl", 20), output, watch=lambda batch: batch.abort())
    assert (summary.ending, sim.stats.requests) == ("interrupted", 0)


def test_a_signal_that_comes_when_all_is_done_interrupts_nothing(tmp_path: Path, output: str) -> None:
    def watch(batch: BatchRun) -> None:
        async def drain_late() -> None:
            while batch.stats.done < 20:
                await asyncio.sleep(0)
            batch.drain()

        watch.task = asyncio.get_running_loop().create_task(drain_late())  # type: ignore[attr-defined]

    summary, _ = run(write_prompts(tmp_path / "in.jsonl", 20), output, watch=watch)
    assert summary.ending == "done"


def test_an_output_that_cannot_be_written_any_more_ends_the_run(
    tmp_path: Path, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    room = 5

    def write(fd: int, data: Any) -> int:
        nonlocal room
        room -= 1
        if room < 0 and len(data) > 200:
            raise OSError(28, "No space left on device")
        return real(fd, data)

    monkeypatch.setattr(os, "write", write)
    source = write_prompts(tmp_path / "in.jsonl", 200)
    with pytest.raises(InputError, match="results are lost"):  # told when the journal is closed
        run(source, output, latency=0.002)
    monkeypatch.undo()
    assert len(Path(output).read_bytes().splitlines()) == 5
    summary, _ = run(source, output)
    assert (summary.ending, summary.progress.skipped, summary.progress.stats.done) == ("done", 5, 195)


def test_syncing_goes_on_while_it_runs(tmp_path: Path, output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callgate.batch.run._SYNC_SECONDS", 0.001)
    synced = 0

    def sync(fd: int) -> None:
        nonlocal synced
        synced += 1
        if synced == 2:
            raise OSError(5, "a disk that will not")

    monkeypatch.setattr(os, "fsync", sync)
    # The second is refused; the run goes on all the same.
    summary, _ = run(write_prompts(tmp_path / "in.jsonl", 50), output, latency=0.02)
    assert summary.ending == "done"
    assert synced > 2


def test_a_row_that_will_fail_by_itself_does_not_keep_a_budget_from_being_checked(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    rows = [{"prompt": "a", "max_tokens": -5}, {"prompt": "b", "max_tokens": 5}]
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))

    async def main() -> None:
        async with iModel(provider="openai", model="gpt-4o-mini", api_key="sk-x") as model:
            await BatchRun(Engine(model), Source(str(path))).check_bounds()

    asyncio.run(main())


def test_a_budget_that_cannot_be_kept_shows_before_the_first_call(tmp_path: Path, output: str) -> None:
    path = tmp_path / "in.jsonl"
    rows = [{"prompt": "a", "max_tokens": 5}] * 3 + [{"prompt": "b"}]
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    async def main() -> None:
        async with iModel(provider="openai", model="gpt-4o-mini", api_key="sk-x") as model:
            await BatchRun(Engine(model), Source(str(path), limit=3)).check_bounds()
            with pytest.raises(InputError, match=r"in\.jsonl:4: a budget needs to know the longest answer"):
                await BatchRun(Engine(model), Source(str(path))).check_bounds()
            await BatchRun(Engine(model), Source(str(pipe))).check_bounds()  # which can be read only once

    asyncio.run(main())


def test_why_it_ended_early_is_in_the_summary(tmp_path: Path, output: str) -> None:
    summary, _ = run(write_prompts(tmp_path / "in.jsonl", 5), output, answers=lambda _: 401)
    assert (summary.ending, "3 rows failed in the same way" in str(summary.message)) == ("stopped", True)
    (tmp_path / "bad.jsonl").write_text('{"prompt": "a"}\n' * 3 + "nothing\n")
    summary, _ = run(str(tmp_path / "bad.jsonl"), output, check=False)
    assert (summary.ending, "bad.jsonl:4: is no JSON" in str(summary.message)) == ("input", True)


ROWS_WITH_BAD_ONES = b'{"prompt": "a"}\nbad\n{"prompt": "b"}\n{"prompt": 3}\n'


@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_bad_rows_that_are_skipped_go_to_the_errors_file(tmp_path: Path, output: str, kind: str) -> None:
    path = tmp_path / "in.jsonl"
    if kind == "pipe":
        os.mkfifo(path)
        writer = threading.Thread(target=path.write_bytes, args=[ROWS_WITH_BAD_ONES])
        writer.start()
    else:
        path.write_bytes(ROWS_WITH_BAD_ONES)
    summary, sim = run(str(path), output, on_bad_row="skip")
    stats = summary.progress.stats
    assert (summary.ending, stats.done, stats.failed, stats.invalid) == ("failures", 2, 2, 2)
    assert (summary.progress.total, summary.progress.left, sim.stats.requests) == (4, 0, 2)
    lines = [orjson.loads(line) for line in Path(output + ".errors.jsonl").read_bytes().splitlines()]
    assert [(line["line"], line["error"]["code"], line["attempts"]) for line in lines] == [
        (2, "bad_row", 0),
        (4, "bad_row", 0),
    ]
    assert lines[1]["error"]["message"] == f"{path}:4: the prompt must be a text, not a number"
    if kind == "file":
        summary, _ = run(str(path), output, on_bad_row="skip")
        assert (summary.progress.skipped, summary.progress.stats.invalid) == (2, 2)
        assert len(Path(output + ".errors.jsonl").read_bytes().splitlines()) == 2


def test_the_rows_before_a_bad_one_of_a_pipe_are_answered(tmp_path: Path, output: str) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=[ROWS_WITH_BAD_ONES])
    writer.start()
    summary, sim = run(str(path), output)
    writer.join()
    assert (summary.ending, summary.progress.stats.done, sim.stats.requests) == ("input", 1, 1)


def test_an_errors_file_that_cannot_be_written_ends_the_run(
    tmp_path: Path, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in.jsonl").write_bytes(ROWS_WITH_BAD_ONES)

    def full(*_: Any, **__: Any) -> None:
        raise InputError("No space left on device")

    monkeypatch.setattr(Journal, "append", full)
    summary, _ = run(str(tmp_path / "in.jsonl"), output, on_bad_row="skip")
    assert (summary.ending, summary.message) == ("output", "No space left on device")


def test_another_way_with_bad_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="on_bad_row must be stop or skip, got 'ignore'"):
        BatchRun(Engine(iModel(provider="ollama", model="m")), Source("-"), on_bad_row="ignore")  # type: ignore[arg-type]
