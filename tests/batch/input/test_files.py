"""Opening what a batch reads: whole to its end, or told that it is not."""

from __future__ import annotations

import gzip
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from callgate.batch.input.files import READ_ERRORS, STDIN, is_regular, open_bytes, refuse_unknown_table
from callgate.batch.input.sources import Source
from callgate.errors import InputError

PLAIN = random.Random(1).randbytes(40_000) + b"the same again " * 50_000
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "zstd": zstandard.ZstdCompressor().compress,
}


def read(path: Path, content: bytes, compression: str) -> bytes:
    path.write_bytes(content)
    with open_bytes(str(path), compression) as stream:
        return stream.read()


@pytest.mark.parametrize("compression", PACK)
@pytest.mark.parametrize("parts", [[], [b""], [PLAIN], [PLAIN, b"", b"a"], [b"a"] * 300])
def test_frames_are_read_one_after_the_other(tmp_path: Path, compression: str, parts: list[bytes]) -> None:
    content = b"".join(map(PACK[compression], parts))
    assert read(tmp_path / "a", content, compression) == b"".join(parts)


@pytest.mark.parametrize("compression", PACK)
def test_what_is_cut_off_anywhere_is_no_end(tmp_path: Path, compression: str) -> None:
    whole = PACK[compression](PLAIN)
    for content in (whole, whole * 2):
        for end in range(len(content) - len(whole) + 1, len(content), 997):
            with pytest.raises(READ_ERRORS):
                read(tmp_path / "a", content[:end], compression)


@pytest.mark.parametrize("compression", PACK)
def test_what_is_something_else_is_told(tmp_path: Path, compression: str) -> None:
    for content in (b"plain text, nothing else", PACK[compression](PLAIN) + b"and text behind it"):
        with pytest.raises(READ_ERRORS):
            read(tmp_path / "a", content, compression)


def test_reading_what_is_there_does_not_wait_for_more(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(PACK["zstd"](PLAIN))
    with open_bytes(str(tmp_path / "a"), "zstd") as stream:
        pieces = []
        while piece := stream.read1(1000):  # type: ignore[attr-defined]
            pieces.append(piece)
    assert b"".join(pieces) == PLAIN
    assert stream.closed


@pytest.mark.parametrize("name", ["a.xlsx", "A.XLSX", "folder.csv/a.feather"])
def test_a_table_of_a_kind_that_is_not_known_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(InputError, match=r"is not read or written; use \.csv, \.tsv, \.parquet or \.jsonl"):
        refuse_unknown_table(name)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl.gz", "a", "-"])
def test_other_names_are_not_refused(name: str) -> None:
    refuse_unknown_table(name)


@pytest.fixture
def redirect() -> Iterator[Callable[[Path], int]]:
    """Redirects standard input from a file, as a shell does."""
    former = os.dup(0)

    def take(path: Path) -> int:
        fd = os.open(path, os.O_RDONLY)
        os.dup2(fd, 0)
        os.close(fd)
        return 0

    yield take
    os.dup2(former, 0)
    os.close(former)


def test_a_file_on_standard_input_is_read_as_often_as_it_is_opened(
    tmp_path: Path, redirect: Callable[[Path], int]
) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"header\n" + b'{"prompt": "a"}\n' * 20_000)
    os.lseek(redirect(path), len(b"header\n"), os.SEEK_SET)  # what a program before has read
    assert is_regular(STDIN)
    for _ in range(2):
        with open_bytes(STDIN) as first, open_bytes(STDIN) as second:
            assert first.read(15) == b'{"prompt": "a"}'
            assert len(second.read()) == 16 * 20_000
            assert len(first.read()) == 16 * 20_000 - 15
    source = Source(STDIN)
    assert source.check(1 << 30) == source.count(lambda: False) == 20_000
    assert sum(map(len, source.blocks())) == 20_000


def test_what_is_no_file_on_standard_input_is_read_as_it_comes(redirect: Callable[[Path], int]) -> None:
    redirect(Path(os.devnull))
    assert not is_regular(STDIN)
    with open_bytes(STDIN) as stream:
        assert stream.read() == b""
