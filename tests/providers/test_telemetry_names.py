"""The well-known values that OpenTelemetry's conventions demand where one applies."""

from __future__ import annotations

import pytest

from callgate.providers.hosts import HOSTS
from callgate.providers.telemetry import operation_name, provider_name


def test_each_host_that_has_a_well_known_name_is_given_it() -> None:
    named = {host: provider_name(host) for host in HOSTS}
    expected = {
        "openai": "openai",
        "openai_responses": "openai",
        "anthropic": "anthropic",
        "gemini": "gcp.gemini",
        "vertex": "gcp.vertex_ai",
        "bedrock": "aws.bedrock",
        "bedrock_invoke": "aws.bedrock",
        "azure": "azure.ai.openai",
        "mistral": "mistral_ai",
        "xai": "x_ai",
        "groq": "groq",
        "deepseek": "deepseek",
    }
    assert {host: named[host] for host in expected} == expected


@pytest.mark.parametrize(
    ("dialect", "path", "operation"),
    [
        ("openai_chat", None, "chat"),
        ("openai_chat", "chat/completions", "chat"),
        ("openai_chat", "/v1/completions", "text_completion"),
        ("openai_chat", "embeddings", "embeddings"),
        ("gemini", None, "generate_content"),
        (None, None, "chat"),
    ],
)
def test_operations(dialect: str | None, path: str | None, operation: str) -> None:
    assert operation_name(dialect, path) == operation
