"""What a batch came to, read from its output files alone."""

from __future__ import annotations

import gzip
import json
from array import array
from pathlib import Path
from typing import Any

import pytest

from callgate.batch.output.report import quantile, read_report
from callgate.batch.output.report_page import render_page
from callgate.errors import InputError


def answer(**changes: Any) -> dict[str, Any]:
    return {
        "id": "a",
        "custom_id": None,
        "response": {"status_code": 200, "body": {"choices": [{"finish_reason": "stop"}]}},
        "error": None,
        "text": "4",
        "usage": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15, "cache_read_tokens": 2},
        "cost_usd": 0.5,
        "latency_s": 1.0,
        "attempts": 1,
        "cached": False,
        "finished_at": 100.0,
        "line": 1,
        "key": "0",
        **changes,
    }


def failure(**changes: Any) -> dict[str, Any]:
    error = {"type": "ServerError", "code": "500", "message": "500: <b>down</b>", "retryable": True}
    return answer(**{"error": error, "text": None, "usage": None, "cost_usd": None, "attempts": 4, **changes})


def write(path: Path, rows: list[dict[str, Any]], torn: str = "") -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + torn)
    return path


def test_adds_up_answers_failures_tokens_and_cost(tmp_path: Path) -> None:
    output = write(
        tmp_path / "out.jsonl",
        [
            answer(finished_at=101.0, latency_s=1.0),
            answer(finished_at=110.0, latency_s=3.0, attempts=2),
            answer(finished_at=105.0, cached=True, cost_usd=0.0, latency_s=0.0, attempts=0),
        ],
    )
    write(tmp_path / "out.jsonl.errors.jsonl", [failure(finished_at=104.0, line=7), failure(line=9)])
    report = read_report(output)
    assert (report.answered, report.failed, report.cached, report.attempts) == (3, 2, 1, 11)
    assert (report.usage.input_tokens, report.usage.output_tokens, report.usage.cache_read_tokens) == (
        20,
        10,
        4,
    )
    assert report.cost == 1.0
    assert report.unpriced == 0
    assert report.seconds == 10.0
    assert report.finish_reasons == {"stop": 3}
    assert [(kind.type, kind.count, kind.line) for kind in report.errors] == [("ServerError", 2, 7)]
    assert report.to_dict()["latency_s"] == {"p50": 1.0, "p90": 3.0, "p95": 3.0, "p99": 3.0}


def test_every_row_is_in_exactly_one_slice_and_one_bar(tmp_path: Path) -> None:
    rows = [answer(finished_at=100 + i / 10, latency_s=0.01 * (i % 37) + 0.01) for i in range(500)]
    report = read_report(write(tmp_path / "out.jsonl", [*rows, failure(finished_at=120.0)]))
    assert sum(moment.rows for moment in report.moments) == 500
    assert sum(moment.failed for moment in report.moments) == 1
    assert sum(moment.cost for moment in report.moments) == pytest.approx(250.0)
    assert sum(count for _, _, count in report.histogram()) == 500


def test_an_unknown_price_is_told_and_not_taken_for_nothing(tmp_path: Path) -> None:
    report = read_report(write(tmp_path / "out.jsonl", [answer(cost_usd=None)]))
    assert report.unpriced == 1
    assert report.to_dict()["cost_usd"] is None
    assert "unknown" in render_page(report)


def test_a_torn_last_line_is_passed_over(tmp_path: Path) -> None:
    assert read_report(write(tmp_path / "out.jsonl", [answer()], torn='{"id": "b"')).answered == 1


@pytest.mark.parametrize(
    ("line", "complaint"), [("nonsense", "no JSON"), ("[1]", "not written"), ("{}", "not written")]
)
def test_a_foreign_line_is_an_error_that_names_file_and_line(
    tmp_path: Path, line: str, complaint: str
) -> None:
    output = write(tmp_path / "out.jsonl", [answer()], torn=line + "\n")
    with pytest.raises(InputError, match=rf"out\.jsonl:2: .*{complaint}"):
        read_report(output)


@pytest.mark.parametrize("name", ["out.csv", "out.parquet", "out.jsonl.gz"])
def test_of_an_output_that_is_written_from_a_journal_that_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"whatever")
    write(tmp_path / f"{name}.journal.jsonl", [answer(), answer()])
    write(tmp_path / f"{name}.errors.jsonl", [failure()])
    report = read_report(tmp_path / name)
    assert (report.output, report.answered, report.failed) == (str(tmp_path / name), 2, 1)
    with pytest.raises(InputError, match=rf"{name}\.journal\.jsonl:3: is no JSON"):
        write(tmp_path / f"{name}.journal.jsonl", [answer(), answer()], torn="notes\n")
        read_report(tmp_path / name)


def test_compressed_lines_are_read_and_a_damaged_end_is_told(tmp_path: Path) -> None:
    lines = gzip.compress(b"".join(json.dumps(answer(text=str(i))).encode() + b"\n" for i in range(500)))
    (tmp_path / "out.jsonl.gz").write_bytes(lines)
    assert read_report(tmp_path / "out.jsonl.gz").answered == 500
    (tmp_path / "out.jsonl.gz").write_bytes(lines[:-9])
    with pytest.raises(InputError, match=r"out\.jsonl\.gz: cannot be read to its end"):
        read_report(tmp_path / "out.jsonl.gz")


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_report(tmp_path / "nowhere.jsonl")
    with pytest.raises(InputError, match="cannot be read"):
        read_report(tmp_path)


def test_an_empty_output_is_a_report_of_nothing(tmp_path: Path) -> None:
    report = read_report(write(tmp_path / "out.jsonl", []))
    assert report.answered == 0
    assert report.percentiles() == {}
    assert report.histogram() == []
    assert "No call was answered" in render_page(report)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"choices": [{"finish_reason": "length"}]}, "length"),
        ({"candidates": [{"finishReason": "STOP"}]}, "STOP"),
        ({"stop_reason": "end_turn"}, "end_turn"),
        ({"stopReason": "max_tokens"}, "max_tokens"),
        ({"choices": []}, "unknown"),
        ("text", "unknown"),
    ],
)
def test_finish_reasons_are_found_in_every_providers_words(tmp_path: Path, body: Any, reason: str) -> None:
    row = answer(response={"status_code": 200, "body": body})
    assert read_report(write(tmp_path / "out.jsonl", [row])).finish_reasons == {reason: 1}


def test_the_page_needs_no_other_file_and_lets_nothing_in(tmp_path: Path) -> None:
    write(tmp_path / "out.jsonl.errors.jsonl", [failure()])
    page = render_page(read_report(write(tmp_path / "out.jsonl", [answer(), answer(finished_at=102.0)])))
    assert "<b>down</b>" not in page
    assert "&lt;b&gt;down&lt;/b&gt;" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page
    assert page.count("<svg") == 4


def test_the_page_of_a_batch_that_nothing_answered(tmp_path: Path) -> None:
    write(tmp_path / "out.jsonl.errors.jsonl", [failure(), failure(finished_at=102.0)])
    page = render_page(read_report(write(tmp_path / "out.jsonl", [])))
    assert "0 after" in page  # a plot of nothing but zeros still has an axis
    assert "No prices are known" in page


def test_a_quantile_is_a_value_that_occurred() -> None:
    values = array("d", [1.0, 2.0, 3.0, 4.0, 5.0])
    assert [quantile(values, share) for share in (0, 20, 50, 90, 100)] == [1.0, 1.0, 3.0, 5.0, 5.0]


def test_failures_that_are_all_different_do_not_fill_the_memory(tmp_path: Path) -> None:
    words = [f"{chr(97 + i % 26)}{chr(97 + i // 26)} is bad" for i in range(300)]
    output = write(tmp_path / "out.jsonl", [])
    lines = [failure(error={"type": "ServerError", "code": "x", "message": word}) for word in words]
    write(tmp_path / "out.jsonl.errors.jsonl", lines)
    report = read_report(output)
    assert len(report.errors) == 201
    assert report.errors[0].count == 100
    assert sum(each.count for each in report.errors) == report.failed == 300
