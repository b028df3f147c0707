"""Whatever is written, and wherever a kill tears the output: no answer is lost, and none counts twice."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from unittest import mock

import orjson
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from callgate.batch.input.rows import Row, content_key, custom_id_key
from callgate.batch.output.journal import Journal, errors_path
from callgate.batch.output.paths import ledger_path
from callgate.batch.output.results import RowResult
from callgate.errors import InputError, ServerError
from tests.batch.conftest import answered, failed
from tests.effort import examples

# Some rows are equal, some differ only in what they are called.
TEXTS = st.sampled_from(["same", "other", "ein Umlaut: ä", "two\nlines"])
NAMES = st.sampled_from([None, None, "a", "b", "same"])
# How many bytes of its line a kill leaves; the first and the last few matter most.
CUTS = st.one_of(st.integers(-3, 3), st.integers(4, 1000))


@st.composite
def rows(draw: st.DrawFn) -> Row:
    content = {"messages": [{"role": "user", "content": draw(TEXTS)}]}
    name = draw(NAMES)
    key = content_key(content) if name is None else custom_id_key(name)
    columns = draw(st.sampled_from([None, {"key": "theirs", "text": "ä"}]))
    return Row(0, draw(st.integers(1, 9)), name, key, content, columns)


class JournalMachine(RuleBasedStateMachine):
    """One run after another on the same output; `answers` says how often each row must be found in it."""

    def __init__(self) -> None:
        super().__init__()
        self.no_disk = mock.patch("os.fsync")  # what a disk keeps is not what is looked at here
        self.no_disk.start()
        self.folder = tempfile.mkdtemp()
        self.output = os.path.join(self.folder, "out.jsonl")
        self.answers: Counter[int] = Counter()
        self.before: Counter[int] = Counter()
        """The failures of earlier runs that stand in the errors file."""
        self.failures: Counter[int] = Counter()
        """Those of this one."""
        self.ended: Counter[int] = Counter()
        """The rows that this run has answered or failed."""
        self.journal = Journal(self.output)

    def teardown(self) -> None:
        self.journal.close()
        shutil.rmtree(self.folder)
        self.no_disk.stop()

    # -- a run writes ------------------------------------------------------------------------------------

    @rule(row=rows(), text=TEXTS)
    def write_an_answer(self, row: Row, text: str) -> None:
        self.journal.write(RowResult(row, answered(text)))
        self.answers[row.key] += 1
        self.ended[row.key] += 1

    @rule(row=rows())
    def write_a_failure(self, row: Row) -> None:
        self.journal.write(RowResult(row, failed(ServerError("down", status_code=500))))
        self.failures[row.key] += 1
        self.ended[row.key] += 1

    @rule()
    def sync(self) -> None:
        self.journal.sync()

    @rule(overwrite=st.booleans())
    def another_run_is_kept_off(self, overwrite: bool) -> None:
        before = self.content()
        with pytest.raises(InputError, match="another run is writing to it"):
            Journal(self.output, overwrite=overwrite)
        assert self.content() == before

    # -- ends, and the next one begins -------------------------------------------------------------------

    @rule()
    def end_and_go_on(self) -> None:
        self.journal.close()
        left = self.before - self.ended + self.failures
        assert os.path.exists(errors_path(self.output)) is bool(left)
        self.go_on()

    @rule()
    def end_having_tried_all_and_go_on(self) -> None:
        self.journal.all_tried = True
        self.journal.close()
        self.before.clear()
        self.go_on()

    @rule()
    def end_and_start_anew(self) -> None:
        self.journal.close()
        self.journal = Journal(self.output, overwrite=True)
        self.answers, self.failures, self.before, self.ended = Counter(), Counter(), Counter(), Counter()
        assert len(self.journal.completed) == 0

    @rule(row=rows(), failure=st.booleans(), cut=CUTS, zeros=st.integers(0, 3))
    def be_killed_while_writing_and_go_on(self, row: Row, failure: bool, cut: int, zeros: int) -> None:
        """At any byte of the line, or with zeros in its place, as a power cut leaves them."""
        calling = failed(ServerError("down", status_code=500)) if failure else answered("the last one")
        before = self.content()
        self.journal.write(RowResult(row, calling))
        after = self.content()
        account = Path(ledger_path(self.output))
        beside = account.read_bytes() if account.exists() else None
        self.journal.close()  # a test cannot kill itself, so what closing did is undone
        if beside is not None:
            account.write_bytes(beside)
        for path, content in after.items():
            line = content[len(before[path]) :]
            torn = line[:cut] or b"\0" * zeros
            Path(path).write_bytes(before[path] + torn)
            if line and not failure and len(torn) >= len(line) - 1:
                self.answers[row.key] += 1  # all but the line end is the whole answer
                self.ended[row.key] += 1
            elif line and failure and torn == line:
                self.failures[row.key] += 1
                self.ended[row.key] += 1
        self.go_on()

    def go_on(self) -> None:
        self.journal = journal = Journal(self.output)
        self.before = self.before - self.ended + self.failures
        self.failures, self.ended = Counter(), Counter()
        assert len(journal.completed) == self.answers.total()
        for key, count in self.answers.items():
            given = [journal.completed.take(key) for _ in range(count + 2)]
            assert given == [True] * count + [False, False]
        assert not journal.completed.take(content_key({"nobody": "asked this"}))

    # -- what holds at every moment ----------------------------------------------------------------------

    @invariant()
    def all_that_was_written_is_there(self) -> None:
        content = self.content()
        found = [orjson.loads(line) for line in content[self.output].splitlines()]
        assert Counter(int(each["key"], 16) for each in found) == self.answers
        assert all(each["error"] is None for each in found)
        kept = Counter(
            int(orjson.loads(each)["key"], 16) for each in content[errors_path(self.output)].splitlines()
        )
        assert kept == self.before + self.failures

    def content(self) -> dict[str, bytes]:
        return {path: Path(path).read_bytes() for path in (self.output, errors_path(self.output))}


TestJournal = JournalMachine.TestCase
TestJournal.settings = examples(20, stateful_step_count=25)
