"""What bounds the cost of a request to Bedrock, and what its answer is billed by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from callgate.providers.anthropic.bounds import bound_messages
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
    whole_number,
)
from callgate.providers.canonical.json import as_dict, as_list, as_text
from callgate.response import Response

__all__ = ["bill_converse", "bill_invoke", "bound_converse", "bound_invoke"]

_FIELDS = frozenset(
    {
        "additionalModelRequestFields", "additionalModelResponseFieldPaths", "inferenceConfig", "messages",
        "outputConfig", "performanceConfig", "requestMetadata", "serviceTier", "system", "toolConfig",
    }
)  # fmt: skip
"""Fields of a body that leave its cost within the bound; tiers and latencies are looked at apart. A guardrail
is billed besides."""
_INFERENCE = frozenset({"maxTokens", "stopSequences", "temperature", "topP"})
_OF_THE_MODEL = frozenset(
    {
        "anthropic_beta", "enable_thinking", "output_config", "reasoningConfig", "reasoning_config",
        "reasoning_effort", "thinking", "top_k", "topK",
    }
)  # fmt: skip
"""Fields of models behind Converse that leave the cost within the bound."""
_TEXTS = frozenset({"cachePoint", "json", "reasoningContent", "searchResult", "text", "toolUse"})
_TIERS = {"flex": 0.5, "priority": 1.75, "ultrafast": 6.0}
"""Multiples of the standard price."""
_STANDARD_TIERS = frozenset({None, "auto", "default", "standard", "standard_only"})
_TIER_HEADER = "x-amzn-bedrock-service-tier"
_LATENCY_HEADER = "x-amzn-bedrock-performanceconfig-latency"
_GUARDRAIL_HEADER = "x-amzn-bedrock-guardrailidentifier"


def bound_converse(body: Mapping[str, Any]) -> CostBound:
    """The most that a body of Converse can be billed for.

    Raises:
        UnboundedCostError: Something in it has no bound.
    """
    check_fields(body, _FIELDS)
    inference = as_dict(body.get("inferenceConfig"))
    check_fields(inference, _INFERENCE, "inferenceConfig.")
    own = as_dict(body.get("additionalModelRequestFields"))
    check_fields(own, _OF_THE_MODEL, "additionalModelRequestFields.")
    _check_latency(as_dict(body.get("performanceConfig")).get("latency"))
    longest = whole_number(inference.get("maxTokens"))
    if longest is None:
        raise UnboundedOutputError
    budget = as_dict(own.get("thinking") or own.get("reasoning_config")).get("budget_tokens")
    if budget is not None and (whole_number(budget) is None or budget >= longest):
        raise UnboundedCostError("thinking.budget_tokens that are not below max_tokens")
    tools = as_list(as_dict(body.get("toolConfig")).get("tools"))
    for tool in tools:
        if not isinstance(tool, Mapping) or not tool.keys() <= {"toolSpec", "cachePoint"}:
            raise UnboundedCostError(f"a tool with {', '.join(as_dict(tool)) or tool}")
    bound = _Input()
    stripped = dict(body)
    stripped["system"] = bound.content(body.get("system"))
    stripped["messages"] = bound.messages(body.get("messages"))
    return CostBound(
        bound.tokens(stripped, prompted=bool(tools)),
        longest,
        cache_kept(body, "cachePoint"),
        _billings(as_dict(body.get("serviceTier")).get("type")),
    )


def bound_invoke(body: Mapping[str, Any], headers: Mapping[str, str]) -> CostBound:
    """The most that a body of InvokeModel can be billed for; tier and latency are in the headers.

    Raises:
        UnboundedCostError: Something in it has no bound.
    """
    if headers.get(_GUARDRAIL_HEADER):
        raise UnboundedCostError("the field guardrailConfig")
    _check_latency(headers.get(_LATENCY_HEADER))
    # Amazon has no places of Anthropic's: the model's name holds the place.
    bound = bound_messages({**body, "inference_geo": body.get("inference_geo", "global")})
    return replace(bound, billings=_billings(headers.get(_TIER_HEADER)))


def bill_converse(response: Response, request: Mapping[str, Any]) -> Billing:
    """How the answer of Converse to a request is billed: in the tier and with the latency that it names, or
    that were asked for."""
    raw = as_dict(response.raw)
    tier = as_dict(raw.get("serviceTier")).get("type")
    return _bill(tier, as_dict(raw.get("performanceConfig")).get("latency"), request)


def bill_invoke(response: Response, request: Mapping[str, Any]) -> Billing:
    """How the answer of InvokeModel to a request is billed: in the tier and with the latency that its headers
    name, or that were asked for."""
    return _bill(response.headers.get(_TIER_HEADER), response.headers.get(_LATENCY_HEADER), request)


def _bill(tier: Any, latency: Any, request: Mapping[str, Any]) -> Billing:
    if tier is None:
        own = as_dict(asked_for(request, "serviceTier")).get("type")
        (billing,) = _billings(own or asked_for(request, "service_tier"))
    else:
        billing = _billing(tier)
    latency = latency or as_dict(asked_for(request, "performanceConfig")).get("latency")
    if latency in (None, "standard"):
        return billing
    # Prices of their own, which are listed nowhere.
    return Billing((*billing.mode, ("latency", as_text(latency))))


def _billings(tier: Any) -> tuple[Billing, ...]:
    billing = _billing(tier)
    return (STANDARD,) if billing.mode_factor == _TIERS["flex"] else (billing,)


def _billing(tier: Any) -> Billing:
    if tier in _STANDARD_TIERS:
        return STANDARD
    return Billing((("serviceTier", as_text(tier)),), _TIERS.get(as_text(tier)))


def _check_latency(latency: Any) -> None:
    if latency not in (None, "standard"):
        raise UnboundedCostError(f"performanceConfig.latency={latency}")


class _Input(InputBound):
    """Reads the blocks of a message: text, tool calls and results, images."""

    __slots__ = ()

    def read(self, block: Mapping[str, Any]) -> Any:
        if "image" in block:
            return self.image(block, "image")
        result = block.get("toolResult")
        if isinstance(result, Mapping):
            return {"toolResult": {**result, "content": self.content(result.get("content"))}}
        if block.keys() <= _TEXTS:
            return block
        raise UnboundedCostError(f"a part with {', '.join(block)}")
