"""OpenAI responses: input items, output items and named stream events."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any, ClassVar

import orjson

from callgate.testing.simulator.answers import Answer, Ask, ToolSpec, count_tokens
from callgate.testing.simulator.dialects.base import (
    Dialect,
    Event,
    Refusal,
    Reply,
    Request,
    invalid,
    missing,
    pieces,
    require,
    sse,
)
from callgate.testing.simulator.dialects.openai_chat import openai_error
from callgate.testing.simulator.options import HeaderFamily, RetryAfterForm

__all__ = ["OpenAIResponses"]

_IMAGE_CHARS = 340


class OpenAIResponses(Dialect):
    """`POST /v1/responses`, plain and streamed. Nothing is stored: `previous_response_id` is never found."""

    name = "openai_responses"
    paths = re.compile(r".*/responses")
    header_family: ClassVar[HeaderFamily] = "openai"
    retry_after: ClassVar[tuple[RetryAfterForm, ...]] = ("seconds", "ms")

    def read(self, request: Request) -> Ask:
        body = request.body
        model = body.get("model")
        if model is None:
            raise missing("model")
        require(model, str, "model", "a string")
        if body.get("previous_response_id"):
            name = body["previous_response_id"]
            raise invalid(
                f"Previous response with id '{name}' not found.",
                "previous_response_id",
                "previous_response_not_found",
            )
        ask = Ask(self.name, model, body)
        _read_input(body.get("input"), ask)
        if body.get("instructions") is not None:
            require(body["instructions"], str, "instructions", "a string")
            ask.input_chars += len(body["instructions"])
        _read_settings(body, ask)
        _read_tools(body, ask)
        return ask

    def whole(self, reply: Reply) -> bytes:
        return orjson.dumps(_response(reply, _items(reply), _status(reply.answers[0])))

    def stream(self, reply: Reply) -> Iterator[Event]:
        for number, (payload, tokens) in enumerate(_events(reply)):
            payload["sequence_number"] = number
            yield Event(sse(payload, payload["type"]), tokens)

    def error(self, refusal: Refusal, forms: Collection[str]) -> tuple[list[tuple[str, str]], bytes]:
        return [], openai_error(refusal)

    def stream_error(self) -> bytes:
        return sse(
            {
                "type": "error",
                "code": "server_error",
                "message": "The server had an error while processing your request.",
                "param": None,
                "sequence_number": 99,
            },
            "error",
        )


def _read_input(given: Any, ask: Ask) -> None:
    if given is None:
        raise missing("input")
    require(given, (str, list), "input", "a string or an array of items")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if not items:
        raise invalid("Invalid 'input': empty array.", "input", "empty_array")
    called: list[str] = []
    results: list[str] = []
    for index, item in enumerate(items):
        require(item, dict, f"input[{index}]", "an object")
        kind = item.get("type", "message")
        if kind == "message":
            text = _read_message(item, f"input[{index}]", ask)
            if item.get("role") == "user":
                ask.text, results = text, []
        elif kind == "function_call":
            called.append(str(item.get("call_id")))
            ask.input_chars += len(str(item.get("arguments")))
        elif kind == "function_call_output":
            if item.get("call_id") not in called:
                raise invalid(
                    f"No tool call found for function call output with call_id {item.get('call_id')}.",
                    "input",
                )
            output = item.get("output")
            results.append(output if isinstance(output, str) else orjson.dumps(output).decode())
            ask.input_chars += len(results[-1])
        elif kind not in ("reasoning", "item_reference"):
            raise invalid(f"Invalid value: {kind!r}.", f"input[{index}].type", "invalid_value")
    ask.tool_results = results


def _read_message(item: dict[str, Any], where: str, ask: Ask) -> str:
    if item.get("role") not in ("user", "assistant", "system", "developer"):
        raise invalid(f"Invalid value: {item.get('role')!r}.", f"{where}.role", "invalid_value")
    content: Any = item.get("content")
    if not isinstance(content, str):
        require(content, list, f"{where}.content", "a string or an array of content parts")
        texts = []
        for part in content:
            require(part, dict, f"{where}.content", "an array of objects")
            if part.get("type") in ("input_text", "output_text", "refusal"):
                texts.append(str(part.get("text", "")))
            elif part.get("type") in ("input_image", "input_file"):
                ask.input_chars += _IMAGE_CHARS
            else:
                raise invalid(
                    f"Invalid value: {part.get('type')!r}.", f"{where}.content[0].type", "invalid_value"
                )
        content = "\n".join(texts)
    ask.input_chars += len(content)
    return str(content)


def _read_settings(body: dict[str, Any], ask: Ask) -> None:
    limit = body.get("max_output_tokens")
    if limit is not None:
        require(limit, int, "max_output_tokens", "an integer")
        if limit < 1:
            raise invalid(
                "Invalid 'max_output_tokens': integer below minimum value.",
                "max_output_tokens",
                "integer_below_min_value",
            )
        ask.max_tokens = limit
    ask.stream = body.get("stream") is True
    reasoning = body.get("reasoning")
    if reasoning is not None:
        require(reasoning, dict, "reasoning", "an object")
        ask.reasoning = reasoning.get("effort") not in (None, "none")
    text = body.get("text")
    if text is not None:
        require(text, dict, "text", "an object")
        form = text.get("format") or {}
        require(form, dict, "text.format", "an object")
        if form.get("type") == "json_schema":
            if not form.get("name") or not isinstance(form.get("schema"), dict):
                raise missing("text.format.schema")
            ask.json_schema = form["schema"]
        ask.json_object = form.get("type") == "json_object"


def _read_tools(body: dict[str, Any], ask: Ask) -> None:
    tools = body.get("tools")
    if not tools:
        return
    require(tools, list, "tools", "an array")
    specs = []
    for index, tool in enumerate(tools):
        require(tool, dict, f"tools[{index}]", "an object")
        if tool.get("type") != "function":
            continue  # a server tool
        if not isinstance(tool.get("name"), str):
            raise missing(f"tools[{index}].name")
        parameters = tool.get("parameters")
        specs.append(ToolSpec(tool["name"], parameters if isinstance(parameters, dict) else {}))
    ask.tools = specs
    ask.parallel = body.get("parallel_tool_calls") is not False
    choice = body.get("tool_choice", "auto")
    if isinstance(choice, dict):
        if choice.get("name") not in [tool.name for tool in specs]:
            raise invalid(
                f"Tool choice {choice.get('name')!r} not found in 'tools' parameter.", "tool_choice"
            )
        ask.tool_choice = f"={choice['name']}"
    elif choice in ("auto", "none", "required"):
        ask.tool_choice = choice
    else:
        raise invalid(f"Invalid value: {choice!r}.", "tool_choice", "invalid_value")


def _status(answer: Answer) -> str:
    return "incomplete" if answer.finish in ("length", "content_filter") else "completed"


def _items(reply: Reply) -> list[dict[str, Any]]:
    """The output items: reasoning, then a message or function calls."""
    answer, number = reply.answers[0], reply.number
    items: list[dict[str, Any]] = []
    if answer.reasoning:
        summary = [{"type": "summary_text", "text": answer.reasoning}]
        items.append({"id": f"rs_{number}", "type": "reasoning", "summary": summary})
    if answer.text or not answer.tool_calls:
        part = {"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}
        items.append(
            {
                "id": f"msg_{number}",
                "type": "message",
                "status": _status(answer),
                "role": "assistant",
                "content": [part] if answer.text else [],
            }
        )
    for index, call in enumerate(answer.tool_calls):
        items.append(
            {
                "id": f"fc_{number}{index}",
                "type": "function_call",
                "status": "completed",
                "call_id": call.id or f"call_{number}{index}",
                "name": call.name,
                "arguments": call.text,
            }
        )
    return items


def _usage(reply: Reply) -> dict[str, Any]:
    return {
        "input_tokens": reply.ask.input_tokens,
        "input_tokens_details": {"cached_tokens": reply.cached_tokens},
        "output_tokens": reply.output_tokens,
        "output_tokens_details": {"reasoning_tokens": count_tokens(reply.answers[0].reasoning)},
        "total_tokens": reply.ask.input_tokens + reply.output_tokens,
    }


def _response(reply: Reply, items: list[dict[str, Any]], status: str) -> dict[str, Any]:
    body, answer = reply.ask.body, reply.answers[0]
    reasons = {"length": "max_output_tokens", "content_filter": "content_filter"}
    return {
        "id": f"resp_{reply.number}",
        "object": "response",
        "created_at": reply.created,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": {"reason": reasons[answer.finish]} if status == "incomplete" else None,
        "instructions": body.get("instructions"),
        "max_output_tokens": reply.ask.max_tokens,
        "model": reply.ask.model,
        "output": items,
        "parallel_tool_calls": reply.ask.parallel,
        "previous_response_id": None,
        "reasoning": body.get("reasoning") or {"effort": None, "summary": None},
        "store": body.get("store", True),
        "temperature": body.get("temperature", 1.0),
        "text": body.get("text") or {"format": {"type": "text"}},
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools", []),
        "top_p": body.get("top_p", 1.0),
        "truncation": "disabled",
        "usage": None if status == "in_progress" else _usage(reply),
        "user": None,
        "metadata": body.get("metadata") or {},
    }


Payload = tuple[dict[str, Any], int]


def _events(reply: Reply) -> Iterator[Payload]:
    status, items = _status(reply.answers[0]), _items(reply)
    begun = _response(reply, [], "in_progress")
    yield {"type": "response.created", "response": begun}, 0
    yield {"type": "response.in_progress", "response": begun}, 0
    for index, item in enumerate(items):
        empty = {**item, **_EMPTY[item["type"]]}
        yield {"type": "response.output_item.added", "output_index": index, "item": empty}, 0
        yield from _FILL[item["type"]](item, index)
        yield {"type": "response.output_item.done", "output_index": index, "item": item}, 0
    yield {"type": f"response.{status}", "response": _response(reply, items, status)}, 0


def _fill_reasoning(item: dict[str, Any], index: int) -> Iterator[Payload]:
    place = {"item_id": item["id"], "output_index": index, "summary_index": 0}
    text, kind = item["summary"][0]["text"], "response.reasoning_summary"
    yield {"type": f"{kind}_part.added", **place, "part": {"type": "summary_text", "text": ""}}, 0
    for piece in pieces(text):
        yield {"type": f"{kind}_text.delta", **place, "delta": piece}, 1
    yield {"type": f"{kind}_text.done", **place, "text": text}, 0
    yield {"type": f"{kind}_part.done", **place, "part": item["summary"][0]}, 0


def _fill_message(item: dict[str, Any], index: int) -> Iterator[Payload]:
    for number, part in enumerate(item["content"]):
        place = {"item_id": item["id"], "output_index": index, "content_index": number}
        yield {"type": "response.content_part.added", **place, "part": {**part, "text": ""}}, 0
        for piece in pieces(part["text"]):
            yield {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}, 1
        yield {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []}, 0
        yield {"type": "response.content_part.done", **place, "part": part}, 0


def _fill_call(item: dict[str, Any], index: int) -> Iterator[Payload]:
    place, arguments = {"item_id": item["id"], "output_index": index}, item["arguments"]
    for start in range(0, len(arguments), 12):
        piece = arguments[start : start + 12]
        yield {"type": "response.function_call_arguments.delta", **place, "delta": piece}, 3
    yield {"type": "response.function_call_arguments.done", **place, "arguments": arguments}, 0


_EMPTY: dict[str, dict[str, Any]] = {
    "reasoning": {"summary": []},
    "message": {"content": [], "status": "in_progress"},
    "function_call": {"arguments": "", "status": "in_progress"},
}
_FILL = {"reasoning": _fill_reasoning, "message": _fill_message, "function_call": _fill_call}
