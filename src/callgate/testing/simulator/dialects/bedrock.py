"""Amazon Bedrock: InvokeModel for Claude, and the base of all Bedrock dialects."""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Iterator
from typing import Any, ClassVar

import orjson

from callgate.testing.simulator.answers import Ask
from callgate.testing.simulator.dialects.anthropic import anthropic_events, anthropic_message
from callgate.testing.simulator.dialects.anthropic_request import read_body
from callgate.testing.simulator.dialects.base import Dialect, Event, Kind, Refusal, Reply, Request, invalid
from callgate.testing.simulator.eventstream import frame
from callgate.testing.simulator.options import RetryAfterForm

__all__ = ["Bedrock", "BedrockInvoke", "event_frame"]

_ERRORS: dict[Kind, str] = {
    "invalid": "ValidationException",
    "context_length": "ValidationException",
    "too_large": "ValidationException",
    "authentication": "UnrecognizedClientException",
    "permission": "AccessDeniedException",
    "not_found": "ResourceNotFoundException",
    "rate_limit": "ThrottlingException",
    "server": "InternalServerException",
    "unavailable": "ServiceUnavailableException",
    "overloaded": "ServiceUnavailableException",
}


def event_frame(kind: str, payload: dict[str, Any]) -> bytes:
    """An event of this type with a JSON payload."""
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return frame(headers, orjson.dumps(payload))


class Bedrock(Dialect):
    """Signatures, errors and streams of the Bedrock runtime."""

    auth: ClassVar = "aws"
    retry_after: ClassVar[tuple[RetryAfterForm, ...]] = ("none",)
    request_id_header: ClassVar[str] = "x-amzn-requestid"
    stream_type: ClassVar[str] = "application/vnd.amazon.eventstream"
    filler: ClassVar[tuple[bytes, bytes]] = (b"", b"")

    def status(self, refusal: Refusal) -> int:
        return {401: 403, 529: 503}.get(refusal.status, refusal.status)

    def error(self, refusal: Refusal, forms: Collection[str]) -> tuple[list[tuple[str, str]], bytes]:
        kind = refusal.code or _ERRORS[refusal.kind]
        return [("x-amzn-errortype", kind)], orjson.dumps({"message": refusal.message})

    def stream_error(self) -> bytes:
        headers = {
            ":exception-type": "modelStreamErrorException",
            ":content-type": "application/json",
            ":message-type": "exception",
        }
        return frame(headers, orjson.dumps({"message": "The model had an error in mid-stream."}))


class BedrockInvoke(Bedrock):
    """`POST /model/{id}/invoke` and `/invoke-with-response-stream`, for Claude."""

    name: ClassVar[str] = "bedrock_invoke"
    paths = re.compile(r"/model/(?P<model>[^/]+)/(?P<method>invoke|invoke-with-response-stream)")

    def read(self, request: Request) -> Ask:
        body = request.body
        if "anthropic_version" not in body:
            raise invalid("anthropic_version: Field required")
        for name in ("model", "stream"):
            if name in body:
                raise invalid(f"{name}: Extra inputs are not permitted")
        ask = Ask(self.name, request.names["model"], body)
        read_body(body, ask, body["anthropic_version"], hosted="bedrock-2023-05-31")
        ask.stream = request.names["method"] == "invoke-with-response-stream"
        return ask

    def whole(self, reply: Reply) -> bytes:
        return orjson.dumps(anthropic_message(reply))

    def stream(self, reply: Reply) -> Iterator[Event]:
        for payload, tokens in anthropic_events(reply):
            if payload["type"] == "ping":
                continue
            if payload["type"] == "message_stop":
                payload["amazon-bedrock-invocationMetrics"] = {
                    "inputTokenCount": reply.ask.input_tokens,
                    "outputTokenCount": reply.output_tokens,
                    "invocationLatency": 1,
                    "firstByteLatency": 1,
                }
            encoded = base64.b64encode(orjson.dumps(payload)).decode()
            yield Event(event_frame("chunk", {"bytes": encoded}), tokens)
