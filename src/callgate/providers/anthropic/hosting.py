"""What differs between the hosts of Claude: tiers, speed, place, betas and Claude's own web search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callgate.providers.anthropic.tools import web_search_tool
from callgate.providers.canonical.fields import read_betas, read_service_tier, refuse_fields

__all__ = ["BETA_HEADER", "add_web_search", "refuse_anthropic_only", "write_anthropic_fields"]

_TIERS: Mapping[str, str | None] = {
    "auto": "auto",
    # Capacity that was bought ahead is used by "auto", and by nothing else.
    "priority": "auto",
    "default": "standard_only",
    "standard": "standard_only",
    "standard_only": "standard_only",
}
BETA_HEADER = frozenset({"anthropic-beta"})
"""The header of the betas, a list; `extra_headers` and the endpoint's headers may add to it."""
_FAST_MODE = "fast-mode-2026-02-01"


def write_anthropic_fields(body: dict[str, Any], request: Mapping[str, Any]) -> list[str]:
    """Add `service_tier`, `speed`, `inference_geo` and the web search as Anthropic's own API takes them.

    Returns:
        The betas that the request needs, for the header `anthropic-beta`.

    Raises:
        InvalidRequestError: A service tier that Anthropic does not have.
    """
    tier = read_service_tier(request, _TIERS, "Anthropic")
    if tier is not None:
        body["service_tier"] = tier
    betas = read_betas(request)
    for name in ("speed", "inference_geo"):
        if request.get(name) is not None:
            body[name] = request[name]
    if request.get("speed") == "fast" and not any(name.startswith("fast-mode-") for name in betas):
        betas.append(_FAST_MODE)
    add_web_search(body, request)
    return betas


def add_web_search(body: dict[str, Any], request: Mapping[str, Any]) -> None:
    """Add Claude's web search when the request has `web_search_options`."""
    options = request.get("web_search_options")
    if options is not None:
        body["tools"] = [*(body.get("tools") or ()), web_search_tool(options)]


def refuse_anthropic_only(request: Mapping[str, Any], host: str, *, web_search: bool) -> None:
    """Refuse what only Anthropic's own API has, for another host of Claude.

    Args:
        request: The canonical request.
        host: Its name, for the message.
        web_search: True when the host has Claude's web search.

    Raises:
        InvalidRequestError: Fast mode, a place of inference, or a web search that the host does not have.
    """
    if request.get("speed") not in (None, "standard"):
        refuse_fields(request, host, {"speed": "only Anthropic's own API has fast mode"})
    refuse_fields(request, host, {"inference_geo": "choose the place by the region of the endpoint"})
    if not web_search:
        refuse_fields(request, host, {"web_search_options": "leave it out, or use another provider"})
