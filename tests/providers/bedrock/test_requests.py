"""Every canonical request to Bedrock, judged by the service's published model and by its own rules."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from anthropic.types.message_create_params import MessageCreateParamsNonStreaming

from callgate.providers.bedrock.dialect import BedrockConverse
from callgate.providers.bedrock.invoke import BedrockInvoke
from callgate.providers.dialect import WireRequest
from tests.providers.anthropic.claude_rules import problems_of_claude
from tests.providers.anthropic.test_requests import REFUSED as REFUSED_BY_CLAUDE, TOOL_CALL as CLAUDE_CALL
from tests.providers.bedrock.converse_rules import problems_of_converse
from tests.providers.request_conformance import RequestConformance
from tests.providers.typed_dict_judge import problems_of

REFUSED = {
    "image by url": "nothing from the web",
    "file by id": "is a document",
    "file by url": "nothing from the web",
    "custom tool": "custom tools",
    "two answers": "one answer",
    "high temperature": "at most 1",
    "modalities audio": "text only",
    "web search": "no web_search_options",
}
TOOL_CALL: dict[str, Any] = {
    "output": {
        "message": {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "The weather.", "signature": "c2ln"}}},
                {"text": "\n\n"},
                {
                    "toolUse": {
                        "toolUseId": "t1",
                        "name": "weather",
                        "input": {"city": "Oslo"},
                        "type": "tool_use",
                    }
                },
            ],
        }
    },
    "stopReason": "tool_use",
    "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
}


class ConverseRequests(RequestConformance):
    dialect = BedrockConverse()
    tool_call = TOOL_CALL
    refused = REFUSED

    def judge(self, wire: WireRequest, *, stream: bool) -> list[str]:
        assert wire.path.endswith("/converse-stream" if stream else "/converse")
        return problems_of_converse(json.loads(wire.body), self.model)


class TestOldClaudeAtConverse(ConverseRequests):
    model = "anthropic.claude-3-haiku-20240307-v1:0"
    refused: ClassVar = {
        **REFUSED,
        "effort and temperature": "cannot think with another temperature",
        "effort and named tool": "cannot think before a forced",
        "effort and required tool": "cannot think before a forced",
    }


class TestNewClaudeAtConverse(ConverseRequests):
    model = "us.anthropic.claude-opus-5-v1"
    refused: ClassVar = {**REFUSED, "effort and temperature": "cannot think with another temperature"}


class TestNova(ConverseRequests):
    model = "amazon.nova-lite-v1:0"


class TestLlama(ConverseRequests):
    model = "us.meta.llama3-3-70b-instruct-v1:0"
    refused: ClassVar = {
        **REFUSED,
        **dict.fromkeys(
            (
                "choice required", "choice named", "choice named flat", "choice allowed required",
                "schema and named tool", "effort and named tool", "effort and required tool",
            ),
            "cannot be forced",
        ),
    }  # fmt: skip


class TestInferenceProfile(ConverseRequests):
    model = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123xyz"
    refused: ClassVar = {
        **REFUSED,
        **dict.fromkeys(
            (
                "JSON format", "schema", "loose schema", "schema and effort", "schema and tools",
                "schema and named tool", "schema and tools after a result", "low effort", "high effort",
                "effort and limit", "effort and tools", "effort and named tool", "effort and required tool",
                "effort and temperature",
            ),
            "does not name its model",
        ),
    }  # fmt: skip


class TestClaudeAtInvokeModel(RequestConformance):
    dialect = BedrockInvoke()
    model = "us.anthropic.claude-opus-5-v1"
    tool_call = CLAUDE_CALL
    refused: ClassVar = {
        **{name: why for name, why in REFUSED_BY_CLAUDE.items() if name != "tier flex"},
        "web search": "no web_search_options",
    }

    def judge(self, wire: WireRequest, *, stream: bool) -> list[str]:
        body = json.loads(wire.body)
        assert body.pop("anthropic_version") == "bedrock-2023-05-31"
        for tool in body.get("tools", ()):
            tool["input_schema"] = {"type": "object"}
        problems = problems_of_claude(body)
        for setting in ("temperature", "top_p"):
            body.pop(setting, None)
        return problems + problems_of(MessageCreateParamsNonStreaming, {**body, "model": self.model})
