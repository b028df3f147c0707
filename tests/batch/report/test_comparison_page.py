"""The page of a comparison."""

from __future__ import annotations

from pathlib import Path

from callgate.batch.report.comparison import compare
from callgate.batch.report.comparison_page import render_comparison
from tests.batch.report.test_comparison import both, rows
from tests.batch.report.test_page import NOW
from tests.batch.report.test_reader import write


def test_the_page_shows_figures_agreement_and_differences(tmp_path: Path) -> None:
    first, second = (
        rows("good", "bad", "<b>", model="m1"),
        rows("good", "good", "<b>", model="m2", latency_s=2.0),
    )
    page = render_comparison(both(tmp_path, first, second), now=NOW)
    for part in ("a.jsonl: m1; b.jsonl: m2", "+100%", "66.7%", "Where mood differs", "r1", "&lt;b&gt;"):
        assert part in page
    assert "<b>" not in page.replace('<div class="tile"><b>', "")
    assert page.count('class="bar second"') == 30


def test_an_output_is_compared_with_itself(tmp_path: Path) -> None:
    output = str(write(tmp_path / "a.jsonl", rows("good", "bad")))
    page = render_comparison(compare(output, output), now=NOW)
    assert "2 rows are answered in both, 2 with the same text" in page
    assert "differs" not in page


def test_outputs_without_answers_are_a_page(tmp_path: Path) -> None:
    page = render_comparison(both(tmp_path, [], []), now=NOW)
    assert "No call was answered" in page
    assert "0 rows are answered in both" in page
