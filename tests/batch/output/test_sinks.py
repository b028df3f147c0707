"""Outputs written from the journal: what is in them can be read again, by us and by others."""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import json
import os
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import pyarrow
import pyarrow.parquet
import pytest
import zstandard
from hypothesis import given, strategies as st

from callgate.batch.input.sources import Source
from callgate.batch.input.template import Template
from callgate.batch.output.paths import journal_path
from callgate.batch.output.sinks import sink_for, write_output
from callgate.batch.output.table import InputRows, TableRow, WritingStoppedError
from callgate.errors import InputError
from tests.effort import examples


def answer(**more: Any) -> dict[str, Any]:
    return {"id": "a", "custom_id": None, "response": {"body": {}}, "error": None, **more}


def put(
    output: Path | str,
    *lines: dict[str, Any],
    stopped: Callable[[], bool] = lambda: False,
    escape_formulas: bool = False,
) -> bytes:
    """Write an output from these lines."""
    journal = "".join(json.dumps(line) + "\n" for line in lines).encode()
    Path(journal_path(str(output))).write_bytes(journal)
    sink = sink_for(str(output), escape_formulas=escape_formulas)
    assert sink is not None
    write_output(sink, str(output), stopped=stopped)
    return journal


def read_csv(path: Path, **options: Any) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True, **options))


def test_a_csv_has_a_header_and_plain_cells(tmp_path: Path) -> None:
    nested = {"tags": ["é", 1], "of": {"a": None}}
    put(tmp_path / "out.csv", answer(text="a", cached=True, cost_usd=None, n=1, share=0.5, **nested))
    content = (tmp_path / "out.csv").read_text(encoding="utf-8")
    assert content.startswith("custom_id,n,share,tags,of,text,finish_reason,")
    assert content.count("\n") == 2
    assert "\r" not in content
    (row,) = read_csv(tmp_path / "out.csv")
    assert (row["n"], row["share"], row["tags"], row["of"]) == ("1", "0.5", '["é",1]', '{"a":null}')
    assert (row["cached"], row["cost_usd"], row["custom_id"]) == ("true", "", "")


AWKWARD = [
    'say "hi"',
    "a,b",
    "a\tb",
    "two\nlines",
    "old\rmac",
    "dos\r\n",
    " spaced ",
    "'=1+1",
    "\0",
    "\u2028 é 🙂",
]


@pytest.mark.parametrize(("ending", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_awkward_texts_are_read_back_as_they_were(tmp_path: Path, ending: str, delimiter: str) -> None:
    path = tmp_path / f"out.{ending}"
    put(path, *[answer(text=text, line=i) for i, text in enumerate(AWKWARD)])
    assert [row["text"] for row in read_csv(path, delimiter=delimiter)] == AWKWARD
    rows = [row for block in Source(str(path), template=Template("{text}")).blocks() for row in block]
    assert [row.request["messages"][0]["content"] for row in rows] == AWKWARD


@examples(30)
@given(st.lists(st.text(st.characters(exclude_categories=("Cs",)), min_size=1), min_size=1, max_size=5))
def test_any_text_is_read_back_by_our_own_source(texts: list[str]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "out.csv"
        put(path, *[answer(text=text, line=i) for i, text in enumerate(texts)])
        rows = [row for block in Source(str(path), template=Template("{text}")).blocks() for row in block]
        assert [row.columns["text"] for row in rows if row.columns] == texts


@pytest.mark.parametrize("ending", ["csv", "tsv", "csv.gz", "tsv.zst"])
def test_a_compressed_table_is_the_table_compressed(tmp_path: Path, ending: str) -> None:
    lines = [answer(text=f"t{i}", line=i) for i in range(2000)]
    put(tmp_path / f"out.{ending}", *lines)
    rows = [
        row
        for block in Source(str(tmp_path / f"out.{ending}"), template=Template("{text}")).blocks()
        for row in block
    ]
    assert [row.columns["text"] for row in rows if row.columns] == [f"t{i}" for i in range(2000)]


@pytest.mark.parametrize(
    ("ending", "unpack"),
    [
        ("gz", gzip.decompress),
        ("zst", lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data)),
    ],
)
def test_compressed_lines_are_those_of_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, unpack: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr("callgate.batch.output.sinks._COPY", 1000)
    path = tmp_path / f"out.jsonl.{ending}"
    journal = put(path, *[answer(text=f"t{i}") for i in range(200)])
    first = path.read_bytes()
    assert unpack(first) == journal
    assert len(first) < len(journal) / 4
    put(path, *[answer(text=f"t{i}") for i in range(200)])
    assert path.read_bytes() == first  # equal answers make equal files


@pytest.mark.parametrize(
    ("limits", "groups"),
    [
        ({}, 1),
        ({"_BATCH_ROWS": 2}, 1),
        ({"_BATCH_ROWS": 2, "_GROUP_BYTES": 1}, 2),
        ({"_BATCH_CHARACTERS": 5, "_GROUP_BYTES": 1}, 3),
    ],
)
def test_parquet_has_types_and_comes_in_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: dict[str, int], groups: int
) -> None:
    for name, limit in limits.items():
        monkeypatch.setattr(f"callgate.batch.output.sinks.{name}", limit)
    mine = [
        {"n": 1, "share": 1, "tags": ["a"], "mixed": 1, "flag": True},
        {"n": 2**53 + 1, "share": 0.5, "tags": None, "mixed": "1", "flag": None},
        {"n": None, "share": None, "tags": {}, "mixed": None, "flag": False},
    ]
    lines = [answer(line=3 - i, text=f"text {i}", **row) for i, row in enumerate(mine)]
    put(tmp_path / "out.parquet", *lines)
    with pyarrow.parquet.ParquetFile(tmp_path / "out.parquet") as file:
        table = file.read()
        assert file.metadata.num_row_groups == groups
    kinds = {field.name: str(field.type) for field in table.schema}
    assert {name: kinds[name] for name in mine[0]} == {
        "n": "int64", "share": "double", "tags": "string", "mixed": "string", "flag": "bool",
    }  # fmt: skip
    assert (kinds["line"], kinds["cached"], kinds["cost_usd"]) == ("int64", "bool", "double")
    assert table["text"].to_pylist() == ["text 2", "text 1", "text 0"]
    assert table["n"].to_pylist() == [None, 2**53 + 1, 1]
    assert table["share"].to_pylist() == [None, 0.5, 1.0]
    assert table["tags"].to_pylist() == ["{}", None, '["a"]']
    assert table["mixed"].to_pylist() == [None, '"1"', "1"]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_batch_without_answers_is_a_table_without_rows(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"out.{ending}"
    put(path)
    source = Source(str(path), template=Template("{text}"))
    assert [row for block in source.blocks() for row in block] == []


def test_parquet_is_read_back_by_our_own_source(tmp_path: Path) -> None:
    put(tmp_path / "out.pq", *[answer(text=text, line=i) for i, text in enumerate(AWKWARD)])
    source = Source(str(tmp_path / "out.pq"), template=Template("{text}"))
    rows = [row for block in source.blocks() for row in block]
    assert [row.columns["text"] for row in rows if row.columns] == AWKWARD


ENDINGS = ["csv", "csv.gz", "parquet", "jsonl.gz", "jsonl.zst"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_cannot_be_written_leaves_the_output_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    path = tmp_path / f"out.{ending}"
    put(path, answer(text="before"))
    before = path.read_bytes()
    sink = sink_for(str(path))
    assert sink is not None
    with open("/dev/full", "wb", buffering=0) as full:

        class FullDisk:
            """The sink's own writing, to a device that is always full."""

            def write(
                self, journal: str, file: BinaryIO, rows: InputRows | None, stopped: Callable[[], bool]
            ) -> int:
                assert sink is not None
                return sink.write(journal, full, rows, stopped)

        with pytest.raises(InputError, match=rf"out\.{ending}: cannot be written: No space left.*journal"):
            write_output(FullDisk(), str(path), stopped=lambda: False)
    assert path.read_bytes() == before
    assert {each.name for each in tmp_path.iterdir()} == {path.name, f"{path.name}.journal.jsonl"}


@pytest.mark.parametrize("ending", ENDINGS)
def test_giving_up_leaves_the_output_before(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"out.{ending}"
    put(path, answer(text="before"))
    before = path.read_bytes()
    with pytest.raises(WritingStoppedError):
        put(path, answer(text="after"), stopped=lambda: True)
    assert path.read_bytes() == before
    assert {each.name for each in tmp_path.iterdir()} == {path.name, f"{path.name}.journal.jsonl"}


@pytest.mark.parametrize(
    ("ending", "package"),
    [("parquet", "parquet"), ("pq", "parquet"), ("jsonl.zst", "zstd"), ("csv.zst", "zstd")],
)
def test_a_missing_extra_is_named_with_its_install_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, package: str
) -> None:
    for module in ("pyarrow", "pyarrow.parquet", "zstandard"):
        monkeypatch.setitem(sys.modules, module, None)
    wanted = rf"out\.{ending}: writing .* needs one more package: pip install 'callgate\[{package}\]'"
    with pytest.raises(InputError, match=wanted):
        sink_for(str(tmp_path / f"out.{ending}"))


def test_names_that_nothing_can_be_written_under_are_refused(tmp_path: Path) -> None:
    os.mkdir(tmp_path / "folder.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    for name, says in [
        ("folder.csv", "is a directory"),
        ("pipe.csv", "is no regular file, and only JSON lines"),
        ("out.parquet.gz", "Parquet is compressed in itself"),
    ]:
        with pytest.raises(InputError, match=rf"{name}: {says}"):
            sink_for(str(tmp_path / name))


FORMULAS = ["=1+1", "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1", "\r=1", "\n=1", "\uff1d1+1"]


@pytest.mark.parametrize("ending", ["csv", "tsv", "csv.gz"])
def test_escaped_formulas_are_texts_in_every_cell_and_the_header(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"out.{ending}"
    lines = [answer(text=text, custom_id=text, **{"=own": text}) for text in FORMULAS]
    put(path, *lines, escape_formulas=True)
    text = (gzip.decompress(path.read_bytes()) if ending.endswith("gz") else path.read_bytes()).decode()
    header, *rows = csv.reader(io.StringIO(text, newline=""), delimiter="\t" if ending == "tsv" else ",")
    assert header[:3] == ["custom_id", "'=own", "text"]
    assert [row[:3] for row in rows] == [[f"'{text}"] * 3 for text in FORMULAS]


def test_escaping_formulas_leaves_numbers_and_other_texts(tmp_path: Path) -> None:
    texts = ["-5", "+3.5e-7", "-.5", "", "a=b", "1-2", "'=", " plain"]
    put(tmp_path / "out.csv", *(answer(text=text, change=-0.5) for text in texts), escape_formulas=True)
    rows = read_csv(tmp_path / "out.csv")
    assert [row["text"] for row in rows] == texts
    assert {row["change"] for row in rows} == {"-0.5"}


def test_formulas_stay_as_they_came_unless_they_are_to_be_escaped(tmp_path: Path) -> None:
    put(tmp_path / "out.csv", *(answer(text=text) for text in FORMULAS))
    assert [row["text"] for row in read_csv(tmp_path / "out.csv")] == FORMULAS


def test_json_lines_need_no_sink(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    for name in ("out.jsonl", "out", "pipe.jsonl"):
        assert sink_for(str(tmp_path / name)) is None


def test_an_error_without_words_is_told_all_the_same(tmp_path: Path) -> None:
    class Broken:
        def write(
            self, journal: str, file: BinaryIO, rows: InputRows | None, stopped: Callable[[], bool]
        ) -> int:
            raise OSError("the disk went away")

    with pytest.raises(InputError, match="cannot be written: the disk went away"):
        write_output(Broken(), str(tmp_path / "out.csv"), stopped=lambda: False)


@pytest.mark.parametrize(("name", "better"), [("z.json", "z.jsonl"), ("z.JSON.gz", "z.jsonl.gz")])
def test_a_name_that_promises_one_json_document_is_refused(name: str, better: str) -> None:
    with pytest.raises(InputError, match=f"JSON lines, not one JSON document; name the output {better}$"):
        sink_for(name)


def test_columns_keep_the_arrow_types_of_the_input(tmp_path: Path) -> None:
    own = {
        "day": datetime.date(2024, 5, 1),
        "price": Decimal("1.50"),
        "tags": ["a", "b"],
        "at": datetime.datetime(2024, 5, 1, 12, 30, tzinfo=datetime.UTC),
    }
    types = {
        "day": pyarrow.date32(), "price": pyarrow.decimal128(10, 2), "tags": pyarrow.list_(pyarrow.string()),
        "at": pyarrow.timestamp("us", "UTC"),
    }  # fmt: skip
    lines = [answer(text="a", key="01", day="2024-05-01"), answer(text="b", key="02")]
    given = [TableRow(1, 1, None, own), TableRow(2, 2, None, dict.fromkeys(own))]
    rows = InputRows(lambda: iter(given), types=types)
    for name in ("out.parquet", "out.csv"):
        path = tmp_path / name
        Path(journal_path(str(path))).write_bytes(
            b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        )
        sink = sink_for(str(path))
        assert sink is not None
        assert write_output(sink, str(path), rows=rows, stopped=lambda: False) == 0
    found = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    assert {name: found.schema.field(name).type for name in types} == types
    assert [{name: row[name] for name in own} for row in found.to_pylist()] == [own, dict.fromkeys(own)]
    (first, second) = read_csv(tmp_path / "out.csv")
    assert [first[name] for name in own] == ["2024-05-01", "1.50", '["a","b"]', "2024-05-01 12:30:00+00:00"]
    assert [second[name] for name in own] == [""] * 4
