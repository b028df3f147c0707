"""Messages and conversations for a model. Values without I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from callgate.errors import ConfigurationError

__all__ = ["Content", "Conversation", "Message"]

Content = str | Sequence[Mapping[str, Any]]
"""Text, or OpenAI-style parts: `[{"type": "text", ...}, {"type": "image_url", ...}]`."""

_ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation, in the OpenAI chat format.

    >>> Message("user", "How big is the moon?").to_dict()
    {'role': 'user', 'content': 'How big is the moon?'}
    """

    role: str
    content: Content | None
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the format: `tool_calls`, `tool_call_id`, `name`."""

    def __post_init__(self) -> None:
        if self.role not in _ROLES:
            raise ConfigurationError(f"unknown role {self.role!r}; use one of {', '.join(sorted(_ROLES))}")
        if self.content is not None and not isinstance(self.content, str | Sequence):
            raise ConfigurationError(
                f"a message's content is text or a list of parts, not {type(self.content).__name__}"
            )

    def to_dict(self) -> dict[str, Any]:
        """The message as an item of a request's `messages`."""
        content = self.content
        if content is not None and not isinstance(content, str):
            content = list(content)
        return {"role": self.role, "content": content, **self.extra}


class Conversation:
    """A list of messages that a batch sends as one request.

    >>> moon = Conversation.with_initial_message("Answer shortly.", "user", "How big is the moon?")
    >>> len(moon)
    2
    """

    __slots__ = ("_messages",)

    def __init__(self) -> None:
        self._messages: list[Message] = []

    @classmethod
    def with_initial_message(cls, *args: Any) -> Conversation:
        """Start one: `(system_prompt, role, content)`, or `(role, content)` without a system prompt.

        Raises:
            TypeError: with any other number of arguments.
            ConfigurationError: the role is unknown. (Two adjacent string literals are one argument: a first
                argument that ends in a role's name is split into system prompt and role.)
        """
        if len(args) == 3:
            system_prompt, role, content = args
        elif len(args) == 2:
            role, content = args
            system_prompt = None
            if role not in _ROLES:
                system_prompt, role = _split_lost_comma(role)
        else:
            raise TypeError("with_initial_message takes (system_prompt, role, content) or (role, content)")
        conversation = cls()
        if system_prompt:
            conversation.add_message("system", system_prompt)
        conversation.add_message(role, content)
        return conversation

    def add_message(self, role: str, content: Content) -> Conversation:
        """Append a message; returns the conversation, so calls can be chained.

        Raises:
            ConfigurationError: the role is unknown, or the content is neither text nor parts.
        """
        self._messages.append(Message(role, content))
        return self

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages so far."""
        return tuple(self._messages)

    def to_messages(self) -> list[dict[str, Any]]:
        """The conversation as the `messages` of a request."""
        return [message.to_dict() for message in self._messages]

    def __len__(self) -> int:
        return len(self._messages)

    def __iter__(self) -> Iterator[Message]:
        return iter(self._messages)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Conversation) and self._messages == other._messages

    __hash__ = None  # type: ignore[assignment]  # mutable: it compares by value

    def __repr__(self) -> str:
        return f"<Conversation of {len(self._messages)} messages>"


def _split_lost_comma(text: str) -> tuple[str, str]:
    """Split a text that ends in a role's name, as of two adjacent literals, into system prompt and role."""
    for role in _ROLES:
        if isinstance(text, str) and text.endswith(role) and len(text) > len(role):
            return text[: -len(role)], role
    raise ConfigurationError(f"unknown role {text!r}; use one of {', '.join(sorted(_ROLES))}")
