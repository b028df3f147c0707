"""Templates reach columns and nothing else."""

from __future__ import annotations

import datetime
import math
from decimal import Decimal
from typing import Any

import pandas
import pytest

from callgate.batch.input.template import Template, is_empty
from callgate.errors import InputError


def test_text_stands_as_it_is_and_other_values_as_json() -> None:
    template = Template("{a}|{b}|{c}|{d}|{e}")
    record = {"a": "x {a}", "b": 3, "c": [1, {"k": "v"}], "d": None, "e": True}
    assert template.render(record) == 'x {a}|3|[1,{"k":"v"}]||true'


def test_doubled_braces_are_braces() -> None:
    assert Template('{{"q": "{text}"}}').render({"text": "why"}) == '{"q": "why"}'


def test_a_column_may_be_used_twice_and_have_spaces() -> None:
    template = Template("{first name}, {first name} {last}")
    assert template.columns == ("first name", "last")
    assert template.render({"first name": "Ada", "last": "L."}) == "Ada, Ada L."


@pytest.mark.parametrize("name", ["a.__class__", "a[0]", "a!r", "a:>10", "a!r:x"])
def test_attributes_indices_and_formats_are_only_names(name: str) -> None:
    template = Template("{" + name + "}")
    assert template.columns == (name,)
    with pytest.raises(KeyError):
        template.render({"a": "secret"})
    assert template.render({name: "shown"}) == "shown"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('Reply {"name": "{w}"}', 'Reply {"name": "cat"}'),
        ('{"a": {"b": "{w}"}}', '{"a": {"b": "cat"}}'),
        ('{"a": {}, "b": [{"c": 1}]} {w}', '{"a": {}, "b": [{"c": 1}]} cat'),
        ('{\n  "name": "{w}"\n}', '{\n  "name": "cat"\n}'),
        ('{{"a": {{"b": "{w}"}}}}', '{"a": {"b": "cat"}}'),
        ('{"x": {w}}', '{"x": cat}'),
        ("}} {w} {{", "} cat {"),
        ("{{w}} {w}", "{w} cat"),
    ],
)
def test_an_example_of_json_stays_as_it_is(text: str, expected: str) -> None:
    template = Template(text)
    assert template.columns == ("w",)
    assert template.render({"w": "cat"}) == expected


def test_an_empty_value_is_nothing() -> None:
    assert Template("[{a}]").render({"a": None}) == Template("[{a}]").render({"a": float("nan")}) == "[]"


def test_a_text_may_need_no_column() -> None:
    assert Template("Be brief.", needs_column=False).render({}) == "Be brief."


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Translate {text", "write {column} for a column"),
        ("Translate } {text}", "write {column} for a column"),
        ("no column", "names no column"),
        ("{{text}}", "names no column"),
        ('{"a": "{text}"', "write {column} for a column, and {{ or }} for a brace"),
        ("{{text}", "write {column} for a column"),
        ("Translate {}", "empty braces"),
    ],
)
def test_a_broken_template_is_refused_with_a_hint(text: str, says: str) -> None:
    with pytest.raises(InputError, match=r"^the template ") as caught:
        Template(text)
    assert says in str(caught.value)


@pytest.mark.parametrize("empty", [None, math.nan, Decimal("NaN"), pandas.NA, pandas.NaT])
def test_what_stands_for_nothing_is_empty(empty: Any) -> None:
    assert is_empty(empty)
    assert Template("a{x}b").render({"x": empty}) == "ab"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (datetime.date(2024, 5, 1), "2024-05-01"),
        (Decimal("1.50"), "1.50"),
        (0, "0"),
        (False, "false"),
        (["a", datetime.date(2024, 5, 1)], '["a","2024-05-01"]'),
        (-math.inf, "-inf"),
    ],
)
def test_what_json_has_no_form_of_is_a_text_and_other_values_are_json(value: Any, text: str) -> None:
    assert Template("{x}").render({"x": value}) == text
