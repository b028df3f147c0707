"""Reading one answer of Bedrock's `Converse`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from callgate.errors import ResponseError
from callgate.providers.bedrock_request import REPLAY_NAME
from callgate.providers.chat_request import REPLAY
from callgate.providers.chat_tools import ANSWER_TOOL
from callgate.providers.json_reading import (
    as_dict,
    as_list,
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
    "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
    "refusal": "content_filter",
    "malformed_model_output": "error",
    "malformed_tool_use": "error",
}
"""Bedrock's words for why an answer ended -> ours; a word that is not here reads as None."""

_REQUEST_ID = "x-amzn-requestid"


def read_answer(data: dict[str, Any], headers: Mapping[str, str], status_code: int = 200) -> Response:
    """The Response that a `ConverseResponse` tells. Its `id` is the request's: Converse gives no other, and
    it names no model.

    Raises:
        ResponseError: when there is no answer in it.
    """
    message = as_dict(data.get("output")).get("message")
    if type(message) is not dict and not data.get("stopReason"):
        raise ResponseError(
            as_text(data.get("message")) or "the answer has no message",
            status_code=status_code,
            response_content=excerpt(write_json(data)),
            headers=headers,
        )
    content = as_list(as_dict(message).get("content"))
    read = _read_content(content)
    raw_reason = as_text_or_none(data.get("stopReason"))
    reason = FINISH_REASONS.get(raw_reason) if raw_reason else None
    if reason == "tool_call" and read.is_answered_by_tool and not read.calls:
        reason = "stop"
    usage = data.get("usage")
    return Response(
        text="".join(read.texts),
        reasoning="".join(read.thoughts) or None,
        tool_calls=read.calls,
        finish_reason=reason,
        raw_finish_reason=raw_reason,
        usage=read_usage(usage) if type(usage) is dict else None,
        id=as_text_or_none(headers.get(_REQUEST_ID)),
        raw=data,
        headers=headers,
        status_code=status_code,
        metadata={} if read.is_translatable else {REPLAY: {"dialect": REPLAY_NAME, "content": content}},
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
        use = block.get("toolUse")
        if type(block.get("text")) is str:
            read.texts.append(block["text"])
        elif type(use) is dict and use.get("type") is None:
            _read_use(use, read)
        else:
            read.is_translatable = False
            reasoning = as_dict(block.get("reasoningContent")).get("reasoningText")
            read.thoughts.append(as_text(as_dict(reasoning).get("text")))
            cited = as_list(as_dict(block.get("citationsContent")).get("content"))
            read.texts += [as_text(as_dict(item).get("text")) for item in cited]
    return read


def _read_use(use: dict[str, Any], read: _Content) -> None:
    if use.get("name") == ANSWER_TOOL:
        read.is_answered_by_tool = True
        read.texts.append(write_json(use.get("input")).decode())
        return
    arguments, unread = read_arguments(use.get("input"))
    read.calls.append(ToolCall(as_text(use.get("toolUseId")), as_text(use.get("name")), arguments, unread))


def read_usage(usage: dict[str, Any]) -> Usage:
    """Tokens in our count: Bedrock's `inputTokens` leaves the cache out, ours has it within.

    >>> read_usage({"inputTokens": 3, "outputTokens": 2, "totalTokens": 15, "cacheReadInputTokens": 10}).input_tokens
    13
    """  # noqa: E501
    read = token_count(usage.get("cacheReadInputTokens"))
    written = token_count(usage.get("cacheWriteInputTokens"))
    return Usage(
        token_count(usage.get("inputTokens")) + read + written,
        token_count(usage.get("outputTokens")),
        cache_read_tokens=read,
        cache_write_tokens=written,
    )
