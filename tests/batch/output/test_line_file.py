"""Files that grow by whole lines, one writer at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from callgate.batch.output.line_file import LineFile, open_lines, open_locked
from callgate.errors import InputError


def put(file: LineFile, *lines: bytes) -> None:
    file.pending.extend(lines)
    file.flush()


def test_lines_are_added_to_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"1\n")
    file = open_lines(str(path))
    assert (file.regular, file.size) == (True, 2)
    put(file)
    put(file, b"2\n", b"3\n")
    assert (path.read_bytes(), file.size, file.pending) == (b"1\n2\n3\n", 6, [])
    file.cut(4)
    put(file, b"4\n")
    file.sync()
    file.close()
    file.close()
    assert path.read_bytes() == b"1\n2\n4\n"


def test_a_line_that_is_torn_by_a_full_disk_is_taken_back_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    file = open_lines(str(path))
    put(file, b"first\n")
    real, room = os.write, 3

    def write(fd: int, data: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(28, "No space left on device")
        written = real(fd, data[:room])
        room -= written
        return written

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        with pytest.raises(InputError, match="/a: cannot be written: No space left on device"):
            put(file, b"second\n")
    assert path.read_bytes() == b"first\n"
    file.flush()
    file.close()
    assert path.read_bytes() == b"first\nsecond\n"


def test_one_writer_at_a_time_and_the_next_when_it_has_closed(tmp_path: Path) -> None:
    path = str(tmp_path / "a")
    first = open_locked(path, "out.csv")
    with pytest.raises(InputError, match=r"^out\.csv: another run is writing to it; wait for its end$"):
        open_locked(path, "out.csv")
    first.close()
    open_locked(path, "out.csv").close()


@pytest.mark.parametrize("replaced", [True, False])
def test_a_file_that_was_taken_away_before_it_was_locked_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaced: bool
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old\n")
    flock = fcntl.flock

    def take_away(fd: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        path.unlink()
        if replaced:
            path.write_bytes(b"new\n")
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", take_away)
    file = open_locked(str(path), "out.csv")
    put(file, b"line\n")
    file.close()
    assert path.read_bytes() == (b"new\nline\n" if replaced else b"line\n")


def test_what_is_no_regular_file_needs_no_lock(tmp_path: Path) -> None:
    first, second = open_locked(os.devnull, "out"), open_locked(os.devnull, "out")
    assert (first.regular, first.size) == (False, 0)
    first.sync()
    first.close()
    second.close()
    os.fstat(1)
    standard = open_lines("-")
    standard.close()
    os.fstat(1)  # still open
