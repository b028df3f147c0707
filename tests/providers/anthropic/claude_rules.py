"""What Claude refuses although the SDK's types permit it, as documented by Anthropic."""

from __future__ import annotations

from typing import Any

__all__ = ["problems_of_claude"]

_MOST_MARKS = 4


def problems_of_claude(body: dict[str, Any]) -> list[str]:
    """What is wrong with a body of the Messages format, a line each."""
    messages = body["messages"]
    problems = [*_of_order(messages), *_of_tools(body), *_of_thinking(body)]
    problems += [f"blank text in {where}" for where, text in _texts(body) if not text.strip()]
    if messages[-1]["role"] == "assistant":
        last = _blocks(messages[-1])[-1].get("text", "x")
        problems += ["white space at the end of the last text"] if last != last.rstrip() else []
    if str(body).count("'cache_control'") > _MOST_MARKS:
        problems.append("more than four cache marks")
    return problems


def _of_order(messages: list[dict[str, Any]]) -> list[str]:
    problems = ["the first turn is not the user's"] if messages[0]["role"] != "user" else []
    for before, message in zip([None, *messages], messages, strict=False):
        if before is not None and before["role"] == message["role"]:
            problems.append(f"two turns of the {message['role']}")
        asked = {block["id"] for block in _blocks(before) if block.get("type") == "tool_use"}
        kinds = [block["type"] for block in _blocks(message)]
        answered = {block["tool_use_id"] for block in _blocks(message) if block["type"] == "tool_result"}
        if asked != answered:
            problems.append(f"calls {asked} are followed by results {answered}")
        if "tool_result" in kinds[len(answered) :]:
            problems.append("something stands before a tool result")
        if message["role"] == "system" and (before is None or before["role"] != "user"):
            problems.append("a system turn does not follow the user's")
    return problems


def _of_tools(body: dict[str, Any]) -> list[str]:
    choice = body.get("tool_choice")
    if choice is not None and not body.get("tools"):
        return ["tool_choice without tools"]
    names = [tool["name"] for tool in body.get("tools", ())]
    if choice is not None and choice["type"] == "tool" and choice["name"] not in names:
        return [f"tool_choice names {choice['name']}, which is not offered"]
    return []


def _of_thinking(body: dict[str, Any]) -> list[str]:
    if body.get("temperature", 0) > 1:
        return ["temperature over 1"]
    thinking = body.get("thinking")
    if thinking is None or thinking["type"] == "disabled":
        return []
    problems = []
    if body.get("tool_choice", {}).get("type") in ("any", "tool"):
        problems.append("a forced tool beside thinking")
    if body.get("temperature", 1) != 1 or "top_k" in body or body.get("top_p", 1) < 0.95:
        problems.append("sampling settings beside thinking")
    if thinking["type"] == "enabled" and not 1024 <= thinking["budget_tokens"] < body["max_tokens"]:
        problems.append("no room for the thoughts")
    return problems


def _blocks(message: dict[str, Any] | None) -> list[dict[str, Any]]:
    content = message["content"] if message is not None else []
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _texts(value: Any, where: str = "body") -> list[tuple[str, str]]:
    """Every text block of the body, with its place."""
    if isinstance(value, list):
        return [found for at, item in enumerate(value) for found in _texts(item, f"{where}[{at}]")]
    if not isinstance(value, dict):
        return []
    own = [(where, value["text"])] if value.get("type") == "text" else []
    return own + [found for name, item in value.items() for found in _texts(item, f"{where}.{name}")]
