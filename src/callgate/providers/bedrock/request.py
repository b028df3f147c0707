"""The one request format in Bedrock's words: the body of `Converse`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from callgate.errors import ResponseError
from callgate.providers.anthropic.models import is_claude, takes_output_format, thinking_fields
from callgate.providers.canonical.conversation import fold_conversation
from callgate.providers.canonical.json import read_json, write_json
from callgate.providers.canonical.messages import (
    MEANT_FOR_OPENAI,
    Media,
    Part,
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
    Function,
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

__all__ = ["REPLAY_NAME", "write_body"]

REPLAY_NAME = "bedrock"

_OWN_FIELDS = frozenset(
    {
        "additionalModelRequestFields", "additionalModelResponseFieldPaths", "guardrailConfig",
        "inferenceConfig", "outputConfig", "performanceConfig", "promptVariables", "requestMetadata",
        "serviceTier", "toolConfig",
    }
)  # fmt: skip
_TRANSLATED = frozenset(
    {
        "model", "messages", "prompt", "max_tokens", "max_completion_tokens", "stop", "temperature", "top_p",
        "tools", "tool_choice", "response_format", "reasoning_effort", "stream", "system", "n",
    }
)  # fmt: skip
_NOT_SAID = MEANT_FOR_OPENAI | {
    "seed", "frequency_penalty", "presence_penalty", "logprobs", "top_logprobs", "parallel_tool_calls",
    "user", "metadata", "service_tier",
}  # fmt: skip
"""OpenAI's fields without a counterpart in Converse."""

# Families that Bedrock cannot hold to a schema; of Claude, the models before 4.5.
_UNHELD = ("amazon.", "meta.", "cohere.", "ai21.", "writer.", "stability.", "luma.")
_PROFILE = re.compile(r"^(?:us|eu|apac|jp|au|ca|global|us-gov)\.")
_IMAGE_FORMATS = {"jpg": "jpeg", "jpeg": "jpeg", "png": "png", "gif": "gif", "webp": "webp"}
_DOCUMENT_FORMATS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
}
_UNFIT_FOR_NAME = re.compile(r"[^a-zA-Z0-9 ()\[\]-]+|(?<=\s)\s+")


def write_body(request: Mapping[str, Any], model: str) -> dict[str, Any]:
    """The body; the model is named in the path.

    Raises:
        InvalidRequestError: when something in the request cannot be said.
    """
    refuse_several_answers(request)
    system, messages = _conversation(request)
    body: dict[str, Any] = {"messages": messages}
    if system:
        body["system"] = system
    additional: dict[str, Any] = {}
    for name, value in request.items():
        if value is None or name in _TRANSLATED or name in _NOT_SAID:
            continue
        if name in _OWN_FIELDS:
            body[name] = value
        else:
            additional[name] = value  # the model's own parameters: top_k and the like
    effort_fields, max_tokens = _effort(request, model)
    inference = {
        "maxTokens": max_tokens,
        "temperature": request.get("temperature"),
        "topP": request.get("top_p"),
        "stopSequences": read_stop(request) or None,
    }
    inference = {name: value for name, value in inference.items() if value is not None}
    if inference:
        body["inferenceConfig"] = {**inference, **(body.get("inferenceConfig") or {})}
    additional = {**effort_fields, **additional, **(body.get("additionalModelRequestFields") or {})}
    if additional:
        body["additionalModelRequestFields"] = additional
    _write_tools(body, request)
    wanted = read_answer_format(request.get("response_format"))
    if wanted is not None:
        _write_answer_format(body, wanted, model)
    return body


def _family(model: str) -> str:
    """The model's id from its maker on: without a region's prefix, or the ARN before it."""
    return _PROFILE.sub("", model.rpartition("/")[2].lower())


def _effort(request: Mapping[str, Any], model: str) -> tuple[dict[str, Any], int | None]:
    effort, max_tokens = request.get("reasoning_effort"), read_max_tokens(request)
    if is_claude(model):
        return thinking_fields(model, effort, max_tokens)
    if effort is None:
        return {}, max_tokens
    if _family(model).startswith("amazon."):
        if effort == "none":
            return {"reasoningConfig": {"type": "disabled"}}, max_tokens
        return {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": effort}}, max_tokens
    return {"reasoning_effort": effort}, max_tokens


# -- the conversation ------------------------------------------------------------------------------------


def _conversation(request: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The system blocks and the messages."""
    system, turns = fold_conversation(
        request,
        system=_system_blocks,
        user=_blocks,
        assistant=_assistant_blocks,
        tool=lambda message: [_tool_result(message)],
    )
    return system, [{"role": role, "content": blocks} for role, blocks in turns]


def _system_blocks(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    blocks = _blocks(message)
    if any(not block.keys() <= {"text", "cachePoint", "guardContent"} for block in blocks):
        raise refuse_system_media()
    return blocks


def _assistant_blocks(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    kept = replayed(message, REPLAY_NAME)
    if kept is not None:
        return kept
    blocks = _blocks(message)
    for use in read_tool_uses(message):
        blocks.append({"toolUse": {"toolUseId": fit_id(use.id), "name": use.name, "input": use.arguments}})
    return blocks


def _tool_result(message: Mapping[str, Any]) -> dict[str, Any]:
    blocks = [_result_block(block) for block in _blocks(message)]
    # Content is required, and empty text refused.
    result: dict[str, Any] = {
        "toolUseId": fit_id(result_id(message)),
        "content": blocks or [{"text": "(nothing)"}],
    }
    if message.get("is_error"):
        result["status"] = "error"
    return {"toolResult": result}


def _result_block(block: dict[str, Any]) -> dict[str, Any]:
    text = block.get("text")
    if type(text) is str and text[:1] == "{":
        try:
            value = read_json(text)
        except ResponseError:
            return block
        if type(value) is dict:
            return {"json": value}
    return block


def _blocks(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [_block(part, whole) for part, whole in read_parts(message.get("content"))]


def _block(part: Part, whole: Mapping[str, Any]) -> dict[str, Any]:
    if type(part) is str:
        return {"text": part}
    if isinstance(part, Media):
        return _image(part) if part.kind == "image" else _document(part)
    if whole.get("type") == "refusal":
        return {"text": str(whole.get("refusal"))}
    if "type" in whole:
        raise refuse(f"a part of type {whole['type']!r} cannot be said to this provider")
    return dict(whole)  # Bedrock's own blocks have no type: {"cachePoint": ...}


def _image(media: Media) -> dict[str, Any]:
    kind = (media.media_type or "").removeprefix("image/") or (media.url or "").rpartition(".")[2]
    image_format = _IMAGE_FORMATS.get(kind.lower())
    if image_format is None:
        raise refuse("a picture for this provider is png, jpeg, gif or webp, and says which")
    return {"image": {"format": image_format, "source": _source(media, "a picture")}}


def _document(media: Media) -> dict[str, Any]:
    name = media.name or (media.url or "").rpartition("/")[2] or "document"
    stem, _, ending = name.rpartition(".")
    kind = _DOCUMENT_FORMATS.get(media.media_type or "") or ending.lower()
    if media.kind == "audio" or kind not in _DOCUMENT_FORMATS.values():
        raise refuse(f"a part of type {media.kind} for this provider is a document: pdf, txt, csv, docx, ...")
    title = _UNFIT_FOR_NAME.sub(" ", stem or name).strip() or "document"
    return {"document": {"format": kind, "name": title, "source": _source(media, "a file")}}


def _source(media: Media, what: str) -> dict[str, Any]:
    if media.data is not None:
        return {"bytes": media.data}
    if media.url is not None and media.url.startswith("s3://"):
        return {"s3Location": {"uri": media.url}}
    raise refuse(f"this provider fetches nothing from the web: give {what} as a data URL, or by s3://")


# -- tools and the form of the answer --------------------------------------------------------------------


def _write_tools(body: dict[str, Any], request: Mapping[str, Any]) -> None:
    tools = read_tools(request)
    if not tools:
        return
    config: dict[str, Any] = {"tools": [_tool(tool) for tool in tools]}
    given = request.get("tool_choice")
    choice = read_tool_choice(given)
    if choice is None:
        if isinstance(given, Mapping):
            config["toolChoice"] = dict(given)
    elif choice.mode == "named":
        config["toolChoice"] = {"tool": {"name": choice.name}}
    elif choice.mode == "required":
        config["toolChoice"] = {"any": {}}
    elif choice.mode == "none" and not _speaks_of_tools(body["messages"]):
        return  # Converse has no word for "none" but to offer no tools; a conversation about tools needs them
    body["toolConfig"] = config


def _speaks_of_tools(messages: list[dict[str, Any]]) -> bool:
    return any(
        "toolUse" in block or "toolResult" in block for entry in messages for block in entry["content"]
    )


def _tool(tool: Any) -> dict[str, Any]:
    function = read_function(tool)
    if function is None:
        return dict(tool)
    return _spec(function)


def _spec(function: Function) -> dict[str, Any]:
    spec: dict[str, Any] = {"name": function.name}
    if function.description:
        spec["description"] = function.description
    spec["inputSchema"] = {"json": function.parameters}
    return {"toolSpec": spec}


def _write_answer_format(body: dict[str, Any], wanted: AnswerFormat, model: str) -> None:
    """Hold the answer to a schema: by Bedrock where it can, else as the input of a forced tool."""
    held = takes_output_format(model) if is_claude(model) else not _family(model).startswith(_UNHELD)
    closed = strict_schema(wanted.schema) if held and wanted.schema is not None else None
    if closed is not None:
        described = {"schema": write_json(closed).decode(), "name": wanted.name}
        if wanted.description:
            described["description"] = wanted.description
        text_format = {"type": "json_schema", "structure": {"jsonSchema": described}}
        body["outputConfig"] = {"textFormat": text_format, **(body.get("outputConfig") or {})}
        return
    spec = _spec(answer_function(wanted))
    config = body.setdefault("toolConfig", {})
    offered = config.get("tools") or []
    config["tools"] = [*offered, spec]
    if "thinking" in (body.get("additionalModelRequestFields") or {}):
        config.pop("toolChoice", None)  # while a model thinks it must not be forced
    elif not offered:
        config["toolChoice"] = {"tool": {"name": ANSWER_TOOL}}
    elif "toolChoice" not in config:
        config["toolChoice"] = {"any": {}}
