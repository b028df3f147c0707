"""Amazon Bedrock Converse: one request format for all models."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, ClassVar

import orjson

from callgate.testing.simulator.answers import Answer, Ask, Finish, ToolSpec, count_tokens
from callgate.testing.simulator.dialects.base import Event, Reply, Request, invalid, listed, pieces, require
from callgate.testing.simulator.dialects.bedrock import Bedrock, event_frame

__all__ = ["BedrockConverse"]

_IMAGE_CHARS = 4 * 1600
_STOP: dict[Finish, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_call": "tool_use",
    "content_filter": "content_filtered",
}


class BedrockConverse(Bedrock):
    """`POST /model/{id}/converse` and `/converse-stream`."""

    name: ClassVar[str] = "bedrock_converse"
    paths = re.compile(r"/model/(?P<model>[^/]+)/(?P<method>converse|converse-stream)")

    def read(self, request: Request) -> Ask:
        body = request.body
        ask = Ask(self.name, request.names["model"], body)
        _read_messages(body.get("messages"), ask)
        for block in listed(body.get("system"), "system"):
            require(block, dict, "system", "an array of objects")
            ask.input_chars += len(str(block.get("text", "")))
        _read_inference(body.get("inferenceConfig"), ask)
        if body.get("toolConfig") is not None:
            _read_tools(body["toolConfig"], ask)
        more = body.get("additionalModelRequestFields")
        if isinstance(more, dict):
            thinking = more.get("thinking", more.get("reasoning_config"))
            ask.reasoning = isinstance(thinking, dict) and thinking.get("type") in ("enabled", "adaptive")
        if body.get("outputConfig") is not None:
            _read_format(body["outputConfig"], ask)
        ask.stream = request.names["method"] == "converse-stream"
        return ask

    def whole(self, reply: Reply) -> bytes:
        answer = reply.answers[0]
        content: list[dict[str, Any]] = []
        if answer.reasoning:
            reasoning = {"text": answer.reasoning, "signature": f"c2ltdWxhdGVk{reply.number}"}
            content.append({"reasoningContent": {"reasoningText": reasoning}})
        if answer.text:
            content.append({"text": answer.text})
        for index, call in enumerate(answer.tool_calls):
            use = {"toolUseId": call.id or f"tooluse_{reply.number}{index}", "name": call.name}
            content.append({"toolUse": {**use, "input": call.value}})
        return orjson.dumps(
            {
                "output": {"message": {"role": "assistant", "content": content}},
                "stopReason": _stop_reason(answer),
                "usage": _usage(reply),
                "metrics": {"latencyMs": 1},
            }
        )

    def stream(self, reply: Reply) -> Iterator[Event]:
        answer = reply.answers[0]
        yield Event(event_frame("messageStart", {"role": "assistant"}))
        for index, (start, deltas) in enumerate(_blocks(answer, reply)):
            place = {"contentBlockIndex": index}
            if start is not None:  # only tool calls have a start event
                yield Event(event_frame("contentBlockStart", {"start": start, **place}))
            for delta, tokens in deltas:
                yield Event(event_frame("contentBlockDelta", {"delta": delta, **place}), tokens)
            yield Event(event_frame("contentBlockStop", place))
        yield Event(event_frame("messageStop", {"stopReason": _stop_reason(answer)}))
        yield Event(event_frame("metadata", {"usage": _usage(reply), "metrics": {"latencyMs": 1}}))


def _read_format(config: Any, ask: Ask) -> None:
    """The JSON schema of the answer, which Converse takes as a string."""
    where = "outputConfig.textFormat"
    require(config, dict, "outputConfig", "an object")
    form = config.get("textFormat")
    require(form, dict, where, "an object")
    if form.get("type") != "json_schema":
        raise invalid(f"{where}.type: {form.get('type')!r} is not one of [json_schema]")
    structure = form.get("structure")
    described: Any = structure.get("jsonSchema") if isinstance(structure, dict) else None
    require(described, dict, f"{where}.structure.jsonSchema", "an object")
    text = described.get("schema")
    require(text, str, f"{where}.structure.jsonSchema.schema", "a string of JSON")
    try:
        schema = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise invalid(f"{where}.structure.jsonSchema.schema: no JSON: {error}") from None
    require(schema, dict, f"{where}.structure.jsonSchema.schema", "an object in JSON")
    ask.json_schema = schema


def _stop_reason(answer: Answer) -> str:
    return "stop_sequence" if answer.stopped_by and answer.finish == "stop" else _STOP[answer.finish]


def _usage(reply: Reply) -> dict[str, Any]:
    usage = {
        "inputTokens": reply.ask.input_tokens - reply.cached_tokens,
        "outputTokens": reply.output_tokens,
        "totalTokens": reply.ask.input_tokens + reply.output_tokens,
    }
    if reply.cached_tokens:
        usage |= {"cacheReadInputTokens": reply.cached_tokens, "cacheWriteInputTokens": 0}
    return usage


Delta = tuple[dict[str, Any], int]


def _blocks(answer: Answer, reply: Reply) -> Iterator[tuple[dict[str, Any] | None, list[Delta]]]:
    if answer.reasoning:
        deltas: list[Delta] = [({"reasoningContent": {"text": one}}, 1) for one in pieces(answer.reasoning)]
        deltas.append(({"reasoningContent": {"signature": f"c2ltdWxhdGVk{reply.number}"}}, 0))
        yield None, deltas
    if answer.text:
        yield None, [({"text": piece}, 1) for piece in pieces(answer.text)]
    for index, call in enumerate(answer.tool_calls):
        use = {"toolUseId": call.id or f"tooluse_{reply.number}{index}", "name": call.name}
        parts = [call.text[start : start + 12] for start in range(0, len(call.text), 12)]
        yield {"toolUse": use}, [({"toolUse": {"input": part}}, count_tokens(part)) for part in parts]


def _read_messages(messages: Any, ask: Ask) -> None:
    if not messages:
        raise invalid("The value at messages is empty. Provide at least one message.")
    require(messages, list, "messages", "an array")
    called: list[str] = []
    for index, message in enumerate(messages):
        require(message, dict, f"messages.{index}", "an object")
        if message.get("role") not in ("user", "assistant"):
            raise invalid(f"Value at 'messages.{index}.role' must be one of: user, assistant")
        content = message.get("content")
        require(content, list, f"messages.{index}.content", "an array")
        texts, results, used = [], [], []
        for block in content:
            require(block, dict, f"messages.{index}.content", "an array of objects")
            if isinstance(block.get("text"), str):
                texts.append(block["text"])
            elif isinstance(block.get("toolUse"), dict):
                used.append(str(block["toolUse"].get("toolUseId")))
                ask.input_chars += len(str(block["toolUse"].get("input")))
            elif isinstance(block.get("toolResult"), dict):
                results.append(_result(block["toolResult"], index, called))
            elif "image" in block or "document" in block:
                ask.input_chars += _IMAGE_CHARS
        ask.input_chars += sum(map(len, texts)) + sum(map(len, results))
        if message["role"] == "user":
            ask.text, ask.tool_results = "\n".join(texts), results
        called = used


def _result(result: dict[str, Any], index: int, called: list[str]) -> str:
    if result.get("toolUseId") not in called:
        raise invalid(
            f"The number of toolResult blocks at messages.{index}.content exceeds the number of toolUse "
            "blocks of previous turn."
        )
    content: Any = result.get("content")
    require(content, list, f"messages.{index}.content.toolResult.content", "an array")
    texts = []
    for block in content:
        require(block, dict, f"messages.{index}.content.toolResult.content", "an array of objects")
        texts.append(str(block["text"]) if "text" in block else orjson.dumps(block.get("json")).decode())
    return "\n".join(texts)


def _read_inference(config: Any, ask: Ask) -> None:
    if config is None:
        return
    require(config, dict, "inferenceConfig", "an object")
    limit = config.get("maxTokens")
    if limit is not None:
        require(limit, int, "inferenceConfig.maxTokens", "an integer")
        if limit < 1:
            raise invalid("Value at 'inferenceConfig.maxTokens' must be greater than or equal to 1")
        ask.max_tokens = limit
    temperature = config.get("temperature")
    if temperature is not None:
        require(temperature, (int, float), "inferenceConfig.temperature", "a number")
        if not 0 <= temperature <= 1:
            raise invalid("Value at 'inferenceConfig.temperature' must be less than or equal to 1")
    ask.stop = tuple(str(one) for one in listed(config.get("stopSequences"), "stopSequences") if one)


def _read_tools(config: Any, ask: Ask) -> None:
    require(config, dict, "toolConfig", "an object")
    require(config.get("tools"), list, "toolConfig.tools", "an array")
    specs = []
    for tool in config["tools"]:
        spec = tool.get("toolSpec") if isinstance(tool, dict) else None
        if not isinstance(spec, dict):
            continue  # a cache point
        schema = spec.get("inputSchema")
        if not isinstance(spec.get("name"), str) or not isinstance(schema, dict):
            raise invalid("toolConfig.tools: name and inputSchema are required")
        inner = schema.get("json")
        specs.append(ToolSpec(spec["name"], inner if isinstance(inner, dict) else {}))
    ask.tools = specs
    choice = config.get("toolChoice")
    if isinstance(choice, dict):
        if "any" in choice:
            ask.tool_choice = "required"
        elif isinstance(choice.get("tool"), dict):
            ask.tool_choice = f"={choice['tool'].get('name')}"
