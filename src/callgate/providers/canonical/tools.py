"""The one request format, read: its tools, the choice among them, and the form of the answer."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from callgate.providers.canonical.json import read_arguments, write_json
from callgate.providers.canonical.messages import refuse

__all__ = [
    "ANSWER_TOOL",
    "AnswerFormat",
    "Function",
    "ToolChoice",
    "ToolUse",
    "allowed_tools",
    "answer_function",
    "describe_answer",
    "fit_id",
    "make_call_id",
    "read_answer_format",
    "read_function",
    "read_tool_choice",
    "read_tool_uses",
    "read_tools",
    "refuse_custom_tool",
    "result_id",
]

ANSWER_TOOL = "callgate_answer"
"""The tool whose input is the answer, for models that cannot be held to a schema otherwise."""

NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}}
_ANY_OBJECT: Mapping[str, Any] = {"type": "object", "additionalProperties": True}
_UNFIT_FOR_ID = re.compile(r"[^a-zA-Z0-9_-]")
_LONGEST_ID = 64


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
    """Which tool the model may or must call.

    Attributes:
        mode: "auto", "none", "required", or "named" with a `name`.
        name: The only tool, for "named".
        allowed: The tools that "auto" or "required" is restricted to; empty for all.
    """

    mode: Literal["auto", "none", "required", "named"]
    name: str = ""
    allowed: tuple[str, ...] = ()


_MODES: Mapping[str, Literal["auto", "none", "required"]] = {
    "auto": "auto",
    "none": "none",
    "required": "required",
    "any": "required",  # the word of Anthropic and Mistral
}


def read_tools(request: Mapping[str, Any]) -> Sequence[Any]:
    """The tools that the request offers; none when it offers none.

    Raises:
        InvalidRequestError: when they are no list.
    """
    tools = request.get("tools") or ()
    if not isinstance(tools, Sequence):
        raise refuse(f"tools is a list, not {type(tools).__name__}")
    return tools


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
    """Read `tool_choice` in any of OpenAI's forms, or in Anthropic's; None for none and for any other form.

    Raises:
        InvalidRequestError: An unknown word, or a choice that names no function.

    >>> read_tool_choice({"type": "function", "function": {"name": "f"}})
    ToolChoice(mode='named', name='f', allowed=())
    """
    if type(choice) is str:
        if choice not in _MODES:
            form = "{'type': 'function', 'function': {'name': ...}}"
            raise refuse(f"unknown tool_choice {choice!r}; use auto, none, required or {form}")
        return ToolChoice(_MODES[choice])
    if not isinstance(choice, Mapping):
        return None
    kind = choice.get("type")
    if choice.keys() == {"type"} and type(kind) is str and kind in _MODES:
        return ToolChoice(_MODES[kind])
    if choice.keys() == {"type", "name"} and kind == "tool":
        return ToolChoice("named", _chosen_name(choice))
    if choice.get("type") == "function":
        return ToolChoice("named", _chosen_name(choice))
    if choice.get("type") != "allowed_tools":
        return None
    allowed = choice.get("allowed_tools")
    if not isinstance(allowed, Mapping):
        allowed = choice  # the flat form of the Responses dialect
    tools, mode = allowed.get("tools"), allowed.get("mode", "auto")
    if not isinstance(tools, Sequence) or not tools or mode not in ("auto", "required"):
        raise refuse("tool_choice allowed_tools needs a mode, auto or required, and a list of tools")
    names = tuple(dict.fromkeys(_chosen_name(tool) for tool in tools))
    return (
        ToolChoice("named", names[0])
        if mode == "required" and len(names) == 1
        else ToolChoice(mode, "", names)
    )


def _chosen_name(choice: Any) -> str:
    function = choice.get("function") if isinstance(choice, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if name is None and isinstance(choice, Mapping):
        name = choice.get("name")
    if type(name) is not str or not name:
        raise refuse("tool_choice names no function")
    return name


def allowed_tools(tools: Sequence[Any], choice: ToolChoice | None) -> Sequence[Any]:
    """The tools that the choice leaves, for a provider that cannot restrict a choice otherwise.

    Raises:
        InvalidRequestError: The choice allows a tool that is not among `tools`.
    """
    if choice is None or not choice.allowed:
        return tools
    by_name = {function.name: tool for tool in tools if (function := read_function(tool)) is not None}
    missing = [name for name in choice.allowed if name not in by_name]
    if missing:
        raise refuse(f"tool_choice allows {', '.join(missing)}, which tools does not define")
    return [tool for name, tool in by_name.items() if name in choice.allowed]


def refuse_custom_tool(tool: Mapping[str, Any]) -> None:
    """Refuse OpenAI's custom tools, which take free text instead of arguments.

    Raises:
        InvalidRequestError: It is one.
    """
    if isinstance(tool.get("custom"), Mapping):
        raise refuse("only OpenAI has custom tools; describe this one as a function with a text parameter")


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
            ToolUse(str(call.get("id") or f"call_{index}"), name, _arguments(function.get("arguments")))
        )
    return uses


def _arguments(arguments: Any) -> dict[str, Any]:
    """A tool call's arguments as an object, for a provider that takes nothing else.

    What the model once wrote that is no JSON object goes back to it under "unreadable_arguments".
    """
    if isinstance(arguments, Mapping):
        return dict(arguments)
    read, unreadable = read_arguments(arguments)
    return read if unreadable is None else {"unreadable_arguments": unreadable}


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


def answer_function(wanted: AnswerFormat) -> Function:
    """The tool whose input is the answer.

    Raises:
        InvalidRequestError: when the schema is not of an object: a tool's input is nothing else.
    """
    schema = _ANY_OBJECT if wanted.schema is None else wanted.schema
    if schema.get("type", "object") != "object":
        raise refuse(f"the schema of an answer is an object at its root, not {schema.get('type')!r}")
    description = "Give your final answer by calling this tool, exactly once; its input is the answer."
    if wanted.description:
        description += f" The answer: {wanted.description}"
    return Function(ANSWER_TOOL, description, {"type": "object", **schema})


def describe_answer(wanted: AnswerFormat) -> str:
    """The form of the answer in words, for providers that cannot be held to a schema."""
    if wanted.schema is None:
        return "Answer with one JSON object and nothing else."
    about = f" It is: {wanted.description}" if wanted.description else ""
    schema = write_json(wanted.schema).decode()
    return f"Answer with JSON that fits this JSON schema, and with nothing else.{about}\n{schema}"


def result_id(message: Mapping[str, Any]) -> str:
    """The id of the call that a tool's message answers.

    Raises:
        InvalidRequestError: when it has none.
    """
    identity = message.get("tool_call_id")
    if not identity:
        raise refuse("a message of role tool has no tool_call_id, so it answers no call")
    return str(identity)


def make_call_id(response_id: Any, number: int, name: str, arguments: Any) -> str:
    """An id for a tool call that came without one: the same for the same answer, another for every other.

    Args:
        response_id: The id of the answer, or anything else when it has none.
        number: Of the call among those of the answer.
        name, arguments: Of the call.

    >>> make_call_id("chatcmpl-1", 0, "weather", '{"city": "Oslo"}')
    'call_06c3a7cb_0'
    """
    facts = write_json([response_id, name, arguments])
    return f"call_{zlib.crc32(facts):08x}_{number}"


def fit_id(identity: str) -> str:
    """An id of another provider's with nothing in it that this one refuses; a call and its result change
    alike."""
    fit = _UNFIT_FOR_ID.sub("_", identity)
    if len(fit) <= _LONGEST_ID:
        return fit
    # Two long ids may begin alike, so the rest of them must go on to count.
    return f"{fit[: _LONGEST_ID - 9]}_{zlib.crc32(identity.encode()):08x}"
