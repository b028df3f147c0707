"""A row is known again by its id, else by all that it says."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, strategies as st

from callgate.batch.input.rows import Row, content_key, custom_id_key


@given(st.dictionaries(st.text(max_size=5), st.integers(-9, 9), max_size=6))
def test_the_order_of_names_does_not_matter(content: dict[str, int]) -> None:
    assert content_key(content) == content_key(dict(reversed(content.items())))


@given(st.text(max_size=20), st.text(max_size=20))
def test_different_ids_have_different_keys(one: str, other: str) -> None:
    assert (custom_id_key(one) == custom_id_key(other)) == (one == other)


def test_an_id_that_looks_like_a_content_is_not_one() -> None:
    assert custom_id_key('{"prompt":"a"}') != content_key({"prompt": "a"})


def test_values_that_json_does_not_know_are_told_apart_by_their_text() -> None:
    assert content_key({"n": Decimal("1.5")}) == content_key({"n": Decimal("1.5")})
    assert content_key({"n": Decimal("1.5")}) != content_key({"n": Decimal("1.6")})


@pytest.mark.parametrize("odd", [2**70, {1: "one"}, "\ud800"])
def test_what_json_cannot_say_has_a_key_all_the_same(odd: object) -> None:
    assert content_key({"prompt": "Hi", "odd": odd}) == content_key({"prompt": "Hi", "odd": odd})
    assert content_key({"prompt": "Hi", "odd": odd}) != content_key({"prompt": "Hi", "odd": 2**71})


def test_repr_names_the_row() -> None:
    assert repr(Row(3, 7, "a", 255, {})) == "<Row 3 'a' line=7 key=00000000000000ff>"
