"""Every canonical request to Gemini, judged by Google's models and by Gemini's own rules."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from callgate.providers.dialect import WireRequest
from callgate.providers.gemini.dialect import Gemini
from tests.providers.gemini.gemini_rules import problems_of_gemini
from tests.providers.request_conformance import RequestConformance

TOOL_CALL: dict[str, Any] = {
    "responseId": "r",
    "candidates": [
        {
            "content": {
                "role": "model",
                "parts": [
                    {"text": "The weather.", "thought": True},
                    {
                        "functionCall": {"name": "weather", "args": {"city": "Oslo"}},
                        "thoughtSignature": "c2ln",
                    },
                ],
            },
            "finishReason": "STOP",
        }
    ],
}
REFUSED = {"custom tool": "custom tools", "modalities audio": "pcm16 only"}


class GeminiRequests(RequestConformance):
    dialect = Gemini()
    tool_call = TOOL_CALL
    third: ClassVar[bool]

    def judge(self, wire: WireRequest, *, stream: bool) -> list[str]:
        assert ("streamGenerateContent" in wire.path) == stream
        return problems_of_gemini(json.loads(wire.body), third=self.third)


class TestGemini2(GeminiRequests):
    model = "gemini-2.5-flash"
    third = False
    refused = REFUSED
    refused_with_tools = frozenset({"web search"})


class TestGemini3(GeminiRequests):
    model = "gemini-3-pro-preview"
    third = True
    refused = REFUSED
