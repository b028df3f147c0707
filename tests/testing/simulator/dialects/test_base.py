"""Helpers shared by the simulator's dialects."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from callgate.testing.simulator.dialects.base import Refusal, pieces, require, sse


@given(st.text())
def test_streamed_pieces_join_to_the_text(text):
    assert "".join(pieces(text)) == text


@pytest.mark.parametrize("value", [True, "1", None])
def test_a_value_of_another_type_is_a_400_with_its_parameter(value):
    with pytest.raises(Refusal) as caught:
        require(value, int, "max_tokens", "an integer")
    assert (caught.value.status, caught.value.param) == (400, "max_tokens")


def test_an_event_has_its_name_and_json():
    assert sse({"n": 1}, "ping") == b'event: ping\ndata: {"n":1}\n\n'
    assert sse({"n": 1}) == b'data: {"n":1}\n\n'
