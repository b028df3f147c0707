"""The summary at the end of a run."""

from __future__ import annotations

import pytest

from callgate.batch.run import Summary
from callgate.batch.stats import ErrorGroup, Stats
from callgate.cli.summary import print_summary
from tests.batch.display.test_panel import progress


def test_the_summary_marks_unknown_cost_and_groups_failures(capsys: pytest.CaptureFixture[str]) -> None:
    stats = Stats(done=5, failed=700, unpriced=5)
    for number in range(7):
        stats.errors[str(number)] = ErrorGroup("ServerError", 100, f"boom {number}", 3, number % 2 == 0)
    print_summary(Summary("failures", None, progress(stats=stats), 0), "out.jsonl")
    text = capsys.readouterr().out
    assert "unknown: the price of this model is not known" in text
    assert text.count("100 x boom") == 5
    assert "and 2 other kinds of errors" in text
    assert "run again to retry" in text
    assert "change the row or the options before another run" in text


def test_the_summary_names_the_answers_without_a_price(capsys: pytest.CaptureFixture[str]) -> None:
    stats = Stats(done=5, unpriced=2, cost=1.5)
    print_summary(Summary("done", None, progress(stats=stats), 0), "-")
    assert "$1.50 without 2 answers of unknown price" in capsys.readouterr().err


def test_texts_of_a_provider_cannot_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    stats = Stats(failed=1)
    stats.errors["x"] = ErrorGroup("ServerError", 1, "\x1b]0;title\x07 \x9b2J \u202e", 3, retryable=True)
    print_summary(Summary("failures", None, progress(stats=stats), 0), "out.jsonl")
    text = capsys.readouterr().out
    assert "\\u001b]0;title\\u0007 \\u009b2J \\u202e" in text
