"""A report as lines."""

from __future__ import annotations

from pathlib import Path

from callgate.batch.report.reader import read_report
from callgate.batch.report.text import comparison_lines, error_lines, report_lines
from tests.batch.report.test_comparison import both, rows
from tests.batch.report.test_reader import answer, failure, write


def test_the_figures_as_lines(tmp_path: Path) -> None:
    answers = [
        answer(model="a", text="yes", finish_reason="length"),
        answer(model="b", text="no", finished_at=5000.0, attempts=3),
    ]
    write(tmp_path / "out.jsonl.errors.jsonl", [failure(finished_at=5001.0, line=7)])
    report = read_report(write(tmp_path / "out.jsonl", answers))
    assert dict(report_lines(report)) == {
        "rows": "2 answered, 1 failed, 0 from the cache, 1 answers cut off (length)",
        "calls": "8, 5 of them repeated",
        "tokens": "20 in, 10 out (median row 10 in, 5 out)",
        "cost": "$1.00, $500.00 per 1,000 rows",
        "time": "3s in 2 runs, 0.7 rows/s",
        "latency": "p50 1.00 s  p90 1.00 s  p95 1.00 s  p99 1.00 s",
        "finish reasons": "stop 2",
        "model": "b: 1 answered",
        "text:": "yes 1, no 1",
    }
    assert error_lines(report) == ["1 x ServerError: 500: <b>down</b> (for example line 7)"]


def test_many_labels_are_counted_and_not_listed(tmp_path: Path) -> None:
    answers = [answer(text=str(number)) for number in range(9)]
    report = read_report(write(tmp_path / "out.jsonl", answers))
    assert dict(report_lines(report))["text:"] == "0 1, 1 1, 2 1, 3 1, 4 1, 5 1, 3 others"


def test_rejected_rows_are_told_apart(tmp_path: Path) -> None:
    error = {"type": "ContentFilterError", "code": "x", "message": "no", "refused": True}
    write(tmp_path / "out.jsonl.errors.jsonl", [failure(error=error)])
    report = read_report(write(tmp_path / "out.jsonl", [answer(usage=None, cached=True, cost_usd=0.0)]))
    lines = dict(report_lines(report))
    assert "1 failed (1 rejected by the provider for their content or length)" in lines["rows"]
    assert lines["cost"] == "$0.00"


def test_an_unknown_price_is_stated(tmp_path: Path) -> None:
    report = read_report(write(tmp_path / "out.jsonl", [answer(cost_usd=None)]))
    assert "unknown" in dict(report_lines(report))["cost"]
    report = read_report(write(tmp_path / "out.jsonl", [answer(cost_usd=None), answer()]))
    assert dict(report_lines(report))["cost"] == "$0.50 without 1 answers of unknown price"


def test_models_are_listed_where_there_are_several_and_rejected_rows_are_counted(tmp_path: Path) -> None:
    error = {"type": "ContentFilterError", "message": "no", "retryable": False, "refused": True, "code": "x"}
    write(tmp_path / "out.jsonl.errors.jsonl", [failure(error=error, line=None)])
    report = read_report(
        write(tmp_path / "out.jsonl", [answer(model="a"), answer(model="b"), answer(model="b")])
    )
    lines = report_lines(report)
    assert [text for name, text in lines if name == "model"] == ["b: 2 answered", "a: 1 answered"]
    assert dict(lines)["rows"].startswith(
        "3 answered, 1 failed (1 rejected by the provider for their content or length)"
    )


def test_a_comparison_as_lines(tmp_path: Path) -> None:
    lines = comparison_lines(both(tmp_path, rows("good", "bad", "bad"), rows("good", "good", "bad")))
    assert lines[0].split() == ["a.jsonl", "b.jsonl", "change"]
    assert next(line for line in lines if line.startswith("rows answered")).split() == [
        "rows", "answered", "3", "3", "0%",
    ]  # fmt: skip
    assert "3 rows are answered in both, 2 with the same text" in lines
    assert "mood: 66.7% of 3 rows agree, kappa 0.40" in lines
    assert "  bad -> good: 1 (for example r1)" in lines
    assert "tags: 100.0% of 3 rows agree" in lines
