"""Spans and metrics of calls, by the semantic conventions for generative AI."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from typing import Any

import orjson
import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, get_current_span

from callgate.backends.tool import Tool
from callgate.call.calling import Calling
from callgate.contrib.otel import Telemetry
from callgate.errors import InvalidRequestError, RateLimitError, ServerError
from callgate.model.model import iModel
from callgate.policies.cache.memory import MemoryCache
from callgate.policies.observe.hooks import HookPhase, HookRegistry
from callgate.response import Delta, Response, ToolCall, Usage
from callgate.testing import Simulator
from callgate.testing.clock import run_virtual

SECRET = "the canary sings"
MESSAGES = [{"role": "user", "content": SECRET}]


class RecordedTelemetry:
    """A telemetry of its own, and what it was told."""

    def __init__(self, **settings: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        meters = MeterProvider(metric_readers=[self.reader])
        self.hooks = HookRegistry()
        self.telemetry = Telemetry(self.tracers, meters, **settings)
        self.telemetry.register(self.hooks)

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    def points(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        """(attributes, sum) of every series of a metric."""
        data = self.reader.get_metrics_data()
        found = (
            []
            if data is None
            else [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics]
        )
        return [
            (dict(point.attributes or {}), point.sum)  # type: ignore[union-attr]
            for metric in found
            if metric.name == name
            for point in metric.data.data_points
        ]


class Backend:
    """Answers as it is told."""

    name = "oracle"

    def __init__(self, answer: Response | Exception | Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self.answer = answer

    async def call(self, calling: Calling) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer if isinstance(self.answer, Response) else await self.answer()


ANSWER = Response(
    text="4",
    model="m-2026",
    id="answer-1",
    finish_reason="stop",
    usage=Usage(20, 10, cache_read_tokens=5, reasoning_tokens=3),
)


def ask(recorded: RecordedTelemetry, backend: Any, **request: Any) -> Calling:
    async def main() -> Calling:
        async with iModel(backend=backend, hook_registry=recorded.hooks) as model:
            return await model.invoke(**request)

    return asyncio.run(main())


def test_a_call_to_a_provider_has_the_attributes_of_the_conventions() -> None:
    recorded = RecordedTelemetry()

    async def main(url: str) -> Calling:
        settings = {"provider": "openai", "model": "gpt-4o-mini", "base_url": url, "api_key": "sk-canary"}
        async with iModel(**settings, hook_registry=recorded.hooks) as model:
            return await model.invoke(messages=MESSAGES, temperature=0.5, max_tokens=50, seed=7, stop="END")

    with Simulator() as provider:
        calling = asyncio.run(main(provider.url))
        port = int(provider.url.rsplit(":", 1)[1].split("/")[0])
    (span,) = recorded.spans
    attributes = dict(span.attributes or {})
    usage = calling.response.usage
    assert usage is not None
    assert span.name == "chat gpt-4o-mini"
    assert span.kind is SpanKind.CLIENT
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 50,
        "gen_ai.request.seed": 7,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.response.model": calling.response.model,
        "gen_ai.response.id": calling.response.id,
        "gen_ai.response.finish_reasons": (calling.response.finish_reason,),
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "server.address": "127.0.0.1",
        "server.port": port,
        "callgate.attempts": 1,
        "callgate.cached": False,
    }
    assert {name: attributes.get(name) for name in expected} == expected
    assert "sk-canary" not in str(attributes)


def test_no_content_is_recorded_unless_asked_for() -> None:
    recorded = RecordedTelemetry()
    ask(recorded, Backend(Response(text=SECRET)), messages=MESSAGES)
    ask(recorded, Backend(InvalidRequestError(SECRET)), messages=MESSAGES)
    assert len(recorded.spans) == 2
    assert all(SECRET not in span.to_json() for span in recorded.spans)


def test_content_when_asked_for() -> None:
    recorded = RecordedTelemetry(capture_content=True)
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    said = [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {}}]},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "1", "content": "ok"},
    ]
    answer = Response(
        text="4", reasoning="2 and 2", tool_calls=[ToolCall("2", "g", {"a": 1})], finish_reason="stop"
    )
    ask(recorded, Backend(answer), messages=said)
    (span,) = recorded.spans
    assert span.attributes is not None
    asked = orjson.loads(str(span.attributes["gen_ai.input.messages"]))
    assert asked == [
        {"role": "user", "parts": [{"type": "text", "content": "Hi"}, {"type": "image_url"}]},
        {"role": "assistant", "parts": [{"type": "tool_call", "id": "1", "name": "f", "arguments": "{}"}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "1", "response": "ok"}]},
    ]
    (told,) = orjson.loads(str(span.attributes["gen_ai.output.messages"]))
    assert told["finish_reason"] == "stop"
    assert [part["type"] for part in told["parts"]] == ["reasoning", "text", "tool_call"]
    ask(recorded, Backend(InvalidRequestError(SECRET)), messages=MESSAGES)
    assert SECRET in str(recorded.spans[-1].status.description)


def test_other_settings_of_a_request() -> None:
    recorded = RecordedTelemetry()

    async def main() -> None:
        async with iModel(backend=Backend(ANSWER), hook_registry=recorded.hooks) as model:
            request = {"n": 2, "stop": ["a", "b"], "response_format": {"type": "json_schema"}, "top_p": None}
            async for _ in model.invoke_stream(messages=MESSAGES, **request):
                pass

    asyncio.run(main())
    attributes = dict(recorded.spans[0].attributes or {})
    assert attributes["gen_ai.request.choice.count"] == 2
    assert attributes["gen_ai.request.stop_sequences"] == ("a", "b")
    assert attributes["gen_ai.request.stream"] is True
    assert attributes["gen_ai.output.type"] == "json"
    assert "gen_ai.request.top_p" not in attributes


@pytest.mark.parametrize("broken", [None, ServerError("gone", status_code=500)])
def test_of_a_stream_the_time_to_its_first_chunk_is_measured(broken: Exception | None) -> None:
    recorded = RecordedTelemetry()

    class Slow:
        name = "slow"
        retry_config = None

        async def call(self, calling: Calling) -> Response:
            await asyncio.sleep(2)
            await calling.emit(Delta("4"))
            await asyncio.sleep(3)
            if broken is not None:
                raise broken
            return ANSWER

    async def main() -> None:
        settings = {"hook_registry": recorded.hooks, "limit_concurrency": 1}
        async with iModel(backend=Slow(), **settings) as model:
            before = model.submit(messages=MESSAGES)  # the time in the line is not the provider's
            await asyncio.sleep(0)
            with nullcontext() if broken is None else pytest.raises(ServerError):
                async for _ in model.invoke_stream(messages=MESSAGES, model="m"):
                    pass
            await before

    run_virtual(main())
    ((facts, seconds),) = recorded.points("gen_ai.client.operation.time_to_first_chunk")
    assert seconds == 2.0
    assert facts["gen_ai.request.model"] == "m"
    assert "error.type" not in facts
    plain, streamed = (dict(span.attributes or {}) for span in recorded.spans)
    assert streamed["gen_ai.response.time_to_first_chunk"] == 2.0
    assert "gen_ai.response.time_to_first_chunk" not in plain


def test_a_failed_call_says_its_kind_of_error() -> None:
    recorded = RecordedTelemetry()
    ask(recorded, Backend(RateLimitError("slowly", status_code=429, retry_after=1000)), messages=MESSAGES)
    (span,) = recorded.spans
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description is None
    assert span.attributes is not None
    assert span.attributes["error.type"] == "RetryAfterTooLongError"
    assert span.attributes["http.response.status_code"] == 429
    ((facts, _),) = recorded.points("gen_ai.client.operation.duration")
    assert facts["error.type"] == "RetryAfterTooLongError"


def test_a_cancelled_call_ends_its_span() -> None:
    recorded = RecordedTelemetry()

    async def forever() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        async with iModel(backend=Backend(forever), hook_registry=recorded.hooks) as model:
            calling = model.submit(messages=MESSAGES)
            await asyncio.sleep(0.01)
            calling.cancel()
            await calling

    asyncio.run(main())
    (span,) = recorded.spans
    assert span.attributes is not None
    assert span.attributes["error.type"] == "CancelledError"


@pytest.mark.parametrize("how", ["invoke", "submit"])
def test_the_span_is_a_child_of_the_caller_s_and_current_inside_only(how: str) -> None:
    recorded = RecordedTelemetry()
    inside: list[Any] = []

    async def look() -> Response:
        inside.append(get_current_span().get_span_context().span_id)
        return ANSWER

    async def main() -> None:
        async with iModel(backend=Backend(look), hook_registry=recorded.hooks) as model:
            with recorded.tracers.get_tracer("mine").start_as_current_span("my own work") as mine:
                if how == "invoke":
                    await model.invoke(messages=MESSAGES)
                else:
                    await model.submit(messages=MESSAGES)
                assert get_current_span() is mine

    asyncio.run(main())
    child, parent = recorded.spans
    assert parent.name == "my own work"
    assert child.parent is not None
    assert parent.context is not None
    assert child.parent.span_id == parent.context.span_id
    assert child.context is not None
    assert inside == [child.context.span_id]


def test_tokens_and_seconds_are_measured_by_provider_and_model() -> None:
    recorded = RecordedTelemetry()
    for _ in range(2):
        ask(recorded, Backend(ANSWER), messages=MESSAGES, model="m")
    common = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "oracle",
        "gen_ai.request.model": "m",
        "gen_ai.response.model": "m-2026",
    }
    assert recorded.points("gen_ai.client.token.usage") == [
        ({**common, "gen_ai.token.type": "input"}, 40),
        ({**common, "gen_ai.token.type": "output"}, 20),
    ]
    ((facts, seconds),) = recorded.points("gen_ai.client.operation.duration")
    assert facts == common
    assert seconds > 0
    attributes = dict(recorded.spans[0].attributes or {})
    assert attributes["gen_ai.usage.cache_read.input_tokens"] == 5
    assert attributes["gen_ai.usage.reasoning.output_tokens"] == 3
    assert "gen_ai.usage.cache_creation.input_tokens" not in attributes


def test_what_came_from_the_cache_is_traced_and_not_counted() -> None:
    recorded = RecordedTelemetry()

    async def main() -> None:
        backend = Backend(ANSWER)
        async with iModel(backend=backend, hook_registry=recorded.hooks, cache=MemoryCache()) as model:
            for _ in range(2):
                await model.invoke(messages=MESSAGES)
            async for _ in model.invoke_stream(messages=MESSAGES):
                pass

    asyncio.run(main())
    assert [dict(span.attributes or {})["callgate.cached"] for span in recorded.spans] == [
        False,
        True,
        True,
    ]
    assert recorded.points("gen_ai.client.token.usage")[0][1] == 20
    assert recorded.points("gen_ai.client.operation.time_to_first_chunk") == []


def test_a_tool_is_executed() -> None:
    recorded = RecordedTelemetry()
    ask(recorded, Tool(lambda city: f"rain in {city}", config={"name": "weather"}), city="Oslo")
    (span,) = recorded.spans
    assert span.name == "execute_tool weather"
    assert span.kind is SpanKind.INTERNAL
    assert recorded.points("gen_ai.client.operation.duration") == []
    ((facts, _),) = recorded.points("gen_ai.execute_tool.duration")
    assert facts == {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "weather"}


def test_a_call_that_another_hook_refused_first_is_not_traced() -> None:
    recorded = RecordedTelemetry()
    hooks = HookRegistry()

    def refuse(event: Calling, **_: Any) -> None:
        raise PermissionError

    hooks.register(HookPhase.PreInvocation, refuse)
    recorded.telemetry.register(hooks)
    recorded.hooks = hooks
    assert ask(recorded, Backend(ANSWER), messages=MESSAGES).error_type == "PermissionError"
    assert recorded.spans == ()


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "callgate.contrib.otel")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ImportError, match=r"pip install 'callgate\[otel\]'"):
        import callgate.contrib.otel  # noqa: F401
