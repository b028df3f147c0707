"""The messages of a chat request in the form that a host takes."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from callgate.providers.canonical.json import read_arguments, write_json
from callgate.providers.canonical.messages import REPLAY, read_messages, refuse, text_of
from callgate.providers.openai_chat.content import split_media, write_content
from callgate.providers.openai_chat.quirks import ChatQuirks
from callgate.providers.openai_chat.thoughts import THOUGHTS, sign_calls, with_thoughts

__all__ = ["is_plain_message", "write_messages"]

_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_PLAIN_ROLES = frozenset({"system", "user", "assistant"})
_LATER = "(see the next message)"
_CONTINUED = "OK."


def write_messages(request: Mapping[str, Any], quirks: ChatQuirks) -> list[Any]:
    """The messages; a `prompt` is a message of the user, and `system` the first message.

    Raises:
        InvalidRequestError: There are none, or one of them cannot be sent to this host.
    """
    given = _conversation(request)
    has_tools = bool(request.get("tools"))
    needs_care = not quirks.late_system or (quirks.thoughts_required and has_tools)
    if not needs_care and all(map(is_plain_message, given)):
        return list(given)
    writer = _Writer(quirks, has_tools)
    for message in given:
        writer.add(message)
    return writer.finish(str(request.get("model")))


def _conversation(request: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    messages = request.get("messages")
    if type(messages) is not list or not messages or not all(map(is_plain_message, messages)):
        messages = read_messages(request)
    system = request.get("system")
    if system is not None:
        return [{"role": "system", "content": system}, *messages]
    return messages


def is_plain_message(message: Any) -> bool:
    """Whether a message needs no translation anywhere: a role and a text."""
    return (
        type(message) is dict
        and len(message) == 2
        and message.get("role") in _PLAIN_ROLES
        and type(message.get("content")) is str
    )


class _Writer:
    """Takes in one message after the other."""

    def __init__(self, quirks: ChatQuirks, has_tools: bool) -> None:
        self._quirks = quirks
        self._has_tools = has_tools
        self._written: list[dict[str, Any]] = []
        self._media: list[Mapping[str, Any]] = []
        """What tools answered beside text, for a message of the user after their results."""

    def add(self, message: Mapping[str, Any]) -> None:
        role = message["role"]
        if role not in _ROLES:
            raise refuse(f"unknown role {role!r}; use system, developer, user, assistant or tool")
        if role != "tool":
            self._flush_media()
        if role == "assistant":
            self._add_assistant(message)
        elif role == "tool":
            self._add_result(message)
        else:
            self._add_other(message, role)

    def finish(self, model: str) -> list[Any]:
        self._flush_media()
        quirks, messages = self._quirks, self._written
        last = messages[-1] if messages else {}
        if quirks.prefix and last.get("role") == "assistant" and not last.get("tool_calls"):
            messages[-1] = {**last, "prefix": True}
        if quirks.signatures_for is not None and quirks.signatures_for.match(model):
            messages = sign_calls(messages)
        return messages

    def _add_other(self, message: Mapping[str, Any], role: str) -> None:
        quirks = self._quirks
        if role == "developer" and not quirks.developer:
            role = "system"
        content = self._content_of(message, only_text=role != "user")
        if role == "system" and not quirks.late_system and any(m["role"] != "system" for m in self._written):
            role, content = "user", f"<system>\n{text_of(content)}\n</system>"
        self._append({**self._rest(message), "role": role, "content": "" if content is None else content})

    def _add_assistant(self, message: Mapping[str, Any]) -> None:
        quirks = self._quirks
        message = with_thoughts(message, quirks)
        content = message.get("content")
        refusal = message.get("refusal")
        if refusal is not None and quirks.provider and quirks.provider != "openai":
            content, refusal = content or refusal, None
        content = write_content(content, quirks, only_text=True)
        written = {
            **{name: message[name] for name in THOUGHTS if message.get(name) is not None},
            **self._rest(message),
            "role": "assistant",
            "content": content,
        }
        if refusal is not None:
            written["refusal"] = refusal
        calls = [self._write_call(call, index) for index, call in enumerate(message.get("tool_calls") or ())]
        if calls:
            written["tool_calls"] = calls
            if content == "" and not quirks.empty_assistant:
                written["content"] = None
        elif content is None and refusal is None:
            written["content"] = ""
        if not (calls or written["content"] or refusal or quirks.empty_assistant):
            return
        if quirks.thoughts_required and self._has_tools:
            written.setdefault("reasoning_content", "")
        self._append(written)

    def _add_result(self, message: Mapping[str, Any]) -> None:
        quirks = self._quirks
        content = message.get("content")
        media: list[Mapping[str, Any]] = []
        if not quirks.media_in_results:
            content, media = split_media(content)
        content = write_content(content, quirks, only_text=not quirks.media_in_results)
        self._media += media
        written = {
            **self._rest(message),
            "role": "tool",
            "tool_call_id": self._call_id(message.get("tool_call_id")),
            "content": content or (_LATER if media else ""),
        }
        self._append(written)

    def _content_of(self, message: Mapping[str, Any], *, only_text: bool) -> Any:
        """The content; a mark for the cache on the whole message stands on its last text then."""
        content = message.get("content")
        mark = message.get("cache_control")
        if mark is not None and self._quirks.cache_control and self._quirks.provider:
            parts = [{"type": "text", "text": content}] if type(content) is str else list(content or ())
            if parts and isinstance(parts[-1], Mapping):
                content = [*parts[:-1], {"cache_control": mark, **parts[-1]}]
        return write_content(content, self._quirks, only_text=only_text)

    def _append(self, message: dict[str, Any]) -> None:
        last = self._written[-1]["role"] if self._written else None
        if last == "tool" and message["role"] == "user" and not self._quirks.user_after_tool:
            self._written.append({"role": "assistant", "content": _CONTINUED})
        self._written.append(message)

    def _flush_media(self) -> None:
        if self._media:
            content = write_content(self._media, self._quirks, only_text=False)
            self._media = []
            self._append({"role": "user", "content": content})

    def _rest(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """What else stands in a message, as far as the host takes it."""
        quirks, role = self._quirks, message["role"]
        rest = {
            name: value
            for name, value in message.items()
            if name not in _WRITTEN and value is not None and name != REPLAY
        }
        if quirks.provider:
            rest.pop("cache_control", None)  # it stands on the last part, see `_content_of`
        # A tool's name is in its call; only servers that ask for it want it again.
        if "name" in rest and (not quirks.names or role == "tool") and quirks.provider:
            del rest["name"]
        return rest

    def _write_call(self, call: Any, index: int) -> dict[str, Any]:
        if not isinstance(call, Mapping):
            raise refuse(f"tool_calls[{index}] of a message of the assistant is no object")
        written: dict[str, Any] = {"id": self._call_id(call.get("id") or f"call_{index}")}
        custom = call.get("custom")
        if isinstance(custom, Mapping):
            written |= {"type": "custom", "custom": dict(custom)}
        else:
            function = call.get("function")
            name = function.get("name") if isinstance(function, Mapping) else None
            if not isinstance(function, Mapping) or type(name) is not str or not name:
                raise refuse(f"tool_calls[{index}] of a message of the assistant calls no function")
            written |= {
                "type": "function",
                "function": {"name": name, "arguments": self._write_arguments(function.get("arguments"))},
            }
        if call.get("extra_content") is not None:
            written["extra_content"] = call["extra_content"]
        if self._quirks.call_indexes:
            written["index"] = index
        return written

    def _write_arguments(self, arguments: Any) -> str:
        if type(arguments) is not str:
            return write_json({} if arguments is None else arguments).decode()
        if not arguments.strip():
            return "{}"
        if self._quirks.json_arguments:
            _, unreadable = read_arguments(arguments)
            if unreadable is not None:
                return write_json({"unreadable_arguments": unreadable}).decode()
        return arguments

    def _call_id(self, identity: Any) -> str:
        text = "" if identity is None else str(identity)
        taken = self._quirks.call_ids
        if taken is None or taken.fullmatch(text):
            return text
        digest = base64.b32encode(hashlib.sha256(text.encode()).digest()).decode()
        return digest[:9]


# No chat host has a mark for a tool that failed, and some refuse unknown fields.
_WRITTEN = frozenset({"role", "content", "tool_calls", "tool_call_id", "refusal", "is_error", *THOUGHTS})
