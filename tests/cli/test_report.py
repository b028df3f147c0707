"""`callgate report`, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from callgate.cli import main
from tests.batch.report.test_reader import answer, failure, write


def test_prints_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = write(tmp_path / "out.jsonl", [answer()])
    write(tmp_path / "out.jsonl.errors.jsonl", [failure(line=7)])
    assert main(["report", str(output)]) == 0
    printed = capsys.readouterr().out
    assert "1 answered, 1 failed" in printed
    assert "ServerError" in printed
    assert "line 7" in printed


def test_prints_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(write(tmp_path / "out.jsonl", [answer()])), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cost_usd"] == 0.5


def test_two_outputs_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = [
        str(write(tmp_path / name, [answer(text=text, key=str(key)) for key, text in enumerate(texts)]))
        for name, texts in (("a.jsonl", ("yes", "no", "no")), ("b.jsonl", ("yes", "no", "yes")))
    ]
    assert main(["report", *outputs]) == 0
    printed = capsys.readouterr().out
    assert "a.jsonl  b.jsonl  change" in printed
    assert "text: 66.7% of 3 rows agree, kappa 0.40" in printed
    assert "no -> yes: 1 (for example line 1)" in printed
    assert main(["report", *outputs, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["agreement"][0]["share"] == pytest.approx(2 / 3)
    assert main(["report", *outputs, outputs[0]]) == 2
    assert "got 3" in capsys.readouterr().err


def test_writes_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "report.html"
    assert main(["report", str(write(tmp_path / "out.jsonl", [answer()])), "--html", str(page)]) == 0
    assert page.read_text().startswith("<!doctype html>")
    assert str(page) in capsys.readouterr().out.replace("\n", "")


@pytest.mark.parametrize("options", [[], ["--json"], ["--html", "x.html"]])
def test_a_missing_file_is_one_line_and_exit_code_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    assert main(["report", str(tmp_path / "none.jsonl"), *options]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_page_that_cannot_be_written_is_exit_code_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = write(tmp_path / "out.jsonl", [answer()])
    assert main(["report", str(output), "--html", str(tmp_path / "no" / "page.html")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_file_that_is_no_output_is_not_to_be_overwritten(folder: Any, callgate: Any) -> None:
    Path("rows.csv").write_text("prompt\na\n")
    ended = callgate("report", "rows.csv")
    assert ended.code == 2
    assert "rows.csv: was not written by `callgate run`, or its journal is gone" in ended.err
    assert "overwrite" not in ended.err
