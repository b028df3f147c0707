"""Output formats of `callgate run`: lines and tables, compressed or not."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import zstandard

from callgate.cli import main
from callgate.testing import Answer, Ask, Simulator

KEY = "sk-of-the-documents-0123456789"
WORDS = ["moon", 'a "quoted", comma', "Größe 🌕\nof two lines", *(f"word {number}" for number in range(37))]


def unpack_zst(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read()


def lines(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def table(data: bytes, delimiter: str = ",") -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), delimiter=delimiter))


def parquet(data: bytes) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(data)).to_pylist()
    return rows


READERS: dict[str, Callable[[bytes], list[dict[str, Any]]]] = {
    "out.jsonl": lines,
    "out.jsonl.gz": lambda data: lines(gzip.decompress(data)),
    "out.jsonl.zst": lambda data: lines(unpack_zst(data)),
    "out.csv": table,
    "out.csv.gz": lambda data: table(gzip.decompress(data)),
    "out.tsv": lambda data: table(data, "\t"),
    "out.parquet": parquet,
}
TABLES = ("out.csv", "out.csv.gz", "out.tsv", "out.parquet")
OUTPUTS = pytest.mark.parametrize("output", READERS)
SOME = pytest.mark.parametrize("output", ["out.jsonl", "out.jsonl.gz", "out.csv", "out.parquet"])


class Broken:
    """Whether some rows fail at present."""

    now = False


@pytest.fixture
def broken() -> Broken:
    return Broken()


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, broken: Broken) -> Iterator[Simulator]:
    """A provider that repeats what it was told, but for every fourth word while it is broken."""

    def answers(ask: Ask) -> Answer | None:
        failed = broken.now and ask.text.startswith("word") and int(ask.text.split()[1]) % 4 == 0
        return Answer(status=400, message="not now") if failed else None

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("CALLGATE_CACHE", raising=False)
    rows = [{"custom_id": f"r{number}", "prompt": word} for number, word in enumerate(WORDS)]
    Path("rows.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    with Simulator(
        echo=True, answers=answers, latency=0.003, latency_sigma=1.0, input_price=0.15, output_price=0.6
    ) as running:
        monkeypatch.setenv("OPENAI_BASE_URL", running.base_url)
        yield running


def run(output: str, *more: str) -> int:
    return main(["run", "rows.jsonl", "-m", "openai/gpt-4o-mini", "-o", output, "-q", *more])


def read(output: str) -> list[dict[str, Any]]:
    return READERS[output](Path(output).read_bytes())


def texts(output: str) -> dict[str, str]:
    rows = read(output)
    found = {each["custom_id"]: each["text"] for each in rows}
    assert len(found) == len(rows)
    return found


EVERY = {f"r{number}": word for number, word in enumerate(WORDS)}


@OUTPUTS
def test_every_answer_is_in_it_once(sim: Simulator, output: str) -> None:
    assert run(output) == 0
    assert texts(output) == EVERY
    assert sim.stats.requests == len(WORDS)
    cost = sum(float(each["cost_usd"]) for each in read(output))
    assert cost == pytest.approx(sim.stats.bill)
    assert KEY not in json.dumps(read(output), default=str)
    assert all(KEY.encode() not in each.read_bytes() for each in Path().iterdir())


@pytest.mark.parametrize("output", TABLES)
def test_a_table_has_the_order_of_the_input(sim: Simulator, output: str) -> None:
    assert run(output) == 0
    assert list(texts(output)) == list(EVERY)


@OUTPUTS
def test_a_run_goes_on_from_it(sim: Simulator, output: str) -> None:
    for limit in (5, len(WORDS), len(WORDS)):
        assert run(output, "--limit", str(limit)) == 0
        assert sim.stats.requests == limit
        assert texts(output) == {name: EVERY[name] for name in list(EVERY)[:limit]}


@OUTPUTS
def test_failed_rows_are_kept_out_and_come_in_when_they_are_answered(
    sim: Simulator, broken: Broken, output: str
) -> None:
    broken.now = True
    assert run(output) == 1
    failed = {f"r{number + 3}" for number in range(0, 37, 4)}
    assert texts(output) == {name: word for name, word in EVERY.items() if name not in failed}
    broken.now = False
    assert run(output) == 0
    assert texts(output) == EVERY
    assert sim.stats.requests == len(WORDS) + len(failed)


@OUTPUTS
def test_a_report_reads_it(
    sim: Simulator, broken: Broken, output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    broken.now = True
    assert run(output) == 1
    capsys.readouterr()
    assert main(["report", output, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["answered"], told["failed"]) == (len(WORDS) - 10, 10)
    assert told["usage"]["output_tokens"] == sim.stats.output_tokens
    assert told["cost_usd"] == pytest.approx(sim.stats.bill)
    assert told["latency_s"]["p50"] <= told["latency_s"]["p99"]


@SOME
def test_overwrite_begins_anew(sim: Simulator, output: str) -> None:
    assert run(output) == 0
    assert run(output, "--overwrite", "--limit", "3") == 0
    assert sim.stats.requests == len(WORDS) + 3
    assert set(texts(output)) == {"r0", "r1", "r2"}


@SOME
def test_a_budget_counts_what_was_spent_for_it_before(sim: Simulator, output: str) -> None:
    for _ in range(2):
        assert run(output, "--budget", "0.0001", "--max-tokens", "40") == 3
    assert 0 < sim.stats.bill <= 0.0001
    assert run(output, "--budget", "1", "--max-tokens", "40") == 0
    assert texts(output) == EVERY
    assert sim.stats.requests == len(WORDS)
