"""The output is the journal: nothing written is lost, nothing foreign is touched, one writer at a time."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from callgate.batch.cost.ledger import read_spent
from callgate.batch.output.journal import Journal
from callgate.batch.output.paths import errors_path
from callgate.batch.output.results import RowResult, encode_result
from callgate.errors import InputError

Make = Callable[..., RowResult]


@pytest.fixture
def output(tmp_path: Path) -> str:
    return str(tmp_path / "out.jsonl")


def lines(path: str) -> list[Any]:
    return [orjson.loads(line) for line in Path(path).read_bytes().splitlines()]


def write(output: str, *results: RowResult, **options: Any) -> None:
    async def main() -> None:
        async with Journal(output, **options) as journal:
            for result in results:
                journal.write(result)

    asyncio.run(main())


def test_answers_and_failures_go_to_their_files(output: str, result: Make) -> None:
    write(output, result(0), result(1, error=ValueError("bad")), result(2))
    assert [line["line"] for line in lines(output)] == [1, 3]
    assert [line["error"]["message"] for line in lines(errors_path(output))] == ["bad"]


def test_without_failures_there_is_no_errors_file(output: str, result: Make) -> None:
    write(output, result(0))
    assert not os.path.exists(errors_path(output))


def test_a_line_is_with_the_system_when_write_returns(output: str, result: Make) -> None:
    journal = Journal(output)
    for count in (1, 2):
        journal.write(result(count))
        assert len(lines(output)) == count
    journal.sync()
    journal.close()


def test_it_goes_on_and_the_errors_file_starts_afresh(output: str, result: Make) -> None:
    write(output, result(0), result(1, error=ValueError("bad")))
    journal = Journal(output)
    assert journal.completed.take(result(0).row.key)
    assert not journal.completed.take(result(1).row.key)
    journal.close()
    write(output, result(1))
    assert [line["line"] for line in lines(output)] == [1, 2]
    assert not os.path.exists(errors_path(output))


def test_overwrite_starts_anew(output: str, result: Make) -> None:
    write(output, result(0))
    write(output, result(1), overwrite=True)
    assert [line["line"] for line in lines(output)] == [2]


def test_overwrite_replaces_a_foreign_file_which_is_otherwise_left_alone(output: str, result: Make) -> None:
    Path(output).write_text("notes\n")
    with pytest.raises(
        InputError, match=r"out\.jsonl:1: is no output of callgate.*or start anew with overwrite="
    ):
        Journal(output)
    assert Path(output).read_text() == "notes\n"
    write(output, result(0), overwrite=True)
    assert len(lines(output)) == 1


def test_a_torn_line_is_cut(output: str, result: Make) -> None:
    whole = encode_result(result(0))
    Path(output).write_bytes(whole + encode_result(result(1))[:50])
    journal = Journal(output)
    assert (len(journal.completed), journal.cut) == (1, 50)
    journal.close()
    assert Path(output).read_bytes() == whole


def test_a_missing_line_end_is_added(output: str, result: Make) -> None:
    Path(output).write_bytes(encode_result(result(0))[:-1])
    write(output, result(1))
    assert [line["line"] for line in lines(output)] == [1, 2]


def test_a_second_run_on_the_same_output_is_refused(output: str) -> None:
    first = Journal(output)
    with pytest.raises(InputError, match="another run is writing to it"):
        Journal(output, overwrite=True)
    first.close()
    Journal(output).close()


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("", "is a directory"),
        ("no/such/out.jsonl", "there is no folder"),
        ("x" * 300, "cannot be written: File name"),
    ],
)
def test_what_cannot_be_written_shows_at_once(tmp_path: Path, path: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        Journal(str(tmp_path / path) if path else str(tmp_path))


def test_an_errors_file_that_cannot_be_written_shows_at_once(output: str) -> None:
    os.mkdir(errors_path(output))
    for overwrite in (False, True):
        with pytest.raises(InputError, match="errors.jsonl: is a directory"):
            Journal(output, overwrite=overwrite)
    os.rmdir(errors_path(output))
    Journal(output).close()


def test_a_disk_that_refuses_is_told_at_the_end(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    journal = Journal(output)
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(InputError, match="cannot be brought to the disk: Input/output error$"):
        journal.close()


def test_closing_twice_is_closing_once(output: str) -> None:
    journal = Journal(output)
    journal.close()
    journal.close()
    journal.sync()


class FullDisk:
    """os.write that takes only so many bytes until there is room again."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
        self.room = room
        self._write = os.write
        monkeypatch.setattr(os, "write", self)

    def __call__(self, fd: int, data: Any) -> int:
        if self.room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self._write(fd, bytes(data)[: self.room])
        self.room -= written
        return written


def test_a_full_disk_leaves_whole_lines_and_is_told(
    output: str, result: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(output)
    first = encode_result(result(0))
    journal.append(first)
    FullDisk(monkeypatch, 30)
    for _ in range(2):
        with pytest.raises(InputError, match=r"out\.jsonl: cannot be written: No space left on device$"):
            journal.write(result(1))
    assert Path(output).read_bytes() == first
    with pytest.raises(InputError, match="No space left on device; 2 results are lost"):
        journal.close()
    assert Path(output).read_bytes() == first
    Journal(output).close()


def test_room_made_in_time_saves_what_could_not_be_written(
    output: str, result: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch, 30)
    journal = Journal(output)
    with pytest.raises(InputError):
        journal.write(result(0))
    disk.room = 100_000
    journal.write(result(1))
    journal.close()
    assert [line["line"] for line in lines(output)] == [1, 2]


def open_pipe(tmp_path: Path) -> tuple[str, int]:
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    return path, os.open(path, os.O_RDONLY | os.O_NONBLOCK)


def test_a_pipe_takes_both_kinds_and_a_closed_one_is_told(tmp_path: Path, result: Make) -> None:
    path, reader = open_pipe(tmp_path)
    journal = Journal(path)
    assert not journal.resumable
    journal.write(result(0))
    journal.write(result(1, error=ValueError("bad")))
    found = [orjson.loads(line) for line in os.read(reader, 100_000).splitlines()]
    assert [line["line"] for line in found] == [1, 2]
    os.close(reader)
    with pytest.raises(InputError, match="Broken pipe"):
        journal.write(result(2))
    with pytest.raises(InputError, match="1 results are lost"):
        journal.close()
    assert not os.path.exists(errors_path(path))


def test_a_pipe_that_takes_a_part_gets_the_rest_later(
    tmp_path: Path, result: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, reader = open_pipe(tmp_path)
    first, second = encode_result(result(0)), encode_result(result(1))
    disk = FullDisk(monkeypatch, 0)
    journal = Journal(path)
    with pytest.raises(InputError):
        journal.append(first)
    disk.room = len(first)
    with pytest.raises(InputError):
        journal.append(second)
    disk.room = 100_000
    journal.close()
    assert os.read(reader, 100_000) == first + second
    os.close(reader)


def test_standard_output(result: Make, capfd: pytest.CaptureFixture[str]) -> None:
    write("-", result(0), result(1, error=ValueError("bad")))
    assert [orjson.loads(line)["line"] for line in capfd.readouterr().out.splitlines()] == [1, 2]
    os.fstat(1)  # still open


def test_an_output_that_cannot_be_read_is_refused(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        Journal(output)


def test_answers_that_are_set_aside_still_count_as_spent(output: str, result: Make) -> None:
    dear = result(1)
    dear.charged = 0.25
    write(output, result(0), dear, result(2, error=ValueError("bad")))
    journal = Journal(output)
    kept = journal.set_aside([len(encode_result(result(0)))])
    journal.write(result(3))
    journal.close()
    assert [line["line"] for line in lines(kept)] == [2]
    assert [line["line"] for line in lines(output)] == [1, 4]
    assert [line["line"] for line in lines(errors_path(output))] == [3]
    assert read_spent(output) == 0.25


def test_answers_stay_where_they_are_when_they_cannot_be_set_aside(
    output: str, result: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(output, result(0), result(1, error=ValueError("bad")))
    before = Path(output).read_bytes()
    journal = Journal(output)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
        with pytest.raises(InputError, match="No space left"):
            journal.set_aside([0])
    journal.close()
    assert Path(output).read_bytes() == before
    assert [line["line"] for line in lines(errors_path(output))] == [2]
    assert journal.completed.take(result(0).row.key)
