"""The lines of an output in the order of the rows of a run."""

from __future__ import annotations

import gzip
from pathlib import Path

import orjson
import pytest

from callgate.batch.input.rows import Row, content_key
from callgate.batch.input.sources import BadRow
from callgate.batch.output.results import seal
from callgate.batch.output.row_order import RowOrder, open_index
from callgate.errors import InputError


def answer(text: str, key: int) -> bytes:
    return seal(orjson.dumps({"id": "c", "text": text}) + b"\n", key)


def order_of(*keys: int) -> RowOrder:
    order = RowOrder()
    order.add([Row(index, index + 1, None, key, {}) for index, key in enumerate(keys)])
    return order


def texts(order: RowOrder, output: Path) -> list[str | None]:
    index = open_index(str(output), order)
    assert len(index) == len(order)
    lines = [index.line(place) for place in range(len(index) + 1)]
    return [None if line is None else orjson.loads(line)["text"] for line in lines]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def test_lines_are_found_whatever_their_order_in_the_file(output: Path) -> None:
    output.write_bytes(answer("c", 3) + answer("a", 1) + answer("y", 0) + answer("x", 99) + answer("b", 2))
    assert texts(order_of(1, 2, 3), output) == ["a", "b", "c", None]


def test_equal_rows_get_their_lines_in_turn(output: Path) -> None:
    output.write_bytes(answer("first", 7) + answer("other", 8) + answer("second", 7))
    assert texts(order_of(7, 8, 7, 7), output) == ["first", "other", "second", None, None]


def test_a_row_that_failed_has_its_line_in_the_errors_file(output: Path) -> None:
    output.write_bytes(answer("a", 1))
    failed = orjson.dumps({"text": "failed", "key": f"{2:016x}"})
    stale = orjson.dumps({"text": "stale", "key": f"{1:016x}"})
    Path(f"{output}.errors.jsonl").write_bytes(stale + b"\n" + failed + b"\n[]\n{torn")
    assert texts(order_of(1, 2), output) == ["a", "failed", None]


def test_damaged_lines_are_no_answers(output: Path) -> None:
    damaged = answer("b", 2).replace(f"{2:016x}".encode(), b"zzzzzzzzzzzzzzzz")
    output.write_bytes(damaged + answer("a", 1) + b"{torn")
    assert texts(order_of(1, 2), output) == ["a", None, None]


def test_a_compressed_output_is_read_without_its_journal(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl.gz"
    output.write_bytes(gzip.compress(answer("b", 2) + answer("a", 1)))
    assert texts(order_of(1, 2), output) == ["a", "b", None]


def test_bad_rows_take_their_place_by_their_line() -> None:
    order = RowOrder()
    order.add([Row(0, 1, None, 1, {}), Row(1, 3, None, 3, {})])
    error = InputError("is no JSON", source="in.jsonl", line=2)
    order.add_bad(BadRow(error, content_key({"line": 2})))
    assert [order.lines[place] for place in order.by_line()] == [1, 2, 3]
