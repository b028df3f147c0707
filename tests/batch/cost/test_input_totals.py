"""What there is to call for: rows by the model that they name, without those that are answered or cached."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson

from callgate.batch.cost.input_totals import WholeInput
from callgate.batch.input.rows import Row, custom_id_key
from callgate.batch.input.sources import Source
from callgate.batch.output.completed_keys import CompletedKeys


def test_each_row_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    rows = [{"custom_id": f"r{i}", "prompt": "x" * 40, "max_tokens": 5} for i in range(5)]
    rows.append({"custom_id": "r5", "prompt": "y" * 40, "model": "other"})
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    asked: list[str | None] = []

    async def is_cached(row: Row) -> bool:
        asked.append(row.custom_id)
        return row.custom_id == "r1"

    told = WholeInput()
    finished = CompletedKeys([custom_id_key("r0")])
    asyncio.run(told.read(Source(str(path)), finished, {custom_id_key("r0"): 20}, is_cached))
    assert (told.rows, told.skipped, told.cached) == (4, 1, 1)
    assert asked == ["r1", "r2", "r3", "r4", "r5"]  # of what is answered nobody looks into the cache
    assert {name: (rows.count, rows.bound, rows.unbounded) for name, rows in told.groups.items()} == {
        None: (3, 15, 0),
        "other": (1, 0, 1),
    }
    assert told.ratio == 20 / told.groups["other"].characters  # as long as the one that is answered
