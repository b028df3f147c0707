"""Where the files of a batch stand, and where its answers are read from."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from callgate.batch.output.paths import has_answers, is_held_compressed, journal_path, open_answers
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
    with pytest.raises(
        InputError, match=r"out\.csv: is there, but not the journal.*or start anew with overwrite="
    ):
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
