"""What bounds the cost of a request in Anthropic's Messages format, and what its answer is billed by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callgate.providers.canonical.billing import (
    STANDARD,
    Billing,
    CostBound,
    InputBound,
    UnboundedCostError,
    UnboundedOutputError,
    asked_for,
    cache_kept,
    check_fields,
    unbounded_part,
    whole_number,
)
from callgate.providers.canonical.json import as_dict, as_list, as_text, token_count
from callgate.response import Response

__all__ = ["bill_messages", "bound_messages", "geo_factor"]

_FIELDS = frozenset(
    {
        "anthropic_beta", "anthropic_version", "cache_control", "inference_geo", "max_tokens", "messages",
        "metadata", "model", "output_config", "output_format", "service_tier", "speed", "stop_sequences",
        "stream", "system", "temperature", "thinking", "tool_choice", "tools", "top_k", "top_p",
    }
)  # fmt: skip
"""Fields of a body that leave its cost within the bound; `speed` and `inference_geo` are looked at apart."""
_TEXTS = frozenset({"redacted_thinking", "search_result", "text", "thinking", "tool_reference", "tool_use"})
_TEXT_SOURCES = frozenset({"content", "text"})
_CLIENT_TOOLS = ("bash_", "computer_", "memory_", "text_editor_")
"""Types of tools that the caller runs, with a version behind. Each is described in up to 735 tokens."""
_GEO_FACTORS = {"global": 1.0, "us": 1.1}
_NO_PLACES = frozenset({"", "not_available"})
_STANDARD_TIERS = frozenset({"", "standard", "priority"})
"""Tiers at the standard price: capacity that was bought ahead is paid for ahead."""


def bound_messages(body: Mapping[str, Any]) -> CostBound:
    """The most that a body can be billed for.

    Raises:
        UnboundedCostError: Something in it has no bound.
    """
    check_fields(body, _FIELDS)
    bound = _Input()
    stripped = dict(body)
    stripped["system"] = bound.content(body.get("system"))
    stripped["messages"] = bound.messages(body.get("messages"))
    tools = [as_dict(tool) for tool in as_list(body.get("tools"))]
    for tool in tools:
        _check_tool(tool)
    described = sum(as_text(tool.get("type")).startswith(_CLIENT_TOOLS) for tool in tools)
    return CostBound(
        bound.tokens(stripped, prompted=bool(tools) + described),
        _longest(body),
        cache_kept(body, "cache_control"),
        (Billing(_speed(body.get("speed")), factor=geo_factor(body.get("inference_geo"))),),
    )


def bill_messages(response: Response, request: Mapping[str, Any]) -> Billing:
    """How the answer to a request is billed: by the speed, the place and the tier that its usage names; what
    it does not name is as it was asked for."""
    usage = as_dict(as_dict(response.raw).get("usage"))
    mode = _speed(usage.get("speed") or asked_for(request, "speed"))
    tier = as_text(usage.get("service_tier"))
    if tier == "batch":
        mode += (("processing", "batch"),)
    elif tier not in _STANDARD_TIERS:
        mode += (("service_tier", tier),)
    place = as_text(usage.get("inference_geo") or asked_for(request, "inference_geo"))
    factor = 1.0 if place in _NO_PLACES else _GEO_FACTORS.get(place)
    if factor is None:
        factor = 1.0
        mode += (("inference_geo", place),)  # at a price that is not known
    searches = token_count(as_dict(usage.get("server_tool_use")).get("web_search_requests"))
    billing = Billing(mode, factor=factor, searches=searches)
    return STANDARD if billing == STANDARD else billing


def geo_factor(place: Any) -> float:
    """The factor of `inference_geo` on all prices.

    Raises:
        UnboundedCostError: The factor of the place is not known.
    """
    if place is None:
        return max(_GEO_FACTORS.values())  # the workspace's setting decides
    if place not in _GEO_FACTORS:
        raise UnboundedCostError(f"inference_geo={place}")
    return _GEO_FACTORS[place]


def _speed(speed: Any) -> tuple[tuple[str, str], ...]:
    return () if speed in (None, "standard") else (("speed", as_text(speed)),)


def _longest(body: Mapping[str, Any]) -> int:
    longest = whole_number(body.get("max_tokens"))
    if longest is None:
        raise UnboundedOutputError
    budget = as_dict(body.get("thinking")).get("budget_tokens")
    if budget is not None and (whole_number(budget) is None or budget >= longest):
        # With interleaved thinking, such a budget holds for all thoughts together, beyond max_tokens.
        raise UnboundedCostError("thinking.budget_tokens that are not below max_tokens")
    return longest


def _check_tool(tool: Mapping[str, Any]) -> None:
    kind = tool.get("type")
    if kind in (None, "custom") and "name" in tool:
        return
    if not as_text(kind).startswith(_CLIENT_TOOLS):
        raise UnboundedCostError(f"a tool of type {kind}" if kind else f"a tool with {', '.join(tool)}")


class _Input(InputBound):
    """Reads the blocks of a message: text, images, and blocks that hold these."""

    __slots__ = ()

    def read(self, part: Mapping[str, Any]) -> Any:
        kind = part.get("type")
        if kind == "image":
            return self.image(part, "source")
        if kind in _TEXTS:
            return part
        if kind == "tool_result":
            return {**part, "content": self.content(part.get("content"))}
        source = part.get("source")
        if kind == "document" and isinstance(source, Mapping) and source.get("type") in _TEXT_SOURCES:
            return {**part, "source": {**source, "content": self.content(source.get("content"))}}
        raise unbounded_part(part)
