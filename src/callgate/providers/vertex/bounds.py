"""What bounds the cost of a request to Vertex, in whichever of its three formats it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from callgate.providers.anthropic.bounds import bill_messages, bound_messages
from callgate.providers.anthropic.models import claude_version, is_claude
from callgate.providers.canonical.billing import Billing, CostBound
from callgate.providers.canonical.json import as_dict, as_text
from callgate.providers.gemini.bounds import bill_content, bound_content
from callgate.providers.openai_chat.bounds import bill_chat, bound_chat
from callgate.response import Response

__all__ = ["bill_vertex", "bound_vertex"]

_REGIONAL_FACTOR = 1.1
"""What Google adds to the price of Claude 4.5 and later outside of the location "global"."""


def bound_vertex(body: Mapping[str, Any], path: str, headers: Mapping[str, str]) -> CostBound:
    """The most that a body can be billed for; its path tells the format, the model and the location.

    Raises:
        UnboundedCostError: Something in it has no bound.
    """
    method = path.partition("?")[0].rpartition(":")[2].lower()
    if method.endswith("rawpredict"):
        # Google has no places of Anthropic's.
        bound = bound_messages({**body, "inference_geo": "global"})
        factor = _place_factor(path, "/locations/global/" in path)
        return replace(bound, billings=tuple(replace(each, factor=factor) for each in bound.billings))
    if method.endswith("generatecontent"):
        return bound_content(body, headers)
    return bound_chat(body, path)


def bill_vertex(response: Response, request: Mapping[str, Any], location: str) -> Billing:
    """How the answer to a request is billed at a location."""
    model = as_text(request.get("model"))
    raw = as_dict(response.raw)
    if "candidates" in raw or "usageMetadata" in raw:
        return bill_content(response, request)
    if raw.get("type") == "message" or is_claude(as_text(response.model) or model):
        factor = _place_factor(model, location == "global")
        return replace(bill_messages(response, {}), factor=factor)
    return bill_chat(response, request)


def _place_factor(model: str, is_global: bool) -> float:
    version = claude_version(model)
    return 1.0 if is_global or (version is not None and version < (4, 5)) else _REGIONAL_FACTOR
