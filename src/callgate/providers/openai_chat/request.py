"""A canonical request as the body of `POST /chat/completions` at one host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from callgate.providers.canonical.fields import read_service_tier, refuse_media_output
from callgate.providers.canonical.messages import read_max_tokens, read_model, refuse
from callgate.providers.canonical.tools import (
    ANSWER_TOOL,
    NO_PARAMETERS,
    AnswerFormat,
    allowed_tools,
    answer_function,
    describe_answer,
    read_answer_format,
    read_function,
    read_tool_choice,
    read_tools,
    refuse_custom_tool,
)
from callgate.providers.openai_chat.messages import is_plain_message, write_messages
from callgate.providers.openai_chat.quirks import ChatQuirks

__all__ = ["is_plain", "plain_fields", "write_body"]

# Written in another form or place; what stands in neither set passes through.
_TRANSLATED = frozenset(
    {
        "messages", "prompt", "system", "tools", "tool_choice", "parallel_tool_calls", "response_format",
        "service_tier", "reasoning_effort", "stream", "stream_options", "extra_body", "extra_headers",
        "web_search_options", "stop", "modalities",
    }
)  # fmt: skip
_NEEDS_CARE = _TRANSLATED - {"messages", "prompt", "system", "stream"} | {"logprobs"}
# Left out where a host lacks them, these change the answer or its price.
_ADVICE = {
    "n": "make one call for each answer",
    "web_search_options": "give the model a tool that searches",
    "functions": "use tools",
    "function_call": "use tools and tool_choice",
    "moderation": "leave it out",
}


# Fields that are sent as they are, to a host that has them under the same name.
_PLAIN = frozenset(
    {"model", "messages", "temperature", "top_p", "seed", "presence_penalty", "frequency_penalty"}
)


def plain_fields(quirks: ChatQuirks) -> frozenset[str]:
    """The fields that this host takes as they are, in any request of such fields alone; empty: none."""
    if not quirks.late_system:
        return frozenset()
    return _PLAIN - quirks.lacks - {name for name, _ in quirks.renamed}


def is_plain(request: Mapping[str, Any]) -> bool:
    """True if a request of plain fields has a model, no nulls, and only messages of a role and a text."""
    messages = request.get("messages")
    return (
        type(messages) is list
        and bool(messages)
        and type(request.get("model")) is str
        and all(map(is_plain_message, messages))
        and None not in request.values()
    )


def write_body(request: Mapping[str, Any], quirks: ChatQuirks) -> dict[str, Any]:
    """The body, without `stream`; fields that are null are left out.

    Raises:
        InvalidRequestError: Something in the request cannot be sent to this host.
    """
    if quirks.needs_model:
        read_model(request)
    read_max_tokens(request)
    _refuse_lost(request, quirks)
    names = dict(quirks.renamed)
    families = quirks.completion_tokens_for
    if families is not None and families.match(str(request.get("model"))):
        names["max_tokens"] = "max_completion_tokens"
    skipped = _skipped(quirks.lacks)
    body = {names.get(k, k): v for k, v in request.items() if v is not None and k not in skipped}
    limit = request.get("max_completion_tokens")
    if limit is not None:  # of two limits OpenAI's newer one holds
        body.pop("max_tokens", None)
        body[names.get("max_completion_tokens", "max_completion_tokens")] = limit
    body["messages"] = write_messages(request, quirks)
    if not _NEEDS_CARE.isdisjoint(request):
        _write_settings(body, request, quirks)
        _write_tools(body, request, quirks)
    wanted = request.get("response_format")
    if wanted is not None:
        _write_format(body, wanted, quirks)
    return body


@cache
def _skipped(lacks: frozenset[str]) -> frozenset[str]:
    return (_TRANSLATED | lacks) - {"messages"}  # which keep their place


def _refuse_lost(request: Mapping[str, Any], quirks: ChatQuirks) -> None:
    """Refuse what the host lacks where leaving it out would change the answer or its price."""
    if not quirks.lacks:
        return
    for name, instead in _ADVICE.items():
        value = request.get(name)
        if value is None or name not in quirks.lacks or (name == "n" and value == 1):
            continue
        if name == "web_search_options" and quirks.web_search is not None:
            continue
        raise refuse(f"{quirks.provider} has no {name}; {instead}")
    if "modalities" in quirks.lacks:
        refuse_media_output(request, quirks.provider)


def _write_settings(body: dict[str, Any], request: Mapping[str, Any], quirks: ChatQuirks) -> None:
    if quirks.tiers is None:
        tier = request.get("service_tier")
    else:
        tier = read_service_tier(request, dict(quirks.tiers), quirks.provider)
    if tier is not None:
        body["service_tier"] = tier
    effort = request.get("reasoning_effort")
    if effort == "none" and quirks.effort_off is not None:
        name, (field, value) = quirks.effort_off
        body.setdefault(name, {field: value})
    elif effort is not None:
        body["reasoning_effort"] = dict(quirks.efforts).get(effort, effort)
    stop = request.get("stop")
    if stop is not None and stop != []:
        body["stop"] = [stop] if quirks.stop_list and type(stop) is str else stop
    modalities = request.get("modalities")
    if modalities is not None and "modalities" not in quirks.lacks:
        body["modalities"] = modalities
    if quirks.top_logprobs is not None and body.get("logprobs") is not None:
        body["logprobs"] = int(bool(body["logprobs"])) * max(1, body.pop("top_logprobs", None) or 1)
    search = request.get("web_search_options")
    if search is not None and quirks.web_search is None and "web_search_options" not in quirks.lacks:
        body["web_search_options"] = search


def _write_tools(body: dict[str, Any], request: Mapping[str, Any], quirks: ChatQuirks) -> None:
    given = read_tools(request)
    choice = request.get("tool_choice")
    read = read_tool_choice(choice) if choice is not None else None
    if read is not None and read.allowed and not quirks.allowed_tools:
        given = allowed_tools(given, read)
    tools = [_write_tool(tool, quirks) for tool in given]
    search = request.get("web_search_options")
    if search is not None and quirks.web_search == "tool":
        tools.append({"type": "web_search", **(search if isinstance(search, Mapping) else {})})
    if not tools:
        # OpenAI refuses each of the others without tools, and so does most of its kin.
        if read is not None and read.mode not in ("auto", "none"):
            raise refuse("tool_choice demands a call, and there are no tools")
        return
    body["tools"] = tools
    if read is None:
        if choice is not None:
            body["tool_choice"] = choice
    elif read.allowed and quirks.allowed_tools:
        functions = [{"type": "function", "function": {"name": name}} for name in read.allowed]
        allowed = {"mode": read.mode, "tools": functions}
        body["tool_choice"] = {"type": "allowed_tools", "allowed_tools": allowed}
    elif read.mode == "named":
        body["tool_choice"] = {"type": "function", "function": {"name": read.name}}
    else:
        body["tool_choice"] = read.mode
    parallel = request.get("parallel_tool_calls")
    if parallel is not None and "parallel_tool_calls" not in quirks.lacks:
        body["parallel_tool_calls"] = parallel


def _write_tool(tool: Any, quirks: ChatQuirks) -> dict[str, Any]:
    function = read_function(tool)
    if function is None:
        if not quirks.custom_tools:
            refuse_custom_tool(tool)
        other = {name: value for name, value in tool.items() if value is not None}
        if not quirks.cache_control:
            other.pop("cache_control", None)
        return other
    described = tool.get("function")
    if not isinstance(described, Mapping):  # flat, as the Responses dialect has it
        described = {name: tool[name] for name in _FUNCTION_FIELDS if name in tool}
    written = {name: value for name, value in described.items() if value is not None}
    if not quirks.strict_functions:
        written.pop("strict", None)
    if quirks.parameters:
        written.setdefault("parameters", NO_PARAMETERS)
    cached = tool.get("cache_control")
    return {
        "type": "function",
        "function": written,
        **({"cache_control": cached} if cached is not None and quirks.cache_control else {}),
    }


_FUNCTION_FIELDS = ("name", "description", "parameters", "strict")


def _write_format(body: dict[str, Any], wanted: Any, quirks: ChatQuirks) -> None:
    schema_models = quirks.schema_models
    read: AnswerFormat | None = None
    if schema_models is not None or not quirks.schema_beside_tools:
        read = read_answer_format(wanted)
    if read is not None and body.get("tools") and not quirks.schema_beside_tools:
        _answer_by_tool(body, read)
    elif read is not None and read.schema is not None and not _holds_to_schema(body, quirks):
        body["messages"] = _with_schema_in_words(body["messages"], read)
        body["response_format"] = {"type": "json_object"}
    else:
        body["response_format"] = wanted


def _holds_to_schema(body: Mapping[str, Any], quirks: ChatQuirks) -> bool:
    return quirks.schema_models is None or bool(quirks.schema_models.match(str(body.get("model"))))


def _answer_by_tool(body: dict[str, Any], wanted: AnswerFormat) -> None:
    """Make the answer the input of a tool, for a host that takes no schema beside tools."""
    function = answer_function(wanted)
    described = {
        "name": function.name,
        "description": function.description,
        "parameters": function.parameters,
    }
    choice = body.get("tool_choice", "auto")
    body["tools"] = [*body["tools"], {"type": "function", "function": described}]
    if choice == "none":
        body["tool_choice"] = {"type": "function", "function": {"name": ANSWER_TOOL}}
    elif choice == "auto":
        body["tool_choice"] = "required"


def _with_schema_in_words(messages: Sequence[Any], wanted: AnswerFormat) -> list[Any]:
    """The messages with the schema in the first system message."""
    words = describe_answer(wanted)
    first, rest = messages[0], list(messages[1:])
    if first["role"] == "system" and type(first["content"]) is str:
        return [{**first, "content": f"{first['content']}\n\n{words}"}, *rest]
    return [{"role": "system", "content": words}, first, *rest]
