"""The simulator's dialects, in the order in which they are matched against a path."""

from __future__ import annotations

from callgate.testing.simulator.dialects.anthropic import (
    AnthropicMessages,
    AnthropicTokenCount,
    VertexAnthropic,
)
from callgate.testing.simulator.dialects.base import Dialect, Event, Refusal, Reply, Request
from callgate.testing.simulator.dialects.bedrock import BedrockInvoke
from callgate.testing.simulator.dialects.bedrock_converse import BedrockConverse
from callgate.testing.simulator.dialects.gemini import Gemini, GeminiTokenCount, VertexGemini
from callgate.testing.simulator.dialects.openai_chat import OpenAIChat, OpenAICompletions
from callgate.testing.simulator.dialects.openai_embeddings import OpenAIEmbeddings
from callgate.testing.simulator.dialects.openai_hosts import (
    AzureChat,
    GoogleChat,
    GroqChat,
    OpenRouterChat,
    VertexChat,
)
from callgate.testing.simulator.dialects.openai_responses import OpenAIResponses

__all__ = ["DIALECTS", "OPENAI_CHAT", "Dialect", "Event", "Refusal", "Reply", "Request"]

OPENAI_CHAT = OpenAIChat()

# Hosts of OpenAI chat precede OpenAI chat itself, which matches any prefix.
DIALECTS: tuple[Dialect, ...] = (
    AzureChat(),
    VertexChat(),
    GoogleChat(),
    GroqChat(),
    OpenRouterChat(),
    OPENAI_CHAT,
    OpenAICompletions(),
    OpenAIEmbeddings(),
    OpenAIResponses(),
    AnthropicMessages(),
    AnthropicTokenCount(),
    VertexAnthropic(),
    Gemini(),
    VertexGemini(),
    GeminiTokenCount(),
    BedrockConverse(),
    BedrockInvoke(),
)
