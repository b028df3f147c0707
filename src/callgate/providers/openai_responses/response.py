"""Reading one answer of the Responses dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callgate.errors import ServerError
from callgate.providers.canonical.errors import no_answer
from callgate.providers.canonical.json import (
    as_dict,
    as_list,
    as_text,
    as_text_or_none,
    read_arguments,
    read_counts,
    token_count,
)
from callgate.providers.canonical.messages import REPLAY
from callgate.providers.canonical.tools import make_call_id
from callgate.providers.openai_chat.errors import error_of_content
from callgate.response import FinishReason, Response, ToolCall, Usage

__all__ = ["REPLAY_NAME", "OutputItems", "call_id", "read_answer"]

REPLAY_NAME = "openai_responses"

_INCOMPLETE: Mapping[str, FinishReason] = {
    "max_output_tokens": "length",
    "max_messages": "length",
    "content_filter": "content_filter",
}


def read_answer(data: dict[str, Any], headers: Mapping[str, str], status_code: int = 200) -> Response:
    status = data.get("status")
    if data.get("error") or data.get("type") == "error":
        raise error_of_content(data, status_code, headers)
    if status == "failed":
        raise ServerError("the response failed without saying why", response_content=data, headers=headers)
    output = data.get("output")
    if type(output) is not list:
        raise no_answer("the answer has no output", data, headers, status_code)
    items = OutputItems(output, data.get("id"))
    reason, raw_reason = _finish_reason(data, items)
    usage = data.get("usage")
    return Response(
        text="".join(items.text),
        reasoning="\n\n".join(items.reasoning) or None,
        tool_calls=items.calls,
        finish_reason=reason,
        raw_finish_reason=raw_reason,
        usage=_read_usage(usage) if type(usage) is dict else None,
        model=as_text_or_none(data.get("model")),
        id=as_text_or_none(data.get("id")),
        raw=data,
        headers=headers,
        status_code=status_code,
        metadata={REPLAY: {"dialect": REPLAY_NAME, "content": output}} if items.must_be_replayed else {},
    )


class OutputItems:
    """The text, reasoning and tool calls in the output of an answer."""

    __slots__ = ("_response_id", "calls", "must_be_replayed", "reasoning", "refused", "text")

    def __init__(self, output: list[Any], response_id: Any = None) -> None:
        self._response_id = response_id
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.calls: list[ToolCall] = []
        self.refused = False
        self.must_be_replayed = False
        for item in output:
            if type(item) is dict:
                self._take(item)

    def _take(self, item: dict[str, Any]) -> None:
        kind = item.get("type")
        if kind == "message":
            for part in as_list(item.get("content")):
                part = as_dict(part)
                if part.get("type") == "refusal":
                    self.refused = True
                    self.text.append(as_text(part.get("refusal")))
                else:
                    self.text.append(as_text(part.get("text")))
        elif kind == "reasoning":
            self.must_be_replayed = True
            said = as_list(item.get("content")) or as_list(item.get("summary"))
            texts = (as_text(as_dict(part).get("text")) for part in said)
            self.reasoning.extend(text for text in texts if text)
        elif kind == "function_call":
            given = item.get("arguments")
            self._take_call(item, given, *read_arguments(given))
        elif kind == "custom_tool_call":
            given = as_text(item.get("input"))
            self._take_call(item, given, {}, given)

    def _take_call(
        self, item: dict[str, Any], given: Any, arguments: dict[str, Any], unread: str | None
    ) -> None:
        name = as_text(item.get("name"))
        identity = call_id(item) or make_call_id(self._response_id, len(self.calls), name, given)
        self.calls.append(ToolCall(identity, name, arguments, unread))


def call_id(item: dict[str, Any]) -> str:
    return as_text(item.get("call_id")) or as_text(item.get("id"))


def _finish_reason(data: dict[str, Any], items: OutputItems) -> tuple[FinishReason | None, str | None]:
    status = as_text_or_none(data.get("status"))
    if status == "incomplete":
        why = as_text_or_none(as_dict(data.get("incomplete_details")).get("reason"))
        return _INCOMPLETE.get(why or ""), why or status
    if status == "cancelled":
        return "error", status
    if status in ("queued", "in_progress"):
        return None, status
    if items.calls:
        return "tool_call", status
    return "content_filter" if items.refused else "stop", status


def _read_usage(usage: dict[str, Any]) -> Usage:
    sums = usage.get("input_tokens"), usage.get("output_tokens")
    (received, written), is_known = read_counts(*sums)
    given = as_dict(usage.get("input_tokens_details"))
    return Usage(
        received,
        written,
        token_count(usage.get("total_tokens")),
        token_count(given.get("cached_tokens")),
        token_count(given.get("cache_write_tokens")),
        token_count(as_dict(usage.get("output_tokens_details")).get("reasoning_tokens")),
        is_known=is_known and None not in sums,
    )
