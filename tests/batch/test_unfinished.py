"""The rows that are left of an input, and what becomes of those that would be asked differently now."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow
import pytest

from callgate.batch.input.fingerprint import Defaults, Fingerprints
from callgate.batch.input.record_source import RecordSource
from callgate.batch.input.rows import Row, custom_id_key
from callgate.batch.output.completed_keys import CompletedKeys
from callgate.batch.output.journal import Journal
from callgate.batch.output.paths import journal_path
from callgate.batch.output.results import RowResult
from callgate.batch.output.row_order import RowOrder
from callgate.batch.output.table import InputRows
from callgate.batch.unfinished import UnfinishedRows, name_of
from callgate.errors import ConfigurationError, InputError, RowsChangedError
from tests.batch.conftest import answered

THEN = Fingerprints([Defaults({"model": "m"})])
NOW = Fingerprints([Defaults({"model": "n"})])


def rows(count: int) -> list[Any]:
    return [{"custom_id": f"a{number}", "prompt": f"p{number}"} for number in range(count)]


@pytest.fixture(params=["out.jsonl", "out.csv", "out.jsonl.gz"])
def output(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """An output with answers to three rows."""
    path = str(tmp_path / request.param)
    journal = Journal(path)
    for block in RecordSource(rows(3)).blocks():
        for row in block:
            result = RowResult(row, answered())
            result.fingerprint = THEN.of(row)
            journal.write(result)
    journal.close()
    return path


def completed_of(output: str) -> CompletedKeys:
    journal = Journal(output)
    journal.stop_publishing()
    journal.close()
    return journal.completed


def left_of(output: str, source: RecordSource, **options: Any) -> tuple[list[str | None], str | None, int]:
    async def main() -> tuple[list[str | None], str | None, int]:
        unfinished = UnfinishedRows(source, **options)
        async with Journal(output) as journal:
            try:
                kept = await unfinished.compare(journal, lambda: False)
            except InputError:
                journal.stop_publishing()
                raise
            left = [row.custom_id for block in unfinished.blocks(journal.completed) for row in block]
            return left, kept, unfinished.skipped

    return asyncio.run(main())


def test_without_changes_only_new_rows_are_left(output: str) -> None:
    assert left_of(output, RecordSource(rows(5)), fingerprints=THEN) == (["a3", "a4"], None, 3)
    assert left_of(output, RecordSource(rows(3)), fingerprints=THEN) == ([], None, 3)
    assert left_of(output, RecordSource(rows(3))) == ([], None, 3)


def test_changed_rows_stop_the_run_with_nothing_touched(output: str) -> None:
    before = {path: path.read_bytes() for path in Path(output).parent.iterdir()}
    with pytest.raises(RowsChangedError) as caught:
        left_of(output, RecordSource(rows(4)), fingerprints=NOW)
    error = caught.value
    assert (error.rows, error.differences, error.setting) == (3, ("model m -> n",), "on_change")
    assert error.explain("--on-change").endswith(": --on-change keep|reask")
    assert str(error).endswith(': on_change="keep" or "reask"')
    assert {path: path.read_bytes() for path in Path(output).parent.iterdir()} == before


def test_keep_leaves_the_answers(output: str) -> None:
    assert left_of(output, RecordSource(rows(4)), fingerprints=NOW, on_change="keep") == (["a3"], None, 3)


def test_reask_moves_the_answers_into_a_file_that_can_be_resumed(output: str) -> None:
    changed = rows(4)
    changed[1]["prompt"] = "another"
    left, kept, skipped = left_of(output, RecordSource(changed), fingerprints=THEN, on_change="reask")
    assert (left, skipped) == (["a1", "a3"], 2)
    assert kept is not None
    assert [orjson.loads(line)["custom_id"] for line in Path(kept).read_bytes().splitlines()] == ["a1"]
    old = str(Path(output).with_name(Path(output).name.replace("out.", "out.old-1.")))
    assert kept == journal_path(old)
    assert len(completed_of(old)) == 1
    assert left_of(output, RecordSource(changed), fingerprints=THEN) == (["a1", "a3"], None, 2)


def test_rows_whose_key_changed_are_finished_under_their_former_key(output: str) -> None:
    renamed = [{"prompt": f"p{number}", "tag": number} for number in (2, 0, 7)]

    async def main() -> None:
        order = RowOrder()
        unfinished = UnfinishedRows(RecordSource(renamed), fingerprints=THEN, order=order)
        async with Journal(output) as journal:
            assert await unfinished.compare(journal, lambda: False) is None
            left = [row.line for block in unfinished.blocks(journal.completed) for row in block]
            former = [custom_id_key("a2"), custom_id_key("a0")]
            assert (left, unfinished.skipped, list(order.keys[:2])) == ([3], 2, former)
            rows = list(unfinished.table_rows().read())
            assert [row.key for row in rows[:2]] == former
            assert rows[0].own == {"prompt": "p2", "tag": 2}

    asyncio.run(main())


def test_an_interrupted_comparison_changes_nothing(output: str) -> None:
    async def main() -> None:
        unfinished = UnfinishedRows(RecordSource(rows(3)), fingerprints=NOW, on_change="reask")
        async with Journal(output) as journal:
            assert await unfinished.compare(journal, lambda: True) is None
            assert len(journal.completed) == 3

    asyncio.run(main())


def test_all_rows_are_noted_once_in_their_order(output: str) -> None:
    order = RowOrder()
    left_of(output, RecordSource(rows(4)), fingerprints=THEN, order=order)
    assert list(order.lines) == [1, 2, 3, 4]


def test_of_an_input_that_is_read_once_the_rows_before_a_changed_one_are_left(output: str) -> None:
    changed = [*rows(5)[3:], *rows(3)]
    changed[3]["prompt"] = "another"

    def blocks(**options: Any) -> Iterator[list[Row]]:
        unfinished = UnfinishedRows(RecordSource(iter(changed)), **options)
        return unfinished.blocks(completed_of(output))

    taken: list[str | None] = []
    with pytest.raises(InputError, match="a1 has an answer, but would be asked differently now"):
        taken.extend(row.custom_id for block in blocks(fingerprints=THEN) for row in block)
    found = blocks(fingerprints=THEN, on_change="keep")
    assert [row.custom_id for block in found for row in block] == ["a3", "a4"]


def test_an_async_iterator_ends_at_a_changed_row_as_well(output: str) -> None:
    async def records() -> AsyncIterator[Any]:
        for record in [*rows(4)[3:], {"custom_id": "a0", "prompt": "another"}]:
            yield record

    async def main() -> list[str | None]:
        source = RecordSource(records())
        unfinished = UnfinishedRows(source, fingerprints=THEN)
        taken: list[str | None] = []
        with pytest.raises(InputError, match="a0 has an answer"):
            async for block in unfinished.async_blocks(source, completed_of(output)):
                taken += [row.custom_id for row in block]
        return taken

    assert asyncio.run(main()) == ["a3"]


def test_other_values_of_on_change_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="must be keep or reask, got 'maybe'"):
        UnfinishedRows(RecordSource([]), on_change="maybe")  # type: ignore[arg-type]


def test_rows_are_named_by_their_id_or_line() -> None:
    row = next(RecordSource(rows(1)).blocks())[0]
    assert name_of(row) == "a0"


def table_of(source: Any, *, read: bool = True, **options: Any) -> InputRows:
    unfinished = UnfinishedRows(source, **options)
    if read:
        list(unfinished.blocks(CompletedKeys()))
    return unfinished.table_rows()


def test_a_table_holds_all_rows_of_an_input_that_can_be_read_again_with_the_values_of_their_lines() -> None:
    records = [
        {"custom_id": "a", "prompt": "p", "text": "mine", "day": datetime.date(2024, 5, 1)},
        {"no": "prompt"},
        {"custom_id": "b", "prompt": "q", "text": float("nan"), "tags": ["x"]},
        {"messages": [{"role": "user", "content": "r"}]},
    ]
    rows = table_of(RecordSource(records), read=False)
    assert rows.whole
    for _ in range(2):
        assert [(row.line, row.custom_id, row.own) for row in rows.read()] == [
            (1, "a", {"prompt": "p", "input_text": "mine", "day": "2024-05-01"}),
            (3, "b", {"prompt": "q", "input_text": None, "tags": ["x"]}),
            (4, None, {}),
        ]


def test_columns_with_an_arrow_type_keep_their_values() -> None:
    source = RecordSource(pyarrow.table({"prompt": ["p"], "day": [datetime.date(2024, 5, 1)]}))
    rows = table_of(source)
    assert rows.types == {"prompt": pyarrow.string(), "day": pyarrow.date32()}
    assert [row.own for row in rows.read()] == [{"prompt": "p", "day": datetime.date(2024, 5, 1)}]


def test_of_an_input_that_is_read_once_the_rows_that_were_read_are_known() -> None:
    order = RowOrder()
    rows = table_of(RecordSource(iter(["p", "q"])), order=order)
    assert rows.whole
    assert [(row.line, row.own) for row in rows.read()] == [(1, None), (2, None)]
    assert not table_of(RecordSource(iter(["p", "q"])), read=False).whole


def test_a_limit_takes_no_row_out_of_a_table() -> None:
    rows = table_of(RecordSource(["p", "q", "r"], limit=1))
    assert [row.line for row in rows.read()] == [1, 2, 3]
    assert not table_of(RecordSource(iter(["p", "q"]), limit=1)).whole
