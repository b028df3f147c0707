"""Reading one message in Anthropic's format, from any host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callgate.providers.anthropic.content import REPLAY_NAME
from callgate.providers.anthropic.errors import error_of_content
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

__all__ = ["FINISH_REASONS", "read_answer", "read_usage"]

FINISH_REASONS: Mapping[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_call",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    # The turn was paused while tools of the provider ran; like a cut text it can be continued.
    "pause_turn": "length",
    "refusal": "content_filter",
}
"""Anthropic's stop reason -> the canonical one; any other reads as None."""


def read_answer(data: dict[str, Any], headers: Mapping[str, str], status_code: int = 200) -> Response:
    """Read a `message` object.

    Raises:
        APIClientError: It is an error after all.
        ResponseError: There is no answer in it.
    """
    if data.get("type") == "error" or (data.get("error") and "content" not in data):
        raise error_of_content(data, None, headers)
    content = data.get("content")
    if type(content) is not list:
        if content is not None or "stop_reason" not in data:
            raise no_answer("the answer has no content", data, headers, status_code)
        content = []
    raw_reason = as_text_or_none(data.get("stop_reason"))
    usage = data.get("usage")
    response = _read_content(content, data.get("id")).response(
        data,
        headers,
        status_code,
        finish_reason=FINISH_REASONS.get(raw_reason or ""),
        raw_finish_reason=raw_reason,
        replayed_by=(REPLAY_NAME, content),
        usage=read_usage(usage) if type(usage) is dict else None,
        model=as_text_or_none(data.get("model")),
        id=as_text_or_none(data.get("id")),
    )
    if data.get("stop_sequence"):
        response.metadata["stop_sequence"] = data["stop_sequence"]
    return response


def _read_content(content: list[Any], response_id: Any) -> AnswerContent:
    read = AnswerContent(response_id=response_id)
    for block in content:
        if type(block) is not dict:
            continue
        kind = block.get("type")
        if kind == "text":
            read.texts.append(as_text(block.get("text")))
        elif kind == "tool_use":
            read.take_use(as_text(block.get("id")), as_text(block.get("name")), block.get("input"))
        else:
            read.is_translatable = False
            if kind == "thinking":
                read.thoughts.append(as_text(block.get("thinking")))
    return read


def read_usage(usage: dict[str, Any]) -> Usage:
    """The canonical count, whose input includes the cache; Anthropic's `input_tokens` excludes it, and its
    sums exclude compactions.

    >>> read_usage({"input_tokens": 3, "cache_read_input_tokens": 10, "output_tokens": 2}).input_tokens
    13
    """
    names = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    counts = [usage.get(name) for name in names]
    (given, said, read, written), is_known = read_counts(*counts)
    whole = Usage(
        given + read + written,
        said,
        cache_read_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=token_count(as_dict(usage.get("output_tokens_details")).get("thinking_tokens")),
        cache_write_1h_tokens=token_count(
            as_dict(usage.get("cache_creation")).get("ephemeral_1h_input_tokens")
        ),
        is_known=is_known and None not in counts[:2],
    )
    for step in as_list(usage.get("iterations")):
        if as_dict(step).get("type") == "compaction":
            whole += read_usage(step)
    return whole
