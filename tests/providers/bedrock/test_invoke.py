"""Claude at Bedrock by InvokeModel: Anthropic's body, Amazon's path and frames."""

from __future__ import annotations

import json
from typing import Any

import pytest

from callgate.errors import InvalidRequestError, ResponseError
from callgate.providers.bedrock.invoke import BedrockInvoke
from callgate.transport.eventstream import encode_frame
from tests.providers.conformance import DialectConformance, read_stream

DIALECT = BedrockInvoke()
MODEL = "anthropic.claude-3-haiku-20240307-v1:0"


class TestConformance(DialectConformance):
    dialect = DIALECT
    recorded = "bedrock_invoke"
    reads_events = False


def test_the_body_is_anthropics_without_model_and_stream() -> None:
    messages = [{"role": "system", "content": "Short."}, {"role": "user", "content": "Hi"}]
    request = {"model": MODEL, "messages": messages, "max_tokens": 5, "stream": True}
    wire = DIALECT.encode(request)
    assert wire.path == "/model/anthropic.claude-3-haiku-20240307-v1%3A0/invoke"
    assert json.loads(wire.body) == {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 5,
        "system": "Short.",
        "messages": [{"role": "user", "content": "Hi"}],
    }


def test_a_stream_has_an_operation_of_its_own() -> None:
    wire = DIALECT.encode({"model": MODEL, "prompt": "Hi"}, stream=True)
    assert wire.path == "/model/anthropic.claude-3-haiku-20240307-v1%3A0/invoke-with-response-stream"
    assert wire.stream
    assert "stream" not in json.loads(wire.body)


CLAUDE = "us.anthropic.claude-opus-5-v1"


def test_what_amazon_takes_as_headers_is_not_in_the_body() -> None:
    wire = DIALECT.encode(
        {
            "model": CLAUDE,
            "prompt": "Hi",
            "service_tier": "flex",
            "performanceConfig": {"latency": "optimized"},
            "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1", "trace": "enabled"},
            "betas": ["b-1"],
            "extra_body": {"top_k": 3},
        }
    )
    assert dict(wire.headers) == {
        "x-amzn-bedrock-service-tier": "flex",
        "x-amzn-bedrock-performanceconfig-latency": "optimized",
        "x-amzn-bedrock-guardrailidentifier": "g",
        "x-amzn-bedrock-guardrailversion": "1",
        "x-amzn-bedrock-trace": "ENABLED",
    }
    body = json.loads(wire.body)
    assert body.keys() == {"anthropic_version", "max_tokens", "messages", "anthropic_beta", "top_k"}
    assert body["anthropic_beta"] == ["b-1"]


def test_default_tier_needs_no_header() -> None:
    assert dict(DIALECT.encode({"model": CLAUDE, "prompt": "Hi", "service_tier": "auto"}).headers) == {}
    own = DIALECT.encode({"model": CLAUDE, "prompt": "Hi", "serviceTier": {"type": "priority"}}).headers
    assert dict(own) == {"x-amzn-bedrock-service-tier": "priority"}


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"service_tier": "scale"}, "no service_tier 'scale'"),
        ({"speed": "fast"}, "only Anthropic's own API"),
        ({"inference_geo": "eu"}, "the region"),
        ({"web_search_options": {}}, "no web_search_options"),
    ],
)
def test_what_only_anthropics_own_api_has_is_refused(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidRequestError, match=why):
        DIALECT.encode({"model": CLAUDE, "prompt": "Hi", **fields})


def test_base_model_names_the_model_of_an_arn() -> None:
    request = {
        "model": "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc",
        "prompt": "Hi",
        "reasoning_effort": "low",
    }
    with pytest.raises(InvalidRequestError, match="base_model="):
        DIALECT.encode(request)
    body = json.loads(DIALECT.encode({**request, "base_model": CLAUDE}).body)
    assert body["output_config"] == {"effort": "low"}


@pytest.mark.parametrize("told", ["???", "abc", "é"])
def test_a_chunk_that_is_no_base64_is_an_unreadable_answer(told: str) -> None:
    payload = json.dumps({"bytes": told}).encode()
    frame = encode_frame({":event-type": "chunk", ":message-type": "event"}, payload)
    with pytest.raises(ResponseError, match="base64"):
        read_stream(DIALECT, [frame], {})
