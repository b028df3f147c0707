"""Read and strictly validate the body of an Anthropic message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from callgate.testing.simulator.answers import Ask, ToolSpec
from callgate.testing.simulator.dialects.base import Refusal, invalid, require

__all__ = ["read_body"]

_IMAGE_CHARS = 4 * 1600  # Anthropic's price of a large image, in characters
_LEAST_THINKING = 1024
_ROLES = ("user", "assistant")
_SYSTEM_BETA = "mid-conversation-system"
_FIRST, _SECOND = "2023-06-01", "2026-10-21"


def read_body(body: dict[str, Any], ask: Ask, version: Any, *, hosted: str = "", betas: str = "") -> None:
    """Fill `ask` from a body without `model`. Raises Refusal with the first error found.

    `version` is the API version of the request, `hosted` another version that this host accepts, `betas` the
    request's `anthropic-beta` header.
    """
    if version not in (_FIRST, _SECOND) and not (hosted and version == hosted):
        raise invalid(f"anthropic-version: {version!r} is not a valid version")
    if version == _SECOND:
        _refuse_what_was_removed(body)
    limit = body.get("max_tokens")
    if limit is None:
        raise invalid("max_tokens: Field required")
    require(limit, int, "max_tokens", "an integer")
    if limit < 1:
        raise invalid("max_tokens: Input should be greater than or equal to 1")
    ask.max_tokens = limit
    messages = body.get("messages")
    if messages is None:
        raise invalid("messages: Field required")
    require(messages, list, "messages", "an array")
    if not messages:
        raise invalid("messages: at least one message is required")
    _read_messages(messages, ask, (*_ROLES, "system") if _SYSTEM_BETA in betas else _ROLES)
    ask.input_chars += sum(len(text) for text in _texts(body.get("system"), "system"))
    _read_settings(body, ask)
    if body.get("tools"):
        _read_tools(body, ask)
    _read_format(body, ask)


def _refuse_what_was_removed(body: dict[str, Any]) -> None:
    """Fields removed in the second version of the API, refused even with their default value."""
    for name in ("temperature", "top_p", "top_k"):
        if name in body:
            raise invalid(f"{name}: Extra inputs are not permitted")
    messages = body.get("messages")
    for index, message in enumerate(messages if isinstance(messages, list) else ()):
        content = message.get("content") if isinstance(message, dict) else None
        for block in content if isinstance(content, list) else ():
            if not isinstance(block, dict):
                continue
            if message.get("role") == "assistant" and block.get("type") == "document":
                raise invalid(f"messages.{index}: `document` blocks are not permitted in assistant messages")
            if message.get("role") == "user" and block.get("type") == "text" and block.get("citations"):
                raise invalid(f"messages.{index}: `citations` are not permitted in user messages")


def _read_messages(messages: list[Any], ask: Ask, roles: tuple[str, ...]) -> None:
    called: list[str] = []
    for index, message in enumerate(messages):
        require(message, dict, f"messages.{index}", "an object")
        role, content = message.get("role"), message.get("content")
        if role not in roles:
            raise invalid(f"messages.{index}.role: Input should be 'user' or 'assistant'")
        if isinstance(content, str):
            if not content:
                raise invalid(f"messages.{index}: all messages must have non-empty content")
            blocks: list[Any] = [{"type": "text", "text": content}]
        else:
            require(content, list, f"messages.{index}.content", "a string or an array")
            blocks = content
        if role == "system":
            ask.input_chars += sum(len(text) for text in _texts(blocks, f"messages.{index}"))
        elif role == "assistant":
            called = _read_assistant(blocks, index, ask)
        else:
            _read_user(blocks, index, called, ask)
            called = []
    if called:
        raise invalid(f"messages.{len(messages) - 1}: `tool_use` ids were found without `tool_result` blocks")


def _read_assistant(blocks: list[Any], index: int, ask: Ask) -> list[str]:
    """Count the blocks; returns the ids of the assistant's tool calls."""
    called = []
    for position, block in enumerate(blocks):
        where = f"messages.{index}.content.{position}"
        require(block, dict, where, "an object")
        if block.get("type") == "tool_use":
            if not isinstance(block.get("input"), dict):
                raise invalid(f"{where}.tool_use.input: Input should be a valid dictionary")
            called.append(str(block.get("id")))
            ask.input_chars += len(str(block["input"]))
        ask.input_chars += len(str(block.get("text", block.get("thinking", ""))))
    return called


def _read_user(blocks: list[Any], index: int, called: list[str], ask: Ask) -> None:
    results: dict[str, str] = {}
    texts: list[str] = []
    for position, block in enumerate(blocks):
        where = f"messages.{index}.content.{position}"
        require(block, dict, where, "an object")
        kind = block.get("type")
        if kind == "tool_result":
            name = str(block.get("tool_use_id"))
            if name not in called:
                raise invalid(
                    f"{where}: unexpected `tool_use_id` found in `tool_result` blocks: {name}. Each "
                    "`tool_result` block must have a corresponding `tool_use` block in the previous message."
                )
            results[name] = "\n".join(_texts(block.get("content"), where))
        elif kind == "text":
            require(block.get("text"), str, f"{where}.text", "a string")
            texts.append(block["text"])
        elif kind in ("image", "document"):
            require(block.get("source"), dict, f"{where}.source", "an object")
            ask.input_chars += _IMAGE_CHARS
        else:
            raise invalid(
                f"{where}: Input tag {kind!r} found using 'type' does not match any of the expected tags"
            )
    missing = [name for name in called if name not in results]
    if missing:
        raise invalid(
            f"messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{', '.join(missing)}."
        )
    ask.input_chars += sum(map(len, texts)) + sum(map(len, results.values()))
    ask.text = "\n".join(texts)
    ask.tool_results = list(results.values())


def _texts(content: Any, where: str) -> Iterator[str]:
    """The texts in a string or in an array of blocks."""
    if content is None:
        return
    if isinstance(content, str):
        yield content
        return
    require(content, list, where, "a string or an array")
    for block in content:
        require(block, dict, where, "an array of objects")
        if isinstance(block.get("text"), str):
            yield block["text"]


def _read_settings(body: dict[str, Any], ask: Ask) -> None:
    temperature = body.get("temperature")
    if temperature is not None:
        require(temperature, (int, float), "temperature", "a number")
        if not 0 <= temperature <= 1:
            raise invalid("temperature: range: 0..1")
    if body.get("stream"):
        require(body["stream"], bool, "stream", "a boolean")
        ask.stream = True
    stop = body.get("stop_sequences")
    if stop:
        require(stop, list, "stop_sequences", "an array")
        ask.stop = tuple(str(one) for one in stop if one)
    thinking = body.get("thinking")
    if thinking is not None:
        require(thinking, dict, "thinking", "an object")
        ask.reasoning = thinking.get("type") in ("enabled", "adaptive")
        if thinking.get("type") == "enabled":
            budget = thinking.get("budget_tokens")
            require(budget, int, "thinking.enabled.budget_tokens", "an integer")
            if budget < _LEAST_THINKING:
                raise invalid(f"thinking.enabled.budget_tokens: must be at least {_LEAST_THINKING}")
            if ask.max_tokens is not None and budget >= ask.max_tokens:
                raise invalid("`max_tokens` must be greater than `thinking.budget_tokens`")


def _read_tools(body: dict[str, Any], ask: Ask) -> None:
    require(body["tools"], list, "tools", "an array")
    specs = []
    for index, tool in enumerate(body["tools"]):
        require(tool, dict, f"tools.{index}", "an object")
        if tool.get("type", "custom") != "custom":
            continue  # a server tool such as web search: the simulator never runs it
        if not isinstance(tool.get("name"), str):
            raise invalid(f"tools.{index}.custom.name: Field required")
        if not isinstance(tool.get("input_schema"), dict):
            raise invalid(f"tools.{index}.custom.input_schema: Field required")
        specs.append(ToolSpec(tool["name"], tool["input_schema"]))
    ask.tools = specs
    choice = body.get("tool_choice")
    if choice is None:
        return
    require(choice, dict, "tool_choice", "an object")
    kind = choice.get("type")
    if kind == "tool":
        if choice.get("name") not in [tool.name for tool in specs]:
            raise invalid(f"tool_choice.tool.name: Tool {choice.get('name')!r} not found in provided tools")
        ask.tool_choice = f"={choice['name']}"
    elif kind in ("auto", "none"):
        ask.tool_choice = kind
    elif kind == "any":
        ask.tool_choice = "required"
    else:
        raise invalid(f"tool_choice: Input tag {kind!r} does not match any of the expected tags")
    ask.parallel = choice.get("disable_parallel_tool_use") is not True


def _read_format(body: dict[str, Any], ask: Ask) -> None:
    config = body.get("output_config")
    form = config.get("format") if isinstance(config, dict) else body.get("output_format")
    if form is None:
        return
    if (
        not isinstance(form, dict)
        or form.get("type") != "json_schema"
        or not isinstance(form.get("schema"), dict)
    ):
        raise Refusal(400, "invalid", "output_config.format: a json_schema with a schema is required")
    ask.json_schema = form["schema"]
