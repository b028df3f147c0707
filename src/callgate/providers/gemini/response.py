"""Reading one answer of Gemini's."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping
from typing import Any

from callgate.providers.canonical.content import AnswerContent
from callgate.providers.canonical.errors import no_answer
from callgate.providers.canonical.json import (
    as_dict,
    as_list,
    as_text,
    as_text_or_none,
    read_arguments,
    read_counts,
    token_count,
    write_json,
)
from callgate.providers.gemini.content import OUR_ID, REPLAY_NAME
from callgate.providers.gemini.errors import error_of_content
from callgate.response import FinishReason, Response, ToolCall, Usage

__all__ = ["FINISH_REASONS", "is_blocked", "read_answer", "read_call", "read_usage"]

FINISH_REASONS: Mapping[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    **dict.fromkeys(
        (
            "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR", "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION",
        ),
        "content_filter",
    ),
    **dict.fromkeys(
        (
            "LANGUAGE", "OTHER", "MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL",
            "TOO_MANY_TOOL_CALLS", "MISSING_THOUGHT_SIGNATURE", "NO_IMAGE", "IMAGE_OTHER",
        ),
        "error",
    ),
}  # fmt: skip
"""Google's finish reason -> the canonical one; any other reads as None."""


def read_answer(data: dict[str, Any], headers: Mapping[str, str], status_code: int = 200) -> Response:
    """Read a `GenerateContentResponse`; of several candidates the first.

    A blocked prompt has no candidate. That is an answer too, with the finish reason "content_filter" and the
    tokens that it cost, as when the model's own words are withheld.

    Raises:
        APIClientError: It is an error after all.
        ResponseError: There is no answer in it.
    """
    if data.get("error"):
        raise error_of_content(data, None, headers)
    candidates = as_list(data.get("candidates"))
    candidate = as_dict(candidates[0] if candidates else None)
    blocked = is_blocked(data)
    if not candidate and not blocked:
        raise no_answer("the answer has no candidates", data, headers, status_code)
    parts = as_list(as_dict(candidate.get("content")).get("parts"))
    raw_reason = as_text_or_none(candidate.get("finishReason"))
    reason = FINISH_REASONS.get(raw_reason or "")
    if blocked and not candidate:
        reason = "content_filter"
        raw_reason = as_text_or_none(as_dict(data.get("promptFeedback")).get("blockReason"))
    usage = data.get("usageMetadata")
    return _read_parts(parts, data.get("responseId")).response(
        data,
        headers,
        status_code,
        finish_reason=reason,
        raw_finish_reason=raw_reason,
        replayed_by=(REPLAY_NAME, parts),
        usage=read_usage(usage) if type(usage) is dict else None,
        model=as_text_or_none(data.get("modelVersion")),
        id=as_text_or_none(data.get("responseId")),
    )


def _read_parts(parts: list[Any], response_id: Any) -> AnswerContent:
    read = AnswerContent()
    for part in parts:
        if type(part) is not dict:
            continue
        text = part.get("text")
        if type(text) is str:
            (read.thoughts if part.get("thought") is True else read.texts).append(text)
        elif type(part.get("functionCall")) is dict:
            taken = {call.id for call in read.calls}
            call = read_call(part["functionCall"], response_id, len(read.calls), taken)
            read.take_call(call)
        else:
            read.is_translatable = False
        if part.get("thoughtSignature"):
            read.is_translatable = False
    return read


def is_blocked(data: dict[str, Any]) -> bool:
    """True when the prompt was refused: no candidate will follow."""
    return bool(as_dict(data.get("promptFeedback")).get("blockReason"))


def read_call(
    call: dict[str, Any], response_id: Any, number: int, taken_ids: Collection[str] = ()
) -> ToolCall:
    """One function call. Most come without an id, or with that of another call; then it is made of the
    answer's id, so that the same answer always has the same, and two answers of one conversation have
    different ones."""
    arguments, unread = read_arguments(call.get("args"))
    name = as_text(call.get("name"))
    identity = as_text(call.get("id"))
    if not identity or identity in taken_ids:
        of_answer = as_text(response_id)[:32] or f"{zlib.crc32(write_json([name, arguments])):08x}"
        identity = f"{OUR_ID}{of_answer}-{number}"
    return ToolCall(identity, name, arguments, unread)


def read_usage(usage: dict[str, Any]) -> Usage:
    """The canonical count. Google counts thoughts beside the candidates, and the results of its own tools
    beside the prompt.

    >>> read_usage({"promptTokenCount": 3, "candidatesTokenCount": 2, "thoughtsTokenCount": 4}).output_tokens
    6
    """
    prompt = usage.get("promptTokenCount")
    names = ("candidatesTokenCount", "thoughtsTokenCount", "toolUsePromptTokenCount")
    (given, written, thoughts, used), is_known = read_counts(prompt, *map(usage.get, names))
    return Usage(
        given + used,
        written + thoughts,
        token_count(usage.get("totalTokenCount")),
        cache_read_tokens=token_count(usage.get("cachedContentTokenCount")),
        reasoning_tokens=thoughts,
        input_audio_tokens=_count_of("AUDIO", usage.get("promptTokensDetails")),
        output_audio_tokens=_count_of("AUDIO", usage.get("candidatesTokensDetails")),
        output_image_tokens=_count_of("IMAGE", usage.get("candidatesTokensDetails")),
        is_known=is_known and prompt is not None,
    )


def _count_of(modality: str, details: Any) -> int:
    """The tokens of a modality among the counts by modality."""
    counts = [one for one in as_list(details) if type(one) is dict and one.get("modality") == modality]
    return sum(token_count(one.get("tokenCount")) for one in counts)
