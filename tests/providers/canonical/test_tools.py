"""The choice among tools, in the forms in which callers write it."""

from __future__ import annotations

from typing import Any

import pytest

from callgate.errors import InvalidRequestError
from callgate.providers.canonical.tools import ToolChoice, read_tool_choice


@pytest.mark.parametrize(
    ("choice", "read"),
    [
        ("auto", ToolChoice("auto")),
        ("any", ToolChoice("required")),
        ({"type": "auto"}, ToolChoice("auto")),
        ({"type": "none"}, ToolChoice("none")),
        ({"type": "any"}, ToolChoice("required")),
        ({"type": "tool", "name": "f"}, ToolChoice("named", "f")),
        ({"type": "function", "name": "f"}, ToolChoice("named", "f")),
        ({"type": "any", "disable_parallel_tool_use": True}, None),
        ({"type": "file_search"}, None),
        ({"type": ["any"]}, None),
        (None, None),
        (7, None),
    ],
)
def test_a_choice_is_read_in_every_form(choice: Any, read: ToolChoice | None) -> None:
    assert read_tool_choice(choice) == read


@pytest.mark.parametrize("choice", ["f", "", {"type": "tool", "name": ""}, {"type": "function"}])
def test_a_choice_of_nothing_is_refused(choice: Any) -> None:
    with pytest.raises(InvalidRequestError, match="tool_choice"):
        read_tool_choice(choice)
