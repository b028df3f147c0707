"""What is particular to Anthropic messages in the simulator."""

from __future__ import annotations

import orjson
import pytest

from tests.testing.simulator.dialect_calls import (
    CALLS,
    TEXT,
    USER,
    call,
    error,
)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"messages": []}, "at least one message"),
        ({"messages": [{"role": "system", "content": "x"}]}, "role"),
        ({"messages": [{"role": "user", "content": ""}]}, "non-empty"),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x"}]}]},
            "tool_use_id",
        ),
        (
            {
                "messages": [
                    *USER,
                    {"role": "assistant", "content": [{"type": "tool_use", "id": "x", "input": {}}]},
                ]
            },
            "without `tool_result`",
        ),
        (
            {
                "messages": [
                    *USER,
                    {"role": "assistant", "content": [{"type": "tool_use", "id": "x", "input": {}}]},
                    *USER,
                ]
            },
            "without `tool_result`",
        ),
        ({"thinking": {"type": "enabled", "budget_tokens": 10}}, "1024"),
        ({"max_tokens": 1500, "thinking": {"type": "enabled", "budget_tokens": 2000}}, "greater than"),
        ({"temperature": 2}, "0..1"),
        ({"tool_choice": {"type": "tool", "name": "other"}}, "other"),
    ],
)
def test_invalid_requests_are_refused(changed, said):
    plan = call("anthropic", body={**CALLS["anthropic"][2], **changed})
    assert plan.status == 400
    assert error(plan)["type"] == "invalid_request_error"
    assert said in error(plan)["message"]


def test_a_version_is_required_and_the_second_refuses_temperature():
    assert call("anthropic", headers={}).status == 400
    body = {**CALLS["anthropic"][2], "temperature": 0.5}
    assert call("anthropic", body=body).status == 200
    second = {"anthropic-version": "2026-10-21"}
    assert call("anthropic", headers=second).status == 200
    refused = call("anthropic", body=body, headers=second)
    assert error(refused)["message"] == "temperature: Extra inputs are not permitted"
    assert "valid version" in error(call("anthropic", headers={"anthropic-version": "1"}))["message"]


def test_usage_in_the_stream_is_cumulative():
    body = call("anthropic", stream=True, answers=["one two three"]).body.decode()
    events = [orjson.loads(block.split("data: ")[1]) for block in body.split("\n\n") if block]
    kinds = [event["type"] for event in events]
    assert kinds[:3] == ["message_start", "content_block_start", "ping"]
    assert kinds[-2:] == ["message_delta", "message_stop"]
    assert events[0]["message"]["usage"]["output_tokens"] == 1
    assert events[-2]["usage"]["output_tokens"] == 3


def test_the_answer_names_the_stop_sequence():
    body = {**CALLS["anthropic"][2], "stop_sequences": ["sunny"]}
    answer = orjson.loads(call("anthropic", body=body, answers=[TEXT]).body)
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("stop_sequence", "sunny")
