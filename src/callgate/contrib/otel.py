"""OpenTelemetry as hooks: spans and metrics of calls, by the semantic conventions for generative AI.

The names are those of the conventions of November 2026 (they are still in development). Requests, answers and
the texts of errors (which quote requests) are recorded only with `capture_content=True`.

Needs the extra: `pip install 'callgate[otel]'`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Token
from typing import Any
from urllib.parse import urlsplit

from callgate.backends.tool import Tool
from callgate.call.calling import Calling
from callgate.exact_json import dumps
from callgate.policies.observe.hooks import HookPhase, HookRegistry
from callgate.providers.telemetry import operation_name, provider_name
from callgate.response import Response

try:
    from opentelemetry import context, metrics, trace
except ImportError as error:
    raise ImportError("OpenTelemetry is not installed: pip install 'callgate[otel]'") from error

__all__ = ["Telemetry"]

_TOKENS = [4**power for power in range(14)]
_SECONDS = [0.01 * 2**power for power in range(14)]
# Parameters of a request and their attributes.
_ASKED = {
    "model": "gen_ai.request.model",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "max_tokens": "gen_ai.request.max_tokens",
    "max_completion_tokens": "gen_ai.request.max_tokens",
    "seed": "gen_ai.request.seed",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
}
# Attributes of metrics. Any other would create a time series for each call.
_OF_METRICS = (
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.response.model",
    "gen_ai.tool.name",
    "server.address",
    "server.port",
    "error.type",
)


class Telemetry:
    """Traces and measures every call of the models whose hooks it is registered with.

    A span is a child of the current span. It lasts from the queue to the end of the last attempt and is the
    current span during that time, so that spans of an instrumented HTTP client or tool are its children. It
    has the attributes `callgate.attempts` and `callgate.cached`. Responses from a cache are not part of the
    metrics. The time to the first chunk of a stream is measured from the send of its attempt.

    Args:
        tracer_provider: Receives the spans; None: the global one.
        meter_provider: Receives the metrics; None: the global one.
        capture_content: Also record messages, as `gen_ai.input.messages` and `gen_ai.output.messages`, and
            the texts of errors.

    Example::

        hooks = HookRegistry()
        Telemetry().register(hooks)
        model = iModel(provider="openai", model="gpt-4o-mini", hook_registry=hooks)
    """

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
        *,
        capture_content: bool = False,
    ) -> None:
        self._tracer = trace.get_tracer("callgate", tracer_provider=tracer_provider)
        meter = metrics.get_meter("callgate", meter_provider=meter_provider)
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            unit="s",
            description="GenAI operation duration.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._first_chunk = meter.create_histogram(
            "gen_ai.client.operation.time_to_first_chunk",
            unit="s",
            description="Time to receive the first chunk of a streamed answer.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._tool_duration = meter.create_histogram(
            "gen_ai.execute_tool.duration",
            unit="s",
            description="Duration of a tool's execution.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        self._capture = capture_content
        # By id(); a call is removed when it ends.
        self._open: dict[int, tuple[trace.Span, Token[Any], dict[str, Any]]] = {}

    def register(self, hooks: HookRegistry) -> None:
        """Add its three hooks to a registry."""
        hooks.register(HookPhase.PreInvocation, self._begin)
        hooks.register(HookPhase.PostInvocation, self._end)
        hooks.register(HookPhase.ErrorHandling, self._end)

    def _begin(self, event: Calling, **_: Any) -> None:
        facts = _about(event)
        is_tool = facts["gen_ai.operation.name"] == "execute_tool"
        subject = facts.get("gen_ai.tool.name" if is_tool else "gen_ai.request.model", "")
        span = self._tracer.start_span(
            f"{facts['gen_ai.operation.name']} {subject}".rstrip(),
            kind=trace.SpanKind.INTERNAL if is_tool else trace.SpanKind.CLIENT,
            attributes=facts,
        )
        if span.is_recording():
            span.set_attributes(_settings(event))
            if self._capture and isinstance(event.payload, Mapping):
                messages = [_message(each) for each in event.payload.get("messages", ())]
                span.set_attribute("gen_ai.input.messages", _json(messages))
        token = context.attach(trace.set_span_in_context(span))
        self._open[id(event)] = (span, token, facts)

    def _end(self, event: Calling, **_: Any) -> None:
        opened = self._open.pop(id(event), None)
        if opened is None:  # refused by a hook that ran before
            return
        span, token, facts = opened
        context.detach(token)
        answer, error = event.answer, event.error
        if answer is not None and answer.model is not None:
            facts["gen_ai.response.model"] = answer.model
        if error is not None:
            facts["error.type"] = type(error).__name__
        self._measure(event, {name: facts[name] for name in _OF_METRICS if name in facts})
        if span.is_recording():
            span.set_attributes({"callgate.attempts": len(event.attempts), "callgate.cached": event.cached})
            if event.time_to_first_chunk is not None:
                span.set_attribute("gen_ai.response.time_to_first_chunk", event.time_to_first_chunk)
            if answer is not None:
                span.set_attributes(_outcome(event, answer))
                if self._capture:
                    span.set_attribute("gen_ai.output.messages", _json([_output_message(answer)]))
            if error is not None:
                span.set_attribute("error.type", facts["error.type"])
                if event.response_status_code is not None:
                    span.set_attribute("http.response.status_code", event.response_status_code)
                span.set_status(trace.StatusCode.ERROR, event.error_message if self._capture else None)
        span.end()

    def _measure(self, event: Calling, facts: Mapping[str, Any]) -> None:
        if event.cached:
            return
        is_tool = facts["gen_ai.operation.name"] == "execute_tool"
        if event.duration is not None:
            (self._tool_duration if is_tool else self._duration).record(event.duration, facts)
        if event.time_to_first_chunk is not None and not is_tool:
            attributes = {name: value for name, value in facts.items() if name != "error.type"}
            self._first_chunk.record(event.time_to_first_chunk, attributes)
        usage = event.usage
        if usage is not None:
            self._tokens.record(usage.input_tokens, {**facts, "gen_ai.token.type": "input"})
            self._tokens.record(usage.output_tokens, {**facts, "gen_ai.token.type": "output"})


def _about(event: Calling) -> dict[str, Any]:
    """Attributes that are known when a call begins: the operation, the provider, the model."""
    backend = event.backend
    if isinstance(backend, Tool):
        return {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": backend.name,
            "gen_ai.tool.type": "function",
        }
    host, dialect = getattr(backend, "host", None), getattr(backend, "dialect", None)
    known = host.provider if host is not None else str(getattr(backend, "name", "unknown"))
    facts: dict[str, Any] = {
        "gen_ai.operation.name": operation_name(getattr(dialect, "name", None), event.http_path),
        "gen_ai.provider.name": provider_name(known),
    }
    model = event.payload.get("model") if isinstance(event.payload, Mapping) else None
    if isinstance(model, str):
        facts["gen_ai.request.model"] = model
    address = urlsplit(getattr(backend, "base_url", None) or "")
    if address.hostname:
        facts["server.address"] = address.hostname
        facts["server.port"] = address.port or (443 if address.scheme == "https" else 80)
    return facts


def _settings(event: Calling) -> dict[str, Any]:
    request = event.payload if isinstance(event.payload, Mapping) else {}
    settings: dict[str, Any] = {
        attribute: request[name]
        for name, attribute in _ASKED.items()
        if isinstance(request.get(name), int | float | str)
    }
    stop = request.get("stop")
    if stop is not None:
        settings["gen_ai.request.stop_sequences"] = [stop] if isinstance(stop, str) else list(stop)
    if request.get("n", 1) != 1:
        settings["gen_ai.request.choice.count"] = request["n"]
    if event.sink is not None:
        settings["gen_ai.request.stream"] = True
    if isinstance(request.get("response_format"), Mapping):
        is_json = str(request["response_format"].get("type", "")).startswith("json")
        settings["gen_ai.output.type"] = "json" if is_json else "text"
    return settings


def _outcome(event: Calling, answer: Response) -> dict[str, Any]:
    outcome: dict[str, Any] = {
        "gen_ai.response.id": answer.id,
        "gen_ai.response.model": answer.model,
        "gen_ai.response.finish_reasons": [answer.finish_reason] if answer.finish_reason else None,
    }
    usage = event.usage
    if usage is not None:
        outcome["gen_ai.usage.input_tokens"] = usage.input_tokens
        outcome["gen_ai.usage.output_tokens"] = usage.output_tokens
        outcome["gen_ai.usage.cache_read.input_tokens"] = usage.cache_read_tokens or None
        outcome["gen_ai.usage.cache_creation.input_tokens"] = usage.cache_write_tokens or None
        outcome["gen_ai.usage.reasoning.output_tokens"] = usage.reasoning_tokens or None
    return {name: value for name, value in outcome.items() if value is not None}


# -- content ------------------------------------------------------------------------------


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message of a request, in the form of the conventions: a role and parts."""
    content, parts = message.get("content"), list[dict[str, Any]]()
    if message.get("role") == "tool":
        parts.append({"type": "tool_call_response", "id": message.get("tool_call_id"), "response": content})
    elif isinstance(content, str):
        parts.append({"type": "text", "content": content})
    else:
        for part in content or ():
            # Without the bytes of images and other media.
            kind = part.get("type", "unknown")
            parts.append({"type": "text", "content": part["text"]} if kind == "text" else {"type": kind})
    for call in message.get("tool_calls") or ():
        function = call.get("function", {})
        parts.append(
            {
                "type": "tool_call",
                "id": call.get("id"),
                "name": function.get("name"),
                "arguments": function.get("arguments"),
            }
        )
    return {"role": message.get("role"), "parts": parts}


def _output_message(answer: Response) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    if answer.reasoning:
        parts.append({"type": "reasoning", "content": answer.reasoning})
    if answer.text:
        parts.append({"type": "text", "content": answer.text})
    parts += [
        {"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments}
        for call in answer.tool_calls
    ]
    return {"role": "assistant", "parts": parts, "finish_reason": answer.finish_reason}


def _json(value: Any) -> str:
    return dumps(value, default=str).decode()
