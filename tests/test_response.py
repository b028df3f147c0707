"""Values that come back from a call: usage, cost, response, chunk."""

from __future__ import annotations

from dataclasses import fields

import pytest

from callgate.response import Cost, Response, StreamChunk, Usage


def test_a_repr_shows_the_answer_and_not_what_carried_it() -> None:
    shown = repr(Response(text="4", raw={"choices": []}, headers={"x-request-id": "r1"}, model="m"))
    assert "text='4'" in shown
    assert "model='m'" in shown
    assert not any(name in shown for name in (" raw=", "choices", "headers", "x-request-id", " data="))


def test_the_total_is_the_sum_of_input_and_output_unless_given() -> None:
    assert Usage(3, 4).total_tokens == 7
    assert Usage(3, 4, total_tokens=9).total_tokens == 9


def test_adding_usages_adds_every_count() -> None:
    assert {*Usage.COUNTS, "is_known"} == {field.name for field in fields(Usage)}
    one = Usage(**{name: number for number, name in enumerate(Usage.COUNTS, 1)})
    both = one + one
    assert [getattr(both, name) for name in Usage.COUNTS] == [2 * getattr(one, name) for name in Usage.COUNTS]


def test_a_sum_is_known_where_both_usages_are() -> None:
    known, unknown = Usage(1, 1), Usage(1, 1, is_known=False)
    assert (known + known).is_known
    assert not (known + unknown).is_known
    assert not (unknown + known).is_known


def test_audio_tokens_are_serialised_only_where_there_are_any() -> None:
    assert set(Usage(1, 2).to_dict()) == {
        "input_tokens",
        "output_tokens",
        "total_tokens",
        "cache_read_tokens",
        "cache_write_tokens",
        "reasoning_tokens",
    }
    assert Usage(1, 2, input_audio_tokens=5).to_dict()["input_audio_tokens"] == 5
    assert Usage(1, 2, output_audio_tokens=6).to_dict()["output_audio_tokens"] == 6


def test_costs_add_up() -> None:
    cost = Cost(0.1, 0.2) + Cost(0.3, 0.4)
    assert (cost.input, cost.output) == (pytest.approx(0.4), pytest.approx(0.6))
    assert cost.total == pytest.approx(1.0)


def test_the_data_of_a_response_is_its_text_unless_given() -> None:
    assert Response("4").data == "4"
    assert Response("4", data={"sum": 4}).data == {"sum": 4}


def test_a_chunk_prints_as_its_content() -> None:
    assert f"{StreamChunk('Hel', 0)}{StreamChunk('lo', 1)}" == "Hello"
