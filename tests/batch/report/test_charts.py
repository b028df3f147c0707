"""The plots of a report."""

from __future__ import annotations

from callgate.batch.report import charts
from callgate.batch.report.figures import Report, Run
from callgate.batch.report.run_records import QuotaUse, RunRecord


def test_the_use_of_quotas_is_drawn_for_each_run_apart() -> None:
    runs = []
    for began in (100.0, 900.0):
        uses = [QuotaUse(began + at, 10.0 * at, None) for at in (2, 4, 6)]
        runs.append(Run(began, began + 10.0, record=RunRecord(began, began + 10.0, uses=uses)))
    drawing = charts.quotas(Report("out.jsonl", runs=runs, seconds=20.0))
    assert drawing.count("<polyline") == 2
    assert "requests from 20 % to 60 %" in drawing
    assert "tokens" not in drawing.split("<svg")[1]


def test_without_a_quota_nothing_is_drawn() -> None:
    assert charts.quotas(Report("out.jsonl", runs=[Run(1.0, 2.0)])) == ""
