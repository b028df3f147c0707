"""OpenAI chat completions and legacy completions."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any, ClassVar

import orjson

from callgate.testing.simulator.answers import Answer, Ask, Finish, SimulatedToolCall, ToolSpec
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
from callgate.testing.simulator.options import HeaderFamily, RetryAfterForm

__all__ = [
    "OpenAIChat",
    "OpenAICompletions",
    "OpenAIDialect",
    "openai_error",
    "read_model",
    "read_schema",
    "read_tools",
]

_IMAGE_CHARS = 340  # an image in low detail costs 85 tokens
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_FINISH: dict[Finish, str] = {
    "stop": "stop",
    "length": "length",
    "tool_call": "tool_calls",
    "content_filter": "content_filter",
}
_TYPES = {
    "rate_limit": "requests",
    "server": "server_error",
    "unavailable": "server_error",
    "overloaded": "overloaded_error",
}
_CODES = {
    "authentication": "invalid_api_key",
    "not_found": "model_not_found",
    "context_length": "context_length_exceeded",
    "rate_limit": "rate_limit_exceeded",
}


def openai_error(refusal: Refusal) -> bytes:
    """`{"error": {message, type, param, code}}`."""
    kind = _TYPES.get(refusal.kind, "invalid_request_error")
    if refusal.kind == "rate_limit" and refusal.quota:
        kind = refusal.quota
    code = refusal.code or _CODES.get(refusal.kind)
    return orjson.dumps(
        {"error": {"message": refusal.message, "type": kind, "param": refusal.param, "code": code}}
    )


class OpenAIDialect(Dialect):
    """What the dialects of OpenAI's API have in common: headers and errors."""

    header_family: ClassVar[HeaderFamily] = "openai"
    retry_after: ClassVar[tuple[RetryAfterForm, ...]] = ("seconds", "ms")

    def error(self, refusal: Refusal, forms: Collection[str]) -> tuple[list[tuple[str, str]], bytes]:
        return [], openai_error(refusal)

    def stream_error(self) -> bytes:
        return sse(
            {
                "error": {
                    "message": "The server had an error while processing your request.",
                    "type": "server_error",
                    "param": None,
                    "code": None,
                }
            }
        )


class OpenAIChat(OpenAIDialect):
    """`POST /v1/chat/completions`, plain and streamed; any prefix, as compatible providers use."""

    name: ClassVar[str] = "openai_chat"
    paths = re.compile(r".*/chat/completions")

    def read(self, request: Request) -> Ask:
        body = request.body
        model = read_model(body, request)
        messages = body.get("messages")
        if messages is None:
            raise missing("messages")
        require(messages, list, "messages", "an array of messages")
        if not messages:
            raise invalid(
                "Invalid 'messages': empty array. Expected an array with minimum length 1.",
                "messages",
                "empty_array",
            )
        ask = Ask(self.name, model, body)
        _read_messages(messages, ask)
        _read_settings(body, ask)
        if "tools" in body or "response_format" in body:
            ask.tools = read_tools(body.get("tools"))
            ask.tool_choice = _read_tool_choice(body.get("tool_choice"), ask.tools)
            ask.parallel = body.get("parallel_tool_calls") is not False
            read_schema(body.get("response_format"), ask)
        if body.get("reasoning_effort") not in (None, "none"):
            ask.reasoning = True
        return ask

    def whole(self, reply: Reply) -> bytes:
        return orjson.dumps(
            {
                "id": "chatcmpl-" + reply.number,
                "object": "chat.completion",
                "created": reply.created,
                "model": reply.ask.model,
                "choices": [
                    {
                        "index": index,
                        "message": _message(answer, reply),
                        "logprobs": None,
                        "finish_reason": _FINISH[answer.finish],
                    }
                    for index, answer in enumerate(reply.answers)
                ],
                "usage": _usage(reply),
                "system_fingerprint": "fp_simulator",
            }
        )

    def stream(self, reply: Reply) -> Iterator[Event]:
        with_usage = reply.ask.include_usage
        head: dict[str, Any] = {
            "id": "chatcmpl-" + reply.number,
            "object": "chat.completion.chunk",
            "created": reply.created,
            "model": reply.ask.model,
            "system_fingerprint": "fp_simulator",
        }
        if with_usage:
            head["usage"] = None
        for index, answer in enumerate(reply.answers):
            for delta, finish, tokens in _deltas(answer, reply):
                choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
                yield Event(sse({**head, "choices": [choice]}), tokens)
        if with_usage:
            yield Event(sse({**head, "choices": [], "usage": _usage(reply)}))
        yield Event(b"data: [DONE]\n\n")


class OpenAICompletions(OpenAIDialect):
    """`POST /v1/completions`."""

    name = "openai_completions"
    paths = re.compile(r"(?:.*/openai/deployments/(?P<deployment>[^/]+)|.*)/completions")

    def read(self, request: Request) -> Ask:
        body = request.body
        ask = Ask(self.name, read_model(body, request), body)
        prompt = body.get("prompt", "")
        require(prompt, (str, list), "prompt", "a string or an array of strings")
        prompts = [prompt] if isinstance(prompt, str) else prompt
        ask.text = "\n".join(str(part) for part in prompts)
        ask.input_chars = len(ask.text)
        _read_settings(body, ask)
        return ask

    def whole(self, reply: Reply) -> bytes:
        return orjson.dumps(
            {
                "id": "cmpl-" + reply.number,
                "object": "text_completion",
                "created": reply.created,
                "model": reply.ask.model,
                "choices": [
                    {
                        "text": answer.text,
                        "index": index,
                        "logprobs": None,
                        "finish_reason": _FINISH[answer.finish],
                    }
                    for index, answer in enumerate(reply.answers)
                ],
                "usage": _usage(reply),
            }
        )

    def stream(self, reply: Reply) -> Iterator[Event]:
        head = {
            "id": "cmpl-" + reply.number,
            "object": "text_completion",
            "created": reply.created,
            "model": reply.ask.model,
        }
        for index, answer in enumerate(reply.answers):
            for piece in pieces(answer.text):
                choice = {"text": piece, "index": index, "logprobs": None, "finish_reason": None}
                yield Event(sse({**head, "choices": [choice]}), 1)
            last = {"text": "", "index": index, "logprobs": None, "finish_reason": _FINISH[answer.finish]}
            yield Event(sse({**head, "choices": [last]}))
        if reply.ask.include_usage:
            yield Event(sse({**head, "choices": [], "usage": _usage(reply)}))
        yield Event(b"data: [DONE]\n\n")


def read_model(body: dict[str, Any], request: Request) -> str:
    model = body.get("model") or request.names.get("deployment")
    if model is None:
        raise invalid("you must provide a model parameter", "model", "missing_required_parameter")
    require(model, str, "model", "a string")
    return str(model)


def _read_messages(messages: list[Any], ask: Ask) -> None:
    chars = 0
    results: list[str] = []
    for index, message in enumerate(messages):
        require(message, dict, f"messages[{index}]", "an object")
        role = message.get("role")
        if role not in _ROLES:
            raise invalid(
                f"Invalid value: {role!r}. Supported values are: {', '.join(sorted(_ROLES))}.",
                f"messages[{index}].role",
                "invalid_value",
            )
        content = message.get("content")
        if isinstance(content, str):
            text = content
        else:
            text = _joined_parts(content, message, f"messages[{index}].content")
            chars += _IMAGE_CHARS * sum(
                isinstance(part, dict) and part.get("type") == "image_url" for part in content or ()
            )
        chars += len(text)
        if role == "user":
            ask.text, results = text, []
        elif role == "tool":
            if not message.get("tool_call_id"):
                raise missing(f"messages[{index}].tool_call_id")
            results.append(text)
    ask.tool_results = results
    ask.input_chars = chars


def _joined_parts(content: Any, message: dict[str, Any], name: str) -> str:
    if content is None:
        if message["role"] == "assistant":
            return ""
        raise invalid(f"Invalid value for '{name}': expected a string, got null.", name)
    require(content, list, name, "a string or an array of content parts")
    texts = []
    for part in content:
        require(part, dict, name, "an array of objects")
        if part.get("type") in ("text", "refusal"):
            texts.append(str(part.get("text", "")))
        elif part.get("type") not in ("image_url", "input_audio", "file"):
            raise invalid(
                f"Invalid value: {part.get('type')!r} is no type of content part.", name, "invalid_value"
            )
    return "\n".join(texts)


def _read_settings(body: dict[str, Any], ask: Ask) -> None:
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    if limit is not None:
        require(limit, int, "max_tokens", "an integer")
        if limit < 1:
            raise invalid(
                f"Invalid 'max_tokens': integer below minimum value. Got {limit}.",
                "max_tokens",
                "integer_below_min_value",
            )
        ask.max_tokens = limit
    temperature = body.get("temperature")
    if temperature is not None:
        require(temperature, (int, float), "temperature", "a number")
        if not 0 <= temperature <= 2:
            raise invalid(
                f"Invalid 'temperature': expected 0 to 2, got {temperature}.",
                "temperature",
                "decimal_above_max_value",
            )
    if body.get("stream"):
        require(body["stream"], bool, "stream", "a boolean")
        ask.stream = True
        options = body.get("stream_options") or {}
        require(options, dict, "stream_options", "an object")
        ask.include_usage = options.get("include_usage") is True
    choices = body.get("n")
    if choices is not None:
        require(choices, int, "n", "an integer")
        if not 1 <= choices <= 128:
            raise invalid(f"Invalid 'n': expected 1 to 128, got {choices}.", "n")
        ask.choices = choices
    stop = body.get("stop")
    if stop:
        require(stop, (str, list), "stop", "a string or an array of strings")
        ask.stop = (stop,) if isinstance(stop, str) else tuple(str(one) for one in stop if one)


def read_tools(tools: Any) -> Sequence[ToolSpec]:
    """`[{"type": "function", "function": {name, parameters}}]`."""
    if tools is None:
        return ()
    require(tools, list, "tools", "an array")
    specs = []
    for index, tool in enumerate(tools):
        require(tool, dict, f"tools[{index}]", "an object")
        function = tool.get("function")
        if tool.get("type") != "function" or not isinstance(function, dict) or not function.get("name"):
            raise missing(f"tools[{index}].function")
        specs.append(ToolSpec(function["name"], function.get("parameters") or {}))
    return specs


def _read_tool_choice(choice: Any, tools: Sequence[ToolSpec]) -> str:
    if choice is None:
        return "auto"
    if not tools:
        raise invalid("'tool_choice' is only allowed when 'tools' are specified.", "tool_choice")
    if choice in ("auto", "none", "required"):
        return str(choice)
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if name not in [tool.name for tool in tools]:
        raise invalid(f"Tool choice {name!r} not found in 'tools' parameter.", "tool_choice")
    return f"={name}"


def read_schema(form: Any, ask: Ask) -> None:
    """`{"type": "json_schema", "json_schema": {name, schema}}` or `{"type": "json_object"}`."""
    if form is None:
        return
    require(form, dict, "response_format", "an object")
    if form.get("type") == "json_schema":
        inner = form.get("json_schema")
        if not isinstance(inner, dict) or not inner.get("name"):
            raise missing("response_format.json_schema")
        ask.json_schema = inner.get("schema") or {}
    ask.json_object = form.get("type") == "json_object"


def _tool_call(call: SimulatedToolCall, index: int, reply: Reply) -> dict[str, Any]:
    return {
        "id": call.id or f"call_{reply.number}{index}",
        "type": "function",
        "function": {"name": call.name, "arguments": call.text},
    }


def _message(answer: Answer, reply: Reply) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.tool_calls:
        message["content"] = answer.text or None
        message["tool_calls"] = [_tool_call(call, i, reply) for i, call in enumerate(answer.tool_calls)]
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    return message


def _usage(reply: Reply) -> dict[str, Any]:
    return {
        "prompt_tokens": reply.ask.input_tokens,
        "completion_tokens": reply.output_tokens,
        "total_tokens": reply.ask.input_tokens + reply.output_tokens,
        "prompt_tokens_details": {"cached_tokens": reply.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": sum(len(answer.reasoning.split()) for answer in reply.answers),
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _deltas(answer: Answer, reply: Reply) -> Iterator[tuple[dict[str, Any], str | None, int]]:
    """Each delta of a streamed message with its finish reason and number of tokens."""
    yield {"role": "assistant", "content": None if answer.tool_calls else "", "refusal": None}, None, 0
    for piece in pieces(answer.reasoning):
        yield {"reasoning_content": piece}, None, 1
    for piece in pieces(answer.text):
        yield {"content": piece}, None, 1
    for index, call in enumerate(answer.tool_calls):
        whole = _tool_call(call, index, reply)
        arguments = whole["function"]["arguments"]
        whole["function"]["arguments"] = ""
        yield {"tool_calls": [{"index": index, **whole}]}, None, 2
        for start in range(0, len(arguments), 12):
            part = {"index": index, "function": {"arguments": arguments[start : start + 12]}}
            yield {"tool_calls": [part]}, None, 3
    yield {}, _FINISH[answer.finish], 0
