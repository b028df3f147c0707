"""The one request format in Gemini's words: the body of `generateContent`."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Mapping
from typing import Any

from callgate.errors import ResponseError
from callgate.providers.canonical.conversation import fold_conversation
from callgate.providers.canonical.json import read_json
from callgate.providers.canonical.messages import (
    MEANT_FOR_OPENAI,
    Media,
    Part,
    read_max_tokens,
    read_parts,
    read_stop,
    refuse,
    refuse_system_media,
    replayed,
    text_of,
)
from callgate.providers.canonical.tools import (
    ToolUse,
    read_answer_format,
    read_function,
    read_tool_choice,
    read_tool_uses,
    read_tools,
)

__all__ = ["OUR_ID", "REPLAY_NAME", "write_body"]

REPLAY_NAME = "gemini"
OUR_ID = "callgate-"
"""How the ids begin that we give to calls that came without one; Gemini never sees them."""

# Gemini 3 refuses a function call of its own turn without a signature; this stands in for one that another
# provider's model, or a person, never gave. It is Google's own word for that.
_NO_SIGNATURE = "skip_thought_signature_validator"

_SETTINGS = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "n": "candidateCount",
    "seed": "seed",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
    "logprobs": "responseLogprobs",
    "top_logprobs": "logprobs",
    "thinking_config": "thinkingConfig",
}
"""Fields of the request that go into `generationConfig`, by their names there."""
_OWN_NAMES = {
    "cached_content": "cachedContent",
    "safety_settings": "safetySettings",
    "system_instruction": "systemInstruction",
    "tool_config": "toolConfig",
}
_TRANSLATED = frozenset(
    {
        "model", "messages", "prompt", "max_tokens", "max_completion_tokens", "stop", "tools", "tool_choice",
        "response_format", "reasoning_effort", "stream", "generationConfig", "generation_config", "system",
    }
)  # fmt: skip
_NOT_SAID = MEANT_FOR_OPENAI | {"parallel_tool_calls", "user", "metadata", "service_tier"}
"""OpenAI's fields without a counterpart."""

_EFFORTS: Mapping[str, tuple[int, str]] = {
    "none": (0, "MINIMAL"),
    "minimal": (1024, "MINIMAL"),
    "low": (1024, "LOW"),
    "medium": (8192, "MEDIUM"),
    "high": (24_576, "HIGH"),
    "xhigh": (24_576, "HIGH"),
    "max": (24_576, "HIGH"),
}
"""An effort -> tokens to think with, and the level; Google's own OpenAI endpoint makes the same of it."""
_VERSION = re.compile(r"gemini-(\d+)(?:\.(\d+))?")


def write_body(request: Mapping[str, Any], model: str) -> dict[str, Any]:
    """The body; the model is named in the path.

    Raises:
        InvalidRequestError: when something in the request cannot be said.
    """
    takes_levels = _takes_levels(model)
    system, contents = _conversation(request, needs_signatures=takes_levels)
    body: dict[str, Any] = {"contents": contents}
    if system:
        body["systemInstruction"] = {"parts": system}
    settings: dict[str, Any] = {}
    for name, value in request.items():
        if value is None or name in _TRANSLATED or name in _NOT_SAID:
            continue
        if name in _SETTINGS:
            settings[_SETTINGS[name]] = value
        else:
            body[_OWN_NAMES.get(name, name)] = value
    max_tokens = read_max_tokens(request)
    if max_tokens is not None:
        settings["maxOutputTokens"] = max_tokens
    stop = read_stop(request)
    if stop:
        settings["stopSequences"] = stop
    _write_answer_format(settings, request)
    _write_effort(settings, request.get("reasoning_effort"), takes_levels)
    own = request.get("generationConfig") or request.get("generation_config")
    if isinstance(own, Mapping):
        settings |= own
    if settings:
        body["generationConfig"] = settings
    _write_tools(body, request)
    return body


def _takes_levels(model: str) -> bool:
    """Whether it is of Gemini 3 or later: names without a version ("gemini-flash-latest") are."""
    found = _VERSION.search(model)
    return int(found[1]) >= 3 if found else "gemini" in model


def _write_effort(settings: dict[str, Any], effort: Any, takes_levels: bool) -> None:
    if effort is None or "thinkingConfig" in settings:
        return
    if type(effort) is not str or effort not in _EFFORTS:
        raise refuse(f"unknown reasoning_effort {effort!r}; use {', '.join(_EFFORTS)}")
    budget, level = _EFFORTS[effort]
    thinking: dict[str, Any] = {"thinkingLevel": level} if takes_levels else {"thinkingBudget": budget}
    if effort != "none":
        thinking["includeThoughts"] = True
    settings["thinkingConfig"] = thinking


def _write_answer_format(settings: dict[str, Any], request: Mapping[str, Any]) -> None:
    wanted = read_answer_format(request.get("response_format"))
    if wanted is not None:
        settings["responseMimeType"] = "application/json"
        if wanted.schema is not None:
            settings["responseJsonSchema"] = wanted.schema


# -- the conversation ------------------------------------------------------------------------------------


def _conversation(
    request: Mapping[str, Any], *, needs_signatures: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The parts of the system instruction, and the contents."""
    names: dict[str, str] = {}

    def assistant(message: Mapping[str, Any]) -> list[dict[str, Any]]:
        uses = read_tool_uses(message)
        names.update({use.id: use.name for use in uses})
        kept = replayed(message, REPLAY_NAME)
        return _parts(message) + _calls(message, uses, needs_signatures) if kept is None else kept

    system, turns = fold_conversation(
        request,
        system=_system_parts,
        user=_parts,
        assistant=assistant,
        tool=lambda message: [_result(message, names)],
    )
    contents = [{"role": "user" if role == "user" else "model", "parts": parts} for role, parts in turns]
    return system, contents


def _system_parts(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    parts = _parts(message)
    if any(part.keys() != {"text"} for part in parts):
        raise refuse_system_media()
    return parts


def _calls(message: Mapping[str, Any], uses: list[ToolUse], needs_signatures: bool) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    for use, call in zip(uses, message.get("tool_calls") or (), strict=True):
        function_call: dict[str, Any] = {"name": use.name, "args": use.arguments}
        if not use.id.startswith(OUR_ID):
            function_call["id"] = use.id
        part: dict[str, Any] = {"functionCall": function_call}
        # Where Google's own OpenAI endpoint puts the signature.
        extra = call.get("extra_content")
        google = extra.get("google") if isinstance(extra, Mapping) else None
        if isinstance(google, Mapping) and google.get("thought_signature"):
            part["thoughtSignature"] = google["thought_signature"]
        elif needs_signatures and not parts:
            part["thoughtSignature"] = _NO_SIGNATURE
        parts.append(part)
    return parts


def _result(message: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    identity = str(message.get("tool_call_id") or "")
    name = names.get(identity) or message.get("name")
    if not name:
        raise refuse(
            f"the tool message for {identity or 'no tool_call_id'!r} answers no call of the conversation;"
            " keep the message of the assistant's that made the call"
        )
    text = text_of(message.get("content"))
    answer: Any = None
    if text[:1] == "{":
        try:
            answer = read_json(text)
        except ResponseError:
            answer = None
    if type(answer) is not dict:
        answer = {"error" if message.get("is_error") else "result": text}
    response: dict[str, Any] = {"name": name, "response": answer}
    if identity and not identity.startswith(OUR_ID):
        response["id"] = identity
    return {"functionResponse": response}


def _parts(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [_part(part, whole) for part, whole in read_parts(message.get("content"))]


def _part(part: Part, whole: Mapping[str, Any]) -> dict[str, Any]:
    if type(part) is str:
        return {"text": part}
    if isinstance(part, Media):
        return _media_part(part)
    if whole.get("type") == "refusal":
        return {"text": str(whole.get("refusal"))}
    if "type" in whole:
        raise refuse(f"a part of type {whole['type']!r} cannot be said to this provider")
    return dict(whole)  # Gemini's own parts have no type: {"fileData": ...}


def _media_part(media: Media) -> dict[str, Any]:
    if media.data is not None:
        media_type = media.media_type or (mimetypes.guess_type(media.name)[0] if media.name else None)
        if media_type is None:
            raise refuse(
                f"the data of a part of type {media.kind} must name its type: data:image/png;base64,..."
            )
        return {"inlineData": {"mimeType": media_type, "data": media.data}}
    address = media.url or media.file_id or ""
    file = {"fileUri": address}
    media_type = mimetypes.guess_type(address.partition("?")[0])[0]
    if media_type is not None:
        file["mimeType"] = media_type
    return {"fileData": file}


# -- tools -----------------------------------------------------------------------------------------------


def _write_tools(body: dict[str, Any], request: Mapping[str, Any]) -> None:
    tools = read_tools(request)
    if not tools:
        return
    declared: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    for tool in tools:
        function = read_function(tool)
        if function is None:
            others.append(dict(tool))
            continue
        declaration: dict[str, Any] = {"name": function.name}
        if function.description:
            declaration["description"] = function.description
        if function.parameters.get("properties") or "$ref" in function.parameters:
            declaration["parametersJsonSchema"] = function.parameters
        declared.append(declaration)
    body["tools"] = ([{"functionDeclarations": declared}] if declared else []) + others
    choice = read_tool_choice(request.get("tool_choice"))
    if choice is None or not declared:
        return
    calling: dict[str, Any] = {"mode": {"auto": "AUTO", "none": "NONE"}.get(choice.mode, "ANY")}
    if choice.mode == "named":
        calling["allowedFunctionNames"] = [choice.name]
    body["toolConfig"] = {**(body.get("toolConfig") or {}), "functionCallingConfig": calling}
