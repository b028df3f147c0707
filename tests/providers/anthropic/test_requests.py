"""Every canonical request to Claude, judged by the types of Anthropic's SDK and by Claude's own rules."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from anthropic.types.message_create_params import (
    MessageCreateParamsNonStreaming,
    MessageCreateParamsStreaming,
)

from callgate.providers.anthropic.dialect import AnthropicMessages
from callgate.providers.dialect import WireRequest
from tests.providers.anthropic.claude_rules import problems_of_claude
from tests.providers.request_conformance import RequestConformance
from tests.providers.typed_dict_judge import problems_of

REFUSED = {
    "audio": "no sound",
    "custom tool": "custom tools",
    "two answers": "one answer",
    "tier flex": "no service_tier 'flex'",
    "modalities audio": "text only",
    "high temperature": "at most 1",
    "effort and temperature": "cannot think with another temperature",
}
TOOL_CALL: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude",
    "content": [
        {"type": "thinking", "thinking": "The weather.", "signature": "c2ln"},
        {"type": "text", "text": "\n\n"},
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo"}},
    ],
    "stop_reason": "tool_use",
    "usage": {"input_tokens": 1, "output_tokens": 1},
}


class ClaudeRequests(RequestConformance):
    dialect = AnthropicMessages()
    tool_call = TOOL_CALL
    refused = REFUSED

    def judge(self, wire: WireRequest, *, stream: bool) -> list[str]:
        body = json.loads(wire.body)
        declared = MessageCreateParamsStreaming if stream else MessageCreateParamsNonStreaming
        problems = problems_of_claude(body)
        for setting in ("temperature", "top_p", "top_k"):
            body.pop(setting, None)  # still accepted for most models, although newer SDKs do not declare them
        for tool in body.get("tools", ()):
            if "input_schema" in tool:
                tool["input_schema"] = {
                    "type": "object"
                }  # any JSON schema is permitted; the type lists few keys
        return problems + problems_of(declared, body)


class TestOldestClaude(ClaudeRequests):
    model = "claude-3-5-haiku-20241022"
    refused: ClassVar = {
        **REFUSED,
        "effort and named tool": "cannot think before a forced",
        "effort and required tool": "cannot think before a forced",
    }


class TestClaudeWithBudgets(ClaudeRequests):
    model = "claude-sonnet-4-5-20250929"
    refused = TestOldestClaude.refused


class TestClaudeWithEfforts(ClaudeRequests):
    model = "claude-opus-5"


class TestClaudeWithFixedSampling(ClaudeRequests):
    model = "claude-opus-5-5"
    refused: ClassVar = {
        **REFUSED,
        "temperature": "fixed temperature",
        "top_p": "fixed temperature",
        "effort and temperature": "fixed temperature",
        "choice required": "cannot be forced",
        "choice named": "cannot be forced",
        "choice named flat": "cannot be forced",
        "choice allowed required": "cannot be forced",
        "schema and named tool": "cannot be forced",
        "effort and named tool": "cannot be forced",
        "effort and required tool": "cannot be forced",
    }
