"""Tools, the choice among them, and the answer format, in the Messages format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callgate.providers.anthropic.models import takes_forced_tool
from callgate.providers.canonical.messages import refuse
from callgate.providers.canonical.tools import (
    ANSWER_TOOL,
    AnswerFormat,
    ToolChoice,
    allowed_tools,
    answer_function,
    read_function,
    read_tool_choice,
    read_tools,
    refuse_custom_tool,
)
from callgate.schema.strict import strict_schema

__all__ = ["web_search_tool", "write_answer_format", "write_tools"]

_WEB_SEARCH = "web_search_20250305"


def write_tools(body: dict[str, Any], request: Mapping[str, Any], model: str, *, strict: bool) -> None:
    """Add `tools` and `tool_choice`.

    Raises:
        InvalidRequestError: A tool or a choice that Claude does not have.
    """
    given = request.get("tool_choice")
    choice = read_tool_choice(given)
    tools = [_tool(tool, strict) for tool in allowed_tools(read_tools(request), choice)]
    if not tools:
        return
    body["tools"] = tools
    written = _choice(choice)
    if choice is None and isinstance(given, Mapping):
        written = dict(given)
    if written is not None and written.get("type") in ("any", "tool") and not takes_forced_tool(model):
        raise refuse(f"{model} cannot be forced to call a tool; use tool_choice='auto'")
    if request.get("parallel_tool_calls") is False:
        written = {"type": "auto"} if written is None else written
        if written.get("type") != "none":
            written["disable_parallel_tool_use"] = True
    if written is not None:
        body["tool_choice"] = written


def web_search_tool(options: Any) -> dict[str, Any]:
    """`web_search_options` as Claude's own tool."""
    tool: dict[str, Any] = {"type": _WEB_SEARCH, "name": "web_search"}
    location = options.get("user_location") if isinstance(options, Mapping) else None
    if isinstance(location, Mapping):
        approximate = location.get("approximate")
        place = approximate if isinstance(approximate, Mapping) else location
        tool["user_location"] = {**place, "type": "approximate"}
    return tool


def _choice(choice: ToolChoice | None) -> dict[str, Any] | None:
    if choice is None:
        return None
    if choice.mode == "named":
        return {"type": "tool", "name": choice.name}
    return {"type": "any" if choice.mode == "required" else choice.mode}


def _tool(tool: Any, strict: bool) -> dict[str, Any]:
    function = read_function(tool)
    if function is None:
        refuse_custom_tool(tool)
        return dict(tool)
    written: dict[str, Any] = {"name": function.name}
    if function.description:
        written["description"] = function.description
    written["input_schema"] = function.parameters
    if function.strict and strict:
        closed = strict_schema(function.parameters)
        if closed is not None:
            written |= {"input_schema": closed, "strict": True}
    if tool.get("cache_control") is not None:
        written["cache_control"] = tool["cache_control"]
    return written


def write_answer_format(body: dict[str, Any], wanted: AnswerFormat, model: str, *, strict: bool) -> None:
    """Hold the answer to a schema: by the provider where it can, else as the input of a forced tool.

    The tool is for older models, for schemas that constrained decoding cannot express, and for "any JSON
    object". A model that thinks, or that takes no forced tool, is only offered the tool.
    """
    closed = strict_schema(wanted.schema) if strict and wanted.schema is not None else None
    if closed is not None:
        given = body.get("output_config")
        output_config = dict(given) if isinstance(given, Mapping) else {}
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
    choice = body.get("tool_choice", {"type": "auto"})
    thinking = body.get("thinking")
    thinks = isinstance(thinking, Mapping) and thinking.get("type") != "disabled"
    if thinks or not takes_forced_tool(model):
        choice = {**choice, "type": "auto"}
    elif not offered or choice.get("type") == "none":
        choice = {"type": "tool", "name": ANSWER_TOOL}
    elif choice.get("type") == "auto":
        choice = {**choice, "type": "any"}
    body["tool_choice"] = choice
