"""The tables of a report's page."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from callgate.batch.report import tables
from callgate.batch.report.figures import Report, Run
from callgate.batch.report.run_records import EndpointFigures, RunRecord

NOW = datetime(2026, 12, 1, tzinfo=UTC)


def logged(**facts: object) -> Report:
    record = RunRecord(100.0, 160.0, **facts)  # type: ignore[arg-type]
    return Report("out.jsonl", runs=[Run(100.0, 160.0, answered=30, record=record)])


def test_a_run_without_an_ending_was_killed() -> None:
    assert "killed" in tables.runs(logged(), NOW)
    assert "budget spent" in tables.runs(logged(ending="budget"), NOW)
    assert "killed" not in tables.runs(Report("out.jsonl", runs=[Run(100.0, 160.0)]), NOW)


def test_settings_are_shown_as_a_command_too() -> None:
    settings = {"input": "in.jsonl", "model": ["openai/m"], "parameters": {"top_p": 0.5}, "rpm": 60.0}
    shown = tables.settings(logged(settings=settings, models=["openai/m #1"], version="0.1.0"))
    assert "callgate run in.jsonl -m openai/m --param top_p=0.5 --rpm 60" in shown
    assert "0.1.0" in shown
    assert "openai/m #1" in shown
    assert "callgate run" not in tables.settings(logged(settings={"input": "rows"}))


def test_endpoints_have_their_share_and_what_failed() -> None:
    one = EndpointFigures("m #1", calls=40, answered=30, latency=(1.0, 2.0))
    one.faults.update({"429": 9, "500": 1})
    shown = tables.endpoints(logged(endpoints=[one, EndpointFigures("m #2", calls=10, answered=10)]))
    for part in ("9 x 429, 1 x 500", "75%", "25%", "1.00 s", "m #2"):
        assert part in shown


def test_waits_are_shares_of_the_time() -> None:
    shown = tables.waits(logged(waits={"requests per minute": 45.0, "provider": 15.0, "nothing": 0.1}))
    assert "75%" in shown
    assert "nothing" not in shown


@pytest.mark.parametrize("table", [tables.endpoints, tables.waits, tables.settings])
def test_without_a_logged_run_nothing_is_shown(table: object) -> None:
    assert callable(table)
    assert table(Report("out.jsonl", runs=[Run(1.0, 2.0)])) == ""
