"""Anthropic messages, at Anthropic and on Vertex."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any, ClassVar

import orjson

from callgate.testing.simulator.answers import Answer, Ask, Finish, SimulatedToolCall, count_tokens
from callgate.testing.simulator.dialects.anthropic_request import read_body
from callgate.testing.simulator.dialects.base import (
    Dialect,
    Event,
    Kind,
    Refusal,
    Reply,
    Request,
    invalid,
    pieces,
    require,
    sse,
)
from callgate.testing.simulator.options import HeaderFamily

__all__ = [
    "AnthropicMessages",
    "AnthropicTokenCount",
    "VertexAnthropic",
    "anthropic_events",
    "anthropic_message",
]

_STOP: dict[Finish, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_call": "tool_use",
    "content_filter": "refusal",
}
_TYPES: dict[Kind, str] = {
    "authentication": "authentication_error",
    "permission": "permission_error",
    "not_found": "not_found_error",
    "too_large": "request_too_large",
    "rate_limit": "rate_limit_error",
    "server": "api_error",
    "unavailable": "api_error",
    "overloaded": "overloaded_error",
}


class AnthropicMessages(Dialect):
    """`POST /v1/messages`, plain and streamed."""

    name: ClassVar[str] = "anthropic"
    paths = re.compile(r".*/v1/messages")
    header_family: ClassVar[HeaderFamily] = "anthropic"
    request_id_header: ClassVar[str] = "request-id"

    def read(self, request: Request) -> Ask:
        if "anthropic-version" not in request.headers:
            raise invalid("anthropic-version: header is required")
        model = request.body.get("model")
        if model is None:
            raise invalid("model: Field required")
        require(model, str, "model", "a string")
        ask = Ask(self.name, model, request.body)
        version, betas = request.headers["anthropic-version"], request.headers.get("anthropic-beta", "")
        read_body(request.body, ask, version, betas=betas)
        return ask

    def whole(self, reply: Reply) -> bytes:
        return orjson.dumps(anthropic_message(reply))

    def stream(self, reply: Reply) -> Iterator[Event]:
        for payload, tokens in anthropic_events(reply):
            yield Event(sse(payload, payload["type"]), tokens)

    def error(self, refusal: Refusal, forms: Collection[str]) -> tuple[list[tuple[str, str]], bytes]:
        kind = _TYPES.get(refusal.kind, "invalid_request_error")
        error = {"type": kind, "message": refusal.message}
        return [], orjson.dumps({"type": "error", "error": error, "request_id": "req_refused"})

    def stream_error(self) -> bytes:
        error = {"type": "overloaded_error", "message": "Overloaded"}
        return sse({"type": "error", "error": error}, "error")


class AnthropicTokenCount(AnthropicMessages):
    """`POST /v1/messages/count_tokens`: the input tokens of a message."""

    name: ClassVar[str] = "anthropic_count_tokens"
    paths = re.compile(r".*/v1/messages/count_tokens")
    counts_only: ClassVar[bool] = True

    def read(self, request: Request) -> Ask:
        body = {**request.body, "max_tokens": request.body.get("max_tokens", 1)}
        body.pop("thinking", None)  # no max_tokens here to compare its budget with
        read = super().read(Request(request.path, request.headers, body, request.names))
        read.body = request.body
        return read

    def whole(self, reply: Reply) -> bytes:
        return orjson.dumps({"input_tokens": reply.ask.input_tokens})


class VertexAnthropic(AnthropicMessages):
    """Claude on Vertex: `...:rawPredict` and `...:streamRawPredict`; the model stands in the path."""

    name: ClassVar[str] = "vertex_anthropic"
    auth: ClassVar = "google"
    header_family: ClassVar[HeaderFamily] = "none"
    paths = re.compile(
        r".*/projects/[^/]+/locations/[^/]+/publishers/anthropic/models/(?P<model>[^/:]+)"
        r":(?P<method>rawPredict|streamRawPredict)"
    )

    def read(self, request: Request) -> Ask:
        body = request.body
        if "anthropic_version" not in body:
            raise invalid("anthropic_version: Field required")
        ask = Ask(self.name, request.names["model"], body)
        read_body(body, ask, body["anthropic_version"], hosted="vertex-2023-10-16")
        ask.stream = request.names["method"] == "streamRawPredict"
        return ask


def _usage(reply: Reply, output_tokens: int) -> dict[str, Any]:
    thought = count_tokens(reply.answers[0].reasoning)
    return {
        "input_tokens": reply.ask.input_tokens - reply.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": reply.cached_tokens,
        "output_tokens": output_tokens,
        "output_tokens_details": {"thinking_tokens": min(thought, output_tokens)},
        "service_tier": "standard",
    }


def _stop_reason(answer: Answer) -> tuple[str, str | None]:
    if answer.stopped_by and answer.finish == "stop":
        return "stop_sequence", answer.stopped_by
    return _STOP[answer.finish], None


def _tool_id(call: SimulatedToolCall, reply: Reply, index: int) -> str:
    return call.id or f"toolu_{reply.number}{index}"


def _signature(reply: Reply) -> str:
    return f"c2ltdWxhdGVk{reply.number}"


def anthropic_message(reply: Reply) -> dict[str, Any]:
    """The complete message as JSON."""
    answer = reply.answers[0]
    content: list[dict[str, Any]] = []
    if answer.reasoning:
        content.append({"type": "thinking", "thinking": answer.reasoning, "signature": _signature(reply)})
    if answer.text:
        content.append({"type": "text", "text": answer.text})
    for index, call in enumerate(answer.tool_calls):
        block = {"type": "tool_use", "id": _tool_id(call, reply, index), "name": call.name}
        content.append({**block, "input": call.value})
    stop_reason, stop_sequence = _stop_reason(answer)
    return {
        "id": f"msg_{reply.number}",
        "type": "message",
        "role": "assistant",
        "model": reply.ask.model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": stop_sequence,
        "usage": _usage(reply, reply.output_tokens),
    }


def anthropic_events(reply: Reply) -> Iterator[tuple[dict[str, Any], int]]:
    """Each event of the streamed message as JSON, with its number of tokens."""
    answer = reply.answers[0]
    begun = {**anthropic_message(reply), "content": [], "stop_reason": None, "stop_sequence": None}
    begun["usage"] = _usage(reply, 1)
    yield {"type": "message_start", "message": begun}, 0
    for index, (block, deltas) in enumerate(_blocks(answer, reply)):
        yield {"type": "content_block_start", "index": index, "content_block": block}, 0
        if index == 0:
            yield {"type": "ping"}, 0
        for delta, tokens in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}, tokens
        yield {"type": "content_block_stop", "index": index}, 0
    stop_reason, stop_sequence = _stop_reason(answer)
    yield (
        {
            "type": "message_delta",
            "delta": {"stop_reason": stop_reason, "stop_sequence": stop_sequence},
            "usage": _usage(reply, reply.output_tokens),  # cumulative: replaces the count in message_start
        },
        0,
    )
    yield {"type": "message_stop"}, 0


Delta = tuple[dict[str, Any], int]


def _blocks(answer: Answer, reply: Reply) -> Iterator[tuple[dict[str, Any], list[Delta]]]:
    """The start of each block and its deltas."""
    if answer.reasoning:
        deltas: list[Delta] = [
            ({"type": "thinking_delta", "thinking": piece}, 1) for piece in pieces(answer.reasoning)
        ]
        deltas.append(({"type": "signature_delta", "signature": _signature(reply)}, 0))
        yield {"type": "thinking", "thinking": "", "signature": ""}, deltas
    if answer.text:
        yield (
            {"type": "text", "text": ""},
            [({"type": "text_delta", "text": piece}, 1) for piece in pieces(answer.text)],
        )
    for index, call in enumerate(answer.tool_calls):
        block = {"type": "tool_use", "id": _tool_id(call, reply, index), "name": call.name, "input": {}}
        parts = ["", *(call.text[start : start + 12] for start in range(0, len(call.text), 12))]
        yield (
            block,
            [({"type": "input_json_delta", "partial_json": part}, count_tokens(part)) for part in parts],
        )
