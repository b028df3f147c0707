"""Reasoning that must go back to the host with the next request, as it came.

Hosts return it in five places: `reasoning_content`, `reasoning`, `reasoning_details`, parts of type
"thinking", and signatures in `extra_content` of a message or a call. Many refuse the next turn without it.
`Response.metadata[REPLAY]` carries it (see `callgate.providers.canonical.messages.REPLAY`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callgate.providers.canonical.json import as_dict, as_list
from callgate.providers.canonical.messages import REPLAY
from callgate.providers.openai_chat.quirks import ChatQuirks

__all__ = [
    "REPLAY_NAME",
    "THOUGHTS",
    "add_details",
    "add_parts",
    "read_replay",
    "sign_calls",
    "with_thoughts",
]

REPLAY_NAME = "openai_chat"

THOUGHTS = ("reasoning_content", "reasoning", "reasoning_details", "thinking_blocks", "extra_content")
"""Fields of an assistant message, beside its content and its calls."""

_SKIP = {"google": {"thought_signature": "skip_thought_signature_validator"}}
_JOINED = ("text", "summary", "data")


def read_replay(message: Mapping[str, Any], provider: str) -> dict[str, Any]:
    """The `Response.metadata` for a message: what of it must go back as it came; empty when nothing must.

    Args:
        message: The assistant's message, as the host sent it.
        provider: Of the host.
    """
    kept = {name: message[name] for name in THOUGHTS if message.get(name)}
    content = message.get("content")
    if type(content) is list and any(as_dict(part).get("type") == "thinking" for part in content):
        kept["content"] = content
    signed = [as_dict(as_dict(call).get("extra_content")) for call in as_list(message.get("tool_calls"))]
    if any(signed):
        kept["tool_calls"] = [{"extra_content": extra} if extra else {} for extra in signed]
    if not kept:
        return {}
    return {REPLAY: {"dialect": REPLAY_NAME, "provider": provider, "content": [kept]}}


def with_thoughts(message: Mapping[str, Any], quirks: ChatQuirks) -> dict[str, Any]:
    """The assistant's message with the reasoning that the host takes, and none that it does not.

    What this provider wrote goes back to it whole; what another wrote, as far as `quirks` allows.
    """
    written = dict(message)
    replay = written.pop(REPLAY, None)
    kept: dict[str, Any] = {}
    is_own = False
    if isinstance(replay, Mapping) and replay.get("dialect") == REPLAY_NAME:
        kept = dict(as_dict((as_list(replay.get("content")) or [{}])[0]))
        is_own = replay.get("provider") == quirks.provider
    extras = as_list(kept.pop("tool_calls", None))
    calls = written.get("tool_calls")
    if extras and isinstance(calls, list | tuple) and len(calls) == len(extras):
        written["tool_calls"] = [
            {**call, **as_dict(extra)} if isinstance(call, Mapping) else call
            for call, extra in zip(calls, extras, strict=True)
        ]
    written |= kept
    if is_own:
        return written
    content = written.get("content")
    if not quirks.thinking_parts and isinstance(content, list | tuple):
        written["content"] = [part for part in content if as_dict(part).get("type") != "thinking"]
    return written if quirks.thoughts is None else _without_foreign(written, quirks.thoughts)


def _without_foreign(message: dict[str, Any], taken: frozenset[str]) -> dict[str, Any]:
    for name in THOUGHTS:
        if name not in taken:
            message.pop(name, None)
    calls = message.get("tool_calls")
    if isinstance(calls, list | tuple) and "extra_content" not in taken:
        message["tool_calls"] = [
            {name: value for name, value in call.items() if name != "extra_content"}
            if isinstance(call, Mapping) and "extra_content" in call
            else call
            for call in calls
        ]
    return message


def sign_calls(messages: list[Any]) -> list[Any]:
    """The messages, each step of the current turn with a signature on its first call.

    A history that another provider wrote has none; Google accepts a fixed text instead.
    """
    signed = list(messages)
    for index in range(len(signed) - 1, -1, -1):
        message = signed[index]
        if message.get("role") == "user":
            break
        calls = message.get("tool_calls")
        if not calls or any(as_dict(call).get("extra_content") for call in calls):
            continue
        signed[index] = {**message, "tool_calls": [{**calls[0], "extra_content": _SKIP}, *calls[1:]]}
    return signed


def add_details(held: list[Any], new: Any) -> None:
    """Add the `reasoning_details` of one chunk of a stream to those so far.

    Pieces with one index and type are one entry; the order and the bytes of the entries stay.

    >>> details = []
    >>> add_details(details, [{"type": "reasoning.text", "text": "Fir", "index": 0}])
    >>> add_details(details, [{"type": "reasoning.text", "text": "st", "signature": "s", "index": 0}])
    >>> details
    [{'type': 'reasoning.text', 'text': 'First', 'index': 0, 'signature': 's'}]
    """
    for piece in as_list(new):
        if type(piece) is not dict:
            continue
        entry = _entry_of(held, piece)
        if entry is None:
            held.append(dict(piece))
            continue
        for name, value in piece.items():
            before = entry.get(name)
            if name in _JOINED and type(value) is str and type(before) is str:
                entry[name] = before + value
            elif value is not None:
                entry[name] = value


def add_parts(held: list[dict[str, Any]], new: Any) -> None:
    """Add the parts of one chunk of a stream to those so far; pieces of one text or thought are one part.

    >>> parts = []
    >>> add_parts(parts, [{"type": "thinking", "thinking": [{"type": "text", "text": "Fir"}]}])
    >>> add_parts(parts, [{"type": "thinking", "thinking": [{"type": "text", "text": "st"}], "closed": True}])
    >>> parts
    [{'type': 'thinking', 'thinking': [{'type': 'text', 'text': 'First'}], 'closed': True}]
    """
    for part in [new] if type(new) is dict else as_list(new):
        if type(part) is str:
            part = {"type": "text", "text": part}
        if type(part) is not dict:
            continue
        last = held[-1] if held and held[-1].get("type") == part.get("type") else None
        if last is None or part.get("type") not in ("text", "thinking"):
            held.append({**part, "thinking": list(part["thinking"])} if _thinks(part) else dict(part))
            continue
        for name, value in part.items():
            if name == "text" and type(value) is str and type(last.get("text")) is str:
                last["text"] += value
            elif name == "thinking" and type(value) is list and type(last.get("thinking")) is list:
                add_parts(last["thinking"], value)
            elif value is not None:
                last[name] = value


def _thinks(part: dict[str, Any]) -> bool:
    return part.get("type") == "thinking" and type(part.get("thinking")) is list


def _entry_of(held: list[Any], piece: dict[str, Any]) -> dict[str, Any] | None:
    index, kind = piece.get("index"), piece.get("type")
    if index is not None:
        same = (entry for entry in reversed(held) if (entry.get("index"), entry.get("type")) == (index, kind))
        return next(same, None)
    last = held[-1] if held else None
    joins = last is not None and last.get("index") is None and last.get("type") == kind
    return last if joins and kind != "reasoning.encrypted" else None
