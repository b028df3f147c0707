"""The arguments of a streamed call: what opened the call is held back until the pieces are known."""

from __future__ import annotations

import pytest

from callgate.providers.canonical.streamed_arguments import StreamedArguments


@pytest.mark.parametrize(
    ("pieces", "passed_on", "text"),
    [
        (["{", "}"], ["{", "}"], "{}"),
        (["{}"], [""], "{}"),
        (["{}", " "], ["", ""], "{}"),
        (["{}", '{"a":', "1}"], ["", '{"a":', "1}"], '{"a":1}'),
        (["null", '{"a":', "1}"], ["", '{"a":', "1}"], '{"a":1}'),
        (['{"a":', "1}", '{"a":1}'], ['{"a":', "1}", ""], '{"a":1}'),
        (["", '{"a"', ":{}}"], ["", '{"a"', ":{}}"], '{"a":{}}'),
    ],
)
def test_pieces_that_are_passed_on_and_their_sum(pieces: list[str], passed_on: list[str], text: str) -> None:
    arguments = StreamedArguments()
    assert [arguments.take(piece) for piece in pieces] == passed_on
    assert arguments.text.strip() == text
    assert "".join(passed_on) + arguments.release() == arguments.text


def test_what_opened_the_call_counts_only_without_pieces() -> None:
    alone, replaced = StreamedArguments(), StreamedArguments()
    for arguments in (alone, replaced):
        arguments.hold('{"a": 1}')
        assert arguments.holds
    replaced.take('{"a": 2}')
    assert (alone.release(), alone.text) == ('{"a": 1}', '{"a": 1}')
    assert (replaced.release(), replaced.text) == ("", '{"a": 2}')
    replaced.hold("{}")
    assert not replaced.holds


def test_free_text_of_a_custom_tool_stands_for_itself() -> None:
    arguments = StreamedArguments()
    assert arguments.take("{}", may_stand_in=False) == "{}"


@pytest.mark.parametrize(
    ("pieces", "end", "lacked", "text"),
    [
        ([], '{"a": 1}', '{"a": 1}', '{"a": 1}'),
        (['{"a"'], '{"a": 1}', ": 1}", '{"a": 1}'),
        (["{}"], '{"a": 1}', '{"a": 1}', '{"a": 1}'),
        (["{}"], "", "{}", "{}"),
        (['{"a": 2}'], '{"a": 1}', "", '{"a": 1}'),
    ],
)
def test_all_arguments_at_the_end_complete_or_replace_the_pieces(
    pieces: list[str], end: str, lacked: str, text: str
) -> None:
    arguments = StreamedArguments()
    for piece in pieces:
        arguments.take(piece)
    assert (arguments.complete(end), arguments.text, arguments.release()) == (lacked, text, "")
