"""Two outputs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from callgate.batch.report.comparison import Agreement, Comparison, compare
from tests.batch.report.test_reader import answer, failure, write


def both(folder: Path, first: list[dict[str, Any]], second: list[dict[str, Any]]) -> Comparison:
    return compare(str(write(folder / "a.jsonl", first)), str(write(folder / "b.jsonl", second)))


def rows(*moods: str, **more: Any) -> list[dict[str, Any]]:
    return [
        answer(
            parsed={"mood": mood, "tags": ["x", "y"]}, key=str(key), custom_id=f"r{key}", text=mood, **more
        )
        for key, mood in enumerate(moods)
    ]


def test_rows_are_matched_by_their_key_and_not_by_their_order(tmp_path: Path) -> None:
    comparison = both(tmp_path, rows("good", "bad", "good", "bad"), rows("good", "good", "good")[::-1])
    assert (comparison.common, comparison.same_text) == (3, 2)
    mood, tags = comparison.agreements
    assert (mood.name, mood.rows, mood.same) == ("mood", 3, 2)
    assert mood.to_dict()["different"] == [{"first": "bad", "second": "good", "rows": 1, "example": "r1"}]
    assert (tags.name, tags.share) == ("tags", 1.0)


def test_figures_stand_side_by_side(tmp_path: Path) -> None:
    comparison = both(tmp_path, rows("good", "bad"), rows("good", "bad", latency_s=1.5, cost_usd=None))
    metrics = {each.name: (each.first, each.second, each.change) for each in comparison.metrics()}
    assert metrics["median latency"] == ("1.00 s", "1.50 s", "+50%")
    assert metrics["cost"] == ("$1.00", "unknown", "")
    assert metrics["rows answered"] == ("2", "2", "0%")
    assert metrics["rows failed"] == ("0", "0", "")


def test_outputs_without_a_row_in_common_do_not_agree_in_anything(tmp_path: Path) -> None:
    comparison = both(tmp_path, rows("good"), [answer(key="z", text="a"), failure(key="0")])
    assert (comparison.common, comparison.agreements) == (0, [])
    assert comparison.to_dict()["rows_in_both"] == 0


def test_kappa_takes_chance_into_account() -> None:
    agreement = Agreement("mood")
    assert (agreement.share, agreement.kappa) == (0.0, None)
    for first, second in [("a", "a")] * 8 + [("a", "b"), ("b", "a")]:
        agreement.add(first, second, "r")
    assert agreement.share == 0.8
    assert agreement.kappa == pytest.approx(-1 / 9)


def test_a_row_that_lacks_a_label_in_one_output_is_not_compared_by_it(tmp_path: Path) -> None:
    first = [*rows("good", "bad"), failure(key="9"), answer(key="2", parsed={"tags": ["x"]})]
    comparison = both(tmp_path, first, rows("good", "bad", "bad"))
    assert comparison.common == 3
    assert {each.name: each.rows for each in comparison.agreements} == {"mood": 2, "tags": 3}
