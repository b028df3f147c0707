"""What bounds the cost of a request to Gemini, and what its answer is billed by."""

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
    check_fields,
    whole_number,
)
from callgate.providers.canonical.json import as_dict, as_list, as_text
from callgate.response import Response

__all__ = ["TIER_HEADERS", "bill_content", "bound_content"]

_FIELDS = frozenset(
    {
        "contents", "generationConfig", "labels", "safetySettings", "serviceTier", "systemInstruction",
        "toolConfig", "tools",
    }
)  # fmt: skip
"""Fields of a body that leave its cost within the bound; `serviceTier` is looked at apart."""
_SETTINGS = frozenset(
    {
        "candidateCount", "enableEnhancedCivicAnswers", "frequencyPenalty", "logprobs", "maxOutputTokens",
        "mediaResolution", "presencePenalty", "responseJsonSchema", "responseLogprobs", "responseMimeType",
        "responseModalities", "responseSchema", "seed", "stopSequences", "temperature", "thinkingConfig",
        "topK", "topP",
    }
)  # fmt: skip
_TEXTS = frozenset({"functionCall", "functionResponse", "text", "thought", "thoughtSignature"})
"""What a part may consist of, for its bytes to bound its tokens."""
_TOOLS = frozenset({"functionDeclarations"})
_TIERS = {"flex": 0.5, "priority": 1.8}
"""Multiples of the standard price. What was asked as priority may be served, and billed, as standard."""
_STANDARD_TIERS = frozenset(
    {"", "auto", "default", "service_tier_unspecified", "standard", "standard_only", "unspecified"}
)
_TRAFFIC = {
    "ON_DEMAND": "", "ON_DEMAND_FLEX": "flex", "ON_DEMAND_OFFPEAK": "", "ON_DEMAND_PRIORITY": "priority",
    "PROVISIONED_THROUGHPUT": "", "TRAFFIC_TYPE_UNSPECIFIED": "",
}  # fmt: skip
"""Vertex's `trafficType` as a tier; throughput that was bought ahead is paid for ahead."""
TIER_HEADERS = ("x-gemini-service-tier", "x-vertex-ai-llm-shared-request-type")


def bound_content(body: Mapping[str, Any], headers: Mapping[str, str]) -> CostBound:
    """The most that a body can be billed for; the headers may name a tier.

    Raises:
        UnboundedCostError: Something in it has no bound.
    """
    check_fields(body, _FIELDS)
    settings = as_dict(body.get("generationConfig"))
    check_fields(settings, _SETTINGS, "generationConfig.")
    if settings.get("responseModalities") not in (None, ["TEXT"], ["text"]):
        raise UnboundedCostError("an answer that is more than text (responseModalities)")
    for tool in as_list(body.get("tools")):
        unknown = as_dict(tool).keys() - _TOOLS
        if unknown or not isinstance(tool, Mapping):
            raise UnboundedCostError(f"a tool with {', '.join(sorted(unknown)) or tool}")
    bound = _Input()
    stripped = dict(body)
    stripped["contents"] = [_with_parts(content, bound) for content in as_list(body.get("contents"))]
    stripped["systemInstruction"] = _with_parts(body.get("systemInstruction"), bound)
    longest = whole_number(settings.get("maxOutputTokens"))
    choices = whole_number(settings.get("candidateCount") or 1)
    if longest is None or choices is None:
        raise UnboundedOutputError
    asked = as_text(body.get("serviceTier")) or next(filter(None, map(headers.get, TIER_HEADERS)), "")
    return CostBound(
        bound.tokens(stripped, prompted=bool(body.get("tools"))),
        longest * choices,
        None,
        _billings(asked),
        # Models that draw or speak do so without being asked.
        text_only=settings.get("responseModalities") is not None,
    )


def bill_content(response: Response, request: Mapping[str, Any]) -> Billing:
    """How the answer to a request is billed: in the tier that its usage or a header names, or that was asked
    for."""
    usage = as_dict(as_dict(response.raw).get("usageMetadata"))
    tier = as_text(usage.get("serviceTier")) or response.headers.get("x-gemini-service-tier", "")
    traffic = as_text(usage.get("trafficType"))
    asked = asked_for(request, "serviceTier") or asked_for(request, "service_tier")
    return _billing(tier or _TRAFFIC.get(traffic, traffic) or _dearer(as_text(asked)))


def _billings(asked: str) -> tuple[Billing, ...]:
    billing = _billing(asked)
    return (STANDARD,) if billing == STANDARD else (STANDARD, billing)


def _dearer(tier: str) -> str:
    """The tier if it costs more than the standard one."""
    return "" if tier.lower() == "flex" else tier


def _billing(tier: str) -> Billing:
    name = tier.lower()
    if name in _STANDARD_TIERS:
        return STANDARD
    return Billing((("service_tier", name),), _TIERS.get(name))


def _with_parts(content: Any, bound: InputBound) -> Any:
    if not isinstance(content, Mapping):
        return content
    return {**content, "parts": bound.content(content.get("parts"))}


class _Input(InputBound):
    """Reads the parts of a content: text, calls, responses and images."""

    __slots__ = ()

    def read(self, part: Mapping[str, Any]) -> Any:
        name = "inlineData" if "inlineData" in part else "fileData"
        media = part.get(name)
        if media is not None:
            kind = as_text(as_dict(media).get("mimeType")) or "of no known type"
            if not kind.startswith("image/"):
                raise UnboundedCostError(f"a part with {name} that is {kind}")
            return self.image(part, name)
        if part.keys() - _TEXTS:
            raise UnboundedCostError(f"a part with {', '.join(part)}")
        response = part.get("functionResponse")
        if isinstance(response, Mapping) and response.get("parts"):
            return {**part, "functionResponse": _with_parts(response, self)}
        return part
