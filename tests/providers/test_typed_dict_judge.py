"""The judge of request bodies reports every deviation from a declared type."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Union

import pytest
import typing_extensions as te

from tests.providers.typed_dict_judge import problems_of


class Text(te.TypedDict):
    type: te.Required[Literal["text"]]
    text: te.Required[str]


class Image(te.TypedDict, total=False):
    type: te.Required[Literal["image"]]
    size: int | None


class Message(te.TypedDict, total=False):
    role: te.Required[Literal["user"]]
    content: str | Iterable[Union[Text, Image]]  # noqa: UP007
    bias: dict[str, int]


@pytest.mark.parametrize(
    "value",
    [
        {"role": "user"},
        {"role": "user", "content": "Hi"},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "image", "size": None}]},
        {"role": "user", "bias": {"1": 2}},
    ],
)
def test_a_value_of_the_type_has_no_problems(value: Any) -> None:
    assert problems_of(Message, value) == []


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({}, "'role' is missing"),
        ({"role": "bot"}, "body.role: 'bot' is none of"),
        ({"role": "user", "extra": 1}, "'extra' is not a field of Message"),
        ({"role": "user", "content": 1}, "body.content"),
        ({"role": "user", "content": [{"type": "text"}]}, "body.content[0]: 'text' is missing (Text)"),
        ({"role": "user", "content": [{"type": "sound"}]}, "body.content[0]"),
        ({"role": "user", "content": [{"type": "image", "size": True}]}, "body.content[0].size"),
        ({"role": "user", "bias": {"1": "x"}}, "body.bias.1: 'x' is no int"),
        ([], "[] is not an object"),
    ],
)
def test_each_deviation_is_reported_with_its_place(value: Any, problem: str) -> None:
    (line,) = problems_of(Message, value)
    assert problem in line
