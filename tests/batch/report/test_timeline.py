"""Runs, and their time in slices."""

from __future__ import annotations

from callgate.batch.report.run_records import RunRecord
from callgate.batch.report.timeline import Timeline


def test_calls_that_overlap_are_one_run_however_long_they_take() -> None:
    timeline = Timeline()
    timeline.add_answer(1000.0, 0.1, latency=900.0)  # written last, begun first
    timeline.add_answer(200.0, 0.1, latency=50.0)
    timeline.add_failure(1001.0, 0.1)
    timeline.add_answer(1200.0, 0.1, latency=1.0)
    first, second = timeline.split()[0]
    assert (first.began, first.ended, first.answered, first.failed) == (100.0, 1001.0, 2, 1)
    assert (second.began, second.ended, second.answered) == (1199.0, 1200.0, 1)


def test_every_row_is_in_exactly_one_slice_of_its_run() -> None:
    timeline = Timeline()
    for number in range(500):
        timeline.add_answer(100 + number / 10 + (number >= 250) * 3600, 0.5, latency=0.05 + number % 7 / 10)
    runs, moments = timeline.split()
    assert [run.answered for run in runs] == [250, 250]
    for place in (0, 1):
        assert sum(moment.rows for moment in moments if moment.run == place) == 250
    assert sum(moment.cost for moment in moments) == 250.0
    assert all(list(moment.latencies) == sorted(moment.latencies) for moment in moments)


def test_a_logged_run_is_one_run_with_its_pauses_and_others_are_not_its_own() -> None:
    timeline = Timeline()
    for ended in (50.0, 101.0, 400.0, 430.0, 5000.0):
        timeline.add_answer(ended, 0.1, latency=1.0)
    record = RunRecord(90.0, 420.0)
    runs, moments = timeline.split([record])
    assert [(run.began, run.ended, run.answered) for run in runs] == [
        (49.0, 50.0, 1),
        (90.0, 430.0, 3),  # it was killed after it was logged for the last time
        (4999.0, 5000.0, 1),
    ]
    assert [run.record for run in runs] == [None, record, None]
    assert sum(moment.rows for moment in moments) == 5


def test_rows_that_took_no_time_are_one_slice() -> None:
    timeline = Timeline()
    for _ in range(3):
        timeline.add_answer(100.0, 0.0, latency=0.0)
    [run], [moment] = timeline.split()
    assert (run.seconds, moment.rows, len(moment.latencies)) == (0.0, 3, 0)
