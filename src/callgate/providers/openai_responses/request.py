"""The one request format said in the words of OpenAI's Responses dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callgate.providers.canonical.json import write_json
from callgate.providers.canonical.messages import (
    Media,
    read_messages,
    read_parts,
    read_stop,
    refuse,
    refuse_several_answers,
    replayed,
    text_of,
)

__all__ = ["say_request"]

# Said in another place or form here; what stands in neither set passes through.
_SAID_DIFFERENTLY = frozenset(
    {
        "messages", "max_tokens", "max_completion_tokens", "response_format", "verbosity", "reasoning_effort",
        "tools", "tool_choice", "logprobs", "stream", "stream_options", "stop", "n",
    }
)  # fmt: skip
_NOT_SAID = frozenset(
    {"seed", "frequency_penalty", "presence_penalty", "logit_bias", "prediction", "modalities"}
)
"""Fields of the chat dialect that have no counterpart. OpenAI refuses a body with a field that it does not
know, and none of these changes what is asked, so they are left out and a request fits every provider."""


def say_request(request: Mapping[str, Any], dialect: str) -> dict[str, Any]:
    """The body of the request.

    Args:
        request: The one request format; fields of the Responses dialect itself (`input`, `instructions`,
            `text`, `reasoning`) may stand in it too and are kept.
        dialect: The name under which an assistant message may hold items to be replayed.

    Raises:
        InvalidRequestError: when something in it cannot be said.
    """
    refuse_several_answers(request)
    if read_stop(request):
        # Left out, the answer would go on where it was to end.
        raise refuse("this dialect has no stop sequences; leave stop out, or use the chat dialect")
    body = {
        name: value
        for name, value in request.items()
        if name not in _SAID_DIFFERENTLY and name not in _NOT_SAID
    }
    if "input" not in body:
        _say_messages(request, body, dialect)
    limit = request.get("max_completion_tokens") or request.get("max_tokens")
    if limit is not None:
        body.setdefault("max_output_tokens", limit)
    _say_text(request, body)
    effort = request.get("reasoning_effort")
    if effort is not None:
        body["reasoning"] = {"effort": effort, **(body.get("reasoning") or {})}
    tools = request.get("tools")
    if tools is not None:
        body["tools"] = [_say_tool(tool) for tool in tools]
    choice = request.get("tool_choice")
    if choice is not None:
        body["tool_choice"] = _say_choice(choice)
    if request.get("logprobs"):
        body["include"] = [*(body.get("include") or ()), "message.output_text.logprobs"]
    options = dict(request.get("stream_options") or {})
    options.pop("include_usage", None)  # this dialect tells the usage unasked
    if options:
        body["stream_options"] = options
    return body


def _say_messages(request: Mapping[str, Any], body: dict[str, Any], dialect: str) -> None:
    if type(body.get("prompt")) is str:
        del body["prompt"]  # a prompt that is an object is this dialect's own: a stored template
    elif isinstance(body.get("prompt"), Mapping) and "messages" not in request:
        return
    if "previous_response_id" in body and "messages" not in request and "prompt" not in request:
        return
    messages = read_messages(request)
    instructions: list[str] = []
    items: list[Any] = []
    for message in messages:
        role = message["role"]
        if role in ("system", "developer") and not items and "instructions" not in body:
            instructions.append(text_of(message.get("content")))
        else:
            items.extend(_say_message(message, role, dialect))
    if not items:
        items = [{"role": "system", "content": text} for text in instructions]
    elif instructions:
        body["instructions"] = "\n\n".join(instructions)
    body["input"] = items


def _say_message(message: Mapping[str, Any], role: str, dialect: str) -> list[Any]:
    if role == "tool":
        return [
            {
                "type": "function_call_output",
                "call_id": message.get("tool_call_id") or "",
                "output": _say_output(message.get("content")),
            }
        ]
    if role != "assistant":
        return [{"role": role, "content": _say_content(message.get("content"))}]
    replay = replayed(message, dialect)
    if replay is not None:
        return replay
    items: list[Any] = []
    text = text_of(message.get("content")) or message.get("refusal")
    if text:
        # llama.cpp's server asks for the type; a text instead of parts needs no id and no annotations.
        items.append({"type": "message", "role": "assistant", "content": text})
    items.extend(_say_call(call) for call in message.get("tool_calls") or ())
    return items


def _say_call(call: Any) -> dict[str, Any]:
    if isinstance(call, Mapping):
        identity = call.get("id") or ""
        custom = call.get("custom")
        if isinstance(custom, Mapping):
            return {
                "type": "custom_tool_call",
                "call_id": identity,
                "name": custom.get("name"),
                "input": custom.get("input") or "",
            }
        function = call.get("function")
        if isinstance(function, Mapping) and function.get("name"):
            arguments = function.get("arguments")
            if type(arguments) is not str:
                arguments = write_json({} if arguments is None else arguments).decode()
            return {
                "type": "function_call",
                "call_id": identity,
                "name": function["name"],
                "arguments": arguments,
            }
    raise refuse("a tool call in a message of the assistant's calls no function")


def _say_content(content: Any) -> Any:
    if type(content) is str:
        return content
    return [_say_part(part, whole) for part, whole in read_parts(content)]


def _say_output(content: Any) -> Any:
    parts = read_parts(content)
    if all(type(part) is str for part, _ in parts):
        return "".join(str(part) for part, _ in parts)
    return [_say_part(part, whole) for part, whole in parts]


def _say_part(part: Any, whole: Mapping[str, Any]) -> Mapping[str, Any]:
    if type(part) is str:
        return {"type": "input_text", "text": part}
    if not isinstance(part, Media) or str(whole.get("type")) in ("input_image", "input_file", "input_audio"):
        return whole  # this dialect's own already, or something that passes through
    if part.kind == "image":
        image = whole.get("image_url")
        detail = image.get("detail") if isinstance(image, Mapping) else None
        url = image.get("url") if isinstance(image, Mapping) else image
        return {"type": "input_image", "image_url": url, "detail": detail or "auto"}
    file = whole.get("file")
    return {"type": "input_file", **(file if isinstance(file, Mapping) else {})}


def _say_text(request: Mapping[str, Any], body: dict[str, Any]) -> None:
    """`response_format` and `verbosity`, which live under `text` here."""
    text = dict(body.get("text") or {})
    wanted = request.get("response_format")
    if isinstance(wanted, Mapping):
        schema = wanted.get("json_schema")
        if wanted.get("type") == "json_schema" and isinstance(schema, Mapping):
            text["format"] = {"type": "json_schema", "name": "answer", **schema}
        else:
            text["format"] = dict(wanted)
    elif wanted is not None:
        raise refuse("response_format is an object with a type; a pydantic model goes to response_model=")
    if request.get("verbosity") is not None:
        text["verbosity"] = request["verbosity"]
    if text:
        body["text"] = text


def _say_tool(tool: Any) -> Any:
    if not isinstance(tool, Mapping):
        raise refuse(f"a tool is an object, not {type(tool).__name__}")
    kind = tool.get("type")
    inner = tool.get(str(kind))
    if kind == "function" and isinstance(inner, Mapping):
        if not inner.get("name"):
            raise refuse("a tool of type function has no name")
        # Left out, `strict` would be true here, which most schemas do not stand.
        flat = {"type": "function", "strict": False, "parameters": {"type": "object", "properties": {}}}
        flat.update((name, value) for name, value in inner.items() if value is not None)
        return flat
    if kind == "custom" and isinstance(inner, Mapping):
        flat = {"type": "custom", **inner}
        form = inner.get("format")
        if isinstance(form, Mapping) and isinstance(form.get("grammar"), Mapping):
            flat["format"] = {"type": "grammar", **form["grammar"]}
        return flat
    return tool


def _say_choice(choice: Any) -> Any:
    if not isinstance(choice, Mapping):
        return choice
    kind = choice.get("type")
    inner = choice.get(str(kind))
    if kind in ("function", "custom") and isinstance(inner, Mapping):
        return {"type": kind, "name": inner.get("name")}
    if kind == "allowed_tools" and isinstance(inner, Mapping):
        tools = [_say_choice(tool) for tool in inner.get("tools") or ()]
        return {"type": kind, "mode": inner.get("mode") or "auto", "tools": tools}
    return choice
