"""What an output has taken of a budget: over all runs, of failed rows too, and whenever a run is killed."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from callgate.batch.cost.ledger import read_spent
from callgate.batch.output.journal import Journal
from callgate.batch.output.paths import errors_path, journal_path, ledger_path, open_answers
from callgate.batch.output.results import RowResult
from callgate.errors import InputError, ServerError

Make = Callable[..., RowResult]
OUTPUTS = ["out.jsonl", "out.csv", "out.jsonl.gz"]


@pytest.fixture(params=OUTPUTS)
def output(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    return str(tmp_path / request.param)


@pytest.fixture
def charged(result: Make) -> Callable[..., RowResult]:
    def make(index: int, amount: float | None, **more: Any) -> RowResult:
        one = result(index, **more)
        one.charged = amount
        return one

    return make


def run(output: str, *results: RowResult, **options: Any) -> None:
    journal = Journal(output, **options)
    for each in results:
        journal.write(each)
    journal.close()


BAD = ServerError("down")


def test_failed_rows_count_in_every_run_that_follows(output: str, charged: Make) -> None:
    assert read_spent(output) == 0.0
    run(output, charged(0, 0.25), charged(1, 0.5, error=BAD))
    assert read_spent(output) == 0.75
    run(output, charged(1, 0.125, error=BAD), charged(2, 2.0, error=BAD))
    assert read_spent(output) == 2.875
    run(output, charged(1, 1.0))
    assert read_spent(output) == 3.875
    run(output)
    assert read_spent(output) == 3.875


def test_while_a_run_has_it_the_sum_is_the_same(output: str, charged: Make) -> None:
    run(output, charged(0, 0.25), charged(1, 0.5, error=BAD))
    journal = Journal(output)
    assert read_spent(output) == 0.75
    journal.write(charged(1, 1.0))
    assert read_spent(output) == 1.75
    journal.close()
    assert read_spent(output) == 1.75
    assert not os.path.exists(errors_path(output))


def test_overwriting_starts_from_nothing(output: str, charged: Make) -> None:
    run(output, charged(1, 0.5, error=BAD))
    run(output, charged(1, 0.5, error=BAD))
    run(output, overwrite=True)
    assert read_spent(output) == 0.0
    assert not os.path.exists(ledger_path(output))


def test_without_charges_nothing_stands_beside_the_output(output: str, result: Make) -> None:
    run(output, result(0), result(1, error=BAD))
    run(output)
    assert not os.path.exists(ledger_path(output))
    assert read_spent(output) == 0.0


def test_without_a_budget_answers_count_what_they_cost(tmp_path: Path) -> None:
    lines = [{"cost_usd": 0.5}, {"cost_usd": None}, {"cost_usd": 0.25, "charged_usd": 1.0}, {"cost_usd": "?"}]
    (tmp_path / "out.jsonl").write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines) + b"[1]\ntor")
    assert read_spent(str(tmp_path / "out.jsonl")) == 1.5


class Killed(BaseException):
    pass


@pytest.mark.parametrize("step", range(7))
def test_a_kill_at_any_step_never_forgets_charges_nor_rows(
    output: str, charged: Make, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """A step is what a file system does at once: a file takes its place, or goes."""
    run(output, charged(0, 0.25), charged(1, 0.5, error=BAD), charged(2, 0.5, error=BAD))
    steps = 0

    def killed_at(name: str) -> None:
        do = getattr(os, name)

        def counted(*arguments: Any) -> None:
            nonlocal steps
            steps += 1
            if steps > step:
                raise Killed
            do(*arguments)

        monkeypatch.setattr(os, name, counted)

    for name in ("replace", "unlink"):
        killed_at(name)
    journal: Journal | None = None
    try:
        journal = Journal(output)
        assert journal.ledger is not None
        for one in (charged(1, 1.0), charged(3, 2.0, error=BAD)):
            journal.ledger.sent(one.calling.request_id, 4.0)
            journal.write(one)
        journal.close()
        ended = True
    except Killed:
        ended = False
    finally:
        monkeypatch.undo()
    assert (steps > step) is not ended
    for file in () if journal is None else (journal._answers, journal._failures):
        file.close()  # as the system does for who is killed
    wrote = journal_lines(output)
    assert read_spent(output) >= 1.25 + sum(line["charged_usd"] for line in wrote[1:])
    run(output)
    left = {line["line"] for line in errors(output)}
    assert {2, 3} - {line["line"] for line in wrote} <= left


def journal_lines(output: str) -> list[Any]:
    stream, _ = open_answers(output)
    with stream:
        return [orjson.loads(line) for line in stream]


def errors(output: str) -> list[Any]:
    return [orjson.loads(line) for line in Path(errors_path(output)).read_bytes().splitlines()]


def test_what_cannot_be_kept_stops_the_run_before_it_is_thrown_away(
    output: str, charged: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(output, charged(1, 0.5, error=BAD))

    def full(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(InputError, match=r"ledger\.jsonl: cannot be written: No space left"):
            Journal(output)
    assert read_spent(output) == 0.5


@pytest.mark.parametrize(
    "content", [b"notes", b"[]\n", b"{}\n", b'{"charged_usd":"much"}\n', b'{"charged_usd":-1}\n', b"\0\n"]
)
def test_a_damaged_sum_is_never_taken_for_nothing(output: str, charged: Make, content: bytes) -> None:
    run(output, charged(1, 0.5, error=BAD))
    Path(ledger_path(output)).write_bytes(content)
    with pytest.raises(InputError, match=r"ledger\.jsonl: does not state what was spent"):
        read_spent(output)
    with pytest.raises(InputError, match=r"ledger\.jsonl: does not state what was spent"):
        Journal(output)
    assert os.path.getsize(errors_path(output)) > 0
    Path(ledger_path(output)).write_bytes(b'{"charged_usd": 2}\n')
    assert read_spent(output) == 2.5


def test_an_unreadable_ledger_is_refused(tmp_path: Path) -> None:
    output = str(tmp_path / "out.jsonl")
    os.mkdir(ledger_path(output))
    with pytest.raises(InputError, match=r"ledger\.jsonl: cannot be read: Is a directory"):
        read_spent(output)
    os.rmdir(ledger_path(output))
    os.mkdir(errors_path(output))
    with pytest.raises(InputError, match=r"errors\.jsonl: cannot be read: Is a directory"):
        read_spent(output)


def test_a_damaged_output_is_refused(tmp_path: Path) -> None:
    output = str(tmp_path / "out.jsonl.gz")
    Path(output).write_bytes(gzip.compress(b'{"charged_usd": 1.0}\n' * 500)[:-9])
    with pytest.raises(InputError, match=r"out\.jsonl\.gz: cannot be read to its end"):
        read_spent(output)
    assert not os.path.exists(journal_path(output))
