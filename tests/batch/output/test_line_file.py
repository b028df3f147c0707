"""Files that grow by whole lines, one writer at a time."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path
from typing import Any

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
    first, second = (open_locked(os.devnull, "out", beside=False) for _ in range(2))
    assert (first.regular, first.size) == (False, 0)
    first.sync()
    first.close()
    second.close()
    os.fstat(1)
    standard = open_lines("-")
    standard.close()
    os.fstat(1)  # still open


# -- other programs --------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> LineFile:
    file = open_locked(str(tmp_path / "a"), "a")
    put(file, b"1\n", b"2\n")
    return file


def test_a_file_that_was_deleted_is_there_again(tmp_path: Path, file: LineFile) -> None:
    (tmp_path / "a").unlink()
    put(file, b"3\n")
    assert (tmp_path / "a").read_bytes() == b"1\n2\n3\n"
    assert (file.harm, file.in_place) == (None, True)
    with pytest.raises(InputError, match="another run is writing to it"):
        open_locked(str(tmp_path / "a"), "a")
    file.close()


def test_a_file_that_was_moved_away_is_there_again(tmp_path: Path, file: LineFile) -> None:
    (tmp_path / "a").rename(tmp_path / "a.1")
    put(file, b"3\n")
    assert (tmp_path / "a").read_bytes() == b"1\n2\n3\n"
    assert (tmp_path / "a.1").read_bytes() == b"1\n2\n"
    file.close()


def test_a_file_whose_place_was_taken_goes_on_beside_it(tmp_path: Path, file: LineFile) -> None:
    (tmp_path / "new").write_bytes(b"theirs\n")
    (tmp_path / "new").replace(tmp_path / "a")
    put(file, b"3\n")
    put(file, b"4\n")
    assert (tmp_path / "a").read_bytes() == b"theirs\n"
    assert (tmp_path / "a.rescued").read_bytes() == b"1\n2\n3\n4\n"
    assert file.name == str(tmp_path / "a.rescued")
    assert "put a different file in the place of" in str(file.harm)
    file.close()


def test_a_second_rescue_is_refused_and_nothing_is_overwritten(tmp_path: Path, file: LineFile) -> None:
    (tmp_path / "a.rescued").write_bytes(b"of an earlier run\n")
    (tmp_path / "a").unlink()
    (tmp_path / "a").write_bytes(b"theirs\n")
    for _ in range(2):
        with pytest.raises(InputError, match=r"taken its place, and .*a\.rescued is there already"):
            put(file, b"3\n")
    assert file.pending == [b"3\n", b"3\n"]
    (tmp_path / "a.rescued").unlink()
    file.flush()
    assert (tmp_path / "a.rescued").read_bytes() == b"1\n2\n3\n3\n"
    file.close()


def test_a_place_that_is_taken_while_it_is_looked_at_is_left_alone(
    tmp_path: Path, file: LineFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, look = tmp_path / "a", os.stat
    path.unlink()

    def late(*arguments: Any) -> os.stat_result:
        try:
            return look(*arguments)
        except FileNotFoundError:
            path.write_bytes(b"theirs\n")
            raise

    monkeypatch.setattr(os, "stat", late)
    put(file, b"3\n")
    assert path.read_bytes() == b"theirs\n"
    assert (tmp_path / "a.rescued").read_bytes() == b"1\n2\n3\n"
    file.close()


@pytest.mark.parametrize("size", range(5))
def test_a_file_that_was_cut_goes_on_with_whole_lines(tmp_path: Path, file: LineFile, size: int) -> None:
    os.truncate(tmp_path / "a", size)
    put(file, b"3\n")
    assert (tmp_path / "a").read_bytes() == b"1\n2\n"[: size - size % 2] + b"3\n"
    assert (file.harm is None) is (size == 4)
    file.close()


@pytest.mark.parametrize("added", [b"theirs\n", b"theirs"])
def test_lines_behind_what_others_have_added_are_lines_of_their_own(
    tmp_path: Path, file: LineFile, added: bytes
) -> None:
    with (tmp_path / "a").open("ab") as other:
        other.write(added)
    put(file, b"3\n")
    put(file, b"4\n")
    assert (tmp_path / "a").read_bytes().split() == [b"1", b"2", b"theirs", b"3", b"4"]
    assert file.harm is None
    file.close()


def test_what_cannot_be_rescued_stays_as_it_is(
    tmp_path: Path, file: LineFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").unlink()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", full)
        with pytest.raises(InputError, match="/a: cannot be written: No space left on device"):
            put(file, b"3\n")
    assert not (tmp_path / "a").exists()
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", full)
        with pytest.raises(InputError, match="/a: cannot be written: No space left on device"):
            file.flush()
    file.flush()
    assert (tmp_path / "a").read_bytes() == b"1\n2\n3\n"
    file.close()


def test_a_failure_of_any_kind_leaves_no_half_rescued_file(
    tmp_path: Path, file: LineFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").unlink()

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copyfileobj", stop)
    with pytest.raises(KeyboardInterrupt):
        put(file, b"3\n")
    assert not list(tmp_path.iterdir())
    file.close()


def test_a_torn_line_is_cut_however_long_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callgate.batch.output.line_file._COPY", 4)
    for content, kept in ((b"", 0), (b"torn and long", 0), (b"1\n2\nof many bytes", 4), (b"123456789\n", 10)):
        (tmp_path / "a").write_bytes(content)
        file = open_lines(str(tmp_path / "a"))
        file.cut_torn()
        assert (file.size, (tmp_path / "a").read_bytes()) == (kept, content[:kept])
        file.close()


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe"])
def test_a_file_beside_an_output_is_never_a_link_or_a_pipe(tmp_path: Path, kind: str) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    if kind == "pipe":
        os.mkfifo(tmp_path / "a")
    else:
        (tmp_path / "a").symlink_to(tmp_path / ("victim" if kind == "link" else "nothing"))
    with pytest.raises(InputError, match="/a: is not a file of callgate's own"):
        open_lines(str(tmp_path / "a"))
    assert (tmp_path / "victim").read_bytes() == b"precious"
    assert not (tmp_path / "nothing").exists()


def test_a_file_with_two_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1\n")
    os.link(tmp_path / "a", tmp_path / "b")
    with pytest.raises(InputError, match="/b: has more than one name"):
        open_lines(str(tmp_path / "b"))
