"""Reading one message of Anthropic's, whoever carried it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from callgate.errors import ResponseError
from callgate.providers.anthropic_errors import error_of_content
from callgate.providers.anthropic_request import REPLAY_NAME
from callgate.providers.chat_request import REPLAY
from callgate.providers.chat_tools import ANSWER_TOOL
from callgate.providers.json_reading import (
    as_dict,
    as_text,
    as_text_or_none,
    excerpt,
    read_arguments,
    token_count,
    write_json,
)
from callgate.response import FinishReason, Response, ToolCall, Usage

__all__ = ["FINISH_REASONS", "read_answer", "read_usage"]

FINISH_REASONS: Mapping[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_call",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    # The turn was cut where the provider's own tools took long; like a cut text it can be gone on with.
    "pause_turn": "length",
    "refusal": "content_filter",
}
"""Anthropic's words for why an answer ended -> ours; a word that is not here reads as None."""


def read_answer(data: dict[str, Any], headers: Mapping[str, str], status_code: int = 200) -> Response:
    """The Response that a `message` object tells.

    Raises:
        APIClientError: when it is an error after all.
        ResponseError: when there is no answer in it.
    """
    if data.get("type") == "error" or (data.get("error") and "content" not in data):
        raise error_of_content(data, None, headers)
    content = data.get("content")
    if type(content) is not list:
        if content is not None or "stop_reason" not in data:
            raise ResponseError(
                "the answer has no content",
                status_code=status_code,
                response_content=excerpt(write_json(data)),
                headers=headers,
            )
        content = []
    read = _read_content(content)
    raw_reason = as_text_or_none(data.get("stop_reason"))
    reason = FINISH_REASONS.get(raw_reason) if raw_reason else None
    if reason == "tool_call" and read.is_answered_by_tool and not read.calls:
        reason = "stop"
    usage = data.get("usage")
    metadata: dict[str, Any] = {}
    if not read.is_translatable:
        metadata[REPLAY] = {"dialect": REPLAY_NAME, "content": content}
    if data.get("stop_sequence"):
        metadata["stop_sequence"] = data["stop_sequence"]
    return Response(
        text="".join(read.texts),
        reasoning="".join(read.thoughts) or None,
        tool_calls=read.calls,
        finish_reason=reason,
        raw_finish_reason=raw_reason,
        usage=read_usage(usage) if type(usage) is dict else None,
        model=as_text_or_none(data.get("model")),
        id=as_text_or_none(data.get("id")),
        raw=data,
        headers=headers,
        status_code=status_code,
        metadata=metadata,
    )


@dataclass(slots=True)
class _Content:
    """What the blocks of a message say."""

    texts: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    is_answered_by_tool: bool = False
    is_translatable: bool = True
    """Whether the one request format can say all of it, so that it need not be kept as it came."""


def _read_content(content: list[Any]) -> _Content:
    read = _Content()
    for block in content:
        if type(block) is not dict:
            continue
        kind = block.get("type")
        if kind == "text":
            read.texts.append(as_text(block.get("text")))
        elif kind == "tool_use" and block.get("name") == ANSWER_TOOL:
            read.is_answered_by_tool = True
            read.texts.append(write_json(block.get("input")).decode())
        elif kind == "tool_use":
            arguments, unread = read_arguments(block.get("input"))
            name = as_text(block.get("name"))
            read.calls.append(ToolCall(as_text(block.get("id")), name, arguments, unread))
        else:
            read.is_translatable = False
            if kind == "thinking":
                read.thoughts.append(as_text(block.get("thinking")))
    return read


def read_usage(usage: dict[str, Any]) -> Usage:
    """Tokens in our count: Anthropic's `input_tokens` leaves the cache out, ours has it within.

    >>> read_usage({"input_tokens": 3, "cache_read_input_tokens": 10, "output_tokens": 2}).input_tokens
    13
    """
    read = token_count(usage.get("cache_read_input_tokens"))
    written = token_count(usage.get("cache_creation_input_tokens"))
    return Usage(
        token_count(usage.get("input_tokens")) + read + written,
        token_count(usage.get("output_tokens")),
        cache_read_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=token_count(as_dict(usage.get("output_tokens_details")).get("thinking_tokens")),
    )
