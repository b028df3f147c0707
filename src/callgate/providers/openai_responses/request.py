"""A canonical request as the body of `POST /responses`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from callgate.providers.canonical.fields import merge_extra_body, refuse_fields, refuse_media_output
from callgate.providers.canonical.json import write_json
from callgate.providers.canonical.messages import (
    Media,
    Part,
    is_video,
    read_max_tokens,
    read_messages,
    read_model,
    read_parts,
    read_stop,
    refuse,
    refuse_several_answers,
    replayed,
    text_of,
)
from callgate.providers.canonical.tools import (
    NO_PARAMETERS,
    fit_id,
    read_function,
    read_tool_choice,
    read_tools,
)
from callgate.providers.openai_responses.response import REPLAY_NAME

__all__ = ["write_body"]

# Written in another place or form; what stands in neither set passes through.
_TRANSLATED = frozenset(
    {
        "messages", "max_tokens", "max_completion_tokens", "response_format", "verbosity", "reasoning_effort",
        "tools", "tool_choice", "logprobs", "stream", "stream_options", "stop", "n", "system",
        "web_search_options", "extra_body", "extra_headers",
    }
)  # fmt: skip
_LACKS = frozenset(
    {"seed", "frequency_penalty", "presence_penalty", "logit_bias", "prediction", "modalities", "audio"}
)
"""Fields of the chat dialect that this one lacks and that change neither the answer's form nor its price."""
_ADVICE = {"functions": "use tools", "function_call": "use tools and tool_choice"}
_ENCRYPTED = "reasoning.encrypted_content"
_OWN_PARTS = frozenset({"input_image", "input_file"})


def write_body(request: Mapping[str, Any]) -> dict[str, Any]:
    """The body, without `stream`; fields that are null are left out.

    Fields of the Responses dialect itself (`input`, `instructions`, `text`, `reasoning`) may stand in the
    request and are kept.

    Raises:
        InvalidRequestError: Something in the request cannot be sent.
    """
    if not isinstance(request.get("prompt"), Mapping):  # a stored template may name the model
        read_model(request)
    refuse_several_answers(request)
    if read_stop(request):
        # Left out, the answer would go on where it was to end.
        raise refuse("the Responses dialect has no stop sequences; leave stop out, or use the chat dialect")
    refuse_fields(request, "the Responses dialect", _ADVICE)
    refuse_media_output(request, "the Responses dialect")
    body = {
        name: value
        for name, value in request.items()
        if value is not None and name not in _TRANSLATED and name not in _LACKS
    }
    if "input" not in body:
        _write_input(body, request)
    limit = read_max_tokens(request)
    if limit is not None:
        body.setdefault("max_output_tokens", limit)
    _write_text(body, request)
    effort = request.get("reasoning_effort")
    if effort is not None:
        body["reasoning"] = {"effort": effort, **(body.get("reasoning") or {})}
    _write_tools(body, request)
    _write_include(body, request)
    options = {k: v for k, v in (request.get("stream_options") or {}).items() if k != "include_usage"}
    if options:  # the usage comes unasked
        body["stream_options"] = options
    body = merge_extra_body(body, request)
    if body.get("background"):
        raise refuse("background=True answers before there is an answer; leave it out, or use a stream")
    return body


# -- the conversation ------------------------------------------------------------------------------------


def _write_input(body: dict[str, Any], request: Mapping[str, Any]) -> None:
    is_template = isinstance(body.get("prompt"), Mapping)  # this dialect's own: a stored template
    if not is_template:
        body.pop("prompt", None)
    if "messages" not in request and (
        is_template or ("previous_response_id" in body and "prompt" not in request)
    ):
        return
    stores = request.get("store") is not False
    instructions: list[str] = [] if request.get("system") is None else [text_of(request["system"])]
    items: list[Any] = []
    for message in read_messages(request):
        role = message["role"]
        if role in ("system", "developer") and not items and "instructions" not in body:
            instructions.append(text_of(message.get("content")))
        else:
            items.extend(_write_message(message, role, stores))
    if not items:
        items = [{"role": "system", "content": text} for text in instructions]
    elif instructions:
        body["instructions"] = "\n\n".join(instructions)
    body["input"] = items


def _write_message(message: Mapping[str, Any], role: str, stores: bool) -> list[Any]:
    if role == "tool":
        identity = fit_id(str(message.get("tool_call_id") or ""))
        output = _write_output(message.get("content"))
        return [{"type": "function_call_output", "call_id": identity, "output": output}]
    if role == "assistant":
        return _write_assistant(message, stores)
    if role not in ("user", "system", "developer"):
        raise refuse(f"unknown role {role!r}; use system, developer, user, assistant or tool")
    content = message.get("content")
    if content is None or type(content) is str:
        return [{"role": role, "content": content or ""}]
    return [{"role": role, "content": [_write_part(part, whole) for part, whole in read_parts(content)]}]


def _write_assistant(message: Mapping[str, Any], stores: bool) -> list[Any]:
    replay = replayed(message, REPLAY_NAME)
    if replay is not None:
        return [_replayable(item) for item in replay if stores or _is_complete(item)]
    items: list[Any] = []
    text = text_of(message.get("content")) or message.get("refusal")
    if text:
        # llama.cpp's server asks for the type; a text instead of parts needs no id and no annotations.
        items.append({"type": "message", "role": "assistant", "content": text})
    calls = enumerate(message.get("tool_calls") or ())
    return items + [_write_call(call, index) for index, call in calls]


def _is_complete(item: Any) -> bool:
    """Whether an item can go back to a provider that has stored nothing: a thought needs its content."""
    return not (isinstance(item, Mapping) and item.get("type") == "reasoning") or bool(
        item.get("encrypted_content")
    )


def _replayable(item: Any) -> Any:
    """The item without fields that are null, which only answers have."""
    if not isinstance(item, Mapping):
        return item
    return {name: value for name, value in item.items() if value is not None}


def _write_call(call: Any, index: int) -> dict[str, Any]:
    if isinstance(call, Mapping):
        identity = fit_id(str(call.get("id") or f"call_{index}"))
        custom = call.get("custom")
        if isinstance(custom, Mapping):
            kind, given = "custom_tool_call", {"input": custom.get("input") or ""}
            return {"type": kind, "call_id": identity, "name": custom.get("name"), **given}
        function = call.get("function")
        if isinstance(function, Mapping) and function.get("name"):
            arguments = function.get("arguments")
            if type(arguments) is not str:
                arguments = write_json({} if arguments is None else arguments).decode()
            return {
                "type": "function_call",
                "call_id": identity,
                "name": function["name"],
                "arguments": arguments or "{}",
            }
    raise refuse(f"tool_calls[{index}] of a message of the assistant calls no function")


def _write_output(content: Any) -> Any:
    parts = read_parts(content)
    if all(type(part) is str for part, _ in parts):
        return "".join(str(part) for part, _ in parts)
    return [_write_part(part, whole) for part, whole in parts]


def _write_part(part: Part, whole: Mapping[str, Any]) -> Mapping[str, Any]:
    if type(part) is str:
        mark = whole.get("prompt_cache_breakpoint")
        return {"type": "input_text", "text": part, **({"prompt_cache_breakpoint": mark} if mark else {})}
    if not isinstance(part, Media):
        return whole
    if part.kind == "audio":
        raise refuse("the Responses dialect takes no sound in a message; use the chat dialect")
    if is_video(part):
        raise refuse("the Responses dialect takes no video in a message")
    if whole.get("type") in _OWN_PARTS:
        own = {name: value for name, value in whole.items() if name != "cache_control"}
        return {"detail": "auto", **own} if part.kind == "image" else own
    if part.kind == "image":
        image = whole.get("image_url")
        detail = image.get("detail") if isinstance(image, Mapping) else None
        url = image.get("url") if isinstance(image, Mapping) else image
        return {"type": "input_image", "image_url": url, "detail": detail or "auto"}
    file = whole.get("file")
    return {"type": "input_file", **(file if isinstance(file, Mapping) else {})}


# -- the rest --------------------------------------------------------------------------------------------


def _write_text(body: dict[str, Any], request: Mapping[str, Any]) -> None:
    """`response_format` and `verbosity`, which stand under `text` here."""
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


def _write_tools(body: dict[str, Any], request: Mapping[str, Any]) -> None:
    tools = [_write_tool(tool) for tool in read_tools(request)]
    search = request.get("web_search_options")
    if search is not None:
        tools.append({"type": "web_search", **(search if isinstance(search, Mapping) else {})})
    choice = request.get("tool_choice")
    written = None if choice is None else _write_choice(choice)
    if tools:
        body["tools"] = tools
    elif "prompt" not in body:  # of a stored template, which may hold the tools
        body.pop("parallel_tool_calls", None)
        if written not in (None, "auto", "none"):
            raise refuse("tool_choice demands a call, and there are no tools")
        written = None
    if written is not None:
        body["tool_choice"] = written


def _write_choice(choice: Any) -> Any:
    if isinstance(choice, Mapping) and choice.get("type") == "allowed_tools":
        allowed = choice.get("allowed_tools") or choice
        tools = [_flat(tool) for tool in allowed.get("tools") or ()]
        return {"type": "allowed_tools", "mode": allowed.get("mode") or "auto", "tools": tools}
    read = read_tool_choice(choice)
    if read is None:
        return _flat(choice)
    return {"type": "function", "name": read.name} if read.mode == "named" else read.mode


def _write_tool(tool: Any) -> dict[str, Any]:
    function = read_function(tool)
    if function is None:
        flat = _flat(tool)
        form = flat.get("format")
        if isinstance(form, Mapping) and isinstance(form.get("grammar"), Mapping):
            flat["format"] = {"type": "grammar", **form["grammar"]}
        return flat
    described = tool.get("function")
    given = described if isinstance(described, Mapping) else tool
    # Left out, `strict` would be true here, which most schemas do not satisfy.
    flat = {"type": "function", "strict": False, "parameters": NO_PARAMETERS}
    return flat | {k: v for k, v in given.items() if v is not None and k != "cache_control"}


def _flat(described: Mapping[str, Any]) -> dict[str, Any]:
    """A tool or a choice of OpenAI's, with what its type nests (`custom`) beside its type."""
    kind = described.get("type")
    inner = described.get(str(kind))
    flat = {name: value for name, value in described.items() if name not in ("cache_control", kind)}
    return {**flat, **inner} if isinstance(inner, Mapping) else flat


def _write_include(body: dict[str, Any], request: Mapping[str, Any]) -> None:
    given = body.pop("include", None)
    include: list[str] = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else []
    if request.get("logprobs"):
        include.append("message.output_text.logprobs")
    if request.get("store") is False and _ENCRYPTED not in include:
        include.append(_ENCRYPTED)  # what is not stored must come back with the next request
    if include:
        body["include"] = include
    if not request.get("logprobs"):
        body.pop("top_logprobs", None)
