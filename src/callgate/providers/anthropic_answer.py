"""Reading one message of Anthropic's, whoever carried it."""

from __future__ import annotations

from collections.abc import Mapping
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

_TRANSLATABLE = ("text", "tool_use")


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
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[ToolCall] = []
    answered_by_tool = False
    translatable = True
    for block in content:
        if type(block) is not dict:
            continue
        kind = block.get("type")
        if kind == "text":
            texts.append(as_text(block.get("text")))
        elif kind == "tool_use":
            if block.get("name") == ANSWER_TOOL:
                answered_by_tool = True
                texts.append(write_json(block.get("input")).decode())
            else:
                arguments, unread = read_arguments(block.get("input"))
                calls.append(
                    ToolCall(as_text(block.get("id")), as_text(block.get("name")), arguments, unread)
                )
        elif kind == "thinking":
            thoughts.append(as_text(block.get("thinking")))
        translatable = translatable and kind in _TRANSLATABLE
    raw_reason = as_text_or_none(data.get("stop_reason"))
    reason = FINISH_REASONS.get(raw_reason) if raw_reason else None
    if reason == "tool_call" and answered_by_tool and not calls:
        reason = "stop"
    usage = data.get("usage")
    metadata: dict[str, Any] = {}
    if not translatable:
        metadata[REPLAY] = {"dialect": REPLAY_NAME, "content": content}
    if data.get("stop_sequence"):
        metadata["stop_sequence"] = data["stop_sequence"]
    return Response(
        text="".join(texts),
        reasoning="".join(thoughts) or None,
        tool_calls=calls,
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
