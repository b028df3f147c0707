"""Every canonical request to Vertex, judged by the SDKs of Anthropic and Google."""

from __future__ import annotations

import json
from typing import ClassVar

from anthropic.types.message_create_params import (
    MessageCreateParamsNonStreaming,
    MessageCreateParamsStreaming,
)

from callgate.providers.dialect import WireRequest
from callgate.providers.vertex.dialect import Vertex
from tests.providers.anthropic.claude_rules import problems_of_claude
from tests.providers.anthropic.test_requests import REFUSED as REFUSED_BY_CLAUDE, TOOL_CALL as CLAUDE_CALL
from tests.providers.gemini.gemini_rules import problems_of_gemini
from tests.providers.gemini.test_requests import REFUSED as REFUSED_BY_GEMINI, TOOL_CALL as GEMINI_CALL
from tests.providers.request_conformance import RequestConformance
from tests.providers.typed_dict_judge import problems_of


class TestClaudeOnVertex(RequestConformance):
    dialect = Vertex("p", "global")
    model = "claude-opus-5"
    tool_call = CLAUDE_CALL
    refused: ClassVar = {**REFUSED_BY_CLAUDE, "tier priority": "no service_tier 'priority'"}

    def judge(self, wire: WireRequest, *, stream: bool) -> list[str]:
        body = json.loads(wire.body)
        assert body.pop("anthropic_version") == "vertex-2023-10-16"
        for tool in body.get("tools", ()):
            if "input_schema" in tool:
                tool["input_schema"] = {"type": "object"}
        problems = problems_of_claude(body)
        for setting in ("temperature", "top_p"):
            body.pop(setting, None)
        declared = MessageCreateParamsStreaming if stream else MessageCreateParamsNonStreaming
        return problems + problems_of(declared, {**body, "model": self.model})


class TestGeminiOnVertex(RequestConformance):
    dialect = Vertex("p", "global")
    model = "gemini-3-pro-preview"
    tool_call = GEMINI_CALL
    refused = REFUSED_BY_GEMINI
    refused_with_tools = frozenset({"web search"})

    def judge(self, wire: WireRequest, *, stream: bool) -> list[str]:
        body = json.loads(wire.body)
        assert "serviceTier" not in body
        return problems_of_gemini(body, third=True)
