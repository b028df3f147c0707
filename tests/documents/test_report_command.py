"""`callgate report`: the figures, the table and the page."""

from __future__ import annotations

import json
import math
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from callgate.cli import main
from callgate.testing import Answer, Ask, Simulator

KEY = "sk-of-the-documents-0123456789"
PRICES: dict[str, Any] = {"input_price": 0.15, "output_price": 0.6}


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A directory to work in, and a key."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("CALLGATE_CACHE", raising=False)


def run(sim: Simulator, *more: str) -> int:
    arguments = ["run", "rows.jsonl", "-m", "openai/gpt-4o-mini", "-o", "out.jsonl", "-q"]
    return main([*arguments, "--base-url", sim.base_url, *more])


def read(name: str = "out.jsonl") -> list[Any]:
    return [json.loads(line) for line in Path(name).read_text().splitlines()]


@pytest.fixture
def finished() -> list[Any]:
    """A batch with latencies, failures of two kinds and refusals; its answers."""

    def answers(ask: Ask) -> Answer | None:
        number = int(ask.text.split()[-1])
        if number % 10 == 3:
            return Answer(status=400, message=f"bad parameter in request {number}")
        return Answer(status=404, message="no such thing") if number % 20 == 4 else None

    Path("rows.jsonl").write_text("".join(f'{{"custom_id": "r{n}", "prompt": "q {n}"}}\n' for n in range(80)))
    with Simulator(answers=answers, latency=0.02, latency_sigma=0.8, cached_share=0.3, **PRICES) as other:
        assert run(other) == 1
    return read()


def report(capsys: pytest.CaptureFixture[str]) -> Any:
    capsys.readouterr()
    assert main(["report", "out.jsonl", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_reports_figures_are_those_of_the_lines(
    finished: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    told = report(capsys)
    assert (told["answered"], told["failed"]) == (len(finished), 80 - len(finished)) == (68, 12)
    for name in ("input_tokens", "output_tokens", "cache_read_tokens"):
        assert told["usage"][name] == sum(each["usage"][name] for each in finished)
    assert told["cost_usd"] == pytest.approx(sum(each["cost_usd"] for each in finished))
    assert told["finish_reasons"] == {"stop": 68}


def test_a_reports_percentiles_are_those_of_the_latencies(
    finished: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    told = report(capsys)["latency_s"]
    failed = read("out.jsonl.errors.jsonl")
    for share, name in ((50, "p50"), (90, "p90"), (95, "p95"), (99, "p99")):
        # Whether failed rows count, and how to cut between two values, nobody says: both ways are right.
        around: list[float] = []
        for lines in (finished, [*finished, *failed]):
            latencies = sorted(each["latency_s"] for each in lines)
            at = share / 100 * (len(latencies) - 1)
            around += [latencies[math.floor(at)], latencies[min(math.ceil(at) + 1, len(latencies) - 1)]]
        assert min(around) <= told[name] <= max(around)
    assert told["p50"] < told["p90"] < told["p99"]


def test_a_report_counts_errors_by_kind_with_an_example(
    finished: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    errors = report(capsys)["errors"]
    assert sum(each["count"] for each in errors) == 12
    assert sorted(each["count"] for each in errors) == [4, 8]
    assert any("no such thing" in json.dumps(each) for each in errors)


def test_the_table_and_the_json_have_the_same_figures(
    finished: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    told = report(capsys)
    assert main(["report", "out.jsonl"]) == 0
    table = capsys.readouterr().out
    for part in ("68 answered", "12 failed", f"{told['usage']['output_tokens']:,}", "p50", "p99", "$"):
        assert part in table


class Page(HTMLParser):
    """What a page refers to, what is drawn in it and what it says."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.sources: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_stands_alone_and_has_the_plots(
    finished: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "out.jsonl", "--html", "report.html"]) == 0
    page = Page(Path("report.html").read_text(encoding="utf-8"))
    assert [each for each in page.sources if not each.startswith(("data:", "#"))] == []
    assert page.tags["svg"] + page.tags["canvas"] + page.tags["img"] >= 3
    said = page.words.lower()
    for word in ("throughput", "latency", "distribution", "cost", "tokens"):
        assert word in said or (word == "throughput" and "rows" in said)
    assert "no such thing" in page.words


def test_provider_text_is_escaped_in_the_page() -> None:
    Path("rows.jsonl").write_text('{"prompt": "<script>alert(0)</script>"}\n' * 2)
    answers = ["<script>alert(1)</script>", Answer(status=400, message="<script>alert(2)</script>")]
    with Simulator(answers=answers) as evil:
        assert run(evil) == 1
    main(["report", "out.jsonl", "--html", "report.html"])
    assert "<script>alert(" not in Path("report.html").read_text()


def test_a_report_on_what_is_not_there_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "nowhere.jsonl"]) == 2
    assert "nowhere.jsonl" in capsys.readouterr().err


def test_a_report_over_several_runs_counts_each_row_once(
    finished: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with Simulator() as well:
        assert run(well) == 0
        assert well.stats.requests == 12
    told = report(capsys)
    assert (told["answered"], told["failed"], told["errors"]) == (80, 0, [])
