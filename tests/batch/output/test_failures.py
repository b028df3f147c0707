"""A failed row stays in the errors file until a run has tried it again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from callgate.batch.cost.ledger import Ledger
from callgate.batch.output.failures import take_up_failures
from callgate.batch.output.journal import Journal
from callgate.batch.output.paths import errors_path
from callgate.batch.output.results import RowResult
from callgate.errors import InputError, ServerError

Make = Callable[..., RowResult]
BAD = ServerError("down")


@pytest.fixture(params=["out.jsonl", "out.csv", "out.jsonl.gz"])
def output(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    return str(tmp_path / request.param)


def run(output: str, *results: RowResult, all_tried: bool = False) -> None:
    journal = Journal(output)
    for each in results:
        journal.write(each)
    journal.all_tried = all_tried
    journal.close()


def left(output: str) -> list[int]:
    """The lines of the input whose rows stand there."""
    if not os.path.exists(errors_path(output)):
        return []
    return [orjson.loads(line)["line"] for line in Path(errors_path(output)).read_bytes().splitlines()]


def test_rows_that_a_run_did_not_come_to_stay(output: str, result: Make) -> None:
    run(output, *(result(number, error=BAD) for number in range(5)))
    run(output, result(1), result(3, error=BAD))
    assert left(output) == [1, 3, 5, 4]
    run(output, result(0), result(2))
    assert left(output) == [5, 4]
    run(output)
    assert left(output) == [5, 4]


def test_equal_rows_are_told_apart_by_counting(output: str, result: Make) -> None:
    run(output, *(result(number, text="same", error=BAD) for number in range(3)))
    run(output, result(0, text="same"), result(1, text="same", error=BAD))
    assert left(output) == [3, 2]


def test_what_is_no_row_of_the_batch_any_more_goes_when_all_was_read(output: str, result: Make) -> None:
    run(output, *(result(number, error=BAD) for number in range(3)))
    run(output, result(1, error=BAD), all_tried=True)
    assert left(output) == [2]
    run(output, all_tried=True)
    assert left(output) == []
    assert not os.path.exists(errors_path(output))


def test_after_a_kill_the_next_run_tidies_up(output: str, result: Make) -> None:
    run(output, *(result(number, error=BAD) for number in range(4)))
    journal = Journal(output)
    for each in (result(1), result(3, error=BAD)):
        journal.write(each)
    assert left(output) == [1, 2, 3, 4, 4]
    for file in (journal._answers, journal._failures):
        file.close()  # as the system does for who is killed
    run(output)
    assert left(output) == [1, 3, 4]


def test_a_line_that_is_none_of_ours_is_left_alone_and_a_torn_one_cut(output: str, result: Make) -> None:
    run(output, result(1, error=BAD), result(2, error=BAD))
    with open(errors_path(output), "ab") as file:
        file.write(b"notes\n[1]\n{}\ntorn")
    run(output, result(1))
    content = Path(errors_path(output)).read_bytes()
    assert content.endswith(b"\nnotes\n[1]\n{}\n")
    assert content.count(b"\n") == 4


def test_somebody_may_take_the_file_away(output: str, result: Make) -> None:
    run(output, result(1, error=BAD))
    journal = Journal(output)
    os.unlink(errors_path(output))
    journal.close()
    assert left(output) == []
    ledger = Ledger(output)
    ledger.begin(answers=0, failures=10)
    ledger.close()
    run(output, result(1, error=BAD))
    assert left(output) == [2]


def test_what_cannot_be_kept_is_kept_by_the_next_run(
    output: str, result: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(output, *(result(number, error=BAD) for number in range(3)))
    journal = Journal(output)
    journal.write(result(1, error=BAD))
    with monkeypatch.context() as patch:

        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr(os, "replace", full)
        with pytest.raises(InputError, match="No space left on device"):
            journal.close()
    run(output)
    assert left(output) == [1, 3, 2]


def test_an_empty_file_that_cannot_be_removed_is_told(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(output)

    def refuse(*_: Any) -> None:
        raise OSError(1, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        with pytest.raises(InputError, match=r"errors\.jsonl: cannot be kept: Operation not permitted"):
            journal.close()
    run(output)
    assert not os.path.exists(errors_path(output))


def test_answers_that_cannot_be_looked_at_end_the_run_before_it_begins(output: str) -> None:
    ledger = Ledger(output)
    with pytest.raises(InputError, match="cannot be kept: No such file"):
        take_up_failures(output, ledger)  # no journal is there
    ledger.close()
