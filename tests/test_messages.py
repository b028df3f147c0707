"""Messages and conversations."""

from __future__ import annotations

import pytest

from callgate.errors import ConfigurationError
from callgate.messages import Conversation, Message


def test_a_message_keeps_the_other_fields_of_the_format() -> None:
    message = Message("tool", "12 degrees", {"tool_call_id": "call_1"})
    assert message.to_dict() == {"role": "tool", "content": "12 degrees", "tool_call_id": "call_1"}


def test_the_parts_of_a_message_are_a_list_of_their_own() -> None:
    parts = ({"type": "text", "text": "Hi"},)
    assert Message("user", parts).to_dict()["content"] == [{"type": "text", "text": "Hi"}]


def test_a_message_may_have_no_content() -> None:
    assert Message("assistant", None, {"tool_calls": []}).to_dict()["content"] is None


@pytest.mark.parametrize("content", [3, {"type": "text"}])
def test_content_of_another_type_is_refused(content: object) -> None:
    with pytest.raises(ConfigurationError, match="text or a list of parts"):
        Message("user", content)  # type: ignore[arg-type]


def test_an_unknown_role_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="unknown role 'bot'.*assistant.*user"):
        Message("bot", "Hi")


@pytest.mark.parametrize("arguments", [(), ("user",), ("a", "user", "b", "c")])
def test_a_conversation_begins_with_two_or_three_arguments(arguments: tuple[str, ...]) -> None:
    with pytest.raises(TypeError, match="takes"):
        Conversation.with_initial_message(*arguments)


def test_conversations_compare_by_their_messages_and_are_not_hashable() -> None:
    one = Conversation.with_initial_message("user", "Hi")
    assert one == Conversation().add_message("user", "Hi")
    assert one != Conversation.with_initial_message("user", "Bye")
    assert one != "user: Hi"
    with pytest.raises(TypeError):
        hash(one)


def test_a_conversation_lists_its_messages() -> None:
    conversation = Conversation.with_initial_message("Be brief.", "user", "Hi")
    assert [message.role for message in conversation] == ["system", "user"]
    assert len(conversation) == len(conversation.messages) == 2
    assert repr(conversation) == "<Conversation of 2 messages>"
