"""The log of the runs on an output."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from callgate.batch.engine import Engine
from callgate.batch.input.sources import Source
from callgate.batch.options import RunOptions
from callgate.batch.output.journal import Journal
from callgate.batch.report.run_records import read_run_records
from callgate.batch.run import BatchRun
from callgate.batch.run_log import RunLog, run_facts, settings_to_dict
from callgate.model.spread import Spread
from tests.batch.simulation import Simulation
from tests.batch.test_run_watched import write_prompts


def logged_run(sim: Simulation, folder: Path, rows: int, *, ends: bool = True) -> RunLog:
    async def main() -> RunLog:
        output = str(folder / "out.jsonl")
        named = [sim.model(limit_requests=60, name=f"m #{number}") for number in (1, 2)]
        async with Spread(named) as model, Journal(output) as journal:
            batch = BatchRun(Engine(model, None, None), Source(str(write_prompts(folder, rows))))
            batch.check()
            options = RunOptions(input="in.jsonl", model=("openai/m",), output=output, rpm=60)
            clock = lambda: 1000.0 + asyncio.get_running_loop().time()  # noqa: E731
            log = RunLog(output, batch, run_facts(options, batch), clock)
            summary = await batch.run(journal)
            if ends:
                log.end(summary)
            log.close()
            return log

    return sim.run(main())


def lines(folder: Path) -> list[Any]:
    return [orjson.loads(line) for line in (folder / "out.jsonl.runs.jsonl").read_bytes().splitlines()]


def test_a_run_is_logged_with_its_settings_counts_and_quotas(tmp_path: Path) -> None:
    sim = Simulation(latency=0.5, answers=[500, 500])
    assert logged_run(sim, tmp_path, 200).error is None
    [record] = read_run_records(str(tmp_path / "out.jsonl"))
    assert record.ending == "done"
    assert record.settings["rpm"] == 60
    assert record.models == ["m #1", "m #2"]
    assert record.retries + record.moves == 2
    assert sum(each.answered for each in record.endpoints) == 200
    assert sum(each.calls for each in record.endpoints) == 202
    assert max(use.requests or 0.0 for use in record.uses) == 100.0
    assert max(record.waits, key=lambda name: record.waits[name]) == "requests per minute"
    # A line every other second at first, then one in ten.
    assert 30 + 2 < len(record.uses) < 30 + 15


def test_a_killed_run_is_logged_without_its_ending_and_the_next_one_after_it(tmp_path: Path) -> None:
    sim = Simulation(latency=0.5)
    logged_run(sim, tmp_path, 130, ends=False)
    with open(tmp_path / "out.jsonl.runs.jsonl", "ab") as torn:
        torn.write(b'{"at": 12')
    logged_run(sim, tmp_path, 140)
    assert [record.ending for record in read_run_records(str(tmp_path / "out.jsonl"))] == [None, "done"]


def test_a_run_that_has_nothing_to_do_leaves_no_trace(tmp_path: Path) -> None:
    sim = Simulation(latency=0.5)
    logged_run(sim, tmp_path, 5)
    before = lines(tmp_path)
    logged_run(sim, tmp_path, 5)
    assert lines(tmp_path) == before


def test_a_file_that_cannot_be_written_stops_no_run(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl.runs.jsonl").symlink_to("elsewhere")
    log = logged_run(Simulation(latency=0.5), tmp_path, 5)
    assert log.error is not None
    assert "link" in str(log.error)
    assert len((tmp_path / "out.jsonl").read_bytes().splitlines()) == 5


@pytest.mark.parametrize(
    "options",
    [
        {"parameters": {"extra_headers": {"Authorization": "hush"}, "top_p": 0.5}},
        {"proxy": "http://user:hush@proxy"},
        {"base_url": ("http://user:hush@host/v1",)},
    ],
)
def test_no_secret_is_logged(options: dict[str, Any]) -> None:
    settings = settings_to_dict(RunOptions(input="in.jsonl", model=(), output="o", **options))
    assert b"hush" not in orjson.dumps(settings)
    assert set(options) <= set(settings)


def test_long_texts_are_shortened_and_variables_named() -> None:
    options = RunOptions(
        input="in.jsonl", model=(), output="o", system="x" * 5000, api_key_env=("KEY_1", "KEY_2")
    )
    settings = settings_to_dict(options)
    assert len(settings["system"]) == 2001
    assert settings["api_key_env"] == ["KEY_1", "KEY_2"]
