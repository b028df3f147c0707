"""How large a request is, cheaply: what the estimate of its tokens starts from before it is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from callgate.exact_json import dumps

__all__ = ["CHARACTERS_PER_MESSAGE", "MEDIA_CHARACTERS", "count_characters"]

MEDIA_CHARACTERS = 4000
"""What an image, a sound or a file counts: about 1,000 tokens, as a large picture costs at OpenAI and
Anthropic. The length of its base64 is no measure of its tokens."""

CHARACTERS_PER_MESSAGE = 12
"""What a message costs beside its content: its role and its delimiters, about 3 tokens."""

_TEXT_FIELDS = ("prompt", "input", "instructions", "system")


def count_characters(request: Mapping[str, Any]) -> int:
    """Characters of a request's messages (or prompt, or input) and tools, as a tokenizer feels them.

    A character outside ASCII counts as its bytes in UTF-8, for it costs more tokens; media count
    `MEDIA_CHARACTERS` each. What cannot be read counts nothing: this only estimates, and never raises.

    >>> count_characters({"messages": [{"role": "user", "content": "How big is the moon?"}]})
    32
    """
    size = 0
    messages = request.get("messages")
    if messages is not None:
        size = _messages(messages)
    else:
        for name in _TEXT_FIELDS:
            value = request.get(name)
            if value is not None:
                size += _content(value)
    tools = request.get("tools")
    if tools:
        size += _json_size(tools)
    wanted = request.get("response_format")
    if wanted:
        size += _json_size(wanted)
    return size


def _messages(messages: Any) -> int:
    size = 0
    try:
        for message in messages:
            size += CHARACTERS_PER_MESSAGE
            if type(message) is not dict:
                to_dict = getattr(message, "to_dict", None)
                message = to_dict() if to_dict is not None else message
                if not isinstance(message, Mapping):
                    continue
            content = message.get("content")
            if type(content) is str:
                size += len(content) if content.isascii() else _text(content)
            elif content is not None:
                size += _content(content)
            if len(message) > 2:
                calls = message.get("tool_calls")
                if calls:
                    size += _json_size(calls)
    except TypeError:
        pass
    return size


def _content(content: Any) -> int:
    if isinstance(content, str):
        return _text(content)
    if isinstance(content, Mapping):
        return _part(content)
    if isinstance(content, Sequence) and not isinstance(content, bytes):
        if content and type(content[0]) is int:
            return 4 * len(content)  # a prompt that is tokens already
        return sum(_content(part) if not isinstance(part, int) else 4 for part in content)
    return 0


def _part(part: Mapping[str, Any]) -> int:
    text = part.get("text")
    if isinstance(text, str):
        return _text(text)
    inner = part.get("content")
    if inner is not None:
        return _content(inner)
    kind = part.get("type")
    if kind in ("function_call", "function_call_output", "tool_use", "thinking", "reasoning"):
        return _json_size(part)
    return MEDIA_CHARACTERS


def _text(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _json_size(value: Any) -> int:
    try:
        return len(dumps(value, default=str))
    except TypeError:
        return 0
