"""A run killed before any single step on its files: no answer is lost, none twice, no dollar forgotten."""

from __future__ import annotations

import csv
import gzip
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from callgate.batch.cost.ledger import read_spent
from callgate.batch.output.answer_index import AnswerIndex
from callgate.batch.output.journal import Journal
from callgate.batch.output.paths import errors_path, journal_path
from callgate.batch.output.results import RowResult
from callgate.errors import ServerError

Make = Callable[..., RowResult]
STEPS = ("open", "write", "replace", "unlink", "fsync", "ftruncate")


class Killed(BaseException):
    """The process is no more."""


class KilledAfter:
    """Lets so many steps on files happen, and then none at all."""

    def __init__(self, patch: pytest.MonkeyPatch, life: int) -> None:
        self.left = life
        self._opened: set[int] = set()
        patch.setattr(os, "close", self._mortal_close(os.close))
        for name in STEPS:
            patch.setattr(os, name, self._mortal(getattr(os, name), opens=name == "open"))

    def _mortal(self, step: Callable[..., Any], *, opens: bool) -> Callable[..., Any]:
        def take(*arguments: Any, **more: Any) -> Any:
            if self.left == 0:
                raise Killed
            self.left -= 1
            result = step(*arguments, **more)
            if opens:
                self._opened.add(result)
            return result

        return take

    def _mortal_close(self, close: Callable[[int], None]) -> Callable[[int], None]:
        def take(fd: int) -> None:
            if self.left == 0:
                raise Killed
            self._opened.discard(fd)
            close(fd)

        return take

    def bury(self) -> None:
        """What the kernel does: close what is open, and so give back its locks."""
        for fd in self._opened:
            with suppress(OSError):  # a file object has closed it
                os.close(fd)


@pytest.fixture(params=["out.jsonl", "out.csv", "out.jsonl.gz"])
def output(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    return str(tmp_path / request.param)


def lines_of(output: str) -> Iterator[int]:
    if output.endswith(".csv"):
        with open(output, newline="", encoding="utf-8") as file:
            yield from (int(row["line"]) for row in csv.DictReader(file))
        return
    content = Path(output).read_bytes()
    if output.endswith(".gz"):
        content = gzip.decompress(content)
    yield from (orjson.loads(line)["line"] for line in content.splitlines())


class Bill:
    """What the provider knows: whom it answered, and what that cost."""

    def __init__(self, make: Make, output: str) -> None:
        self._make = make
        self._output = output
        self.dollars = 0.0
        self.reported: set[int] = set()
        """Rows whose `write` has returned."""

    def run(self, calls: list[tuple[int, float, bool]]) -> None:
        """One run: each call is (row, its cost, whether it is answered)."""
        journal = Journal(self._output)
        ledger = journal.ledger
        assert ledger is not None
        for index, cost, ok in calls:
            result = self._make(index, error=None if ok else ServerError("down"))
            if journal.completed.take(result.row.key):
                continue
            ledger.sent(result.calling.request_id, 2.0)
            self.dollars += cost
            result.charged = cost
            journal.write(result)
            if ok:
                self.reported.add(index)
        journal.close()


CALLS = [(0, 0.25, True), (1, 0.5, False), (2, 1.0, True)]
AGAIN = [(0, 0.25, True), (1, 0.5, False), (2, 1.0, True), (3, 0.125, True), (4, 2.0, False)]
LAST = [(index, 0.0625, True) for index in range(5)]


def test_before_any_step(output: str, result: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    survived = False
    life = 0
    while not survived:
        for path in tmp_path.iterdir():
            path.unlink()
        bill = Bill(result, output)
        bill.run(CALLS)
        with monkeypatch.context() as patch:
            mortal = KilledAfter(patch, life)
            try:
                bill.run(AGAIN)
                survived = True
            except Killed:
                pass
        mortal.bury()
        assert read_spent(output) >= bill.dollars - 1e-9
        journal = Journal(output)
        assert len(journal.completed) >= len(bill.reported)
        for index in bill.reported:
            assert journal.completed.take(result(index).row.key)
        journal.close()
        assert read_spent(output) >= bill.dollars - 1e-9
        bill.run(LAST)
        assert Counter(lines_of(output)) == Counter(range(1, 6))
        assert read_spent(output) >= bill.dollars - 1e-9
        left = {path.name for path in tmp_path.iterdir()} - {Path(output).name + ".ledger.jsonl"}
        assert left == {
            Path(output).name,
            *([] if output.endswith("gz") else [Path(journal_path(output)).name]),
        }
        life += 1
    assert life > 20


def asked_again(bill: Bill, output: str, result: Make) -> None:
    """A run that sets the answer of row 0 aside and asks it again."""
    journal = Journal(output)
    with AnswerIndex(journal.path) as index:
        place = index.take(result(0).row.key)
        starts = [] if place is None else [index.start(place)]
    if starts:
        journal.set_aside(starts)
    assert journal.ledger is not None
    new = result(0)
    journal.ledger.sent(new.calling.request_id, 2.0)
    bill.dollars += 0.5
    new.charged = 0.5
    journal.write(new)
    journal.close()


def test_before_any_step_of_a_run_that_sets_answers_aside(
    output: str, result: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    survived = False
    life = 0
    while not survived:
        for path in tmp_path.iterdir():
            path.unlink()
        bill = Bill(result, output)
        bill.run(CALLS)
        with monkeypatch.context() as patch:
            mortal = KilledAfter(patch, life)
            try:
                asked_again(bill, output, result)
                survived = True
            except Killed:
                pass
        mortal.bury()
        assert read_spent(output) >= bill.dollars - 1e-9
        journal = Journal(output)
        kept = [path for path in tmp_path.glob("out.old-*") if not path.name.endswith(".writing")]
        paths = [journal.path, *map(str, kept)]
        found = [
            orjson.loads(line)["line"] for path in paths for line in Path(path).read_bytes().splitlines()
        ]
        assert {1, 3} <= set(found)
        assert found.count(1) == 2 or not survived
        journal.close()
        assert read_spent(output) >= bill.dollars - 1e-9
        failures = Path(errors_path(output)).read_bytes().splitlines()
        assert [orjson.loads(line)["line"] for line in failures] == [2]
        bill.run(LAST)
        assert Counter(lines_of(output)) == Counter(range(1, 6))
        assert read_spent(output) >= bill.dollars - 1e-9
        life += 1
    assert life > 20
