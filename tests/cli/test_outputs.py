"""`callgate run -o NAME`: what the output's name says is what is written, and everything else stays true."""

from __future__ import annotations

import csv
import gzip
import io
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet
import pytest
import zstandard

from callgate.batch.output import journal as journal_module
from callgate.errors import InputError
from callgate.testing import Simulator
from tests.cli.conftest import CommandResult, prompts, read_lines, write_rows
from tests.cli.test_interrupted import Arrivals

Run = Callable[..., CommandResult]
Spawn = Callable[..., "subprocess.Popen[str]"]
Simulate = Callable[..., Simulator]
Rows = list[dict[str, Any]]


def against(sim: Simulator, output: str) -> list[str]:
    return ["-m", "openai/gpt-4o-mini", "-o", output, "--base-url", sim.base_url]


def read_table(output: str) -> Rows:
    data = Path(output).read_bytes()
    if output.endswith(".parquet"):
        rows: Rows = pyarrow.parquet.read_table(io.BytesIO(data)).to_pylist()
        return rows
    if output.endswith(".gz"):
        data = gzip.decompress(data)
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


def read_packed(output: str) -> Rows:
    data = Path(output).read_bytes()
    if output.endswith(".gz"):
        return [orjson.loads(line) for line in gzip.decompress(data).splitlines()]
    with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as stream:
        return [orjson.loads(line) for line in stream.read().splitlines()]


def read_any(output: str) -> Rows:
    return read_packed(output) if ".jsonl" in output else read_table(output)


OUTPUTS = ["out.csv", "out.csv.gz", "out.parquet", "out.jsonl.gz", "out.jsonl.zst"]
TABLES = OUTPUTS[:3]


@pytest.mark.parametrize("output", OUTPUTS)
def test_an_output_has_every_row_and_resuming_calls_nothing(
    folder: Path, simulate: Simulate, callgate: Run, output: str
) -> None:
    sim = simulate(echo=True)
    write_rows("in.jsonl", prompts(30))
    ended = callgate("run", "in.jsonl", *against(sim, output))
    assert ended.code == 0
    assert f"Answers: {output}. Next: callgate report {output}" in ended.err
    rows = read_any(output)
    assert Counter(row["custom_id"] for row in rows) == Counter(f"r{i}" for i in range(30))
    assert all(row["text"] == row["prompt"] for row in rows)
    before = Path(output).read_bytes()
    assert callgate("run", "in.jsonl", *against(sim, output)).code == 0
    assert Path(output).read_bytes() == before
    write_rows("in.jsonl", prompts(40))
    assert callgate("run", "in.jsonl", *against(sim, output)).code == 0
    assert Counter(row["custom_id"] for row in read_any(output)) == Counter(f"r{i}" for i in range(40))
    assert sim.stats.requests == 40


@pytest.mark.parametrize("output", TABLES)
def test_a_table_is_in_the_order_of_the_input(
    folder: Path, simulate: Simulate, callgate: Run, output: str
) -> None:
    sim = simulate(latency=0.01, latency_sigma=1.0)
    write_rows("in.jsonl", prompts(120))
    assert callgate("run", "in.jsonl", *against(sim, output)).code == 0
    journal = [line["custom_id"] for line in read_lines(f"{output}.journal.jsonl")]
    assert journal != [f"r{i}" for i in range(120)]  # they ended in another
    assert [row["custom_id"] for row in read_table(output)] == [f"r{i}" for i in range(120)]


def test_failed_rows_enter_a_table_at_their_place_once_answered(
    folder: Path, simulate: Simulate, callgate: Run
) -> None:
    answers = {"What is 3 plus 3?": 422}
    sim = simulate(answers=lambda ask: answers.get(ask.text))
    write_rows("in.jsonl", prompts(6))
    ended = callgate("run", "in.jsonl", *against(sim, "out.csv"))
    assert ended.code == 1
    assert "out.csv.errors.jsonl" in ended.err
    assert [row["custom_id"] for row in read_table("out.csv")] == ["r0", "r1", "r2", "r4", "r5"]
    answers.clear()
    assert callgate("run", "in.jsonl", *against(sim, "out.csv")).code == 0
    assert [row["custom_id"] for row in read_table("out.csv")] == [f"r{i}" for i in range(6)]


def test_a_table_can_be_the_input_of_the_next_run(folder: Path, simulate: Simulate, callgate: Run) -> None:
    sim = simulate(echo=True)
    write_rows("in.jsonl", [{"prompt": 'a "quoted", long\r\nprompt\rwith\nlines'}, {"prompt": "b"}])
    assert callgate("run", "in.jsonl", *against(sim, "one.csv")).code == 0
    template = ["--template", "Again: {text}"]
    assert callgate("run", "one.csv", *against(sim, "two.parquet"), *template).code == 0
    assert [row["text"] for row in read_table("two.parquet")] == [
        'Again: a "quoted", long\r\nprompt\rwith\nlines',
        "Again: b",
    ]


@pytest.mark.parametrize("output", OUTPUTS)
def test_report_and_dry_run_read_the_journal_of_a_table(
    folder: Path, simulate: Simulate, callgate: Run, output: str
) -> None:
    sim = simulate()
    write_rows("in.jsonl", prompts(20))
    assert callgate("run", "in.jsonl", *against(sim, output), "--limit", "8").code == 0
    facts = orjson.loads(callgate("report", output, "--json").out)
    assert (facts["answered"], facts["usage"]["output_tokens"]) == (8, sim.stats.output_tokens)
    facts = orjson.loads(callgate("run", "in.jsonl", *against(sim, output), "--dry-run", "--json").out)
    assert (facts["rows"], facts["answered_before"], facts["learned_from"]) == (12, 8, 8)
    assert sim.stats.requests == 8


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_budget_counts_the_journal_of_a_table(
    folder: Path, simulate: Simulate, callgate: Run, output: str
) -> None:
    sim = simulate(input_price=150.0, output_price=600.0)
    write_rows("in.jsonl", prompts(400))
    money = ["--price", "150,600", "--max-tokens", "30", "--retries", "0", "--budget", "0.50"]
    ended = callgate("run", "in.jsonl", *against(sim, output), *money)
    assert ended.code == 3
    assert f"rows are answered in {output}" in ended.err
    assert len(read_any(output)) == sim.stats.requests > 0
    calls = sim.stats.requests
    ended = callgate("run", "in.jsonl", *against(sim, output), *money)
    assert ended.code == 3
    assert sim.stats.requests <= calls + 3
    assert sim.stats.bill <= 0.50


@pytest.mark.parametrize("command", [["--quiet"], ["--dry-run"]])
def test_a_table_without_its_journal_is_refused_before_a_call(
    folder: Path, simulate: Simulate, callgate: Run, command: list[str]
) -> None:
    sim = simulate()
    write_rows("in.jsonl", prompts(3))
    Path("out.csv").write_text("mine\n")
    ended = callgate("run", "in.jsonl", *against(sim, "out.csv"), *command)
    assert ended.code == 2
    assert "out.csv: is there, but not the journal it was written from" in ended.err
    assert Path("out.csv").read_text() == "mine\n"
    assert sim.stats.requests == 0
    assert "out.csv: was not written by" in callgate("report", "out.csv").err
    assert callgate("run", "in.jsonl", *against(sim, "out.csv"), "--overwrite").code == 0
    assert len(read_table("out.csv")) == 3


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ("out.parquet", "pip install 'callgate[parquet]'"),
        ("out.csv.zst", "pip install 'callgate[zstd]'"),
        ("out.parquet.gz", "end the name in .parquet"),
        ("no/out.csv", "there is no folder no"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_before_a_call(
    folder: Path,
    simulate: Simulate,
    callgate: Run,
    monkeypatch: pytest.MonkeyPatch,
    output: str,
    says: str,
) -> None:
    for module in ("pyarrow", "pyarrow.parquet", "zstandard"):
        monkeypatch.setitem(sys.modules, module, None)
    sim = simulate()
    write_rows("in.jsonl", prompts(3))
    ended = callgate("run", "in.jsonl", *against(sim, output))
    assert ended.code == 2
    assert says in ended.err
    assert sim.stats.requests == 0
    assert {path.name for path in folder.iterdir()} == {"in.jsonl"}


@pytest.mark.parametrize("command", [["--quiet"], ["--dry-run"], ["--budget", "1", "--max-tokens", "5"]])
@pytest.mark.parametrize("output", ["out.jsonl.gz", "out.jsonl.zst"])
def test_a_damaged_output_is_reported_and_not_changed(
    folder: Path, simulate: Simulate, callgate: Run, output: str, command: list[str]
) -> None:
    sim = simulate()
    write_rows("in.jsonl", prompts(40))
    assert callgate("run", "in.jsonl", *against(sim, output), "--limit", "20").code == 0
    damaged = Path(output).read_bytes()[:-200]
    Path(output).write_bytes(damaged)
    ended = callgate("run", "in.jsonl", *against(sim, output), *command)
    assert ended.code == 2
    assert f"{output}: cannot be read to its end" in ended.err
    assert "is it damaged?" in ended.err
    assert Path(output).read_bytes() == damaged
    assert sim.stats.requests == 20


def test_a_dry_run_does_not_wait_for_a_pipe(folder: Path, simulate: Simulate, callgate: Run) -> None:
    os.mkfifo("pipe")
    write_rows("in.jsonl", prompts(3))
    sim = simulate()
    ended = callgate("run", "in.jsonl", *against(sim, "pipe"), "--dry-run", "--json")
    assert (ended.code, orjson.loads(ended.out)["rows"]) == (0, 3)


def test_an_input_must_not_be_the_journal(folder: Path, simulate: Simulate, callgate: Run) -> None:
    sim = simulate()
    write_rows("out.csv.journal.jsonl", prompts(3))
    ended = callgate("run", "out.csv.journal.jsonl", *against(sim, "out.csv"), "--overwrite")
    assert ended.code == 2
    assert "INPUT and the output out.csv.journal.jsonl are the same file" in ended.err
    assert len(read_lines("out.csv.journal.jsonl")) == 3


def test_a_table_that_cannot_be_written_ends_the_run_and_loses_nothing(
    folder: Path, simulate: Simulate, callgate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim = simulate()
    write_rows("in.jsonl", prompts(5))

    def full(*_: object, **__: object) -> None:
        raise InputError("cannot be written: No space left on device", source="out.csv")

    with monkeypatch.context() as patch:
        patch.setattr(journal_module, "write_output", full)
        ended = callgate("run", "in.jsonl", *against(sim, "out.csv"))
    assert ended.code == 1
    assert ended.err.count("out.csv: cannot be written: No space left on device") == 1
    assert "5 rows are answered in out.csv.journal.jsonl, 0 are not. To resume: callgate" in ended.err
    assert callgate("run", "in.jsonl", *against(sim, "out.csv")).code == 0
    assert len(read_table("out.csv")) == 5
    assert sim.stats.requests == 5


@pytest.mark.parametrize("output", ["out.csv", "out.jsonl.gz"])
def test_an_interrupted_run_writes_its_answers_and_resumes(
    folder: Path, simulate: Simulate, spawn: Spawn, callgate: Run, output: str
) -> None:
    arrivals = Arrivals()
    sim = simulate(answers=arrivals, latency=0.02)
    write_rows("in.jsonl", prompts(200))
    process = spawn("run", "in.jsonl", *against(sim, output), "--concurrency", "5")
    arrivals.wait_for(30)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    answered = len(read_any(output))
    assert f"{answered:,} rows are answered in {output}, {200 - answered:,} are not" in err
    assert callgate("run", "in.jsonl", *against(sim, output), "--quiet").code == 0
    assert Counter(row["custom_id"] for row in read_any(output)) == Counter(f"r{i}" for i in range(200))
    assert sim.stats.paid_again == 0


@pytest.mark.parametrize("output", ["out.parquet", "out.jsonl.zst"])
def test_a_killed_run_pays_again_only_for_requests_in_flight(
    folder: Path, simulate: Simulate, spawn: Spawn, callgate: Run, output: str
) -> None:
    arrivals = Arrivals()
    sim = simulate(answers=arrivals, latency=0.05, latency_sigma=0.5)
    write_rows("in.jsonl", prompts(150))
    arguments = ["run", "in.jsonl", *against(sim, output), "--quiet", "--concurrency", "16"]
    process = spawn(*arguments)
    arrivals.wait_for(60)
    process.kill()
    process.wait()
    assert not Path(output).exists()
    assert callgate(*arguments).code == 0
    assert Counter(row["custom_id"] for row in read_any(output)) == Counter(f"r{i}" for i in range(150))
    assert sim.stats.requests <= 150 + 16


# Writes the output for ever, after saying so, until it is killed or asked to give up.
HANGING = """
import sys, time
from callgate.batch.output import sinks
from callgate.cli import main

class Hanging:
    def write(self, journal, file, rows, stopped):
        file.write(b"half")
        file.flush()
        print("writing", flush=True)
        while not stopped():
            time.sleep(0.005)
        raise sinks.WritingStoppedError

sinks.CsvSink.write = sinks.CompressedSink.write = Hanging.write
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("output", "number"),
    [("out.csv", signal.SIGKILL), ("out.csv", signal.SIGINT), ("out.jsonl.gz", signal.SIGINT)],
)
def test_an_interrupted_final_write_loses_and_repeats_nothing(
    folder: Path, simulate: Simulate, spawn: Spawn, callgate: Run, output: str, number: signal.Signals
) -> None:
    sim = simulate()
    write_rows("in.jsonl", prompts(20))
    assert callgate("run", "in.jsonl", *against(sim, output), "--limit", "10", "--quiet").code == 0
    before = Path(output).read_bytes()
    arguments = ["run", "in.jsonl", *against(sim, output), "--quiet"]
    process = subprocess.Popen(
        [sys.executable, "-c", HANGING, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 130)
    assert Path(output).read_bytes() == before
    if number == signal.SIGINT:
        assert "the next run writes it from the journal" in err
        assert f"20 rows are answered in {output}.journal.jsonl, 0 are not" in err
    assert callgate(*arguments).code == 0
    assert Counter(row["custom_id"] for row in read_any(output)) == Counter(f"r{i}" for i in range(20))
    assert sim.stats.requests == 20
    assert not Path(f"{output}.writing").exists()


def test_a_table_has_the_parsed_answer(folder: Path, simulate: Simulate, callgate: Run) -> None:
    sim = simulate(answers=lambda ask: '{"sum": 4, "of": [2, 2]}')
    write_rows("in.jsonl", prompts(2))
    schema = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
    Path("schema.json").write_bytes(orjson.dumps(schema))
    for output in ("out.jsonl", "out.csv", "out.parquet"):
        assert callgate("run", "in.jsonl", *against(sim, output), "--schema", "schema.json").code == 0
    facts = {"sum": 4, "of": [2, 2]}
    assert [line["parsed"] for line in read_lines("out.jsonl")] == [facts, facts]
    for output in ("out.csv", "out.parquet"):
        rows = read_table(output)
        assert [(int(row["sum"]), orjson.loads(row["of"])) for row in rows] == [(4, [2, 2])] * 2


def test_escape_formulas_keeps_a_spreadsheet_from_running_an_answer(
    folder: Path, simulate: Simulate, callgate: Run
) -> None:
    rows = [{"prompt": "=HYPERLINK(1)"}, {"prompt": "-5"}]
    write_rows("in.jsonl", rows)
    sim = simulate(echo=True)
    assert callgate("run", "in.jsonl", *against(sim, "out.csv")).code == 0
    assert [row["text"] for row in read_table("out.csv")] == ["=HYPERLINK(1)", "-5"]
    assert callgate("run", "in.jsonl", *against(sim, "out.csv"), "--escape-formulas").code == 0
    assert [row["text"] for row in read_table("out.csv")] == ["'=HYPERLINK(1)", "-5"]
    assert sim.stats.requests == 2


@pytest.mark.parametrize("output", ["out.csv", "out.parquet"])
def test_a_table_holds_the_rows_of_today_in_their_order_with_their_columns(
    folder: Path, simulate: Simulate, callgate: Run, output: str
) -> None:
    sim = simulate(echo=True)
    write_rows("in.jsonl", [{"custom_id": name, "prompt": name, "old": 1} for name in "abc"])
    assert callgate("run", "in.jsonl", *against(sim, output)).code == 0
    write_rows("in.jsonl", [{"custom_id": name, "prompt": name, "new": name * 2} for name in "dca"])
    ended = callgate("run", "in.jsonl", *against(sim, output), "--json")
    facts = orjson.loads(ended.out)
    assert (ended.code, facts["answered"], facts["answered_before"], facts["left_out"]) == (0, 1, 2, 1)
    rows = read_table(output)
    assert [(row["custom_id"], row["text"], row["new"]) for row in rows] == [
        ("d", "d", "dd"), ("c", "c", "cc"), ("a", "a", "aa"),
    ]  # fmt: skip
    assert "old" not in rows[0]
    assert {line["custom_id"] for line in read_lines(f"{output}.journal.jsonl")} == set("abcd")
    write_rows("in.jsonl", [{"custom_id": name, "prompt": name} for name in "ab"])
    assert (
        "2 answers of rows that the input does not have left out"
        in callgate("run", "in.jsonl", *against(sim, output)).out
    )
    assert [row["custom_id"] for row in read_table(output)] == ["a", "b"]
    assert sim.stats.requests == 4


def test_a_column_that_is_not_sent_costs_nothing_where_rows_have_no_ids(
    folder: Path, simulate: Simulate, callgate: Run
) -> None:
    sim = simulate(echo=True)
    run = ["run", "in.csv", "--template", "Say {word}", *against(sim, "out.csv")]
    Path("in.csv").write_text('word\nHund\n""\nKatze\n')
    assert callgate(*run).code == 0
    Path("in.csv").write_text("word,tag\nKatze,1\nHund,2\n,3\nMaus,4\n")
    forecast = orjson.loads(callgate(*run, "--dry-run", "--json").out)
    assert (forecast["rows"], forecast["answered_before"]) == (1, 3)
    for _ in range(2):
        ended = callgate(*run)
        assert (ended.code, sim.stats.requests) == (0, 4)
        assert [(row["word"], row["tag"], row["text"]) for row in read_table("out.csv")] == [
            ("Katze", "1", "Say Katze"), ("Hund", "2", "Say Hund"), ("", "3", "Say "),
            ("Maus", "4", "Say Maus"),
        ]  # fmt: skip
