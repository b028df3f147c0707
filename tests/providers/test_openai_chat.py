"""OpenAI's chat dialect: requests as they go out, and whatever hosts answer."""

from __future__ import annotations

from callgate.providers.openai_chat import OpenAIChat
from tests.providers.conformance import DialectConformance


class TestConformance(DialectConformance):
    dialect = OpenAIChat()
    recorded = "openai_chat"
