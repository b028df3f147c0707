"""How large a request is: cheap, never raising, and about what its tokens will be."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from callgate.messages import Conversation
from callgate.providers.canonical.size import CHARACTERS_PER_MESSAGE, MEDIA_CHARACTERS, count_characters
from tests.providers.conformance import json_values

EACH = CHARACTERS_PER_MESSAGE


def of_messages(*messages: Any) -> int:
    return count_characters({"messages": list(messages)})


def test_text_counts_its_characters_and_every_message_a_little_more() -> None:
    assert of_messages({"role": "user", "content": "x" * 400}) == 400 + EACH
    assert of_messages(*[{"role": "user", "content": "x"}] * 3) == 3 + 3 * EACH


def test_a_character_outside_ascii_counts_its_bytes() -> None:
    assert of_messages({"role": "user", "content": "月" * 10}) == 30 + EACH


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 1_000_000}},
        {"type": "input_audio", "input_audio": {"data": "A" * 1_000_000, "format": "wav"}},
        {"type": "file", "file": {"file_id": "file-1"}},
    ],
)
def test_media_count_the_same_however_long_their_base64(part: dict[str, Any]) -> None:
    message = {"role": "user", "content": [{"type": "text", "text": "What?"}, part]}
    assert of_messages(message) == 5 + MEDIA_CHARACTERS + EACH


def test_tools_schemas_and_calls_count_as_their_json() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    schema = {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}
    messages = [{"role": "user", "content": "x"}]
    plain = count_characters({"messages": messages})
    as_json = json.dumps(tools, separators=(",", ":"))
    assert count_characters({"messages": messages, "tools": tools}) == plain + len(as_json)
    as_json = json.dumps(schema, separators=(",", ":"))
    assert count_characters({"messages": messages, "response_format": schema}) == plain + len(as_json)
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}
    assert of_messages(call) == EACH + len('[{"id":"c"}]')


@pytest.mark.parametrize(
    ("request_", "size"),
    [
        ({"prompt": "abc"}, 3),
        ({"prompt": ["abc", "de"]}, 5),
        ({"prompt": [1, 2, 3]}, 12),
        ({"input": "abc", "instructions": "de"}, 5),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "abc"}]}]}, 3),
        ({}, 0),
        ({"messages": None}, 0),
    ],
)
def test_other_shapes_of_a_request(request_: dict[str, Any], size: int) -> None:
    assert count_characters(request_) == size


def test_a_conversation_counts_as_its_messages() -> None:
    talk = Conversation.with_initial_message("Be short.", "user", "Hi")
    assert count_characters({"messages": talk}) == count_characters({"messages": talk.to_messages()})


FIELDS = ("messages", "prompt", "input", "instructions", "system", "tools", "response_format")


@given(st.dictionaries(st.sampled_from(FIELDS), json_values | st.just(object())))
def test_whatever_is_asked_it_counts_and_never_raises(request_: dict[str, Any]) -> None:
    assert count_characters(request_) >= 0
