"""The line of each answer is found by the key of its row, and given once."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from callgate.batch.input.fingerprint import mark_of
from callgate.batch.output.answer_index import AnswerIndex
from callgate.batch.output.results import RowResult, encode_result
from callgate.errors import InputError
from tests.batch.conftest import answered, failed, make_row


def line(index: int, text: str, fingerprint: bytes | None = None) -> bytes:
    result = RowResult(make_row(index, "same" if index > 9 else None), answered(text))
    result.fingerprint = fingerprint
    return encode_result(result)


@pytest.fixture
def journal(tmp_path: Path) -> str:
    path = tmp_path / "out.jsonl"
    bad = encode_result(RowResult(make_row(1), failed(ValueError("x"))))
    lines = [line(2, "two"), bad, b"\n", line(0, "zero"), line(10, "old"), line(11, "new", b'{"model":"m"}')]
    path.write_bytes(b"".join(lines))
    return str(path)


def test_answers_are_found_by_key_and_failures_are_none(journal: str) -> None:
    with AnswerIndex(journal) as index:
        places = [index.take(make_row(number).key) for number in range(3)]
        assert places[1] is None
        texts = [orjson.loads(index.line(place))["text"] for place in places if place is not None]
        starts = [index.start(place) for place in places if place is not None]
        assert index.take(make_row(0).key) is None
    assert (texts, starts[1]) == (["zero", "two"], 0)


def test_an_answer_with_another_mark_is_left_and_one_without_fits_every_mark(journal: str) -> None:
    key = make_row(10, "same").key
    with AnswerIndex(journal) as index:
        first, second = index.take(key, [1]), index.take(key, [1])
        assert first is not None
        assert orjson.loads(index.line(first))["text"] == "old"
        assert second is None
        third = index.take(key, [2, mark_of(b'{"model":"m"}')])
        assert third is not None
        assert orjson.loads(index.line(third))["text"] == "new"


def test_what_was_not_given_is_left_in_the_order_of_the_journal(journal: str) -> None:
    with AnswerIndex(journal) as index:
        index.take(make_row(0).key)
        index.take(make_row(10, "same").key)
        left = list(index.left())
        assert [orjson.loads(index.line(place))["text"] for place in left] == ["two", "new"]
        assert index.key(left[0]) == make_row(2).key
        assert index.take(make_row(2).key) == left[0]
        assert list(index.left()) == left[1:]


@pytest.mark.parametrize(
    "foreign", [b"notes\n", b"[1]\n", b'{"a": 1}\n', b'{"error":null,"response":1,"key":"?"}\n']
)
def test_a_line_that_is_no_answer_is_named(journal: str, foreign: bytes) -> None:
    Path(journal).write_bytes(line(0, "a") + foreign)
    with pytest.raises(InputError, match=r"out\.jsonl:2: is no output of callgate"):
        AnswerIndex(journal)


def test_many_equal_rows_are_not_quadratic(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(line(10, "same", b'{"model":"m"}') * 50_000)
    key = make_row(10, "same").key
    with AnswerIndex(str(path)) as index:
        for _ in range(50_000):
            assert index.take(key, [1]) is None
        assert [index.take(key) for _ in range(50_000)] == list(range(50_000))
        assert index.take(key) is None
