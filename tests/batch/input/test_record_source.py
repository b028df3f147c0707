"""Rows from objects in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy
import pandas
import polars
import pyarrow
import pyarrow.parquet
import pytest

from callgate import Conversation
from callgate.batch.input.record_source import RecordSource
from callgate.batch.input.sources import BadRow
from callgate.batch.input.template import Template
from callgate.errors import InputError

WORDS = ["cat", "dog", "cow"]


def prompts(source: RecordSource) -> list[str]:
    return [row.request["messages"][-1]["content"] for block in source.blocks() for row in block]


def from_column(records: Any, **options: Any) -> RecordSource:
    return RecordSource(records, template=Template("{word}"), **options)


def test_prompts_dicts_conversations_and_lists_of_messages() -> None:
    message = {"role": "user", "content": "four"}
    records = [
        "one",
        {"prompt": "two"},
        Conversation().add_message("user", "three"),
        [message],
        {"messages": [{"role": "user", "content": "five"}]},
    ]
    assert prompts(RecordSource(records)) == ["one", "two", "three", "four", "five"]


@pytest.mark.parametrize(
    "frame",
    [
        pandas.DataFrame({"word": WORDS}),
        pandas.DataFrame({"word": WORDS}, index=[7, 8, 9]),
        polars.DataFrame({"word": WORDS}),
        pyarrow.table({"word": WORDS}),
        [pyarrow.record_batch({"word": WORDS})],
        [{"word": word} for word in WORDS],
        ({"word": word} for word in WORDS),
    ],
)
def test_each_row_of_a_frame_is_a_row(frame: Any) -> None:
    assert prompts(from_column(frame)) == WORDS


@pytest.mark.parametrize("series", [pandas.Series(WORDS), polars.Series(WORDS), tuple(WORDS), set(WORDS)])
def test_a_series_of_texts_is_a_series_of_prompts(series: Any) -> None:
    assert sorted(prompts(RecordSource(series))) == sorted(WORDS)


def test_a_frame_keeps_its_columns_and_its_empty_cells_are_not_sent() -> None:
    frame = pandas.DataFrame({"prompt": ["a", "b"], "max_tokens": [5.0, float("nan")], "note": ["x", None]})
    rows = [row for block in RecordSource(frame).blocks() for row in block]
    assert [row.request.get("max_tokens") for row in rows] == [5, None]
    assert rows[0].columns == {"prompt": "a", "note": "x"}


def test_integers_that_a_frame_keeps_as_floats_are_integers() -> None:
    frame = pandas.DataFrame({"prompt": ["a", "b"], "custom_id": [7, None], "max_tokens": [None, 5]})
    rows = [row for block in RecordSource(frame).blocks() for row in block]
    assert [row.custom_id for row in rows] == ["7", None]
    assert [repr(row.request.get("max_tokens")) for row in rows] == ["None", "5"]


def test_chats_in_arrays_of_pandas_are_lists(tmp_path: Path) -> None:
    asked = {"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    chat = [
        {"role": "user", "content": "How warm?"},
        {"role": "assistant", "content": None, "tool_calls": [asked]},
        {"role": "tool", "tool_call_id": "t", "content": "7"},
    ]
    parquet = tmp_path / "chats.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{"messages": chat}]), parquet)
    source = RecordSource(pandas.read_parquet(parquet))
    assert [row.request["messages"] for block in source.blocks() for row in block] == [chat]


@pytest.mark.parametrize("empty", [None, float("nan"), pandas.NaT])
def test_a_table_may_have_rows_of_messages_and_rows_of_prompts(empty: Any) -> None:
    message = {"role": "user", "content": "one"}
    records = [{"messages": [message], "prompt": empty}, {"messages": empty, "prompt": "two"}]
    source = RecordSource(records)
    rows = [row for block in source.blocks() for row in block]
    assert prompts(source) == ["one", "two"]
    assert rows[1].columns == {"prompt": "two"}


def test_values_of_numpy_and_pandas_are_values_of_json() -> None:
    record = {
        "prompt": numpy.str_("a"),
        "custom_id": numpy.int64(3),
        "scores": numpy.array([1.5, numpy.nan]),
        "day": numpy.datetime64("2026-12-01"),
        "gone": pandas.NaT,
        7: [pandas.NA, {"deep": numpy.array([[1], [2]])}],
    }
    row = next(row for block in RecordSource([record]).blocks() for row in block)
    assert row.columns == {
        "prompt": "a",
        "scores": [1.5, None],
        "day": "2026-12-01",
        "gone": None,
        "7": [None, {"deep": [[1], [2]]}],
    }
    assert row.custom_id == "3"


def test_the_columns_of_a_frame_may_be_numbers_and_none_is_there_twice() -> None:
    assert prompts(RecordSource(pandas.DataFrame([["a", 1]]), template=Template("{0}{1}"))) == ["a1"]
    twice = pandas.DataFrame([["a", 1, 2]], columns=["prompt", "n", "n"])
    with pytest.raises(InputError, match="the frame names column 'n' twice"):
        prompts(RecordSource(twice))


def test_a_row_that_contains_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InputError, match="rows:1: is nested too deeply"):
        prompts(RecordSource([{"prompt": "a", "loop": endless}]))


def test_a_large_frame_is_read_block_by_block() -> None:
    frame = pandas.DataFrame({"word": [str(number) for number in range(1000)]})
    blocks = list(from_column(frame).blocks())
    assert len(blocks) == 4
    assert [row.line for block in blocks for row in block] == list(range(1, 1001))


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ("one", "got a single row; put it into a list"),
        ({"prompt": "one"}, "got a single row; put it into a list"),
        (Conversation(), "got a single row; put it into a list"),
        (7, "rows must be an iterable of rows, got int"),
    ],
)
def test_a_single_row_is_refused(rows: Any, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        RecordSource(rows)


def test_a_list_is_checked_before_any_call_and_an_iterator_is_not_read() -> None:
    assert RecordSource(WORDS).check(4096) == 3
    with pytest.raises(InputError, match="rows:2: "):
        RecordSource(["fine", {"promt": "?"}]).check(4096)
    iterator = iter(WORDS)
    source = RecordSource(iterator)
    assert source.once
    assert source.check(4096) is None
    assert next(iterator) == "cat"


def test_the_count_of_what_has_a_length() -> None:
    assert RecordSource(WORDS).count(lambda: False) == 3
    assert RecordSource(WORDS, limit=2).count(lambda: False) == 2
    assert RecordSource(iter(WORDS)).count(lambda: False) is None
    assert len(prompts(RecordSource(WORDS, limit=2))) == 2


async def _words() -> AsyncIterator[Any]:
    for word in ("cat", {"promt": "?"}, "dog", "cow"):
        yield word


@pytest.mark.parametrize(("limit", "words"), [(None, ["cat", "dog", "cow"]), (1, ["cat"]), (0, [])])
def test_an_async_iterator_is_read_row_by_row(limit: int | None, words: list[str]) -> None:
    bad: list[BadRow] = []

    async def read() -> list[str]:
        source = RecordSource(_words(), limit=limit)
        assert source.is_async
        assert source.once
        return [
            row.request["messages"][0]["content"]
            async for block in source.async_blocks(bad.append)
            for row in block
        ]

    assert asyncio.run(read()) == words
    assert len(bad) == (1 if limit is None else 0)


def test_a_bad_row_of_an_async_iterator_ends_it() -> None:
    async def read() -> None:
        async for _ in RecordSource(_words()).async_blocks():
            pass

    with pytest.raises(InputError, match="rows:2: "):
        asyncio.run(read())
