"""OpenAI chat at other hosts: Azure, Google, Groq, OpenRouter."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import ClassVar

import orjson

from callgate.testing.simulator.answers import Ask
from callgate.testing.simulator.dialects.base import Event, Refusal, Reply, Request, sse
from callgate.testing.simulator.dialects.gemini import google_error
from callgate.testing.simulator.dialects.openai_chat import OpenAIChat
from callgate.testing.simulator.options import HeaderFamily, RetryAfterForm

__all__ = ["AzureChat", "GoogleChat", "GroqChat", "OpenRouterChat", "VertexChat"]


class AzureChat(OpenAIChat):
    """`POST /openai/deployments/{deployment}/chat/completions?api-version=...`."""

    name: ClassVar[str] = "azure_openai_chat"
    paths = re.compile(r".*/openai/deployments/(?P<deployment>[^/]+)/chat/completions")
    header_family: ClassVar[HeaderFamily] = "azure"
    request_id_header: ClassVar[str] = "apim-request-id"

    def read(self, request: Request) -> Ask:
        if "api-version=" not in request.query:
            raise Refusal(404, "not_found", "Resource not found", code="404")
        ask = super().read(request)
        ask.model = request.names["deployment"]
        return ask

    def stream(self, reply: Reply) -> Iterator[Event]:
        # Azure's streams begin with a chunk of prompt filter results: no choices, no model.
        yield Event(
            sse(
                {
                    "id": "",
                    "object": "",
                    "created": 0,
                    "model": "",
                    "choices": [],
                    "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}],
                }
            )
        )
        yield from super().stream(reply)


class GoogleChat(OpenAIChat):
    """Gemini's compatible endpoint: OpenAI's answers, and Google's errors in a list."""

    name: ClassVar[str] = "google_openai_chat"
    paths = re.compile(r"/v1beta/openai/chat/completions")
    header_family: ClassVar[HeaderFamily] = "none"
    retry_after: ClassVar[tuple[RetryAfterForm, ...]] = ("body",)

    def status(self, refusal: Refusal) -> int:
        return {529: 503}.get(refusal.status, refusal.status)

    def error(self, refusal: Refusal, forms: Collection[str]) -> tuple[list[tuple[str, str]], bytes]:
        return [], orjson.dumps([google_error(refusal, self.status(refusal), forms)])


class VertexChat(GoogleChat):
    """Vertex's compatible endpoint (Llama and others): OpenAI chat with an issued token."""

    name: ClassVar[str] = "vertex_openai_chat"
    auth: ClassVar = "google"
    paths = re.compile(r".*/projects/[^/]+/locations/[^/]+/endpoints/openapi/chat/completions")


class GroqChat(OpenAIChat):
    """`/openai/v1/chat/completions`: OpenAI chat whose request quota headers count a day."""

    name: ClassVar[str] = "groq_chat"
    paths = re.compile(r"/openai/v1/chat/completions")
    header_family: ClassVar[HeaderFamily] = "groq"
    retry_after: ClassVar[tuple[RetryAfterForm, ...]] = ("seconds",)


class OpenRouterChat(OpenAIChat):
    """`/api/v1/chat/completions`: comment lines during the wait, and errors in a chunk with status 200."""

    name: ClassVar[str] = "openrouter_chat"
    paths = re.compile(r"/api/v1/chat/completions")
    header_family: ClassVar[HeaderFamily] = "none"

    def stream(self, reply: Reply) -> Iterator[Event]:
        yield Event(b": OPENROUTER PROCESSING\n\n")
        yield from super().stream(reply)

    def error(self, refusal: Refusal, forms: Collection[str]) -> tuple[list[tuple[str, str]], bytes]:
        return [], orjson.dumps({"error": {"message": refusal.message, "code": refusal.status}})

    def stream_error(self) -> bytes:
        error = {"message": "Provider returned error", "code": 502}
        choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
        return sse({"object": "chat.completion.chunk", "error": error, "choices": [choice]})
