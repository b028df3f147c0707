"""`save_to_file`: whole or not at all, and never outside its directory."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from callgate.errors import InputError
from callgate.network import save_to_file as files
from callgate.network.save_to_file import save_to_file
from callgate.transport.answers import read_answer
from callgate.transport.http import HttpAnswer


def save(*args: Any, **kwargs: Any) -> Path:
    return asyncio.run(save_to_file(*args, **kwargs))


def everything_in(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if not path.is_dir()}


def test_it_writes_text_and_bytes_and_says_where(tmp_path: Path) -> None:
    path = save("grüß dich", tmp_path / "new" / "deep", "a.txt")
    assert path == tmp_path / "new" / "deep" / "a.txt"
    assert path.read_text(encoding="utf-8") == "grüß dich"
    assert save(b"\x00\xff", tmp_path, "b.bin").read_bytes() == b"\x00\xff"
    assert save("ü", tmp_path, "c.txt", encoding="latin-1").read_bytes() == b"\xfc"


def test_it_writes_the_body_of_an_answer(tmp_path: Path) -> None:
    body = b'{"kept":   "as it came"}'
    answer = read_answer(HttpAnswer(200, {"content-type": "application/json"}, body))
    assert save(answer, tmp_path, "a.json").read_bytes() == body
    text = read_answer(HttpAnswer(200, {"content-type": "text/plain"}, b"hello"))
    assert save(text, tmp_path, "a.txt").read_bytes() == b"hello"
    with pytest.raises(InputError, match="dict"):
        save({"a": 1}, tmp_path, "b.json")


@pytest.mark.parametrize(
    "name",
    ["../out.txt", "a/../../out.txt", "..", "/etc/out.txt", "", ".", "a/", "a\0b", "C:\\out.txt", "C:out.txt",
     "..\\out.txt", "\\\\host\\share\\out.txt", "//host/out.txt", "a/.."],
)  # fmt: skip
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    inner = tmp_path / "inner"
    with pytest.raises(InputError):
        save("x", inner, name)
    assert everything_in(tmp_path) == set()


def test_a_linked_directory_that_leads_out_is_not_followed(tmp_path: Path) -> None:
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    inner.mkdir()
    outer.mkdir()
    (inner / "sub").symlink_to(outer)
    with pytest.raises(InputError, match="sub"):
        save("x", inner, "sub/a.txt")
    assert everything_in(outer) == set()


def test_a_linked_file_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    inner, secret = tmp_path / "inner", tmp_path / "secret.txt"
    inner.mkdir()
    secret.write_text("precious")
    (inner / "a.txt").symlink_to(secret)
    save("new", inner, "a.txt", file_exist_ok=True)
    assert secret.read_text() == "precious"
    assert (inner / "a.txt").read_text() == "new"
    assert not (inner / "a.txt").is_symlink()


def test_a_linked_directory_may_be_the_directory_itself(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    save("x", tmp_path / "link", "sub/a.txt")
    assert (real / "sub" / "a.txt").read_text() == "x"


def test_a_file_that_is_there_is_kept_unless_replacing_is_permitted(tmp_path: Path) -> None:
    save("old", tmp_path, "a.txt")
    with pytest.raises(FileExistsError):
        save("new", tmp_path, "a.txt")
    assert (tmp_path / "a.txt").read_text() == "old"
    save("new", tmp_path, "a.txt", file_exist_ok=True)
    assert (tmp_path / "a.txt").read_text() == "new"
    assert everything_in(tmp_path) == {"a.txt"}
    with pytest.raises(FileExistsError):
        save("x", tmp_path, "b.txt", dir_exist_ok=False)


def test_a_write_that_fails_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save("old", tmp_path, "a.txt")

    def fail(descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        save("new", tmp_path, "a.txt", file_exist_ok=True)
    assert (tmp_path / "a.txt").read_text() == "old"
    assert everything_in(tmp_path) == {"a.txt"}


def test_the_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor: int) -> None:
        steps.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def note_replace(*args: Any) -> None:
        steps.append("rename")
        replace(*args)

    monkeypatch.setattr(files.os, "fsync", note_fsync)
    monkeypatch.setattr(files.os, "replace", note_replace)
    save("x", tmp_path, "a.txt", file_exist_ok=True)
    assert steps == ["file", "rename", "directory"]


def test_many_writers_of_one_file_leave_one_whole_file(tmp_path: Path) -> None:
    async def main() -> None:
        texts = [str(n) * 20_000 for n in range(10)]
        await asyncio.gather(*(save_to_file(t, tmp_path, "a.txt", file_exist_ok=True) for t in texts))
        assert (tmp_path / "a.txt").read_text() in texts

    asyncio.run(main())
    assert everything_in(tmp_path) == {"a.txt"}


def test_of_many_writers_that_may_not_replace_one_wins(tmp_path: Path) -> None:
    async def main() -> list[Any]:
        calls = (save_to_file(str(n), tmp_path, "a.txt") for n in range(10))
        return await asyncio.gather(*calls, return_exceptions=True)

    outcomes = asyncio.run(main())
    assert sum(isinstance(one, Path) for one in outcomes) == 1
    assert sum(isinstance(one, FileExistsError) for one in outcomes) == 9


def test_the_loop_is_not_blocked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where: list[threading.Thread] = []
    fsync = os.fsync
    monkeypatch.setattr(files.os, "fsync", lambda fd: (where.append(threading.current_thread()), fsync(fd)))
    save("x", tmp_path, "a.txt")
    assert where
    assert threading.main_thread() not in where
