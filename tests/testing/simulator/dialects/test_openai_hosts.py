"""What is particular to other hosts of OpenAI chat in the simulator."""

from __future__ import annotations

import orjson

from callgate.testing.simulator import SimulatedProvider
from tests.testing.simulator.dialect_calls import (
    USER,
    call,
)


def test_google_wraps_errors_in_a_list():
    plan = call("vertex chat", times=2, requests_per_minute=1)
    assert orjson.loads(plan.body)[0]["error"]["status"] == "RESOURCE_EXHAUSTED"


def test_azure_needs_an_api_version_and_begins_streams_with_the_prompt_filter():
    provider = SimulatedProvider(clock=lambda: 0.0)
    body = orjson.dumps({"messages": USER})
    assert provider.handle("POST", "/openai/deployments/d/chat/completions", {}, body).status == 404
    first = call("azure", stream=True).chunks[0].data
    assert b"prompt_filter_results" in first


def test_openrouter_sends_comments():
    assert call("openrouter", stream=True).body.startswith(b": OPENROUTER")
