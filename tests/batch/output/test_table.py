"""The table of a journal: its columns, the types of their cells, and the order of its rows."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from callgate.batch.output.table import AnswerTable, InputRows, TableRow, WritingStoppedError
from callgate.errors import InputError

ENDING = [
    "text", "finish_reason", "model", "input_tokens", "output_tokens", "cache_read_tokens",
    "reasoning_tokens", "cost_usd", "latency_s", "attempts", "cached", "finished_at", "line", "key",
]  # fmt: skip


def answer(**more: Any) -> dict[str, Any]:
    return {"id": "a", "custom_id": None, "response": {"body": {}}, "error": None, **more}


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "out.csv.journal.jsonl"


def table(journal: Path, *lines: dict[str, Any], rows: InputRows | None = None) -> AnswerTable:
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return AnswerTable(str(journal), rows, lambda: False)


def cells(found: AnswerTable) -> list[dict[str, Any]]:
    names = [column.name for column in found.columns]
    return [dict(zip(names, row, strict=True)) for row in found.rows()]


def test_what_an_answer_says_is_in_its_cells(journal: Path) -> None:
    said = {
        "custom_id": "c", "text": "4", "finish_reason": "stop", "model": "m-1", "cost_usd": 0.5,
        "latency_s": 1.5, "attempts": 2, "cached": False, "finished_at": 99.0, "line": 7, "key": "00ab",
    }  # fmt: skip
    usage = {"input_tokens": 3, "output_tokens": 4, "cache_read_tokens": 1, "reasoning_tokens": 2}
    found = table(journal, answer(**said, usage={**usage, "total_tokens": 7}, charged_usd=1.0))
    assert [column.name for column in found.columns] == ["custom_id", *ENDING]
    assert cells(found) == [said | usage]
    assert len(found) == 1


def test_rows_come_in_the_order_of_the_input(journal: Path) -> None:
    lines = list(range(1, 60))
    random.Random(3).shuffle(lines)
    found = table(journal, *[answer(line=line, text=f"t{line}") for line in lines])
    assert [(row["line"], row["text"]) for row in cells(found)] == [(i, f"t{i}") for i in range(1, 60)]


def test_rows_of_one_line_and_of_none_keep_the_order_they_were_answered_in(journal: Path) -> None:
    # An input that was changed between two runs has brought two rows of line 2.
    lines: list[Any] = [2, None, 1, "3", 2, -1, 2**40]
    found = table(journal, *[answer(line=line, text=str(i)) for i, line in enumerate(lines)])
    assert [row["text"] for row in cells(found)] == ["2", "0", "4", "1", "3", "5", "6"]


def test_own_columns_are_all_of_them_as_they_first_appear(journal: Path) -> None:
    found = table(journal, answer(b=1, a=2), answer(c=3, a=4), answer())
    assert [column.name for column in found.columns] == ["custom_id", "b", "a", "c", *ENDING]
    assert [[row[name] for name in "bac"] for row in cells(found)] == [
        [1, 2, None],
        [None, 4, 3],
        [None, None, None],
    ]


def test_an_own_column_with_the_name_of_one_of_ours_steps_aside(journal: Path) -> None:
    usage = {"input_tokens": 3, "output_tokens": 4}
    mine = {"input_tokens": "mine", "output_tokens": "too", "input_output_tokens": "and this"}
    (row,) = cells(table(journal, answer(usage=usage, **mine)))
    assert (row["input_tokens"], row["output_tokens"]) == (3, 4)
    assert (row["input_input_tokens"], row["input_input_output_tokens"]) == ("mine", "too")
    assert row["input_output_tokens"] == "and this"


def test_the_fields_of_parsed_answers_are_columns_with_kinds_of_their_own(journal: Path) -> None:
    found = table(journal, answer(parsed={"a": 1, "b": [2]}), answer(text="x"), answer(parsed={"c": "d"}))
    assert [(row["a"], row["b"], row["c"]) for row in cells(found)] == [
        (1, [2], None),
        (None, None, None),
        (None, None, "d"),
    ]
    assert [column.name for column in found.columns][:5] == ["custom_id", "text", "a", "b", "c"]
    kinds = {column.name: column.kind for column in found.columns}
    assert (kinds["a"], kinds["b"], kinds["c"]) == ("integer", "json", "text")
    assert "parsed" not in kinds


def test_a_field_whose_name_is_taken_is_called_parsed_name(journal: Path) -> None:
    own = {"label": "gold", "parsed_label": "mine"}
    found = table(journal, answer(parsed={"label": "a", "text": "b", "parsed_text": "c"}, **own))
    (row,) = cells(found)
    assert (row["label"], row["parsed_label"], row["parsed_parsed_label"]) == ("gold", "mine", "a")
    assert (row["parsed_parsed_text"], row["parsed_text"]) == ("b", "c")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, None, 2], "integer"),
        ([2**53 + 1, 1], "integer"),
        ([-(2**63), 2**53 + 1], "integer"),
        ([2**63], "json"),
        ([1, 2.5], "number"),
        ([0.5], "number"),
        ([2**53 + 1, 2.5], "json"),
        ([True, None], "boolean"),
        ([True, 1], "json"),
        (["a", None], "text"),
        (["a", 1], "json"),
        ([[1]], "json"),
        ([{"a": 1}, "a"], "json"),
        ([None], "text"),
    ],
)
def test_a_column_has_the_narrowest_type_that_loses_nothing(
    journal: Path, values: list[Any], kind: str
) -> None:
    found = table(journal, *[answer(mine=value) for value in values])
    assert {column.name: column.kind for column in found.columns}["mine"] == kind
    assert [row["mine"] for row in cells(found)] == values


def test_our_own_columns_have_their_types_also_without_any_value(journal: Path) -> None:
    kinds = {column.name: column.kind for column in table(journal).columns}
    assert kinds == {
        "custom_id": "text",
        "text": "text",
        "finish_reason": "text",
        "model": "text",
        "input_tokens": "integer",
        "output_tokens": "integer",
        "cache_read_tokens": "integer",
        "reasoning_tokens": "integer",
        "cost_usd": "number",
        "latency_s": "number",
        "attempts": "integer",
        "cached": "boolean",
        "finished_at": "number",
        "line": "integer",
        "key": "text",
    }
    kinds = {c.name: c.kind for c in table(journal, answer(usage="?", cost_usd=0, attempts="two")).columns}
    assert (kinds["cost_usd"], kinds["attempts"], kinds["input_tokens"]) == ("number", "json", "integer")


def test_failed_rows_and_blank_lines_are_no_rows(journal: Path) -> None:
    lines = [answer(text="a"), answer(error={"type": "x"}), answer(text="b")]
    journal.write_text("\n\n".join(json.dumps(line) for line in lines) + "\n \n")
    found = AnswerTable(str(journal), None, lambda: False)
    assert [row["text"] for row in cells(found)] == ["a", "b"]


@pytest.mark.parametrize("line", ["notes", "[1]"])
def test_a_line_that_is_none_of_ours_is_told_with_its_number(journal: Path, line: str) -> None:
    journal.write_text(json.dumps(answer()) + f"\n{line}\n")
    with pytest.raises(InputError, match=r"out\.csv\.journal\.jsonl:2: is no line of callgate's"):
        AnswerTable(str(journal), None, lambda: False)


def test_it_stops_in_either_pass(journal: Path) -> None:
    found = table(journal, answer(), answer())
    with pytest.raises(WritingStoppedError):
        AnswerTable(str(journal), None, lambda: True)
    asked = iter([False, False, False, True])
    rows = AnswerTable(str(journal), None, lambda: next(asked)).rows()
    assert len(next(rows)) == len(found.columns)
    with pytest.raises(WritingStoppedError):
        next(rows)


KEYS = [f"{number:016x}" for number in range(4)]


def test_it_holds_the_rows_of_the_input_in_their_order_with_their_columns(journal: Path) -> None:
    rows = [
        TableRow(2, 1, "second", {"tag": 1}),
        TableRow(9, 2, "not answered", {"other": 1}),
        TableRow(0, 3, None, {"tag": 2}),
    ]
    lines = [answer(key=key, line=1, text=key[-1], old=1.5, custom_id="c") for key in KEYS]
    found = table(journal, *lines, rows=InputRows(lambda: iter(rows)))
    names = ("custom_id", "tag", "text", "line")
    assert [tuple(row[name] for name in names) for row in cells(found)] == [
        ("second", 1, "2", 1),
        (None, 2, "0", 3),
    ]
    assert (len(found), found.left_out) == (2, 2)
    assert not {"old", "other"} & {column.name for column in found.columns}


def test_where_only_a_part_of_the_input_is_known_the_other_answers_follow(journal: Path) -> None:
    rows = [TableRow(2, 7, None, None)]
    lines = [answer(key=key, line=1, text=key[-1], mine=key[-1], custom_id="c") for key in KEYS]
    found = table(journal, *lines, rows=InputRows(lambda: iter(rows), whole=False))
    names = ("custom_id", "mine", "text", "line")
    assert [tuple(row[name] for name in names) for row in cells(found)] == [
        ("c", "2", "2", 7),
        *[("c", text, text, 1) for text in "013"],
    ]
    assert (len(found), found.left_out) == (4, 0)


def test_equal_rows_have_an_answer_each(journal: Path) -> None:
    rows = [TableRow(1, line, None, {}) for line in (1, 2, 3)]
    lines = [answer(key=KEYS[1], text=text) for text in "ab"]
    found = table(journal, *lines, rows=InputRows(lambda: iter(rows)))
    assert [(row["line"], row["text"]) for row in cells(found)] == [(1, "a"), (2, "b")]
