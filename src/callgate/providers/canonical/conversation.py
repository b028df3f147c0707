"""The canonical conversation as turns that alternate, with the system prompt apart from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from callgate.providers.canonical.messages import read_messages, refuse

__all__ = ["BlockWriter", "Speaker", "fold_conversation"]

Block = dict[str, Any]
Message = Mapping[str, Any]
BlockWriter = Callable[[Message], list[Block]]
"""Encodes one message as the blocks of a dialect."""
Speaker = Literal["user", "assistant", "system"]

_SYSTEM_ROLES = ("system", "developer")
_OPENING = "(The conversation begins.)"


def fold_conversation(
    request: Mapping[str, Any],
    *,
    system: BlockWriter,
    user: BlockWriter,
    assistant: BlockWriter,
    tool: BlockWriter,
    system_turns: bool = False,
) -> tuple[list[Block], list[tuple[Speaker, list[Block]]]]:
    """Split the conversation into the system prompt and alternating turns.

    - Only the system messages before the first turn make the system prompt. A later one keeps its place:
      as a turn of its own after the user's turn (`system_turns`), else as marked text in the user's turn.
    - Tool results open the user's turn, before anything else in it: providers accept them nowhere else.
    - Neighbours of one role become one turn, and a message without content is left out.
    - A conversation that the assistant begins gets a user's turn before it: providers require one.

    Args:
        request: Its `messages` (or `prompt`); a `system` field is the start of the system prompt.
        system, user, assistant, tool: Encode a message of this role.
        system_turns: True when the model accepts the role "system" between turns.

    Returns:
        The blocks of the system prompt; the turns as (speaker, blocks).

    Raises:
        InvalidRequestError: An unknown role, or no message with content.
    """
    prompt: list[Block] = []
    if request.get("system"):
        prompt += system({"role": "system", "content": request["system"]})
    turns: list[tuple[Speaker, list[Block]]] = []
    since = _UserTurn(user, system if system_turns else None)
    for message in read_messages(request):
        role = message["role"]
        if role in _SYSTEM_ROLES and not (turns or since.said or since.results):
            prompt += system(message)
        elif role in _SYSTEM_ROLES or role == "user":
            since.said.append(message)
        elif role == "tool":
            since.results += tool(message)
        elif role != "assistant":
            raise refuse(f"unknown role {role!r}; use system, user, assistant or tool")
        elif blocks := assistant(message):
            turns += since.flush()
            if turns and turns[-1][0] == "assistant":
                turns[-1][1].extend(blocks)
            else:
                turns.append(("assistant", blocks))
    turns += since.flush()
    if not turns:
        raise refuse("the conversation has no message of the user or the assistant with content")
    if turns[0][0] == "assistant":
        turns.insert(0, ("user", user({"role": "user", "content": _OPENING})))
    return prompt, turns


@dataclass(slots=True)
class _UserTurn:
    """The messages since the assistant's last turn."""

    user: BlockWriter
    system: BlockWriter | None
    """Encodes a system turn; None where the model accepts none."""
    results: list[Block] = field(default_factory=list)
    said: list[Message] = field(default_factory=list)
    """Messages of the user, and system messages among them."""

    def flush(self) -> list[tuple[Speaker, list[Block]]]:
        """Return the turns that the messages make, and forget the messages."""
        results, said, self.results, self.said = self.results, self.said, [], []
        if self.system is not None:
            blocks = results + [b for m in said if m["role"] == "user" for b in self.user(m)]
            if blocks:  # a system turn is accepted only directly after a user's turn
                instructed = [b for m in said if m["role"] != "user" for b in self.system(m)]
                return [("user", blocks), ("system", instructed)] if instructed else [("user", blocks)]
        blocks = results + [b for m in said for b in self._write(m)]
        return [("user", blocks)] if blocks else []

    def _write(self, message: Message) -> list[Block]:
        if message["role"] == "user":
            return self.user(message)
        content = message.get("content")
        if not self.user({"role": "user", "content": content}):
            return []
        if isinstance(content, str):
            content = f"<system>\n{content}\n</system>"
        else:
            content = ["<system>", *(content or ()), "</system>"]
        return self.user({"role": "user", "content": content})
