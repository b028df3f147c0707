"""What OpenTelemetry's conventions for generative AI call the providers and what is asked of them."""

from __future__ import annotations

__all__ = ["operation_name", "provider_name"]

# Only those whose well-known value differs from our name; the others are as the hosts table has them.
_PROVIDERS = {
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "bedrock_invoke": "aws.bedrock",
    "claude_code": "anthropic",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "openai_responses": "openai",
    "vertex": "gcp.vertex_ai",
    "xai": "x_ai",
}
_OPERATIONS = {"gemini": "generate_content"}


def provider_name(provider: str) -> str:
    """The value of `gen_ai.provider.name` for a provider of the hosts table, or any other name.

    >>> provider_name("bedrock"), provider_name("my own")
    ('aws.bedrock', 'my own')
    """
    return _PROVIDERS.get(provider, provider)


def operation_name(dialect: str | None, path: str | None) -> str:
    """The value of `gen_ai.operation.name`.

    Args:
        dialect: The dialect's name, or None.
        path: The path below the base URL, where it is not the dialect's own.

    >>> operation_name("openai_chat", "/v1/embeddings"), operation_name("openai_chat", None)
    ('embeddings', 'chat')
    """
    last = (path or "").rstrip("/").rsplit("/", 1)[-1]
    if last == "embeddings":
        return "embeddings"
    if last == "completions" and not (path or "").rstrip("/").endswith("chat/completions"):
        return "text_completion"
    return _OPERATIONS.get(dialect or "", "chat")
