"""Gemini: generateContent, plain and streamed, and countTokens."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any, ClassVar

import orjson

from callgate.testing.simulator.answers import Answer, Ask, Finish, ToolSpec, count_tokens
from callgate.testing.simulator.dialects.base import (
    Dialect,
    Event,
    Kind,
    Refusal,
    Reply,
    Request,
    invalid,
    listed,
    pieces,
    require,
    sse,
)
from callgate.testing.simulator.options import RetryAfterForm

__all__ = ["Gemini", "GeminiTokenCount", "VertexGemini", "google_error"]

_IMAGE_CHARS = 4 * 258
_FINISH: dict[Finish, str] = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "tool_call": "STOP",  # the real API also uses STOP for tool calls
    "content_filter": "SAFETY",
}
_STATUS: dict[Kind, str] = {
    "invalid": "INVALID_ARGUMENT",
    "context_length": "INVALID_ARGUMENT",
    "too_large": "INVALID_ARGUMENT",
    "authentication": "UNAUTHENTICATED",
    "permission": "PERMISSION_DENIED",
    "not_found": "NOT_FOUND",
    "rate_limit": "RESOURCE_EXHAUSTED",
    "server": "INTERNAL",
    "unavailable": "UNAVAILABLE",
    "overloaded": "UNAVAILABLE",
}


def google_error(refusal: Refusal, status: int, forms: Collection[str]) -> dict[str, Any]:
    """`{"error": {code, message, status, details}}`, with the delay in `details` if `forms` has `body`."""
    details: list[dict[str, Any]] = []
    if refusal.wait is not None and "body" in forms:
        delay = f"{refusal.wait:.9f}".rstrip("0").rstrip(".")
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{delay}s"})
    error: dict[str, Any] = {"code": status, "message": refusal.message, "status": _STATUS[refusal.kind]}
    if details:
        error["details"] = details
    return {"error": error}


class Gemini(Dialect):
    """`POST /v1beta/models/{model}:generateContent` and `:streamGenerateContent`."""

    name: ClassVar[str] = "gemini"
    paths = re.compile(
        r"/v1(?:beta|alpha)?\d*/models/(?P<model>[^/:]+):(?P<method>generateContent|streamGenerateContent)"
    )
    retry_after: ClassVar[tuple[RetryAfterForm, ...]] = ("body",)

    def read(self, request: Request) -> Ask:
        body = _camel(request.body)
        ask = Ask(self.name, request.names["model"], request.body)
        _read_contents(body.get("contents"), ask)
        system = body.get("systemInstruction")
        if system is not None:
            require(system, dict, "systemInstruction", "an object")
            ask.input_chars += sum(
                len(str(part.get("text", ""))) for part in _parts(system, "systemInstruction")
            )
        _read_config(body.get("generationConfig"), ask)
        _read_tools(body, ask)
        ask.stream = request.names.get("method") == "streamGenerateContent"
        ask.extra["sse"] = "alt=sse" in request.query
        return ask

    def whole(self, reply: Reply) -> bytes:
        candidates = [
            _candidate(_answer_parts(answer, reply), _FINISH[answer.finish], index)
            for index, answer in enumerate(reply.answers)
        ]
        return orjson.dumps(_chunk(reply, candidates, reply.output_tokens))

    def stream(self, reply: Reply) -> Iterator[Event]:
        answer, written = reply.answers[0], 0
        chunks: list[tuple[dict[str, Any], int]] = []
        steps = list(_steps(answer, reply))
        for number, (parts, tokens) in enumerate(steps):
            written += tokens
            last = number == len(steps) - 1
            candidate = _candidate(parts, _FINISH[answer.finish] if last else None, 0)
            chunks.append((_chunk(reply, [candidate], reply.output_tokens if last else written), tokens))
        if reply.ask.extra["sse"]:
            for payload, tokens in chunks:
                yield Event(sse(payload), tokens)
            return
        # Without alt=sse the real API sends one JSON array in pieces.
        for number, (payload, tokens) in enumerate(chunks):
            yield Event((b"," if number else b"[") + orjson.dumps(payload), tokens)
        yield Event(b"]")

    def status(self, refusal: Refusal) -> int:
        # Gemini reports a wrong key as 400 and an overload as 503.
        return {401: 400, 529: 503}.get(refusal.status, refusal.status)

    def error(self, refusal: Refusal, forms: Collection[str]) -> tuple[list[tuple[str, str]], bytes]:
        error = google_error(refusal, self.status(refusal), forms)
        if refusal.kind == "authentication":
            error["error"]["message"] = "API key not valid. Please pass a valid API key."
            error["error"]["status"] = "INVALID_ARGUMENT"
            reason = {"reason": "API_KEY_INVALID", "domain": "googleapis.com"}
            error["error"]["details"] = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", **reason}]
        return [], orjson.dumps(error)

    def stream_error(self) -> bytes:
        error = {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}
        return sse({"error": error})


class VertexGemini(Gemini):
    """Gemini on Vertex: another path, and a token instead of a key."""

    name: ClassVar[str] = "vertex_gemini"
    auth: ClassVar = "google"
    paths = re.compile(
        r".*/publishers/google/models/(?P<model>[^/:]+):(?P<method>generateContent|streamGenerateContent)"
    )

    def status(self, refusal: Refusal) -> int:
        return {529: 503}.get(refusal.status, refusal.status)

    def error(self, refusal: Refusal, forms: Collection[str]) -> tuple[list[tuple[str, str]], bytes]:
        return [], orjson.dumps(google_error(refusal, self.status(refusal), forms))


class GeminiTokenCount(Gemini):
    """`:countTokens`, under either path."""

    name: ClassVar[str] = "gemini_count_tokens"
    counts_only: ClassVar[bool] = True
    paths = re.compile(r".*/models/(?P<model>[^/:]+):countTokens")

    def whole(self, reply: Reply) -> bytes:
        return orjson.dumps({"totalTokens": reply.ask.input_tokens})


def _camel(value: dict[str, Any]) -> dict[str, Any]:
    """A copy with camelCase keys: Google accepts both spellings, and its SDK sends both."""
    return {re.sub(r"_([a-z])", lambda match: match[1].upper(), name): item for name, item in value.items()}


def _parts(content: dict[str, Any], where: str) -> list[dict[str, Any]]:
    parts: Any = content.get("parts")
    parts = [parts] if isinstance(parts, dict) else parts
    require(parts, list, f"{where}.parts", "an array")
    for part in parts:
        require(part, dict, f"{where}.parts", "an array of objects")
    return [_camel(part) for part in parts]


def _read_contents(contents: Any, ask: Ask) -> None:
    contents = [contents] if isinstance(contents, dict) else contents
    if not contents:
        raise invalid("* GenerateContentRequest.contents: contents is not specified")
    require(contents, list, "contents", "an array")
    for index, content in enumerate(contents):
        require(content, dict, f"contents[{index}]", "an object")
        if content.get("role", "user") not in ("user", "model", "function"):
            raise invalid("Please use a valid role: user, model.")
        texts, results = [], []
        for part in _parts(content, f"contents[{index}]"):
            response = part.get("functionResponse")
            if isinstance(response, dict):
                results.append(orjson.dumps(response.get("response")).decode())
            elif "text" in part:
                texts.append(str(part["text"]))
            elif "functionCall" in part:
                ask.input_chars += len(str(part))
            else:
                ask.input_chars += _IMAGE_CHARS
        ask.input_chars += sum(map(len, texts)) + sum(map(len, results))
        if content.get("role", "user") != "model":
            ask.text, ask.tool_results = "\n".join(texts), results


def _read_config(config: Any, ask: Ask) -> None:
    if config is None:
        return
    require(config, dict, "generationConfig", "an object")
    config = _camel(config)
    limit = config.get("maxOutputTokens")
    if limit is not None:
        require(limit, int, "generationConfig.maxOutputTokens", "an integer")
        if limit < 1:
            raise invalid("max_output_tokens must be positive.")
        ask.max_tokens = limit
    temperature = config.get("temperature")
    if temperature is not None:
        require(temperature, (int, float), "generationConfig.temperature", "a number")
        if not 0 <= temperature <= 2:
            raise invalid("temperature must be in the range [0.0, 2.0].")
    count = config.get("candidateCount")
    if count is not None:
        require(count, int, "generationConfig.candidateCount", "an integer")
        if not 1 <= count <= 8:
            raise invalid("candidateCount must be in the range [1, 8].")
        ask.choices = count
    ask.stop = tuple(str(one) for one in listed(config.get("stopSequences"), "stopSequences") if one)
    schema = config.get("responseJsonSchema", config.get("responseSchema"))
    if isinstance(schema, dict):
        ask.json_schema = schema
    else:
        ask.json_object = config.get("responseMimeType") == "application/json"
    thinking = config.get("thinkingConfig")
    if isinstance(thinking, dict):
        thinking = _camel(thinking)
        ask.reasoning = thinking.get("thinkingBudget") != 0
        ask.extra["thoughts"] = thinking.get("includeThoughts") is True


def _read_tools(body: dict[str, Any], ask: Ask) -> None:
    tools = body.get("tools")
    if not tools:
        return
    require(tools, list, "tools", "an array")
    specs = []
    for index, tool in enumerate(tools):
        require(tool, dict, f"tools[{index}]", "an object")
        for function in listed(_camel(tool).get("functionDeclarations"), "functionDeclarations"):
            if not isinstance(function, dict) or not isinstance(function.get("name"), str):
                raise invalid(f"tools[{index}].function_declarations: name is required")
            function = _camel(function)
            schema = function.get("parametersJsonSchema", function.get("parameters"))
            specs.append(ToolSpec(function["name"], schema if isinstance(schema, dict) else {}))
    ask.tools = specs
    config = body.get("toolConfig")
    calling = _camel(config).get("functionCallingConfig") if isinstance(config, dict) else None
    if isinstance(calling, dict):
        calling = _camel(calling)
        mode, allowed = calling.get("mode", "AUTO"), calling.get("allowedFunctionNames")
        ask.tool_choice = {"ANY": "required", "NONE": "none"}.get(str(mode), "auto")
        if isinstance(allowed, list):
            ask.tools = [spec for spec in specs if spec.name in allowed]


def _answer_parts(answer: Answer, reply: Reply) -> list[dict[str, Any]]:
    return [part for parts, _ in _steps(answer, reply, whole=True) for part in parts]


def _steps(
    answer: Answer, reply: Reply, *, whole: bool = False
) -> Iterator[tuple[list[dict[str, Any]], int]]:
    """The parts of the answer, by word or whole, with their number of tokens."""
    signature = {"thoughtSignature": f"c2ltdWxhdGVk{reply.number}"} if answer.reasoning else {}
    if answer.reasoning and reply.ask.extra.get("thoughts"):
        for piece in [answer.reasoning] if whole else pieces(answer.reasoning):
            yield [{"text": piece, "thought": True}], count_tokens(piece)
    for piece in ([answer.text] if answer.text else []) if whole else pieces(answer.text):
        yield [{"text": piece}], count_tokens(piece)
    for call in answer.tool_calls:
        function = {"name": call.name, "args": call.value, **({"id": call.id} if call.id else {})}
        yield [{"functionCall": function, **signature}], count_tokens(call.text)
    if not answer.text and not answer.tool_calls:
        yield [], 0


def _candidate(parts: list[dict[str, Any]], finish: str | None, index: int) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": index}
    if finish == "SAFETY":
        del candidate["content"]
    if finish is not None:
        candidate["finishReason"] = finish
    return candidate


def _chunk(reply: Reply, candidates: list[dict[str, Any]], written: int) -> dict[str, Any]:
    thoughts = sum(count_tokens(answer.reasoning) for answer in reply.answers)
    usage: dict[str, Any] = {
        "promptTokenCount": reply.ask.input_tokens,
        "candidatesTokenCount": max(0, written - thoughts),
        "totalTokenCount": reply.ask.input_tokens + max(written, thoughts),
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": reply.ask.input_tokens}],
    }
    if thoughts:
        usage["thoughtsTokenCount"] = thoughts
    if reply.cached_tokens:
        usage["cachedContentTokenCount"] = reply.cached_tokens
    return {
        "candidates": candidates,
        "usageMetadata": usage,
        "modelVersion": reply.ask.model,
        "responseId": reply.number,
    }
