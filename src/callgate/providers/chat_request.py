"""The one request format, read: what the dialects that say things differently need to know of it.

A request's `messages`, parts, tools and choices are OpenAI's; each function here takes one of them apart
into plain values, and says in one sentence what is wrong when it cannot.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote_to_bytes

from callgate.errors import InvalidRequestError
from callgate.providers.json_reading import read_arguments, write_json

__all__ = [
    "REPLAY",
    "AnswerFormat",
    "Function",
    "Media",
    "Part",
    "ToolChoice",
    "ToolUse",
    "arguments_for",
    "read_answer_format",
    "read_function",
    "read_max_tokens",
    "read_messages",
    "read_model",
    "read_parts",
    "read_stop",
    "read_tool_choice",
    "read_tool_uses",
    "refuse",
    "replayed",
    "text_of",
]

REPLAY = "replay"
"""The key under which an assistant message, and `Response.metadata`, may hold the provider's own content.

Some answers must go back to the provider as they came: signed thoughts, say. Such an answer has
`metadata["replay"] = {"dialect": ..., "content": [...]}`. Put it into the assistant message under the same
key, and the dialect that made it sends its content instead of a translation; every other dialect leaves it
out.
"""

_EXAMPLE = "messages=[{'role': 'user', 'content': '...'}]"


def refuse(what: str) -> InvalidRequestError:
    """The error for a request that cannot be said; nothing has been sent."""
    return InvalidRequestError(what, surely_unsent=True)


def read_model(request: Mapping[str, Any]) -> str:
    """The model's name.

    Raises:
        InvalidRequestError: when there is none.
    """
    model = request.get("model")
    if type(model) is not str or not model.strip():
        raise refuse("the request names no model; pass model=, or give the iModel one")
    return model.strip()


def read_messages(request: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The messages, at least one; a bare `prompt` is a message of the user.

    Raises:
        InvalidRequestError: when there are none, or one of them is no message.
    """
    messages = request.get("messages")
    prompt = request.get("prompt")
    if messages is None and type(prompt) is str:
        return [{"role": "user", "content": prompt}]
    if not _is_sequence(messages) or not messages:
        raise refuse(f"the request has no messages; pass {_EXAMPLE}")
    read: list[Mapping[str, Any]] = []
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping):
            to_dict = getattr(message, "to_dict", None) or getattr(message, "model_dump", None)
            message = to_dict() if callable(to_dict) else None
        if not isinstance(message, Mapping) or type(message.get("role")) is not str:
            raise refuse(f"messages[{index}] is no message with a role and a content")
        read.append(message)
    return read


# -- parts of a message ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Media:
    """A picture, a sound or a file in a message: inline, by address, or by the id of an upload.

    Attributes:
        kind: What it is.
        media_type: "image/png"; None when nobody says.
        data: Its bytes in base64, when it is inline.
        url: Its address.
        file_id: Its id, when it was uploaded to the provider before.
        name: Its file name.
    """

    kind: Literal["image", "audio", "file"]
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    name: str | None = None


Part = str | Media | Mapping[str, Any]
"""Text, media, or a part that is not ours (a provider's own block), as it stands."""


def read_parts(content: Any) -> list[tuple[Part, Mapping[str, Any]]]:
    """The parts of a message's content, each with the part as it stands (empty for bare text).

    Text that is empty is left out: no provider takes an empty part.

    Raises:
        InvalidRequestError: when a part has no type, or a picture has no address.

    >>> read_parts([{"type": "text", "text": "Hi"}])[0][0]
    'Hi'
    """
    if content is None:
        return []
    if type(content) is str:
        return [(content, {})] if content else []
    if not _is_sequence(content):
        raise refuse(f"a message's content is text or a list of parts, not {type(content).__name__}")
    parts: list[tuple[Part, Mapping[str, Any]]] = []
    for part in content:
        if type(part) is str:
            part = {"type": "text", "text": part}
        if not isinstance(part, Mapping):
            raise refuse(f"a part of a message is an object with a type, not {type(part).__name__}")
        kind = part.get("type")
        if kind in ("text", "input_text", "output_text"):
            text = part.get("text")
            if type(text) is not str:
                raise refuse("a part of type text has no text")
            if text:
                parts.append((text, part))
        elif kind in _MEDIA:
            parts.append((_MEDIA[kind](part), part))
        else:
            parts.append((part, part))
    return parts


def text_of(content: Any) -> str:
    """The text of a content, its parts one after the other; other parts than text are passed over."""
    return "".join(part for part, _ in read_parts(content) if type(part) is str)


def _image(part: Mapping[str, Any]) -> Media:
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, Mapping) else image
    if type(url) is not str or not url:
        raise refuse("a part of type image_url has no url; give an https address or a data URL")
    return _by_url("image", url, None)


def _audio(part: Mapping[str, Any]) -> Media:
    audio = part.get("input_audio")
    data = audio.get("data") if isinstance(audio, Mapping) else None
    if not isinstance(audio, Mapping) or type(data) is not str or not data:
        raise refuse("a part of type input_audio has no data")
    return Media("audio", f"audio/{audio['format']}" if audio.get("format") else None, data)


def _file(part: Mapping[str, Any]) -> Media:
    file = part.get("file")
    if not isinstance(file, Mapping):
        file = part
    name = file.get("filename")
    data, address, file_id = file.get("file_data"), file.get("file_url"), file.get("file_id")
    if type(data) is str and data:
        if data.startswith("data:"):
            return _by_url("file", data, name)
        return Media("file", None, data, name=name)
    if type(address) is str and address:
        return _by_url("file", address, name)
    if type(file_id) is str and file_id:
        return Media("file", file_id=file_id, name=name)
    raise refuse("a part of type file has neither file_data nor file_url nor file_id")


_MEDIA: Mapping[Any, Any] = {
    "image_url": _image,
    "input_image": _image,
    "input_audio": _audio,
    "file": _file,
    "input_file": _file,
}


def _by_url(kind: Literal["image", "file"], url: str, name: str | None) -> Media:
    if not url.startswith("data:"):
        return Media(kind, url=url, name=name)
    head, comma, data = url[5:].partition(",")
    if not comma or not data:
        raise refuse(f"a data URL of a part of type {kind} holds no data")
    media_type, *options = head.split(";")
    if "base64" not in options:
        data = base64.b64encode(unquote_to_bytes(data)).decode()
    else:
        try:
            binascii.a2b_base64(data[-64:])
        except binascii.Error:
            raise refuse(f"the data URL of a part of type {kind} is cut short, or no base64") from None
    return Media(kind, media_type or None, data, name=name)


# -- tools -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Function:
    """A function that the model may call; `parameters` is the JSON schema of its arguments."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    strict: bool = False


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A tool call in a message of the assistant's."""

    id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Which tool the model must call: `mode` "auto", "none", "required", or "named" with a `name`."""

    mode: Literal["auto", "none", "required", "named"]
    name: str = ""


NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}}


def read_function(tool: Any) -> Function | None:
    """The function that a tool of the request describes; None when it is a provider's own kind of tool.

    Raises:
        InvalidRequestError: when it is a function without a name.
    """
    if not isinstance(tool, Mapping):
        raise refuse(f"a tool is an object, not {type(tool).__name__}")
    if tool.get("type") != "function":
        return None
    function = tool.get("function")
    if not isinstance(function, Mapping):
        function = tool  # as the Responses dialect has it: flat
    name = function.get("name")
    if type(name) is not str or not name:
        raise refuse("a tool of type function has no name")
    return Function(
        name,
        function.get("description") or "",
        function.get("parameters") or NO_PARAMETERS,
        function.get("strict") is True,
    )


def read_tool_choice(choice: Any) -> ToolChoice | None:
    """What `tool_choice` says in OpenAI's words; None when it is absent or in a provider's own.

    >>> read_tool_choice({"type": "function", "function": {"name": "f"}})
    ToolChoice(mode='named', name='f')
    """
    if choice in ("auto", "none", "required"):
        return ToolChoice(choice)
    if isinstance(choice, Mapping) and choice.get("type") == "function":
        function = choice.get("function")
        name = function.get("name") if isinstance(function, Mapping) else choice.get("name")
        if type(name) is not str or not name:
            raise refuse("tool_choice names no function")
        return ToolChoice("named", name)
    if type(choice) is str:
        raise refuse(f"unknown tool_choice {choice!r}; use auto, none, required or a function's name")
    return None


def read_tool_uses(message: Mapping[str, Any]) -> list[ToolUse]:
    """The tool calls in a message of the assistant's, in their order.

    Raises:
        InvalidRequestError: when one of them is no call of a function.
    """
    uses: list[ToolUse] = []
    for index, call in enumerate(message.get("tool_calls") or ()):
        function = call.get("function") if isinstance(call, Mapping) else None
        name = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(function, Mapping) or type(name) is not str or not name:
            raise refuse(f"tool_calls[{index}] of a message of the assistant's calls no function")
        uses.append(
            ToolUse(str(call.get("id") or f"call_{index}"), name, arguments_for(function.get("arguments")))
        )
    return uses


def arguments_for(arguments: Any) -> dict[str, Any]:
    """A tool call's arguments as an object, for a provider that takes nothing else.

    What the model once wrote that is no JSON object goes back to it under "unreadable_arguments".
    """
    if isinstance(arguments, Mapping):
        return dict(arguments)
    read, unreadable = read_arguments(arguments)
    return read if unreadable is None else {"unreadable_arguments": unreadable}


# -- the rest --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """What `response_format` asks for: any JSON object (`schema` None), or one that fits a schema."""

    schema: Mapping[str, Any] | None
    name: str = "answer"
    description: str = ""


def read_answer_format(wanted: Any) -> AnswerFormat | None:
    """What `response_format` asks for; None for text.

    Raises:
        InvalidRequestError: when it is of an unknown type or has no schema.
    """
    if wanted is None:
        return None
    if not isinstance(wanted, Mapping):
        raise refuse("response_format is an object with a type; a pydantic model goes to response_model=")
    kind = wanted.get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return AnswerFormat(None)
    described = wanted.get("json_schema", wanted)
    schema = described.get("schema") if isinstance(described, Mapping) else None
    if kind != "json_schema" or not isinstance(schema, Mapping):
        raise refuse(
            "response_format is {'type': 'json_schema', 'json_schema': {'name': ..., 'schema': {...}}},"
            " {'type': 'json_object'} or {'type': 'text'}"
        )
    return AnswerFormat(schema, described.get("name") or "answer", described.get("description") or "")


def read_stop(request: Mapping[str, Any]) -> list[str]:
    """The stop sequences, as a list."""
    stop = request.get("stop")
    if stop is None:
        return []
    return [stop] if type(stop) is str else list(stop)


def read_max_tokens(request: Mapping[str, Any]) -> int | None:
    """The most tokens that may be written, under either of OpenAI's names."""
    value = request.get("max_completion_tokens")
    return request.get("max_tokens") if value is None else value


def replayed(message: Mapping[str, Any], dialect: str) -> list[Any] | None:
    """The provider's own content in a message of the assistant's, when this dialect made it (see REPLAY)."""
    replay = message.get(REPLAY)
    if isinstance(replay, Mapping) and replay.get("dialect") == dialect and replay.get("content"):
        return list(replay["content"])
    return None


def as_json_text(value: Any) -> str:
    """`value` as JSON text."""
    return write_json(value).decode()


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)
