"""A whole run with the options of the command."""

from __future__ import annotations

import asyncio
import csv
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest

from callgate.batch.input.record_source import RecordSource
from callgate.batch.job import Outcome, _EjectionNotes, check_paths, rarer_collections, run_job
from callgate.batch.options import RunOptions
from callgate.batch.output.journal import Journal
from callgate.batch.run import BatchRun
from callgate.batch.targets import read_targets
from callgate.errors import AuthenticationError, InputError, RowsChangedError
from callgate.model.base import Caller
from callgate.testing import Simulator


class Notes:
    """A watcher that keeps its notes, and can stop the writing of the output."""

    def __init__(self, stops: bool = False) -> None:
        self.notes: list[str] = []
        self.note = self.notes.append
        self.stops = stops
        self.journal: Journal | None = None

    @contextmanager
    def watch(self, batch: BatchRun, journal: Journal | None) -> Iterator[Notes]:
        self.journal = journal
        yield self

    def publishing(self, output: str) -> None:
        self.note(f"writing {output}")
        if self.stops and self.journal is not None:
            self.journal.stop_publishing()


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Simulator]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    with Simulator(quick=True, keys=["sk-1"]) as simulator:
        yield simulator


def run(sim: Simulator, notes: Notes, rows: int = 3, *, read_once: bool = False, **given: Any) -> Outcome:
    usual = {"input": "rows", "model": ("openai/gpt-4o-mini",), "base_url": (sim.base_url,), "max_tokens": 5}
    options = RunOptions(**{**usual, **given})
    prompts: Any = [f"word {number}" for number in range(rows)]
    source = RecordSource(iter(prompts) if read_once else prompts, parameters=options.request)
    targets = read_targets(options)
    return asyncio.run(run_job(options, source, targets, schema=None, watch=notes.watch))


def test_a_budget_over_two_runs_and_an_output_that_is_kept(sim: Simulator) -> None:
    notes = Notes()
    assert run(sim, notes, output="out.csv", budget=1.0).summary.ending == "done"
    assert run(sim, notes, rows=4, output="out.csv", budget=1.0).summary.progress.skipped == 3
    assert run(sim, notes, output="out.csv", overwrite=True).path == "out.csv"
    assert notes.notes.count("writing out.csv") == 3
    assert any("The former output is kept as out" in note for note in notes.notes)
    assert run(sim, notes, output="-", budget=1.0).summary.ending == "done"


def test_rows_that_would_be_asked_differently_end_it_with_the_table_as_it_was(sim: Simulator) -> None:
    notes = Notes()
    assert run(sim, notes, output="out.csv").summary.ending == "done"
    before = Path("out.csv").stat()
    with pytest.raises(RowsChangedError, match="3 finished rows .* max_tokens 5 -> 6; keep"):
        run(sim, notes, output="out.csv", max_tokens=6)
    assert Path("out.csv").stat() == before
    again = run(sim, notes, output="out.csv", max_tokens=6, on_change="reask").summary
    assert (again.progress.skipped, again.progress.stats.done) == (0, 3)
    assert notes.notes[-2:] == [
        "The answers of rows that are asked again are kept as out.old-1.csv.journal.jsonl.",
        "writing out.csv",
    ]


def test_lines_with_a_wrong_checksum_are_noted_and_count(sim: Simulator) -> None:
    assert run(sim, Notes(), rows=25, output="out.jsonl").summary.ending == "done"
    path = Path("out.jsonl")
    path.write_bytes(path.read_bytes().replace(b'"length"', b'"LENGTH"', 1))
    notes = Notes()
    assert run(sim, notes, rows=25, output="out.jsonl").summary.progress.skipped == 25
    note = "callgate: out.jsonl: 1 line with a wrong checksum, edited or damaged, count as answers: 1"
    assert notes.notes == [note]
    path.write_bytes(path.read_bytes().replace(b'"length"', b'"LENGTH"'))
    run(sim, notes, rows=25, output="out.jsonl")
    assert "25 lines with a wrong checksum" in notes.notes[1]
    assert notes.notes[1].endswith("19, 20, ...")


def test_the_rows_of_an_iterator_are_in_the_order_of_their_table(sim: Simulator) -> None:
    assert run(sim, Notes(), rows=3, output="out.csv", read_once=True).summary.left_out == 0
    assert run(sim, Notes(), rows=1, output="out.csv", read_once=True).summary.left_out == 2
    (row,) = csv.DictReader(Path("out.csv").read_text().splitlines())
    assert row["prompt"] == "word 0"


def test_what_a_killed_run_may_have_cost_is_noted(sim: Simulator) -> None:
    Path("out.jsonl").touch()
    account = {"charged_usd": 0.25, "reserved_usd": 0.5, "answers": 0, "failures": 0}
    Path("out.jsonl.ledger.jsonl").write_bytes(orjson.dumps(account) + b"\n")
    notes = Notes()
    assert run(sim, notes, output="out.jsonl", budget=1.0).summary.ending == "done"
    assert notes.notes == ["The last run was killed: $0.50 that its requests may have cost count as spent."]


def test_an_output_that_cannot_be_written_at_the_end_is_the_ending(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(journal: Journal) -> bool:
        raise InputError("the disk is full")

    monkeypatch.setattr(Journal, "publish", refuse)
    outcome = run(sim, Notes(), output="out.csv")
    assert (outcome.summary.ending, outcome.summary.message) == ("output", "the disk is full")
    assert outcome.path == "out.csv.journal.jsonl"


def test_a_writing_that_is_stopped_leaves_the_journal(sim: Simulator) -> None:
    outcome = run(sim, Notes(stops=True), output="out.csv")
    assert (outcome.summary.ending, outcome.path) == ("interrupted", "out.csv.journal.jsonl")
    assert outcome.summary.message is not None
    assert "the next run writes it from the journal" in outcome.summary.message
    assert not Path("out.csv").exists()


def test_an_ejected_target_is_noted_once_unless_the_run_is_quiet(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY_1", "sk-1")
    monkeypatch.setenv("KEY_2", "sk-2")
    for quiet in (False, True):
        notes = Notes()
        keys = ("KEY_1", "KEY_2")
        outcome = run(sim, notes, rows=50, output=f"{quiet}.jsonl", api_key_env=keys, quiet=quiet)
        assert [each.answered for each in outcome.endpoints] == [50, 0]
        assert len([note for note in notes.notes if "#2 is ejected for now: 401" in note]) == (not quiet)


def test_an_output_that_cannot_be_used_ends_it_before_any_call(sim: Simulator) -> None:
    Path("folder.jsonl").mkdir()
    with pytest.raises(InputError, match="is a directory"):
        run(sim, Notes(), output="folder.jsonl")
    assert sim.stats.requests == 0


def test_the_output_is_not_the_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.jsonl").write_text("{}")
    Path("in.csv.journal.jsonl").write_text("{}")
    model = ("openai/m",)
    for read, written in (("in.jsonl", "in.jsonl"), ("in.csv.journal.jsonl", "in.csv")):
        with pytest.raises(InputError, match="are the same file"):
            check_paths(RunOptions(input=read, model=model, output=written))
    for read, written in (("in.jsonl", "out.csv"), ("-", "o.jsonl"), ("in.jsonl", "-")):
        check_paths(RunOptions(input=read, model=model, output=written))


def test_cycles_are_collected_less_often_while_a_batch_runs() -> None:
    usual = gc.get_threshold()
    with rarer_collections():
        assert gc.get_threshold()[0] > usual[0]
    assert gc.get_threshold() == usual


def test_a_target_that_is_ejected_again_is_not_noted_again() -> None:
    notes = Notes()
    ejections = _EjectionNotes(str)
    model = cast(Caller, SimpleNamespace(name="m #2"))
    ejections.note = notes.note
    for _ in range(2):
        ejections.add(model, AuthenticationError("no such key", status_code=401))
    assert notes.notes == ["callgate: m #2 is ejected for now: 401: no such key"]


def test_a_run_that_cannot_be_logged_is_answered_and_noted(sim: Simulator) -> None:
    Path("out.jsonl.runs.jsonl").symlink_to("elsewhere")
    notes = Notes()
    assert run(sim, notes, output="out.jsonl").summary.ending == "done"
    [note] = notes.notes
    assert note.startswith("The report will not have all figures of this run: out.jsonl.runs.jsonl: is not")
