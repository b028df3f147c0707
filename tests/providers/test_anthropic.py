"""Anthropic's dialect: requests as they go out, and what comes back."""

from __future__ import annotations

from callgate.providers.anthropic import AnthropicMessages
from tests.providers.conformance import DialectConformance


class TestConformance(DialectConformance):
    dialect = AnthropicMessages()
    recorded = "anthropic"
