"""What is particular to OpenAI chat and legacy completions in the simulator."""

from __future__ import annotations

import pytest

from tests.testing.simulator.clocked_provider import ClockedProvider, events, parsed


def test_plain_answer_has_the_shape_of_openai():
    answer = parsed(ClockedProvider(output_tokens=5, output_sigma=0).post())
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["prompt_tokens"] == 2
    assert answer["usage"]["completion_tokens"] == 5
    assert answer["usage"]["total_tokens"] == 7


def test_a_stream_has_the_text_of_the_plain_answer():
    clocked = ClockedProvider()
    whole = parsed(clocked.post("Hello", stream=...))["choices"][0]["message"]["content"]
    streamed = events(ClockedProvider(answers=[whole]).post("Hello", stream=True))
    assert "".join(event["choices"][0]["delta"].get("content") or "" for event in streamed) == whole
    assert streamed[-1]["choices"][0]["finish_reason"] == "stop"
    assert all("usage" not in event for event in streamed)


def test_usage_is_streamed_only_on_request_and_last():
    streamed = events(ClockedProvider().post(stream=True, stream_options={"include_usage": True}))
    assert streamed[-1]["choices"] == []
    assert streamed[-1]["usage"]["prompt_tokens"] == 2
    assert all(event["usage"] is None for event in streamed[:-1])


def test_legacy_completions_answer_a_prompt():
    clocked = ClockedProvider()
    plan = clocked.post(path="/v1/completions", messages=..., prompt="Once upon a time", max_tokens=3)
    choice = parsed(plan)["choices"][0]
    assert len(choice["text"].split()) == 3
    assert choice["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": ...}, "model"),
        ({"messages": ...}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"stream": "yes"}, "stream"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [], "tool_choice": "auto"}, "tool_choice"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ],
)
def test_malformed_requests_are_refused_with_the_parameter(body, param):
    plan = ClockedProvider().post(**body)
    error = parsed(plan)["error"]
    assert plan.status == 400
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
