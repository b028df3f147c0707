"""What a batch came to, read from its output files alone."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from callgate.batch.report.reader import read_report
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
    assert report.repeated == 7
    assert report.cost_per_1000_rows == pytest.approx(1000 / 3)
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
    assert report.cost_per_1000_rows is None


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
    assert (report.runs, report.moments, report.seconds) == ([], [], 0.0)


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


def test_failures_that_are_all_different_do_not_fill_the_memory(tmp_path: Path) -> None:
    words = [f"{chr(97 + i % 26)}{chr(97 + i // 26)} is bad" for i in range(300)]
    output = write(tmp_path / "out.jsonl", [])
    lines = [failure(error={"type": "ServerError", "code": "x", "message": word}) for word in words]
    write(tmp_path / "out.jsonl.errors.jsonl", lines)
    report = read_report(output)
    assert len(report.errors) == 201
    assert report.errors[0].count == 100
    assert sum(each.count for each in report.errors) == report.failed == 300


def test_answers_that_were_cut_off_are_counted_for_each_model(tmp_path: Path) -> None:
    rows = [
        answer(model="a", finish_reason="length"),
        answer(model="a", latency_s=3.0, usage={"input_tokens": 30, "output_tokens": 9}),
        answer(model="b", cost_usd=None),
        answer(model="a", cached=True),
    ]
    report = read_report(write(tmp_path / "out.jsonl", rows))
    a, b = report.models
    assert report.truncated == a.truncated == 1
    assert (a.name, a.answered, a.input_tokens, a.cost, a.latencies.tolist()) == ("a", 3, 40, 1.0, [1.0, 3.0])
    assert (b.name, b.answered, b.known_cost) == ("b", 1, None)
    assert (report.input_tokens.tolist(), report.output_tokens.tolist()) == ([10, 10, 30], [5, 5, 9])
    assert report.to_dict()["tokens_per_row"]["input"] == {"p50": 10, "p95": 30}


def test_an_output_of_several_runs_is_timed_without_the_pauses(tmp_path: Path) -> None:
    rows = [answer(finished_at=at) for at in (101.0, 103.0, 5000.0)]
    report = read_report(write(tmp_path / "out.jsonl", rows))
    assert [(run.seconds, run.answered) for run in report.runs] == [(3.0, 2), (1.0, 1)]
    assert report.seconds == 4.0
    assert report.rows_per_second == 0.75
    assert [run["answered"] for run in report.to_dict()["runs"]] == [2, 1]


def test_labels_and_examples_are_those_of_the_answers(tmp_path: Path) -> None:
    rows = [answer(parsed={"mood": mood}, line=line) for line, mood in enumerate(("good", "bad", "good"), 1)]
    report = read_report(write(tmp_path / "out.jsonl", rows))
    assert report.to_dict()["labels"] == {"mood": {"good": 2, "bad": 1}}
    assert [each.name for each in report.samples] == ["line 1", "line 2", "line 3"]
    assert len(report.slowest) == len(report.longest) == 3
