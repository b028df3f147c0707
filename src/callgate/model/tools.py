"""The tool loop: calls the tools that the model asks for, concurrently, until it answers without one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from callgate.backends.tool import Tool
from callgate.call.calling import Calling
from callgate.errors import ConfigurationError, ToolError
from callgate.exact_json import dumps
from callgate.providers.canonical.messages import REPLAY
from callgate.response import Response, ToolCall, Usage

__all__ = ["ToolRun", "run_tools"]


@dataclass(slots=True)
class ToolRun:
    """The result of a tool loop: the last response, every call to the model, the whole conversation.

    Attributes:
        response: The last response of the model. It has tool calls if `max_rounds` was reached.
        callings: Every call to the model, in order.
        messages: The conversation, tool results included.
    """

    response: Response
    callings: list[Calling] = field(default_factory=list)
    messages: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The text of the last response."""
        return self.response.text

    @property
    def usage(self) -> Usage:
        """Tokens of all calls to the model together."""
        return sum((calling.usage for calling in self.callings if calling.usage), Usage())


async def run_tools(
    invoke: Callable[..., Awaitable[Calling]],
    messages: str | Sequence[Mapping[str, Any]],
    tools: Sequence[Any],
    *,
    max_rounds: int = 8,
    **request: Any,
) -> ToolRun:
    """Call the model and the tools that it requests, until it answers without a tool call.

    An error of a tool, or of its arguments, does not end the loop: it is sent to the model, which may try
    again.

    Args:
        invoke: `iModel.invoke`.
        messages: The conversation so far, which is not changed, or the user's text.
        tools: `Tool`s or plain functions.
        max_rounds: The most calls to the model.
        request: Further keywords of `iModel.invoke`.

    Raises:
        Exception: the error of a failed call to the model.
        ToolError: two tools have the same name.
        ConfigurationError: (a ValueError) `tools` is no list.
    """
    if not isinstance(tools, Sequence) or isinstance(tools, str):
        raise ConfigurationError(
            f"tools must be a list of functions or Tools, got {type(tools).__name__}", setting="tools"
        )
    by_name: dict[str, Tool] = {}
    for given in tools:
        tool = given if isinstance(given, Tool) else Tool(given)
        if tool.name in by_name:
            raise ToolError(f"two tools are named {tool.name!r}; give one of them another name")
        by_name[tool.name] = tool
    conversation: list[Mapping[str, Any]] = (
        [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)
    )
    callings: list[Calling] = []
    schemas = [tool.tool_schema for tool in by_name.values()]
    for _ in range(max(1, max_rounds)):
        calling = await invoke(messages=list(conversation), tools=schemas, **request)
        callings.append(calling)
        response = calling.response
        if not response.tool_calls:
            break
        conversation.append(_asked(response))
        results = await asyncio.gather(*(_call(by_name, asked) for asked in response.tool_calls))
        conversation.extend(results)
    return ToolRun(response, callings, conversation)


def _asked(response: Response) -> dict[str, Any]:
    # Signed thoughts must be sent back unchanged; other dialects leave them out.
    kept = {REPLAY: response.metadata[REPLAY]} if REPLAY in response.metadata else {}
    return {
        "role": "assistant",
        **kept,
        "content": response.text or None,
        "tool_calls": [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.name,
                    "arguments": call.raw_arguments or dumps(call.arguments).decode(),
                },
            }
            for call in response.tool_calls
        ],
    }


async def _call(by_name: Mapping[str, Tool], asked: ToolCall) -> dict[str, Any]:
    """The result of one call as a tool message; a dialect writes `is_error` in its provider's form."""
    message = {"role": "tool", "tool_call_id": asked.id, "name": asked.name}
    tool = by_name.get(asked.name)
    if tool is None:
        problem = f"there is no tool {asked.name!r}; there are {', '.join(by_name)}"
    elif asked.raw_arguments is not None:
        problem = "the arguments are not a JSON object"
    else:
        try:
            answer = await tool.call(Calling(asked.arguments, backend=tool))
        except Exception as error:
            problem = str(error)
        else:
            return {**message, "content": _as_content(answer.data)}
    return {**message, "content": f"error: {problem}", "is_error": True}


def _as_content(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return dumps(value, str, orjson.OPT_NON_STR_KEYS).decode()
    except (TypeError, ValueError):
        return str(value)
