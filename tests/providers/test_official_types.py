"""What we say and what we take for real answers, against the official package's own types."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import TypeAdapter

from callgate.providers.openai_chat.dialect import OpenAIChat
from callgate.providers.openai_responses.dialect import OpenAIResponses
from tests.providers.conformance import read_stream
from tests.providers.recorded_cases import read_cases

chat = pytest.importorskip("openai.types.chat")
responses = pytest.importorskip("openai.types.responses")
response_create_params = pytest.importorskip("openai.types.responses.response_create_params")

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
REQUEST: dict[str, Any] = {
    "model": "gpt-5",
    "messages": [
        {"role": "system", "content": "Be short."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is it?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
                {
                    "type": "file",
                    "file": {"file_data": "data:application/pdf;base64,aGk=", "filename": "a.pdf"},
                },
            ],
        },
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
        {"role": "user", "content": "And now?"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "max_tokens": 50,
    "response_format": {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}},
    "reasoning_effort": "low",
}


def test_a_responses_request_is_what_the_package_would_send() -> None:
    body = json.loads(OpenAIResponses().encode(REQUEST).body)
    TypeAdapter(response_create_params.ResponseCreateParamsNonStreaming).validate_python(body)


def test_streamed_chat_answers_add_up_to_what_the_package_reads() -> None:
    cases = [case for case in read_cases("openai_chat", "stream") if case.name.startswith("stream_openai")]
    assert cases
    for case in cases:
        _, response = read_stream(OpenAIChat(), [case.body], case.headers)
        if response.raw["object"] == "chat.completion":
            theirs = chat.ChatCompletion.model_validate(response.raw).choices[0].message
            assert (theirs.content or theirs.refusal or "") == response.text
            called = [call.function.name for call in theirs.tool_calls or ()]
            if theirs.function_call is not None:  # the form before tools
                called.append(theirs.function_call.name)
            assert called == [call.name for call in response.tool_calls]


def test_recorded_responses_are_of_the_packages_shape() -> None:
    cases = [case for case in read_cases("openai_responses", "answer") if case.name != "nulls"]
    assert cases
    for case in cases:
        responses.Response.model_validate_json(case.body)
