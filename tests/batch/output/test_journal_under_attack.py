"""What other programs, other names and earlier versions do to an output costs no answer and no dollar."""

from __future__ import annotations

import asyncio
import csv
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from callgate.batch.cost.ledger import read_spent
from callgate.batch.output.atomic_file import whole_file
from callgate.batch.output.journal import Journal
from callgate.batch.output.paths import errors_path, journal_path, ledger_path, open_answers
from callgate.batch.output.results import RowResult
from callgate.errors import InputError, ServerError

Make = Callable[..., RowResult]
BAD = ServerError("down")


@pytest.fixture(params=["out.jsonl", "out.csv", "out.jsonl.gz"])
def output(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    return str(tmp_path / request.param)


def lines_of(path: str) -> list[int]:
    if path.endswith(".csv"):
        with open(path, newline="", encoding="utf-8") as file:
            return [int(row["line"]) for row in csv.DictReader(file)]
    stream, _ = open_answers(path)
    with stream:
        return [orjson.loads(line)["line"] for line in stream]


def write(output: str, *results: RowResult, **options: Any) -> Journal:
    journal = Journal(output, **options)
    for result in results:
        journal.write(result)
    journal.close()
    return journal


# -- in the middle of a run ------------------------------------------------------------------------------


@pytest.mark.parametrize("late", [False, True])
def test_answers_survive_that_their_file_is_deleted(output: str, result: Make, late: bool) -> None:
    journal = Journal(output)
    journal.write(result(0))
    if late:
        journal.write(result(1))
    os.unlink(journal_path(output))
    if not late:
        journal.write(result(1))
    journal.close()
    assert lines_of(output) == [1, 2]


@pytest.mark.parametrize("late", [False, True])
def test_answers_survive_that_their_file_is_replaced_and_the_run_says_where(
    output: str, result: Make, late: bool
) -> None:
    journal = Journal(output)
    journal.write(result(0))
    if late:
        journal.write(result(1))
    place = journal_path(output)
    os.unlink(place)
    Path(place).write_bytes(b"theirs\n")
    if not late:
        journal.write(result(1))
    with pytest.raises(InputError, match=rf"{place}\.rescued: another program put a different file"):
        journal.close()
    rescued = [orjson.loads(line)["line"] for line in Path(place + ".rescued").read_bytes().splitlines()]
    assert rescued == [1, 2]
    assert Path(place).read_bytes() == b"theirs\n"
    with pytest.raises(InputError, match=rf"{place}\.rescued: holds what an earlier run wrote"):
        Journal(output)
    os.replace(place + ".rescued", place)
    write(output)
    assert lines_of(output) == [1, 2]


@pytest.mark.parametrize("late", [False, True])
def test_a_file_that_is_cut_is_told_and_its_rows_are_asked_again(
    output: str, result: Make, late: bool
) -> None:
    journal = Journal(output)
    journal.write(result(0))
    journal.write(result(1))
    if late:
        journal.write(result(2))
    os.truncate(journal_path(output), os.path.getsize(journal_path(output)) - 10)
    if not late:
        journal.write(result(2))
    with pytest.raises(InputError, match="another program cut this file from"):
        journal.close()
    lost = 2 if late else 1
    journal = Journal(output)
    assert [journal.completed.take(result(i).row.key) for i in range(3)] == [i != lost for i in range(3)]
    journal.write(result(lost))
    journal.close()
    assert sorted(lines_of(output)) == [1, 2, 3]


def test_failures_survive_that_their_file_is_deleted(output: str, result: Make) -> None:
    journal = Journal(output)
    journal.write(result(0, error=BAD))
    os.unlink(errors_path(output))
    journal.write(result(1, error=BAD))
    journal.close()
    found = [orjson.loads(line)["line"] for line in Path(errors_path(output)).read_bytes().splitlines()]
    assert found == [1, 2]


@pytest.mark.parametrize("how", ["deleted", "cut"])
def test_what_was_spent_survives_that_the_ledger_is_deleted(output: str, how: str) -> None:
    journal = Journal(output)
    assert journal.ledger is not None
    journal.ledger.sent("one", 1.0)
    path = ledger_path(output)
    if how == "deleted":
        os.unlink(path)
    else:
        os.truncate(path, 0)
    journal.ledger.sent("two", 2.0)
    assert read_spent(output) >= 3.0
    if how == "deleted":
        journal.close()
    else:
        with pytest.raises(InputError, match="another program cut this file"):
            journal.close()
    assert read_spent(output) == 3.0


# -- links -----------------------------------------------------------------------------------------------


def test_an_output_is_one_batch_under_all_its_names(output: str, tmp_path: Path, result: Make) -> None:
    """A link has the journal, the errors, the ledger and the lock of the file that it points to."""
    link = str(tmp_path / "link")
    os.symlink(output, link)
    first = Journal(link)
    with pytest.raises(InputError, match="another run is writing to it"):
        Journal(output)
    charged = result(1, error=BAD)
    charged.charged = 0.5
    first.write(result(0))
    first.write(charged)
    first.close()
    assert os.path.islink(link)
    assert lines_of(output) == [1]
    assert read_spent(output) == read_spent(link) == 0.5
    second = Journal(output)
    assert second.completed.take(result(0).row.key)
    with pytest.raises(InputError, match="another run is writing to it"):
        Journal(link, overwrite=True)
    second.close()


def test_a_link_to_nothing_yet_makes_the_file_it_points_to(output: str, tmp_path: Path, result: Make) -> None:
    link = str(tmp_path / ("link" + Path(output).name))
    os.symlink(output, link)
    write(link, result(0))
    assert lines_of(output) == [1]


def test_a_loop_of_links_is_an_error(tmp_path: Path) -> None:
    os.symlink(tmp_path / "a", tmp_path / "b")
    os.symlink(tmp_path / "b", tmp_path / "a")
    with pytest.raises(InputError, match="cannot be written: Too many levels of symbolic links"):
        Journal(str(tmp_path / "a"))


def test_a_link_to_no_file_is_followed(result: Make) -> None:
    reader, writer = os.pipe()
    journal = Journal(f"/dev/fd/{writer}")
    journal.write(result(0))
    journal.close()
    os.close(writer)
    assert orjson.loads(os.read(reader, 100_000))["line"] == 1
    os.close(reader)


def test_a_second_name_for_the_file_itself_is_refused(output: str, tmp_path: Path, result: Make) -> None:
    """A table's answers are in its journal, which the other name does not lead to: that is refused too."""
    write(output, result(0))
    other = str(tmp_path / ("other" + Path(output).suffix))
    if output.endswith("gz"):
        other = str(tmp_path / "other.jsonl.gz")
    os.link(output, other)
    with pytest.raises(InputError, match="has more than one name|not the journal it was written from"):
        Journal(other)
    if not output.endswith("csv"):
        with pytest.raises(InputError, match="has more than one name"):
            Journal(output)


@pytest.mark.parametrize(
    "place",
    ["{}.writing", "{}.errors.jsonl", "{}.errors.jsonl.writing", "{}.ledger.jsonl", "{}.journal.jsonl"],
)
def test_planted_links_are_refused_or_removed_but_never_followed(
    output: str, tmp_path: Path, result: Make, place: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    write(output, result(0, error=BAD))
    for kept in (errors_path(output), journal_path(output)):
        if place.format(output) == kept and os.path.exists(kept):
            os.replace(kept, kept + ".away")
    os.symlink(victim, place.format(output))
    charged = result(0)
    charged.charged = 0.5
    try:
        journal = Journal(output)
        assert journal.ledger is not None
        journal.ledger.sent(charged.calling.request_id, 0.5)
        journal.write(charged)
        journal.close()
    except InputError as error:
        assert place.format(output) in str(error)  # noqa: PT017
    else:
        assert lines_of(output) == [1]
        assert not os.path.islink(output)
    assert victim.read_text() == "precious"


# -- starting anew ---------------------------------------------------------------------------------------


def test_overwriting_keeps_what_was_paid_under_a_name_that_works(output: str, result: Make) -> None:
    write(output, result(0), result(1, error=BAD))
    kept = write(output, result(2), overwrite=True).kept
    assert kept is not None
    assert Path(kept).name == Path(output).name.replace("out", "out.old-1")
    assert lines_of(kept) == [1]
    assert os.path.exists(errors_path(kept))
    assert lines_of(output) == [3]
    again = write(output, overwrite=True).kept
    assert again is not None
    assert Path(again).name == Path(output).name.replace("out", "out.old-2")
    assert lines_of(again) == [3]
    assert lines_of(output) == []
    journal = Journal(kept)
    assert journal.completed.take(result(0).row.key)
    journal.close()


def test_overwriting_keeps_a_foreign_file(output: str, tmp_path: Path, result: Make) -> None:
    Path(output).write_bytes(b"notes\n")
    kept = write(output, result(0), overwrite=True).kept
    assert kept is not None
    assert Path(kept).read_bytes() == b"notes\n"
    assert lines_of(output) == [1]


def test_overwriting_nothing_keeps_nothing(output: str, tmp_path: Path, result: Make) -> None:
    Path(journal_path(output)).touch()
    assert write(output, result(0), overwrite=True).kept is None
    assert not [path for path in tmp_path.iterdir() if ".old-" in path.name]


def test_overwriting_takes_a_rescued_file_along(output: str, result: Make) -> None:
    write(output, result(0))
    Path(journal_path(output) + ".rescued").write_bytes(b"paid\n")
    kept = write(output, overwrite=True).kept
    assert kept is not None
    assert Path(journal_path(kept) + ".rescued").read_bytes() == b"paid\n"
    write(output)


def test_what_cannot_be_renamed_stays(output: str, result: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    write(output, result(0))

    def refuse(*_: Any) -> None:
        raise OSError(1, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refuse)
        with pytest.raises(InputError, match="cannot be renamed: Operation not permitted"):
            Journal(output, overwrite=True)
    assert lines_of(output) == [1]


# -- an output of the version before the ledger ----------------------------------------------------------


def test_what_an_earlier_version_noted_beside_an_output_still_counts(output: str, result: Make) -> None:
    write(output, result(0))
    former = Path(output + ".charged.json")
    former.write_bytes(b'{"charged_usd":1.5,"open_usd":0.25,"failures_before":10,"answers_before":0}\n')
    assert read_spent(output) == 1.75
    journal = Journal(output)
    assert not former.exists()
    assert read_spent(output) == 1.75
    journal.close()
    assert read_spent(output) == 1.75
    former.write_bytes(b"notes")
    with pytest.raises(InputError, match=r"charged\.json: does not state what was spent"):
        Journal(output)


# -- writers side by side --------------------------------------------------------------------------------


def test_of_many_who_begin_at_once_one_gets_it(output: str, result: Make) -> None:
    begun: list[Journal] = []
    refused: list[str] = []
    barrier = threading.Barrier(8)

    def begin() -> None:
        barrier.wait()
        try:
            begun.append(Journal(output))
        except InputError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(begun), len(refused)) == (1, 7)
    begun[0].close()


def test_a_temporary_name_that_cannot_be_freed_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.writing").mkdir()
    with pytest.raises(OSError, match="directory|permitted"), whole_file(str(tmp_path / "a")):
        pass


def test_no_table_is_written_from_a_journal_that_was_cut_during_the_run(tmp_path: Path, result: Make) -> None:
    table = str(tmp_path / "out.csv")

    async def main() -> None:
        async with Journal(table) as journal:
            journal.write(result(0))
            journal.write(result(1))
            os.truncate(journal.path, os.path.getsize(journal.path) - 10)
            with pytest.raises(InputError, match="another program cut this file"):
                await journal.publish()

    with pytest.raises(InputError, match="another program cut this file"):
        asyncio.run(main())
    assert not os.path.exists(table)
    write(table)
    assert len(list(csv.reader(Path(table).read_text().splitlines()))) == 2
