"""Tools, the choice among them, and the answer format, in Gemini's form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callgate.providers.canonical.fields import refuse_fields
from callgate.providers.canonical.messages import refuse
from callgate.providers.canonical.tools import (
    ANSWER_TOOL,
    AnswerFormat,
    Function,
    ToolChoice,
    allowed_tools,
    answer_function,
    describe_answer,
    read_function,
    read_tool_choice,
    read_tools,
    refuse_custom_tool,
)
from callgate.providers.gemini.models import is_third_generation

__all__ = ["write_answer_format", "write_tools"]


def write_tools(body: dict[str, Any], request: Mapping[str, Any], model: str, *, mixes: bool) -> None:
    """Add `tools` and `toolConfig`.

    Args:
        body: The body so far.
        request: The canonical request.
        model: Its name, for messages.
        mixes: True when functions may stand beside Google's own tools.

    Raises:
        InvalidRequestError: A tool or a choice that the model does not have.
    """
    tools = read_tools(request)
    given = request.get("tool_choice")
    choice = read_tool_choice(given)
    if choice is None and given is not None:
        raise refuse(f"tool_choice {given!r} is not Gemini's; use auto, none, required or tool_config")
    allowed_tools(tools, choice)
    declared: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    for tool in tools:
        function = read_function(tool)
        if function is None:
            refuse_custom_tool(tool)
            others.append(dict(tool))
        else:
            declared.append(_declaration(function))
    if request.get("web_search_options") is not None:
        others.append(_web_search(request["web_search_options"]))
        if declared and not mixes:
            raise refuse(f"{model} has no web search beside functions; leave web_search_options or tools out")
    if not declared and not others:
        return
    body["tools"] = ([{"functionDeclarations": declared}] if declared else []) + others
    if declared and choice is not None:
        _configure(body, functionCallingConfig=_calling(choice))
    if declared and others and mixes:
        _configure(body, includeServerSideToolInvocations=True)


def write_answer_format(
    body: dict[str, Any], settings: dict[str, Any], wanted: AnswerFormat, model: str
) -> None:
    """Hold the answer to a schema: by Gemini, or as the input of a forced function.

    The models before Gemini 3 take no schema beside tools. Beside functions they answer with a call; beside
    other tools, which exclude functions, the schema stands in the system instruction.
    """
    tools = body.get("tools") or []
    if not tools or is_third_generation(model):
        settings["responseMimeType"] = "application/json"
        if wanted.schema is not None:
            settings["responseJsonSchema"] = wanted.schema
        return
    functions = next((tool["functionDeclarations"] for tool in tools if "functionDeclarations" in tool), None)
    if functions is None:
        held = body.get("systemInstruction") or {"parts": []}
        body["systemInstruction"] = {**held, "parts": [*held["parts"], {"text": describe_answer(wanted)}]}
        return
    functions.append(_declaration(answer_function(wanted)))
    calling = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    if calling.get("mode") == "NONE":
        calling = {"allowedFunctionNames": [ANSWER_TOOL]}
    elif "allowedFunctionNames" in calling and calling["mode"] == "VALIDATED":
        calling = {"allowedFunctionNames": [*calling["allowedFunctionNames"], ANSWER_TOOL]}
    _configure(body, functionCallingConfig={**calling, "mode": "ANY"})


def _declaration(function: Function) -> dict[str, Any]:
    declaration: dict[str, Any] = {"name": function.name}
    if function.description:
        declaration["description"] = function.description
    if function.parameters.get("properties") or not function.parameters.keys() <= {"type", "properties"}:
        declaration["parametersJsonSchema"] = function.parameters
    return declaration


def _web_search(options: Any) -> dict[str, Any]:
    if isinstance(options, Mapping) and options.get("user_location") is not None:
        refuse_fields(options, "Gemini's web search", {"user_location": "write the place into the prompt"})
    return {"googleSearch": {}}


def _calling(choice: ToolChoice) -> dict[str, Any]:
    if choice.mode == "named":
        return {"mode": "ANY", "allowedFunctionNames": [choice.name]}
    if choice.allowed:
        # AUTO cannot be restricted; VALIDATED is the mode that still lets the model answer in text.
        mode = "ANY" if choice.mode == "required" else "VALIDATED"
        return {"mode": mode, "allowedFunctionNames": list(choice.allowed)}
    return {"mode": {"auto": "AUTO", "none": "NONE"}.get(choice.mode, "ANY")}


def _configure(body: dict[str, Any], **settings: Any) -> None:
    body["toolConfig"] = {**(body.get("toolConfig") or {}), **settings}
