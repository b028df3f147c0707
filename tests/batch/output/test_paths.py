"""Where the files of a batch stand, and where its answers are read from."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from callgate.batch.output.paths import (
    has_answers,
    is_held_compressed,
    journal_path,
    keep_beside,
    open_answers,
)
from callgate.errors import InputError


def read(output: Path) -> tuple[bytes, str]:
    stream, name = open_answers(str(output))
    with stream:
        return stream.read(), Path(name).name


@pytest.mark.parametrize("name", ["out.jsonl", "out", "out.txt", "/dev/null", "-"])
def test_json_lines_are_their_own_journal(name: str) -> None:
    assert journal_path(name) == name


@pytest.mark.parametrize("name", ["out.csv", "out.TSV.gz", "out.pq", "out.jsonl.zst", "out.gz"])
def test_whatever_else_has_one_beside_it(name: str) -> None:
    assert journal_path(name) == name + ".journal.jsonl"


def test_answers_of_a_table_are_read_from_its_journal(tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_bytes(b"table")
    (tmp_path / "out.csv.journal.jsonl").write_bytes(b"lines")
    assert read(tmp_path / "out.csv") == (b"lines", "out.csv.journal.jsonl")


def test_a_table_without_its_journal_tells_nothing(tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_bytes(b"table")
    assert not has_answers(str(tmp_path / "out.csv"))
    with pytest.raises(InputError, match=r"out\.csv: was not written by .*, or its journal is gone"):
        read(tmp_path / "out.csv")


def test_compressed_answers_are_read_from_the_output_unless_a_journal_is_in_work(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl.gz"
    output.write_bytes(gzip.compress(b"before"))
    assert read(output) == (b"before", "out.jsonl.gz")
    journal = tmp_path / "out.jsonl.gz.journal.jsonl"
    journal.write_bytes(b"")  # a kill came before it was restored
    assert read(output) == (b"before", "out.jsonl.gz")
    journal.write_bytes(b"before and now")
    assert read(output) == (b"before and now", "out.jsonl.gz.journal.jsonl")
    output.unlink()
    assert not is_held_compressed(str(output))
    assert has_answers(str(output))


def test_what_is_not_there_or_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"out\.jsonl: there is no such file"):
        read(tmp_path / "out.jsonl")
    with pytest.raises(InputError, match=r"out\.csv: there is no such file"):
        read(tmp_path / "out.csv")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
def test_what_is_kept_takes_the_place_of_no_file_whatever_is_left_of_an_earlier_output(
    tmp_path: Path, name: str
) -> None:
    output = str(tmp_path / name)
    taken = [output.replace("out.", f"out.old-{number}.") for number in (1, 2, 3, 4)]
    others = [f"{taken[0]}.errors.jsonl", f"{taken[1]}.ledger.jsonl", journal_path(taken[2])]
    for number, path in enumerate(others):
        Path(path).write_text(f"other {number}")
    belonging = {output, journal_path(output), f"{output}.errors.jsonl", f"{output}.ledger.jsonl"}
    for path in belonging:
        Path(path).write_text("mine")
    assert keep_beside(output) == taken[3]
    assert [Path(path).read_text() for path in others] == ["other 0", "other 1", "other 2"]
    assert {path.replace(output, taken[3]) for path in belonging} <= set(map(str, tmp_path.iterdir()))
    assert keep_beside(output) is None
