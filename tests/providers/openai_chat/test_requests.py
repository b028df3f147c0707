"""Bodies of chat requests, judged by the types of each host's official SDK."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from callgate.providers.catalog import dialect_of
from callgate.providers.dialect import WireRequest
from callgate.providers.hosts import find_host
from tests.providers.model_judge import problems_of_model
from tests.providers.request_conformance import CHAT_CALL, RequestConformance
from tests.providers.typed_dict_judge import problems_of

cerebras = pytest.importorskip("cerebras.cloud.sdk.types.chat.completion_create_params")
fireworks = pytest.importorskip("fireworks.types.chat.completion_create_params")
groq = pytest.importorskip("groq.types.chat.completion_create_params")
mistral = pytest.importorskip("mistralai.client.models")
openai = pytest.importorskip("openai.types.chat.completion_create_params")
openrouter = pytest.importorskip("openrouter.components")
together = pytest.importorskip("together.types.chat.completion_create_params")


class ChatRequests(RequestConformance):
    """What the tests of all hosts share: the SDK's type of a body, plain and streamed."""

    declared: ClassVar[tuple[Any, Any]]
    tool_call = CHAT_CALL

    def judge(self, wire: WireRequest, *, stream: bool) -> list[str]:
        return problems_of(self.declared[stream], json.loads(wire.body))


_NO_FILES = dict.fromkeys(
    ("file inline", "file by id", "file by url", "result with a file"), "takes no files"
)
_NO_SOUND = {"audio": "takes no sound"}
_NO_SPEECH = {"modalities audio": "answers with text only"}
_NO_SEARCH = {"web search": "has no web_search_options"}
_NO_CUSTOM_TOOLS = {"custom tool": "only OpenAI has custom tools"}
_ONE_ANSWER = {"two answers": "has no n"}
_NO_FLEX = {"tier flex": "has no service_tier 'flex'"}
_NO_PRIORITY = {"tier priority": "has no service_tier 'priority'"}
_NO_FILE_BY_URL = {"file by url": "not by an address"}


def _all(*refusals: Mapping[str, str]) -> Mapping[str, str]:
    return {name: pattern for refusal in refusals for name, pattern in refusal.items()}


class TestOpenAI(ChatRequests):
    dialect = dialect_of(find_host("openai"))
    model = "gpt-5"
    refused = _NO_FILE_BY_URL
    declared = (openai.CompletionCreateParamsNonStreaming, openai.CompletionCreateParamsStreaming)


class TestAzure(TestOpenAI):
    dialect = dialect_of(find_host("azure"))


class TestGroq(ChatRequests):
    dialect = dialect_of(find_host("groq"))
    model = "openai/gpt-oss-120b"
    refused = _all(_NO_FILES, _NO_SOUND, _NO_SPEECH, _NO_SEARCH, _NO_CUSTOM_TOOLS, _ONE_ANSWER, _NO_PRIORITY)
    declared = (groq.CompletionCreateParams, groq.CompletionCreateParams)


class TestMistral(ChatRequests):
    dialect = dialect_of(find_host("mistral"))
    model = "mistral-large-latest"
    refused = _all(_NO_SPEECH, _NO_SEARCH, _NO_CUSTOM_TOOLS, _NO_FLEX, _NO_PRIORITY)

    def judge(self, wire: WireRequest, *, stream: bool) -> list[str]:
        return problems_of_model(mistral.ChatCompletionRequest, json.loads(wire.body))


class TestOpenRouter(ChatRequests):
    dialect = dialect_of(find_host("openrouter"))
    model = "anthropic/claude-sonnet-4.5"
    refused = _all(_NO_CUSTOM_TOOLS, _ONE_ANSWER)

    def judge(self, wire: WireRequest, *, stream: bool) -> list[str]:
        return problems_of_model(openrouter.ChatRequest, json.loads(wire.body))


class TestTogether(ChatRequests):
    dialect = dialect_of(find_host("together"))
    model = "meta-llama/Llama-3.3-70B-Instruct-Turbo"
    refused = _all(_NO_FILES, _NO_SPEECH, _NO_SEARCH, _NO_CUSTOM_TOOLS, _NO_FLEX, _NO_PRIORITY)
    declared = (together.CompletionCreateParamsNonStreaming, together.CompletionCreateParamsStreaming)

    def judge(self, wire: WireRequest, *, stream: bool) -> list[str]:
        # Its type of a choice is that of a call, with an id and arguments; its documentation has OpenAI's.
        problems = super().judge(wire, stream=stream)
        return [problem for problem in problems if "body.tool_choice" not in problem]


class TestFireworks(ChatRequests):
    dialect = dialect_of(find_host("fireworks"))
    model = "accounts/fireworks/models/gpt-oss-120b"
    refused = _all(_NO_FILES, _NO_SOUND, _NO_SPEECH, _NO_SEARCH, _NO_CUSTOM_TOOLS, _NO_FLEX)
    declared = (fireworks.CompletionCreateParamsNonStreaming, fireworks.CompletionCreateParamsStreaming)


class TestCerebras(ChatRequests):
    dialect = dialect_of(find_host("cerebras"))
    model = "gpt-oss-120b"
    refused = _all(_NO_FILES, _NO_SOUND, _NO_SPEECH, _NO_SEARCH, _NO_CUSTOM_TOOLS)
    declared = (cerebras.CompletionCreateParams, cerebras.CompletionCreateParams)
