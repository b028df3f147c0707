"""An output that is not its own journal: written whole from the journal beside it, and gone on from."""

from __future__ import annotations

import asyncio
import csv
import fcntl
import gzip
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from callgate.batch.output import journal as module
from callgate.batch.output.journal import Journal
from callgate.batch.output.paths import errors_path, journal_path
from callgate.batch.output.results import RowResult, encode_result
from callgate.errors import InputError

Make = Callable[..., RowResult]
ENDINGS = ["csv", "parquet", "jsonl.gz", "jsonl.zst", "csv.gz"]


@pytest.fixture(params=ENDINGS)
def output(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    return str(tmp_path / f"out.{request.param}")


@pytest.fixture
def table(tmp_path: Path) -> str:
    return str(tmp_path / "out.csv")


@pytest.fixture
def packed(tmp_path: Path) -> str:
    return str(tmp_path / "out.jsonl.gz")


def write(output: str, *results: RowResult, **options: Any) -> None:
    async def main() -> None:
        async with Journal(output, **options) as journal:
            for result in results:
                journal.write(result)

    asyncio.run(main())


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def lines_of(table: str) -> list[int]:
    with open(table, newline="", encoding="utf-8") as file:
        return [int(row["line"]) for row in csv.DictReader(file)]


def unpacked(packed: str) -> list[int]:
    return [orjson.loads(line)["line"] for line in gzip.decompress(Path(packed).read_bytes()).splitlines()]


def test_an_output_is_written_at_the_end_and_gone_on_from(output: str, result: Make) -> None:
    write(output, result(2), result(1, error=ValueError("bad")), result(0))
    first = Path(output).read_bytes()
    assert len(orjson.loads(Path(errors_path(output)).read_bytes())["error"]["message"]) > 0
    journal = Journal(output)
    assert [journal.completed.take(result(i).row.key) for i in range(3)] == [True, False, True]
    assert Path(output).read_bytes() == first  # it stays until there is a better one
    journal.write(result(1))
    assert not journal.is_output
    journal.close()
    assert Path(output).read_bytes() != first
    journal = Journal(output)
    assert [journal.completed.take(result(i).row.key) for i in range(3)] == [True, True, True]
    journal.close()
    assert not os.path.exists(errors_path(output))


def test_a_table_keeps_its_journal_in_the_order_of_answers(table: str, tmp_path: Path, result: Make) -> None:
    write(table, result(2), result(0))
    assert lines_of(table) == [1, 3]
    journal = [orjson.loads(line)["line"] for line in Path(journal_path(table)).read_bytes().splitlines()]
    assert journal == [3, 1]
    write(table, result(1))
    assert lines_of(table) == [1, 2, 3]
    assert left(tmp_path) == {"out.csv", "out.csv.journal.jsonl"}


def test_compressed_lines_leave_no_journal(packed: str, tmp_path: Path, result: Make) -> None:
    write(packed, result(2), result(0))
    assert unpacked(packed) == [3, 1]
    assert left(tmp_path) == {"out.jsonl.gz"}
    write(packed, result(1))
    assert unpacked(packed) == [3, 1, 2]
    assert left(tmp_path) == {"out.jsonl.gz"}


def test_a_run_without_answers_leaves_an_empty_output(output: str, result: Make) -> None:
    write(output)
    assert os.path.exists(output)
    write(output, result(0))
    journal = Journal(output)
    assert len(journal.completed) == 1
    journal.close()


def test_overwrite_clears_all_of_it(output: str, tmp_path: Path, result: Make) -> None:
    write(output, result(0), result(1, error=ValueError("bad")))
    journal = Journal(output, overwrite=True)
    assert not os.path.exists(output)
    assert len(journal.completed) == 0
    journal.close()
    write(output, result(5), overwrite=True)
    journal = Journal(output)
    assert (len(journal.completed), journal.completed.take(result(5).row.key)) == (1, True)
    journal.close()


def test_a_table_without_its_journal_is_refused_and_left_alone(
    table: str, tmp_path: Path, result: Make
) -> None:
    Path(table).write_text("mine\n")
    with pytest.raises(
        InputError, match=r"out\.csv: is there, but not the journal.*or start anew with overwrite="
    ):
        Journal(table)
    assert Path(table).read_text() == "mine\n"
    assert left(tmp_path) == {"out.csv"}
    write(table, result(0), overwrite=True)
    assert lines_of(table) == [1]


def test_a_lost_table_comes_back_from_its_journal(table: str, result: Make) -> None:
    write(table, result(0), result(1))
    os.unlink(table)
    write(table)
    assert lines_of(table) == [1, 2]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"no gzip at all", "cannot be read to its end"),
        (gzip.compress(b"x" * 10_000, mtime=0)[:-9], "cannot be read to its end"),
        (gzip.compress(b'{"prompt": "mine"}\n', mtime=0), "is no output of callgate"),
    ],
)
def test_a_compressed_file_that_is_none_of_ours_is_left_alone(
    packed: str, tmp_path: Path, result: Make, content: bytes, says: str
) -> None:
    Path(packed).write_bytes(content)
    with pytest.raises(InputError, match=rf"out\.jsonl\.gz(:1)?: {says}"):
        Journal(packed)
    assert Path(packed).read_bytes() == content
    assert left(tmp_path) == {"out.jsonl.gz"}
    write(packed, result(0), overwrite=True)
    assert unpacked(packed) == [1]


def test_a_foreign_journal_is_left_alone(table: str, result: Make) -> None:
    Path(journal_path(table)).write_text("notes\n")
    with pytest.raises(InputError, match=r"out\.csv\.journal\.jsonl:1: is no output of callgate"):
        Journal(table)
    assert Path(journal_path(table)).read_text() == "notes\n"


def test_a_journal_that_a_kill_left_counts_and_not_the_older_output(packed: str, result: Make) -> None:
    write(packed, result(0))
    Path(journal_path(packed)).write_bytes(
        encode_result(result(0)) + encode_result(result(1)) + encode_result(result(2))[:40]
    )
    journal = Journal(packed)
    assert (len(journal.completed), journal.cut) == (2, 40)
    journal.close()
    assert unpacked(packed) == [1, 2]


def test_a_restoring_that_a_kill_cut_off_begins_anew(packed: str, tmp_path: Path, result: Make) -> None:
    write(packed, result(0), result(1))
    Path(journal_path(packed)).touch()
    Path(journal_path(packed) + ".writing").write_bytes(b'{"id":"')
    journal = Journal(packed)
    assert len(journal.completed) == 2
    journal.close()
    assert left(tmp_path) == {"out.jsonl.gz"}


def test_a_second_run_is_refused_also_after_the_journal_was_restored(output: str, result: Make) -> None:
    write(output, result(0))
    first = Journal(output)
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"/out\.[a-z.]+: another run is writing to it"):
            Journal(output, overwrite=overwrite)
    first.close()
    Journal(output).close()


def test_a_run_that_ends_while_the_next_begins_does_not_take_its_journal_away(
    packed: str, result: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Journal(packed)
    first.write(result(0))
    flock = fcntl.flock

    def end_first(fd: int, operation: int) -> None:
        # The next run has opened the journal; now the first comes to its end and removes it.
        monkeypatch.setattr(fcntl, "flock", flock)
        first.close()
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", end_first)
    second = Journal(packed)
    assert second.completed.take(result(0).row.key)
    second.write(result(1))
    second.close()
    assert unpacked(packed) == [1, 2]


def test_publishing_writes_it_once(output: str, result: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    real = module.write_output
    monkeypatch.setattr(
        module, "write_output", lambda sink, name, **more: (written.append(name), real(sink, name, **more))
    )

    async def main() -> None:
        async with Journal(output) as journal:
            journal.write(result(0))
            assert await journal.publish()
            assert os.path.exists(output)
            journal.write(result(1, error=ValueError("bad")))  # which is not in the output

    asyncio.run(main())
    assert written == [output]


def test_what_is_answered_after_publishing_is_published_at_the_end(packed: str, result: Make) -> None:
    async def main() -> None:
        async with Journal(packed) as journal:
            journal.write(result(0))
            assert await journal.publish()
            journal.write(result(1))

    asyncio.run(main())
    assert unpacked(packed) == [1, 2]


def test_plain_lines_have_nothing_to_publish(tmp_path: Path, result: Make) -> None:
    async def main() -> bool:
        async with Journal(str(tmp_path / "out.jsonl")) as journal:
            journal.write(result(0))
            assert journal.is_output
            return await journal.publish()

    assert asyncio.run(main())


def test_an_output_that_cannot_be_written_is_told_once_and_the_journal_has_all(
    output: str, result: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    def refuse(*_: Any, **__: Any) -> None:
        nonlocal tries
        tries += 1
        raise InputError("cannot be written: No space left on device", source=output)

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_output", refuse)
        with pytest.raises(InputError, match="cannot be written: No space left on device$"):
            write(output, result(0))
        journal = Journal(output)

        async def publish() -> None:
            async with journal:
                await journal.publish()

        with pytest.raises(InputError, match="No space left"):
            asyncio.run(publish())
    assert tries == 2
    assert not os.path.exists(output)
    assert os.path.exists(journal_path(output))
    journal = Journal(output)
    assert journal.completed.take(result(0).row.key)
    journal.close()
    assert os.path.exists(output)


class SlowSink:
    """A sink that writes until it is stopped."""

    def __init__(self) -> None:
        self.begun = threading.Event()

    def __call__(self, sink: object, output: str, *, rows: object, stopped: Callable[[], bool]) -> None:
        self.begun.set()
        while not stopped():
            pass
        raise module.WritingStoppedError


@pytest.mark.parametrize("explicitly", [True, False])
def test_whoever_does_not_want_to_wait_loses_nothing(
    output: str, result: Make, monkeypatch: pytest.MonkeyPatch, explicitly: bool
) -> None:
    slow = SlowSink()

    async def main() -> None:
        async with Journal(output) as journal:
            journal.write(result(0))
            if explicitly:
                publishing = asyncio.ensure_future(journal.publish())
                await asyncio.get_running_loop().run_in_executor(None, slow.begun.wait)
                journal.stop_publishing()
                assert not await publishing

    async def cancelled() -> None:
        task = asyncio.ensure_future(main())
        if not explicitly:
            await asyncio.get_running_loop().run_in_executor(None, slow.begun.wait)
            task.cancel()
        await task

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_output", slow)
        if explicitly:
            asyncio.run(cancelled())
        else:
            with pytest.raises(asyncio.CancelledError):
                asyncio.run(cancelled())
    assert not os.path.exists(output)
    journal = Journal(output)
    assert journal.completed.take(result(0).row.key)
    journal.close()


def test_cancelling_a_publication_gives_it_up(
    output: str, result: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SlowSink()

    async def main() -> None:
        async with Journal(output) as journal:
            journal.write(result(0))
            publishing = asyncio.ensure_future(journal.publish())
            await asyncio.get_running_loop().run_in_executor(None, slow.begun.wait)
            publishing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await publishing

    monkeypatch.setattr(module, "write_output", slow)
    asyncio.run(main())
    assert not os.path.exists(output)


def test_results_that_cannot_be_written_are_told_before_the_output(
    table: str, result: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(table)
    journal.write(result(0))

    def full(fd: int, data: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(InputError, match=r"journal\.jsonl: cannot be written: No space left"):
            journal.write(result(1))
        with pytest.raises(InputError, match="No space left on device; 1 results are lost"):
            journal.close()
    assert not os.path.exists(table)
    write(table)
    assert lines_of(table) == [1]
