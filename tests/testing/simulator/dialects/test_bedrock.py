"""What is particular to Bedrock in the simulator."""

from __future__ import annotations

from tests.testing.simulator.dialect_calls import (
    CALLS,
    call,
)


def test_errors_are_named_in_a_header():
    plan = call("bedrock converse", times=2, requests_per_minute=1)
    assert dict(plan.headers)["x-amzn-errortype"] == "ThrottlingException"
    assert "retry-after" not in dict(plan.headers)


def test_invoke_refuses_model_and_stream_in_the_body():
    for name in ("model", "stream"):
        assert call("bedrock invoke", body={**CALLS["bedrock invoke"][2], name: "x"}).status == 400
