"""What is particular to Gemini in the simulator."""

from __future__ import annotations

import orjson

from callgate.testing.simulator import Answer, SimulatedToolCall
from tests.testing.simulator.dialect_calls import (
    TEXT,
    call,
    error,
)


def test_tool_calls_finish_with_stop_and_filtered_answers_have_no_content():
    tool = Answer(tool_calls=[SimulatedToolCall("get_weather", {"city": "Porto"})])
    candidate = orjson.loads(call("gemini", answers=[tool]).body)["candidates"][0]
    assert candidate["finishReason"] == "STOP"
    assert candidate["content"]["parts"][0]["functionCall"]["args"] == {"city": "Porto"}
    candidate = orjson.loads(call("gemini", content_filter=True).body)["candidates"][0]
    assert (candidate["finishReason"], "content" in candidate) == ("SAFETY", False)


def test_without_alt_sse_a_stream_is_one_array():
    chunks = orjson.loads(call("gemini array", stream=True, answers=[TEXT]).body)
    assert "".join(chunk["candidates"][0]["content"]["parts"][0]["text"] for chunk in chunks) == TEXT


def test_a_wrong_key_is_reported_as_an_invalid_argument():
    plan = call("gemini", keys=["other"])
    assert (plan.status, error(plan)["details"][0]["reason"]) == (400, "API_KEY_INVALID")
