"""What an output has taken of a budget: over all runs, of failed rows too, and whenever a run is killed."""

from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from callgate.batch import charges as module
from callgate.batch.budget import Budget
from callgate.batch.charges import read_spent
from callgate.batch.journal import Journal
from callgate.batch.places import charges_path, errors_path, journal_path
from callgate.batch.results import RowResult
from callgate.errors import InputError, ServerError

Make = Callable[..., RowResult]
OUTPUTS = ["out.jsonl", "out.csv", "out.jsonl.gz"]


@pytest.fixture(params=OUTPUTS)
def output(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    return str(tmp_path / request.param)


@pytest.fixture
def charged(result: Make) -> Callable[..., RowResult]:
    def make(index: int, amount: float | None, **more: Any) -> RowResult:
        one = result(index, **more)
        one.charged = amount
        return one

    return make


def run(output: str, *results: RowResult, **options: Any) -> None:
    journal = Journal(output, **options)
    for each in results:
        journal.write(each)
    journal.close()


BAD = ServerError("down")


def test_failed_rows_count_in_every_run_that_follows(output: str, charged: Make) -> None:
    assert read_spent(output) == 0.0
    run(output, charged(0, 0.25), charged(1, 0.5, error=BAD))
    assert read_spent(output) == 0.75
    run(output, charged(1, 0.125, error=BAD), charged(2, 2.0, error=BAD))
    assert read_spent(output) == 2.875
    run(output, charged(1, 1.0))
    assert read_spent(output) == 3.875
    run(output)
    assert read_spent(output) == 3.875


def test_while_a_run_has_it_the_sum_is_the_same(output: str, charged: Make) -> None:
    run(output, charged(0, 0.25), charged(1, 0.5, error=BAD))
    journal = Journal(output)
    assert os.path.getsize(errors_path(output)) == 0
    assert read_spent(output) == 0.75
    journal.write(charged(1, 1.0))
    assert read_spent(output) == 1.75
    journal.close()


def test_overwriting_starts_from_nothing(output: str, charged: Make) -> None:
    run(output, charged(1, 0.5, error=BAD))
    run(output, charged(1, 0.5, error=BAD))
    run(output, overwrite=True)
    assert read_spent(output) == 0.0
    assert not os.path.exists(charges_path(output))


def test_without_charges_nothing_stands_beside_the_output(output: str, result: Make) -> None:
    run(output, result(0), result(1, error=BAD))
    run(output)
    assert not os.path.exists(charges_path(output))
    assert read_spent(output) == 0.0


def test_without_a_budget_answers_count_what_they_cost(tmp_path: Path) -> None:
    lines = [{"cost_usd": 0.5}, {"cost_usd": None}, {"cost_usd": 0.25, "charged_usd": 1.0}, {"cost_usd": "?"}]
    (tmp_path / "out.jsonl").write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines) + b"[1]\ntor")
    assert read_spent(str(tmp_path / "out.jsonl")) == 1.5


class Killed(BaseException):
    pass


@pytest.mark.parametrize("before", ["whole_file", "cut"])
def test_a_kill_while_charges_are_carried_over_never_forgets_them(
    output: str, charged: Make, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    run(output, charged(0, 0.25), charged(1, 0.5, error=BAD))

    def kill(*_: Any) -> Any:
        raise Killed

    with monkeypatch.context() as patch:
        if before == "whole_file":
            patch.setattr(module, "whole_file", kill)
        else:
            patch.setattr("callgate.batch.line_file.LineFile.cut", kill)
        with pytest.raises(Killed):
            Journal(output)
    assert read_spent(output) >= 0.75
    run(output)
    assert read_spent(output) >= 0.75


def on_record(output: str) -> float:
    charged: float = orjson.loads(Path(charges_path(output)).read_bytes())["charged_usd"]
    return charged


def test_what_is_in_flight_is_on_record_until_its_line_is_written(output: str, charged: Make) -> None:
    async def main() -> None:
        run(output, charged(0, 0.25), charged(1, 0.5, error=BAD))
        budget = Budget(10.0, spent=read_spent(output))
        async with Journal(output) as journal:
            journal.watch(budget)
            assert read_spent(output) == 0.75
            await budget.reserve(2.0)
            await budget.reserve(1.0)
            # A kill now, and all of it may have been billed.
            assert read_spent(output) >= 3.75
            budget.settle(2.0, 0.5)
            assert read_spent(output) >= 2.25
            journal.write(charged(1, 0.5))
            assert read_spent(output) >= 2.25
            # This one is cut off in mid call: it is charged, and has no line.
            budget.settle(1.0, 0.125)
        assert read_spent(output) == pytest.approx(1.375)
        assert on_record(output) == pytest.approx(0.625)
        assert budget.spent == pytest.approx(1.375)
        await budget.reserve(1.0)  # which nobody watches any more

    asyncio.run(main())


def test_a_run_that_charges_nothing_but_lines_leaves_nothing_on_record(output: str, charged: Make) -> None:
    async def main() -> None:
        budget = Budget(10.0)
        async with Journal(output) as journal:
            journal.watch(budget)
            for index in range(3):
                await budget.reserve(1.0)
                budget.settle(1.0, 0.1)
                journal.write(charged(index, 0.1))
            assert os.path.exists(charges_path(output))
        assert read_spent(output) == pytest.approx(0.3)

    asyncio.run(main())
    assert not os.path.exists(charges_path(output))


def test_the_record_is_written_seldom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = str(tmp_path / "out.jsonl")
    written: list[bytes] = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: written.append(data) or write(fd, data))

    async def main() -> None:
        budget = Budget(1e9)
        async with Journal(output) as journal:
            journal.watch(budget)
            for _ in range(1000):
                await budget.reserve(1.0)
            for _ in range(5000):
                budget.settle(1.0, 0.0)
                await budget.reserve(1.0)
            assert len(written) < 50
            assert on_record(output) >= 1000
            for _ in range(1000):
                budget.settle(1.0, 0.0)

    asyncio.run(main())


def test_lines_that_could_not_be_written_stay_on_record(
    output: str, charged: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(output)
    budget = Budget(10.0)
    journal.watch(budget)
    asyncio.run(budget.reserve(1.0))
    write = os.write

    def full(fd: int, data: Any) -> int:
        if len(data) > 60:
            raise OSError(28, "No space left on device")
        return write(fd, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        budget.settle(1.0, 0.5)
        with pytest.raises(InputError, match="No space left"):
            journal.write(charged(0, 0.5))
        with pytest.raises(InputError, match="1 results are lost"):
            journal.close()
    assert read_spent(output) >= 0.5


def test_a_record_that_cannot_be_brought_to_the_disk_is_told(
    output: str, charged: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(output)
    journal.watch(Budget(10.0))
    monkeypatch.setattr(Journal, "sync", lambda journal: None)

    def refuse(fd: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("callgate.batch.line_file.LineFile.sync", lambda file: None)
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(InputError, match=r"charged\.json: cannot be written: Input/output error"):
            journal.close()


def test_a_pipe_keeps_no_record(tmp_path: Path) -> None:
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    journal = Journal(path)
    journal.watch(Budget(10.0))
    journal.close()
    os.close(reader)
    assert not os.path.exists(charges_path(path))


def test_what_cannot_be_kept_stops_the_run_before_it_is_thrown_away(
    output: str, charged: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(output, charged(1, 0.5, error=BAD))

    def full(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, "whole_file", full)
        with pytest.raises(InputError, match=r"charged\.json: cannot be written: No space left"):
            Journal(output)
    assert read_spent(output) == 0.5


@pytest.mark.parametrize("content", [b"", b"notes", b"[]", b"{}", b'{"charged_usd": "much"}'])
def test_a_damaged_sum_is_never_taken_for_nothing(output: str, charged: Make, content: bytes) -> None:
    run(output, charged(1, 0.5, error=BAD))
    Path(charges_path(output)).write_bytes(content)
    with pytest.raises(InputError, match=r"charged\.json: does not say what was spent"):
        read_spent(output)
    with pytest.raises(InputError, match=r"charged\.json: does not say what was spent"):
        Journal(output)
    assert os.path.getsize(errors_path(output)) > 0
    Path(charges_path(output)).write_bytes(b'{"charged_usd": 2}')
    assert read_spent(output) == 2.5


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    output = str(tmp_path / "out.jsonl")
    os.mkdir(charges_path(output))
    with pytest.raises(InputError, match=r"charged\.json: cannot be read: Is a directory"):
        read_spent(output)
    os.rmdir(charges_path(output))
    os.mkdir(errors_path(output))
    with pytest.raises(InputError, match=r"errors\.jsonl: cannot be read: Is a directory"):
        read_spent(output)


def test_a_damaged_output_is_told(tmp_path: Path) -> None:
    output = str(tmp_path / "out.jsonl.gz")
    Path(output).write_bytes(gzip.compress(b'{"charged_usd": 1.0}\n' * 500)[:-9])
    with pytest.raises(InputError, match=r"out\.jsonl\.gz: cannot be read to its end"):
        read_spent(output)
    assert not os.path.exists(journal_path(output))
