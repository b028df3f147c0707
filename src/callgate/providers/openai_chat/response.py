"""Reading one answer of OpenAI's chat dialect, from any host.

No two hosts speak quite alike: reasoning comes as `reasoning_content`, as `reasoning`, in
`reasoning_details` or inside a list of content; tool calls lack an id or their JSON; the cache stands in
four places of the usage. All of it is read without regard to the host.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callgate.providers.canonical.json import (
    as_dict,
    as_list,
    as_objects,
    as_text,
    as_text_or_none,
    read_arguments,
    read_counts,
    token_count,
    write_json,
)
from callgate.providers.canonical.tools import ANSWER_TOOL, make_call_id
from callgate.providers.openai_chat.errors import error_of_content, error_without_choices
from callgate.providers.openai_chat.thoughts import read_replay
from callgate.response import FinishReason, Response, ToolCall, Usage

__all__ = [
    "FINISH_REASONS",
    "function_of",
    "read_answer",
    "read_content",
    "read_other_usage",
    "read_reasoning_details",
    "read_usage",
]

FINISH_REASONS: Mapping[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "complete": "stop",
    "completed": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "max_output_tokens": "length",
    "max_length": "length",
    "context_length_exceeded": "length",
    "model_context_window_exceeded": "length",
    "tool_calls": "tool_call",
    "tool_use": "tool_call",
    "function_call": "tool_call",
    "content_filter": "content_filter",
    "safety": "content_filter",
    "refusal": "content_filter",
    "sensitive": "content_filter",
    "recitation": "content_filter",
    "blocklist": "content_filter",
    "prohibited_content": "content_filter",
    "error": "error",
    "abort": "error",
    "network_error": "error",
    "malformed_function_call": "error",
    "insufficient_system_resource": "error",
}
"""The hosts' words for why an answer ended -> ours; a word that is not here reads as None."""


_SUMS = frozenset({"prompt_tokens", "completion_tokens", "total_tokens"})


def read_answer(
    data: dict[str, Any], headers: Mapping[str, str], status_code: int = 200, provider: str = ""
) -> Response:
    """The Response that a `chat.completion` or `text_completion` object holds.

    Args:
        data: The object.
        headers, status_code: Of the answer.
        provider: Of the host; reasoning goes back to the same one whole.

    Raises:
        APIClientError: when it is an error after all.
        ResponseError: when there is no answer in it.
    """
    if data.get("error"):
        raise error_of_content(data, status_code, headers)
    choices = data.get("choices")
    choice = choices[0] if type(choices) is list and choices else choices
    if type(choice) is not dict:
        return _without_choices(data, headers, status_code)
    if choice.get("error"):
        raise error_of_content(choice, status_code, headers)

    raw_reason = choice.get("finish_reason")
    if type(raw_reason) is not str:
        raw_reason = None
    usage, model, identity = data.get("usage"), data.get("model"), data.get("id")
    response = Response(
        finish_reason=FINISH_REASONS.get(raw_reason.lower()) if raw_reason else None,
        raw_finish_reason=raw_reason,
        usage=read_usage(usage) if type(usage) is dict else None,
        model=model if model and type(model) is str else None,
        id=identity if identity and type(identity) is str else None,
        raw=data,
        headers=headers,
        status_code=status_code,
    )
    message = choice.get("message")
    if type(message) is not dict:
        response.text = as_text(choice.get("text"))
    elif len(message) == 2 and "role" in message and type(message.get("content")) is str:
        response.text = message["content"]  # as most are, and the path of every call leads through here
    else:
        _read_message(response, message, provider)
    response.data = response.text
    return response


def _read_message(response: Response, message: dict[str, Any], provider: str) -> None:
    """Read a message that may hold more than a role and a text."""
    content = message.get("content")
    text = content if type(content) is str else ""
    reasoning = as_text_or_none(message.get("reasoning_content")) or as_text_or_none(message.get("reasoning"))
    if not text:
        text, reasoning = _read_unusual(message, reasoning)
    if reasoning is None and message.get("reasoning_details"):
        reasoning = read_reasoning_details(message["reasoning_details"]) or None
    reason = response.finish_reason
    if message.get("tool_calls") or message.get("function_call"):
        calls = _tool_calls(message, response.raw.get("id"))
        if any(call.name == ANSWER_TOOL for call in calls):
            # The answer came as the input of a tool, because the host takes no schema beside tools.
            text += _answer_text(message)
            calls = [call for call in calls if call.name != ANSWER_TOOL]
            reason = "stop" if reason == "tool_call" and not calls else reason
        if calls and reason in ("stop", None):
            # A call that was forced by name, and some hosts' every call, ends with "stop".
            reason = "tool_call"
        response.tool_calls = calls
    if message.get("refusal") and reason == "stop":
        reason = "content_filter"
    response.text, response.reasoning, response.finish_reason = text, reasoning, reason
    if len(message) > 2:
        response.metadata = read_replay(message, provider)


def read_usage(usage: dict[str, Any]) -> Usage:
    """Tokens as every host counts them: the cache within the input, the reasoning within the output.

    >>> read_usage({"prompt_tokens": 3, "completion_tokens": 2}).total_tokens
    5
    """
    prompt, completion = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    prompt = prompt if type(prompt) is dict else {}
    completion = completion if type(completion) is dict else {}
    (given, written, total, reasoning), is_known = read_counts(
        prompt_tokens := usage.get("prompt_tokens"),
        completion_tokens := usage.get("completion_tokens"),
        usage.get("total_tokens"),
        completion.get("reasoning_tokens") or usage.get("reasoning_tokens"),
    )
    # An embedding has no completion: its sum shows that nothing was written.
    if prompt_tokens is None or (completion_tokens is None and (total != given or not given)):
        is_known = False
    if usage.keys() <= _SUMS:
        return Usage(given, written, total, is_known=is_known)
    if reasoning and total == given + written + reasoning:
        # xAI and Vertex count reasoning beside the completion, OpenAI within it; their sums tell.
        written += reasoning
    cache_read = (
        prompt.get("cached_tokens")
        or usage.get("prompt_cache_hit_tokens")
        or usage.get("cached_tokens")
        or usage.get("num_cached_tokens")
    )
    cache_write = prompt.get("cache_write_tokens") or prompt.get("cache_creation_tokens")
    audio = prompt.get("audio_tokens"), completion.get("audio_tokens")
    return Usage(
        given,
        written,
        total,
        token_count(cache_read) if cache_read else 0,
        token_count(cache_write) if cache_write else 0,
        reasoning,
        token_count(audio[0]) if audio[0] else 0,
        token_count(audio[1]) if audio[1] else 0,
        is_known=is_known,
    )


def read_content(content: Any) -> tuple[str, str]:
    """Text and reasoning of a content that is a text, a list of parts, or nothing."""
    if type(content) is str:
        return content, ""
    text: list[str] = []
    reasoning: list[str] = []
    for part in [content] if type(content) is dict else as_list(content):
        if type(part) is str:
            text.append(part)
            continue
        part = as_dict(part)
        if part.get("type") == "thinking":
            thinking = part.get("thinking")
            reasoning.append(read_content(thinking)[0])
        elif type(part.get("text")) is str:
            text.append(part["text"])
    return "".join(text), "".join(reasoning)


def read_reasoning_details(details: Any) -> str:
    """The readable reasoning in `reasoning_details`: texts and summaries, not what is encrypted."""
    pieces = [as_dict(item) for item in as_list(details)]
    return "".join(as_text(piece.get("text")) or as_text(piece.get("summary")) for piece in pieces)


def _read_unusual(message: dict[str, Any], reasoning: str | None) -> tuple[str, str | None]:
    """Text and reasoning of a message whose content is no text."""
    text, thinking = read_content(message.get("content"))
    if not text:
        text = as_text(message.get("refusal")) or as_text(as_dict(message.get("audio")).get("transcript"))
    return text, reasoning or thinking or None


def _answer_text(message: dict[str, Any]) -> str:
    functions = [function_of(call) for call in as_objects(message.get("tool_calls"))]
    given = [function.get("arguments") for function in functions if function.get("name") == ANSWER_TOOL]
    return "".join(text if type(text) is str else write_json(text).decode() for text in given)


def function_of(call: dict[str, Any]) -> dict[str, Any]:
    """What holds the name and the arguments of a call; Cloudflare's models have both beside the id.

    >>> function_of({"function": {"name": "f"}}), function_of({"name": "f"})
    ({'name': 'f'}, {'name': 'f'})
    """
    function = call.get("function")
    return function if type(function) is dict else call


def _tool_calls(message: dict[str, Any], response_id: Any) -> list[ToolCall]:
    calls = as_objects(message.get("tool_calls"))
    legacy = message.get("function_call")
    if not calls and type(legacy) is dict:
        calls = [{"function": legacy}]
    read: list[ToolCall] = []
    for number, call in enumerate(calls):
        custom = call.get("custom")
        if type(custom) is dict:
            # A custom tool takes free text, not JSON.
            name, given = as_text(custom.get("name")), custom.get("input")
            arguments: dict[str, Any] = {}
            unread: str | None = as_text(given)
        else:
            function = function_of(call)
            name, given = as_text(function.get("name")), function.get("arguments")
            arguments, unread = read_arguments(given)
        identity = as_text(call.get("id"))
        if not identity or any(identity == other.id for other in read):
            identity = make_call_id(response_id, number, name, given)
        read.append(ToolCall(identity, name, arguments, unread))
    return read


# Fields that hold the answer of endpoints other than those for text.
_ANSWERS = frozenset({"data", "results", "embeddings", "embedding", "answers", "text", "models", "images"})


def _without_choices(data: dict[str, Any], headers: Mapping[str, str], status_code: int) -> Response:
    """The answer of another endpoint (embeddings, images, moderations, rerank, transcriptions) as data."""
    kind = as_text(data.get("object"))
    if kind == "error":
        raise error_of_content(data, status_code, headers)
    is_chat = "choices" in data or kind.startswith(("chat.completion", "text_completion"))
    if is_chat or not (kind or _ANSWERS & data.keys()):
        raise error_without_choices(data, headers, status_code)
    return Response(
        text=as_text(data.get("text")),
        data=data,
        usage=read_other_usage(data),
        model=as_text_or_none(data.get("model")),
        id=as_text_or_none(data.get("id")),
        raw=data,
        headers=headers,
        status_code=status_code,
    )


def read_other_usage(data: dict[str, Any]) -> Usage | None:
    """The tokens of an answer without choices; None when it counts none.

    >>> read_other_usage({"data": [], "usage": {"total_tokens": 7}}).input_tokens
    7
    """
    usage = as_dict(data.get("usage"))
    billed = as_dict(as_dict(data.get("meta")).get("billed_units"))
    given = usage.get("input_tokens", billed.get("input_tokens"))
    if given is not None:
        written = usage.get("output_tokens", billed.get("output_tokens"))
        images = as_dict(usage.get("output_tokens_details")).get("image_tokens")
        return Usage(token_count(given), token_count(written), output_image_tokens=token_count(images))
    if not usage:
        return None
    if "prompt_tokens" in usage:
        return read_usage(usage)
    total = token_count(usage.get("total_tokens"))
    return Usage(total, 0, total) if total else None
