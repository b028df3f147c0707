"""Tools, the choice among them, and the answer format, in Converse's form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callgate.providers.anthropic.models import claude_version, is_claude
from callgate.providers.bedrock.content import cache_point
from callgate.providers.bedrock.models import (
    caches_prompts,
    can_be_forced,
    holds_to_schema,
    is_named,
    refuse_unnamed,
)
from callgate.providers.canonical.json import write_json
from callgate.providers.canonical.messages import refuse
from callgate.providers.canonical.tools import (
    ANSWER_TOOL,
    AnswerFormat,
    Function,
    allowed_tools,
    answer_function,
    read_function,
    read_tool_choice,
    read_tools,
    refuse_custom_tool,
)
from callgate.schema.strict import strict_schema

__all__ = ["forces_tool", "write_answer_format", "write_tools"]

_SERIAL_SINCE = (4, 5)
"""The first Claude whose parallel calls can be turned off through Converse."""


def write_tools(body: dict[str, Any], request: Mapping[str, Any], model: str) -> None:
    """Add `toolConfig`, unless the request offers no tools or forbids their use.

    Raises:
        InvalidRequestError: A tool or a choice that the model does not have.
    """
    choice = read_tool_choice(request.get("tool_choice"))
    tools = allowed_tools(read_tools(request), choice)
    if not tools or (choice is not None and choice.mode == "none"):
        return
    written = _choice(request)
    if forces_tool(request) and not can_be_forced(model):
        raise refuse(f"{model} cannot be forced to call a tool; use tool_choice='auto'")
    body["toolConfig"] = {"tools": [block for tool in tools for block in _tool(tool, model)]}
    if request.get("parallel_tool_calls") is False and _takes_serial_calls(model):
        _choose_serial_calls(body, written)
    elif written:
        body["toolConfig"]["toolChoice"] = written


def forces_tool(request: Mapping[str, Any]) -> bool:
    """True when the model must call a tool."""
    return bool(read_tools(request)) and not _choice(request).keys().isdisjoint(("any", "tool"))


def _choice(request: Mapping[str, Any]) -> dict[str, Any]:
    """`toolChoice`; empty where the model may choose."""
    given = request.get("tool_choice")
    choice = read_tool_choice(given)
    if choice is None:
        return dict(given) if isinstance(given, Mapping) else {}
    if choice.mode == "named":
        return {"tool": {"name": choice.name}}
    return {"any": {}} if choice.mode == "required" else {}


def write_answer_format(body: dict[str, Any], wanted: AnswerFormat, model: str) -> None:
    """Hold the answer to a schema: by Bedrock where it can, else as the input of a forced tool.

    Raises:
        InvalidRequestError: The model is not known.
    """
    if not is_named(model):
        raise refuse_unnamed(model, "response_format")
    closed = strict_schema(wanted.schema) if holds_to_schema(model) and wanted.schema is not None else None
    if closed is not None:
        described = {"schema": write_json(closed).decode(), "name": wanted.name}
        if wanted.description:
            described["description"] = wanted.description
        text_format = {"type": "json_schema", "structure": {"jsonSchema": described}}
        body["outputConfig"] = {"textFormat": text_format, **(body.get("outputConfig") or {})}
        return
    config = body.setdefault("toolConfig", {})
    offered = config.get("tools") or []
    config["tools"] = [*offered, _spec(answer_function(wanted))]
    if "thinking" in (body.get("additionalModelRequestFields") or {}) or not can_be_forced(model):
        config.pop("toolChoice", None)  # a model that thinks must not be forced
    elif not offered:
        config["toolChoice"] = {"tool": {"name": ANSWER_TOOL}}
    elif "toolChoice" not in config:
        config["toolChoice"] = {"any": {}}


def _tool(tool: Any, model: str) -> list[dict[str, Any]]:
    """The entry for a tool, and a cache point behind it where it has a mark."""
    function = read_function(tool)
    if function is None:
        refuse_custom_tool(tool)
        return [dict(tool)]
    return [_spec(function), *(cache_point(tool.get("cache_control")) if caches_prompts(model) else ())]


def _spec(function: Function) -> dict[str, Any]:
    spec: dict[str, Any] = {"name": function.name}
    if function.description:
        spec["description"] = function.description
    spec["inputSchema"] = {"json": function.parameters}
    return {"toolSpec": spec}


def _takes_serial_calls(model: str) -> bool:
    return is_claude(model) and (claude_version(model) or _SERIAL_SINCE) >= _SERIAL_SINCE


def _choose_serial_calls(body: dict[str, Any], choice: Mapping[str, Any]) -> None:
    """State the choice in Claude's own form: `toolChoice` cannot turn parallel calls off."""
    if "tool" in choice:
        written = {"type": "tool", "name": choice["tool"]["name"]}
    else:
        written = {"type": "any" if "any" in choice else "auto"}
    written["disable_parallel_tool_use"] = True
    fields = body.get("additionalModelRequestFields") or {}
    body["additionalModelRequestFields"] = {"tool_choice": written, **fields}
