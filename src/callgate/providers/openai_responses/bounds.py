"""What bounds the cost of a request in OpenAI's Responses dialect, and what its answer is billed by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callgate.providers.canonical.billing import (
    Billing,
    CostBound,
    InputBound,
    UnboundedOutputError,
    check_fields,
    unbounded_part,
    whole_number,
)
from callgate.providers.canonical.json import as_dict, token_count
from callgate.providers.openai_chat.bounds import (
    bill_tier,
    check_tier,
    check_tools,
    holds_1h,
    read_cost,
)
from callgate.response import Response

__all__ = ["bill_response", "bound_response"]

_FIELDS = frozenset(
    {
        "include", "input", "instructions", "max_output_tokens", "metadata", "model", "parallel_tool_calls",
        "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning",
        "safety_identifier", "service_tier", "store", "stream", "stream_options", "temperature", "text",
        "tool_choice", "tools", "top_logprobs", "top_p", "truncation", "user",
    }
)  # fmt: skip
"""Fields of a body that leave its cost within the bound."""
_TEXTS = frozenset(
    {
        "custom_tool_call", "function_call", "input_text", "output_text", "reasoning", "reasoning_text",
        "refusal", "summary_text", "text",
    }
)  # fmt: skip
_HOLDERS = {"function_call_output": "output", "custom_tool_call_output": "output"}
"""Items that hold parts, and the field with these."""


def bound_response(body: Mapping[str, Any]) -> CostBound:
    """The most that a body can be billed for.

    Raises:
        UnboundedCostError: Something in it has no bound.
    """
    check_fields(body, _FIELDS)
    check_tools(body.get("tools"))
    longest = whole_number(body.get("max_output_tokens"))
    if longest is None:
        raise UnboundedOutputError
    bound = _Input()
    stripped = {**body, "input": bound.content(body.get("input"))}
    return CostBound(
        bound.tokens(stripped, prompted=bool(body.get("tools"))),
        longest,
        "1h" if holds_1h(body) else "5m",
        check_tier(body.get("service_tier")),
    )


def bill_response(response: Response, request: Mapping[str, Any]) -> Billing:
    """How the answer to a request is billed: by the cost that it reports, else in its tier."""
    raw = as_dict(response.raw)
    reported = read_cost(as_dict(raw.get("usage")))
    if reported is not None:
        return Billing(reported=reported)
    billing = bill_tier(raw.get("service_tier"), request)
    searches = token_count(as_dict(as_dict(raw.get("tool_usage")).get("web_search")).get("num_requests"))
    return Billing(billing.mode, billing.mode_factor, searches=searches) if searches else billing


class _Input(InputBound):
    """Reads the items of an input and their parts: text, images, calls and their results."""

    __slots__ = ()

    def read(self, part: Mapping[str, Any]) -> Any:
        kind = part.get("type")
        if kind == "input_image":
            return self.image(part, "image_url")
        if kind in _TEXTS:
            return part
        is_message = kind == "message" or (kind is None and "role" in part)
        holder = "content" if is_message else _HOLDERS.get(str(kind))
        if holder is None:
            raise unbounded_part(part)
        return {**part, holder: self.content(part.get(holder))}
