"""Claude at Bedrock by InvokeModel: Anthropic's body, Amazon's path and frames."""

from __future__ import annotations

import json

import pytest

from callgate.errors import ResponseError
from callgate.providers.bedrock.invoke import BedrockInvoke
from callgate.transport.eventstream import encode_frame
from tests.providers.conformance import DialectConformance, read_stream

DIALECT = BedrockInvoke()
MODEL = "anthropic.claude-3-haiku-20240307-v1:0"


class TestConformance(DialectConformance):
    dialect = DIALECT
    recorded = "bedrock_invoke"


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


@pytest.mark.parametrize("told", ["???", "abc", "é"])
def test_a_chunk_that_is_no_base64_is_an_unreadable_answer(told: str) -> None:
    payload = json.dumps({"bytes": told}).encode()
    frame = encode_frame({":event-type": "chunk", ":message-type": "event"}, payload)
    with pytest.raises(ResponseError, match="base64"):
        read_stream(DIALECT, [frame], {})
