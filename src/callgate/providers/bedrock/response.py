"""Reading one answer of Bedrock's `Converse`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callgate.providers.bedrock.content import REPLAY_NAME
from callgate.providers.canonical.content import AnswerContent
from callgate.providers.canonical.errors import no_answer
from callgate.providers.canonical.json import (
    as_dict,
    as_list,
    as_text,
    as_text_or_none,
    read_counts,
    token_count,
)
from callgate.response import FinishReason, Response, Usage

__all__ = ["FINISH_REASONS", "is_server_tool", "read_answer", "read_usage", "request_id"]

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
"""Bedrock's stop reason -> the canonical one; any other reads as None."""


def read_answer(data: dict[str, Any], headers: Mapping[str, str], status_code: int = 200) -> Response:
    """Read a `ConverseResponse`. Its `id` is that of the HTTP request, and it names no model.

    Raises:
        ResponseError: There is no answer in it.
    """
    message = as_dict(data.get("output")).get("message")
    if type(message) is not dict and not data.get("stopReason"):
        what = as_text(data.get("message")) or "the answer has no message"
        raise no_answer(what, data, headers, status_code)
    content = as_list(as_dict(message).get("content"))
    raw_reason = as_text_or_none(data.get("stopReason"))
    usage = data.get("usage")
    identity = request_id(headers)
    return _read_content(content, identity).response(
        data,
        headers,
        status_code,
        finish_reason=FINISH_REASONS.get(raw_reason or ""),
        raw_finish_reason=raw_reason,
        replayed_by=(REPLAY_NAME, content),
        usage=read_usage(usage) if type(usage) is dict else None,
        id=identity,
    )


def request_id(headers: Mapping[str, str]) -> str | None:
    """The id of the HTTP request, which stands for an id of the answer."""
    return as_text_or_none(headers.get("x-amzn-requestid"))


def _read_content(content: list[Any], response_id: str | None) -> AnswerContent:
    read = AnswerContent(response_id=response_id)
    for block in content:
        if type(block) is not dict:
            continue
        use = block.get("toolUse")
        if type(block.get("text")) is str:
            read.texts.append(block["text"])
        elif type(use) is dict and not is_server_tool(use):
            read.take_use(as_text(use.get("toolUseId")), as_text(use.get("name")), use.get("input"))
        else:
            read.is_translatable = False
            reasoning = as_dict(block.get("reasoningContent")).get("reasoningText")
            read.thoughts.append(as_text(as_dict(reasoning).get("text")))
            cited = as_list(as_dict(block.get("citationsContent")).get("content"))
            read.texts += [as_text(as_dict(item).get("text")) for item in cited]
    return read


def is_server_tool(use: dict[str, Any]) -> bool:
    """True for a call that Bedrock itself runs; the caller's tools have the type "tool_use" or none.

    >>> is_server_tool({"type": "server_tool_use"}), is_server_tool({"type": "tool_use"}), is_server_tool({})
    (True, False, False)
    """
    return as_text(use.get("type")).endswith("server_tool_use")


def read_usage(usage: dict[str, Any]) -> Usage:
    """The canonical count, whose input includes the cache; Bedrock's `inputTokens` excludes it.

    >>> read_usage({"inputTokens": 3, "outputTokens": 2, "totalTokens": 15, "cacheReadInputTokens": 10}).input_tokens
    13
    """  # noqa: E501
    names = ("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheWriteInputTokens")
    counts = [usage.get(name) for name in names]
    (given, said, read, written), is_known = read_counts(*counts)
    kept = [as_dict(detail) for detail in as_list(usage.get("cacheDetails"))]
    return Usage(
        given + read + written,
        said,
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=sum(
            token_count(detail.get("inputTokens")) for detail in kept if detail.get("ttl") == "1h"
        ),
        is_known=is_known and None not in counts[:2],
    )
