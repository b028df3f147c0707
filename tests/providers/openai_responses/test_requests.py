"""Bodies of the Responses dialect, judged by the types of OpenAI's SDK."""

from __future__ import annotations

import json
from typing import Any

import pytest

from callgate.providers.dialect import WireRequest
from callgate.providers.openai_responses.dialect import OpenAIResponses
from tests.providers.request_conformance import RequestConformance
from tests.providers.typed_dict_judge import problems_of

params = pytest.importorskip("openai.types.responses.response_create_params")

CALL = {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city": "Oslo"}'}
THOUGHT = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [],
    "encrypted_content": "ZW5j",
    "content": None,
    "status": None,
}
ANSWER: dict[str, Any] = {"id": "resp_1", "status": "completed", "model": "m", "output": [THOUGHT, CALL]}


REFUSED = {
    "audio": "takes no sound",
    "stop": "no stop sequences",
    "stops": "no stop sequences",
    "five stops": "no stop sequences",
    "two answers": "one answer",
    "modalities audio": "answers with text only",
}


class TestResponses(RequestConformance):
    dialect = OpenAIResponses()
    model = "gpt-5"
    tool_call = ANSWER
    refused = REFUSED

    def judge(self, wire: WireRequest, *, stream: bool) -> list[str]:
        declared = params.ResponseCreateParamsStreaming if stream else params.ResponseCreateParamsNonStreaming
        return problems_of(declared, json.loads(wire.body))
