"""Files that `callgate run` reads and writes."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from callgate.cli import main
from callgate.testing import Ask, Simulator

KEY = "sk-of-the-documents-0123456789"
MINI = "openai/gpt-4o-mini"
ROWS = [
    {"custom_id": "1", "word": "moon"},
    {"custom_id": "2", "word": 'a "quoted", comma'},
    {"custom_id": "3", "word": "Größe 🌕\nof two lines"},
]


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Simulator]:
    """A provider that repeats what it was told; the test is at work in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("CALLGATE_CACHE", raising=False)
    with Simulator(echo=True) as running:
        monkeypatch.setenv("OPENAI_BASE_URL", running.base_url)
        yield running


def run(source: str, *more: str, output: str = "out.jsonl", model: str = MINI) -> int:
    return main(["run", source, "-m", model, "-o", output, "-q", *more])


def read(name: str = "out.jsonl") -> list[Any]:
    return [json.loads(line) for line in Path(name).read_text().splitlines()]


def texts(lines: list[Any]) -> dict[str, str]:
    found = {each["custom_id"]: each["text"] for each in lines}
    assert len(found) == len(lines)
    return found


# What is read


def as_jsonl() -> bytes:
    return "".join(json.dumps(each) + "\n" for each in ROWS).encode()


def as_table(delimiter: str) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["custom_id", "word"], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return text.getvalue().encode()


def as_parquet() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), buffer)
    return buffer.getvalue()


KINDS: dict[str, Callable[[], bytes]] = {
    ".jsonl": as_jsonl,
    ".csv": lambda: as_table(","),
    ".tsv": lambda: as_table("\t"),
    ".parquet": as_parquet,
}
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize(
    ("kind", "packed"),
    [(kind, packed) for kind in KINDS for packed in PACKED if not packed or kind != ".parquet"],
)
def test_rows_are_read_from_every_kind_of_file(sim: Simulator, kind: str, packed: str) -> None:
    Path("rows" + kind + packed).write_bytes(PACKED[packed](KINDS[kind]()))
    assert run("rows" + kind + packed, "--template", "Translate: {word}") == 0
    assert texts(read()) == {each["custom_id"]: f"Translate: {each['word']}" for each in ROWS}
    assert sim.stats.requests == 3


def test_a_row_is_a_batch_line_messages_a_prompt_or_columns_for_a_template(sim: Simulator) -> None:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "as a batch line"}], "seed": 5}
    rows = [
        {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": body},
        {"custom_id": "2", "messages": [{"role": "user", "content": "as messages"}]},
        {"custom_id": "3", "prompt": "as a prompt"},
    ]
    Path("rows.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    assert run("rows.jsonl") == 0
    assert texts(read()) == {"1": "as a batch line", "2": "as messages", "3": "as a prompt"}


def test_options_for_every_request_are_in_every_request(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Ask] = []
    Path("rows.jsonl").write_text(
        '{"prompt": "a"}\n{"messages": [{"role": "system", "content": "own"}, '
        '{"role": "user", "content": "b"}]}\n'
    )
    with Simulator(answers=asked.append) as other:
        more = ["--system", "Be short.", "--max-tokens", "7", "--temperature", "0.5", "--param", "top_p=0.9"]
        assert run("rows.jsonl", *more, "--base-url", other.base_url) == 0
    assert len(asked) == 2
    for each in asked:
        assert (each.max_tokens, each.body["temperature"], each.body["top_p"]) == (7, 0.5, 0.9)
    systems = {each.body["messages"][-1]["content"]: each.body["messages"][0]["content"] for each in asked}
    assert systems == {"a": "Be short.", "b": "own"}  # for rows without one


def test_rows_come_from_stdin_and_answers_go_to_stdout(sim: Simulator) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "callgate", "run", "-", "-m", MINI, "-o", "-"],
        input=b"".join(b'{"custom_id": "r%d", "prompt": "q%d"}\n' % (n, n) for n in range(20)),
        capture_output=True,
        check=True,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]  # and nothing else is there
    assert texts(answers) == {f"r{number}": f"q{number}" for number in range(20)}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"prompt": "a"}\n{"prompt": \n', 2),
        ('{"prompt": "a"}\n\n{"prompt": "b"}\n[1]\n', 4),
        ('{"prompt": "a"}\n{"question": "b"}\n', 2),
    ],
)
def test_an_unusable_row_is_reported_with_its_line(
    sim: Simulator, capsys: pytest.CaptureFixture[str], text: str, line: int
) -> None:
    Path("rows.jsonl").write_text(text)
    assert run("rows.jsonl") == 2
    said = capsys.readouterr().err
    assert re.search(rf"rows\.jsonl:{line}\b|line {line}\b", said), said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["nowhere.jsonl", "-m", MINI],
        ["rows.jsonl", "-m", "nobody/gpt-4o-mini"],
        ["rows.jsonl", "-m", MINI, "--budget", "-1"],
        ["rows.jsonl", "-m", MINI, "--rpm", "0"],
        ["rows.jsonl", "-m", MINI, "--template", "{colour}"],
        ["rows.jsonl", "-m", MINI, "--api-key-env", "NO_SUCH_VARIABLE"],
        ["rows.jsonl", "-m", MINI, "--hedge", "2"],
        ["rows.jsonl", "-m", MINI, "--price", "cheap"],
        ["rows.jsonl", "-m", MINI, "--schema", "nowhere.json"],
    ],
)
def test_a_usage_error_exits_with_2_and_calls_nothing(
    sim: Simulator, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    Path("rows.jsonl").write_text('{"prompt": "a"}\n')
    assert main(["run", *arguments, "-o", "out.jsonl"]) == 2
    said = capsys.readouterr()
    assert said.err.strip()
    assert said.out == ""
    assert "Traceback" not in said.err
    assert sim.stats.requests == 0
    assert not Path("out.jsonl").exists()


# Going on


def test_rows_that_are_the_same_are_each_answered_and_none_is_lost_on_the_way(sim: Simulator) -> None:
    Path("rows.jsonl").write_text('{"prompt": "a"}\n' * 5 + '{"prompt": "b"}\n' * 2)
    for limit, answered in (("3", 3), ("6", 6), ("7", 7), ("7", 7)):
        assert run("rows.jsonl", "--limit", limit) == 0
        assert len(read()) == sim.stats.requests == answered
    assert Counter(each["text"] for each in read()) == {"a": 5, "b": 2}


def test_answered_rows_are_known_again_where_the_input_has_grown_in_its_midst(sim: Simulator) -> None:
    rows = [f'{{"prompt": "q{number}"}}\n' for number in range(10)]
    Path("rows.jsonl").write_text("".join(rows))
    assert run("rows.jsonl") == 0
    Path("rows.jsonl").write_text(
        '{"prompt": "first"}\n' + "".join(rows[5:] + rows[:5]) + '{"prompt": "last"}\n'
    )
    assert run("rows.jsonl") == 0
    assert sim.stats.requests == 12
    assert Counter(each["text"] for each in read()) == Counter(
        ["first", "last", *(f"q{number}" for number in range(10))]
    )
