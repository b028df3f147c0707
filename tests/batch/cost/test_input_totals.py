"""What there is to call for: rows by the model that they name, without those that are answered or cached."""

from __future__ import annotations

import asyncio
from array import array
from pathlib import Path

import orjson
import pytest

from callgate.batch.cost.input_totals import InputTotals
from callgate.batch.input.fingerprint import Defaults, Fingerprints
from callgate.batch.input.record_source import RecordSource
from callgate.batch.input.rows import Row, custom_id_key
from callgate.batch.input.sources import Source
from callgate.batch.output.completed_keys import CompletedKeys


@pytest.mark.parametrize(("asks_again", "counts"), [(False, (1, 2, 1)), (True, (2, 1, 1))])
def test_rows_that_would_be_asked_differently_are_called_if_they_are_to_be(
    asks_again: bool, counts: tuple[int, int, int]
) -> None:
    source = RecordSource([{"custom_id": f"r{i}", "prompt": "x", "seed": i} for i in range(3)])
    prints = Fingerprints([Defaults({"model": "m"})])
    rows = [row for block in source.blocks() for row in block]
    finished = CompletedKeys()
    finished.extend(array("Q", [row.key for row in rows[:2]]), array("I", [prints.mark(rows[0]), 1]))
    told = InputTotals()
    asyncio.run(told.read(source, finished, {}, fingerprints=prints, asks_again=asks_again))
    assert (told.rows, told.skipped, told.changed) == counts


def test_each_row_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    rows = [{"custom_id": f"r{i}", "prompt": "x" * 40, "max_tokens": 5} for i in range(5)]
    rows.append({"custom_id": "r5", "prompt": "y" * 40, "model": "other"})
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    asked: list[str | None] = []

    async def is_cached(row: Row) -> bool:
        asked.append(row.custom_id)
        return row.custom_id == "r1"

    told = InputTotals()
    finished = CompletedKeys([custom_id_key("r0")])
    asyncio.run(told.read(Source(str(path)), finished, {custom_id_key("r0"): 20}, is_cached))
    assert (told.rows, told.skipped, told.cached) == (4, 1, 1)
    assert asked == ["r1", "r2", "r3", "r4", "r5"]  # of what is answered nobody looks into the cache
    assert {name: (rows.count, rows.bound, rows.unbounded) for name, rows in told.groups.items()} == {
        None: (3, 15, 0),
        "other": (1, 0, 1),
    }
    assert told.ratio == 20 / told.groups["other"].characters  # as long as the one that is answered
