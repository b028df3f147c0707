"""The model list in each provider's format."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

__all__ = ["models_page"]


def models_page(names: Collection[str], path: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """The page in the format of Gemini, Anthropic or OpenAI, by path and headers.

    >>> models_page(["m"], "/v1/models", {})["data"][0]["id"]
    'm'
    """
    if path.startswith("/v1beta/"):
        methods = ["generateContent", "countTokens"]
        return {
            "models": [
                {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": methods}
                for name in names
            ]
        }
    if "anthropic-version" in headers:
        models = [
            {"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z"}
            for name in names
        ]
        first, last = models[0]["id"], models[-1]["id"]
        return {"data": models, "has_more": False, "first_id": first, "last_id": last}
    return {
        "object": "list",
        "data": [{"id": name, "object": "model", "created": 0, "owned_by": "callgate"} for name in names],
    }
