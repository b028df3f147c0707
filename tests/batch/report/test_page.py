"""The report's page."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from callgate.batch.report.page import render_page
from callgate.batch.report.reader import read_report
from tests.batch.report.test_reader import answer, failure, write
from tests.batch.report.test_run_records import counts, write_log

NOW = datetime(2026, 12, 1, tzinfo=UTC)


def test_the_page_needs_no_other_file_and_lets_nothing_in(tmp_path: Path) -> None:
    write(tmp_path / "out.jsonl.errors.jsonl", [failure()])
    page = render_page(
        read_report(write(tmp_path / "out.jsonl", [answer(), answer(finished_at=102.0)])), now=NOW
    )
    assert "<b>down</b>" not in page
    assert "&lt;b&gt;down&lt;/b&gt;" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page
    assert page.count('<svg viewBox="0 0 440') == 4


def test_the_page_of_a_batch_that_nothing_answered(tmp_path: Path) -> None:
    write(tmp_path / "out.jsonl.errors.jsonl", [failure(), failure(finished_at=102.0)])
    page = render_page(read_report(write(tmp_path / "out.jsonl", [])), now=NOW)
    assert "0 at" in page  # a plot of nothing but zeros still has an axis
    assert "No prices are known" in page


def test_runs_are_apart_on_the_page(tmp_path: Path) -> None:
    rows = [answer(finished_at=100.0 + at) for at in (1, 2, 3, 7201, 7203)]
    page = render_page(read_report(write(tmp_path / "out.jsonl", rows)), now=NOW)
    assert "2 runs, 6 s of running time" in page
    assert "<title>pause of 1 h 59 min</title>" in page
    assert '<h1>Report on out.jsonl</h1><p class="where">1970-01-01 00:01 UTC to 1970-01-01 02:01 UTC' in page


def test_an_output_without_a_row_is_a_page(tmp_path: Path) -> None:
    page = render_page(read_report(write(tmp_path / "out.jsonl", [])), now=NOW)
    assert "no row has ended yet" in page


def test_a_logged_run_adds_retries_quotas_and_endpoints(tmp_path: Path) -> None:
    output = write(tmp_path / "out.jsonl", [answer(finished_at=101.0), answer(finished_at=109.0)])
    write_log(
        output, {"began_at": 100.0}, counts(102.0, retries=17), counts(110.0, retries=23, ending="done")
    )
    page = render_page(read_report(output), now=NOW)
    for part in (
        "<b>23</b><span>retries</span>",
        "Quota used",
        "Endpoints and keys",
        "Settings",
        "10 s of running",
    ):
        assert part in page


def test_the_page_shows_labels_examples_and_tokens(tmp_path: Path) -> None:
    rows = [answer(parsed={"mood": "good"}, review="a fine book", custom_id=f"r{n}") for n in range(3)]
    page = render_page(read_report(write(tmp_path / "out.jsonl", rows)), now=NOW)
    for part in ("Labels", "mood", "100.0%", "a fine book", "Slowest answers", "Tokens of a row", "r2"):
        assert part in page


def test_an_output_without_any_row_has_no_times(tmp_path: Path) -> None:
    assert "no row has ended yet" in render_page(read_report(write(tmp_path / "out.jsonl", [])), now=NOW)
