"""The one request format in Anthropic's words: the body of `POST /v1/messages`.

Amazon and Google carry the same body under other paths, so it is written here once for all three.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from callgate.providers.anthropic.models import DEFAULT_MAX_TOKENS, takes_output_format, thinking_fields
from callgate.providers.canonical.messages import (
    MEANT_FOR_OPENAI,
    Media,
    Part,
    fold_conversation,
    read_max_tokens,
    read_parts,
    read_stop,
    refuse,
    refuse_several_answers,
    refuse_system_media,
    replayed,
)
from callgate.providers.canonical.tools import (
    ANSWER_TOOL,
    AnswerFormat,
    answer_function,
    fit_id,
    read_answer_format,
    read_function,
    read_tool_choice,
    read_tool_uses,
    read_tools,
    result_id,
)
from callgate.schema.strict import strict_schema

__all__ = ["REPLAY_NAME", "content_blocks", "write_body"]

REPLAY_NAME = "anthropic"

_TRANSLATED = frozenset(
    {
        "model", "messages", "prompt", "max_tokens", "max_completion_tokens", "stop", "tools", "tool_choice",
        "parallel_tool_calls", "response_format", "reasoning_effort", "user", "system", "stream", "n",
    }
)  # fmt: skip
_NOT_SAID = MEANT_FOR_OPENAI | {"seed", "frequency_penalty", "presence_penalty", "logprobs", "top_logprobs"}
"""OpenAI's fields that have no counterpart."""

_OWN_BLOCKS = frozenset(
    {
        "image", "document", "search_result", "tool_use", "tool_result", "thinking", "redacted_thinking",
        "container_upload", "tool_reference", "fallback", "compaction",
    }
)  # fmt: skip


def write_body(request: Mapping[str, Any], model: str, *, holds_to_schema: bool = True) -> dict[str, Any]:
    """The body, without what differs between hosts: `model`, `stream`, `anthropic_version`.

    Args:
        request: The one request format.
        model: Its name, which tells what it can.
        holds_to_schema: Whether the host holds answers and tool calls to a JSON schema, for models that can.

    Raises:
        InvalidRequestError: when something in the request cannot be said.
    """
    refuse_several_answers(request)
    system, messages = _conversation(request)
    thinking, max_tokens = thinking_fields(model, request.get("reasoning_effort"), read_max_tokens(request))
    body: dict[str, Any] = {
        "max_tokens": DEFAULT_MAX_TOKENS if max_tokens is None else max_tokens,
        "messages": messages,
    }
    if system:
        body["system"] = system
    body |= {
        name: value
        for name, value in request.items()
        if name not in _TRANSLATED and name not in _NOT_SAID and value is not None
    }
    _merge(body, thinking)
    stop = read_stop(request)
    if stop:
        body["stop_sequences"] = stop
    if request.get("user") is not None and "metadata" not in body:
        body["metadata"] = {"user_id": request["user"]}
    strict = holds_to_schema and takes_output_format(model)
    _write_tools(body, request, strict)
    wanted = read_answer_format(request.get("response_format"))
    if wanted is not None:
        _write_answer_format(body, wanted, strict)
    return body


def _merge(body: dict[str, Any], fields: Mapping[str, Any]) -> None:
    """Add what was translated; the caller's own words for the same thing go before ours."""
    for name, value in fields.items():
        held = body.get(name)
        if held is None:
            body[name] = value
        elif isinstance(held, Mapping):
            body[name] = {**value, **held} if name == "output_config" else held


# -- the conversation ------------------------------------------------------------------------------------


def _conversation(request: Mapping[str, Any]) -> tuple[Any, list[dict[str, Any]]]:
    """The system prompt (text where it can be) and the messages."""
    system, turns = fold_conversation(
        request,
        system=_system_blocks,
        user=content_blocks,
        assistant=_assistant_blocks,
        tool=lambda message: [_tool_result(message)],
    )
    messages = [{"role": role, "content": _plain_if_only_text(blocks)} for role, blocks in turns]
    if all(block.keys() == {"type", "text"} for block in system):
        return "\n\n".join(block["text"] for block in system), messages
    return system, messages


def _plain_if_only_text(blocks: list[dict[str, Any]]) -> Any:
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        return blocks[0]["text"]
    return blocks


def _system_blocks(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    blocks = content_blocks(message)
    if any(block["type"] != "text" for block in blocks):
        raise refuse_system_media()
    return blocks


def _assistant_blocks(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    kept = replayed(message, REPLAY_NAME)
    if kept is not None:
        return kept
    blocks = content_blocks(message)
    for use in read_tool_uses(message):
        blocks.append({"type": "tool_use", "id": fit_id(use.id), "name": use.name, "input": use.arguments})
    return blocks


def _tool_result(message: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {"type": "tool_result", "tool_use_id": fit_id(result_id(message))}
    content = _plain_if_only_text(content_blocks(message))
    if content:
        result["content"] = content
    for name in ("is_error", "cache_control"):
        if message.get(name) is not None:
            result[name] = message[name]
    return result


def content_blocks(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A message's content as blocks.

    Raises:
        InvalidRequestError: when a part of it cannot be said.
    """
    return [_block(part, whole) for part, whole in read_parts(message.get("content"))]


def _block(part: Part, whole: Mapping[str, Any]) -> dict[str, Any]:
    if type(part) is str:
        block: dict[str, Any] = {"type": "text", "text": part}
    elif isinstance(part, Media):
        block = _media_block(part)
    else:
        kind = str(whole.get("type"))
        if kind == "refusal":
            return {"type": "text", "text": str(whole.get("refusal"))}
        if kind not in _OWN_BLOCKS and not kind.endswith(("_tool_use", "_tool_result")):
            raise refuse(f"a part of type {kind!r} cannot be said to this provider")
        return dict(whole)
    if "cache_control" in whole:
        block["cache_control"] = whole["cache_control"]
    return block


def _media_block(media: Media) -> dict[str, Any]:
    if media.kind == "audio":
        raise refuse("this provider takes no sound; leave parts of type input_audio out")
    block = "image" if media.kind == "image" or (media.media_type or "").startswith("image/") else "document"
    if media.file_id:
        return {"type": block, "source": {"type": "file", "file_id": media.file_id}}
    if media.url:
        return {"type": block, "source": {"type": "url", "url": media.url}}
    data, media_type = media.data or "", media.media_type
    source: dict[str, Any] = {"type": "base64", "media_type": media_type, "data": data}
    if block == "document":
        if (media_type or "").startswith("text/"):
            source = {"type": "text", "media_type": "text/plain", "data": _plain_text(data)}
        else:
            source["media_type"] = media_type or "application/pdf"
    elif media_type is None:
        raise refuse("a picture as a data URL must name its type: data:image/png;base64,...")
    written = {"type": block, "source": source}
    if block == "document" and media.name:
        written["title"] = media.name
    return written


def _plain_text(data: str) -> str:
    try:
        return base64.b64decode(data).decode("utf-8", "replace")
    except ValueError:
        raise refuse("the data of a part of type file is no base64") from None


# -- tools and the form of the answer --------------------------------------------------------------------


def _write_tools(body: dict[str, Any], request: Mapping[str, Any], strict: bool) -> None:
    tools = read_tools(request)
    if not tools:
        return
    body["tools"] = [_tool(tool, strict) for tool in tools]
    given = request.get("tool_choice")
    choice = read_tool_choice(given)
    written: dict[str, Any] | None
    if choice is None:
        written = dict(given) if isinstance(given, Mapping) else None
    elif choice.mode == "named":
        written = {"type": "tool", "name": choice.name}
    else:
        written = {"type": "any" if choice.mode == "required" else choice.mode}
    if request.get("parallel_tool_calls") is False:
        written = written or {"type": "auto"}
        if written["type"] != "none":
            written["disable_parallel_tool_use"] = True
    if written is not None:
        body["tool_choice"] = written


def _tool(tool: Any, strict: bool) -> dict[str, Any]:
    function = read_function(tool)
    if function is None:
        return dict(tool)
    written: dict[str, Any] = {"name": function.name}
    if function.description:
        written["description"] = function.description
    written["input_schema"] = function.parameters
    if function.strict and strict:
        closed = strict_schema(function.parameters)
        if closed is not None:
            written |= {"input_schema": closed, "strict": True}
    if "cache_control" in tool:
        written["cache_control"] = tool["cache_control"]
    return written


def _write_answer_format(body: dict[str, Any], wanted: AnswerFormat, strict: bool) -> None:
    """Hold the answer to a schema: by the provider where it can, else as the input of a forced tool.

    The tool is for older models, for schemas that constrained decoding cannot express, and for "any JSON
    object". While a model thinks it must not be forced, so it is then only told.
    """
    closed = strict_schema(wanted.schema) if strict and wanted.schema is not None else None
    if closed is not None:
        held = body.get("output_config")
        output_config = dict(held) if isinstance(held, Mapping) else {}
        body["output_config"] = {"format": {"type": "json_schema", "schema": closed}, **output_config}
        return
    function = answer_function(wanted)
    tool = {
        "name": function.name,
        "description": function.description,
        "input_schema": function.parameters,
    }
    offered = body.get("tools") or []
    body["tools"] = [*offered, tool]
    chosen = body.get("tool_choice", {}).get("type", "auto")
    thinking = body.get("thinking")
    if isinstance(thinking, Mapping) and thinking.get("type") != "disabled":
        body["tool_choice"] = {"type": "auto"}
    elif not offered or chosen == "none":
        body["tool_choice"] = {"type": "tool", "name": ANSWER_TOOL}
    elif chosen == "auto":
        body["tool_choice"] = {"type": "any"}
