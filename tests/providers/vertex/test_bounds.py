"""What a request to Vertex may cost at most, and what its answer is billed by, in each of its formats."""

from __future__ import annotations

from typing import Any

import pytest

from callgate.providers.canonical.billing import STANDARD, Billing, UnboundedCostError
from callgate.providers.vertex.dialect import Vertex
from tests.providers.bounded import TEXT, billing_of, bound_of

REGION, GLOBAL = Vertex("p", "us-east5"), Vertex("p", "global")
PRIORITY = Billing((("service_tier", "priority"),), 1.8)


def test_gemini_is_bounded_as_gemini_with_its_tier_in_the_headers() -> None:
    assert bound_of(REGION, model="gemini-2.5-pro").billings == (STANDARD,)
    assert bound_of(GLOBAL, model="gemini-2.5-pro", service_tier="priority").billings == (STANDARD, PRIORITY)
    headers = {"X-Vertex-AI-LLM-Shared-Request-Type": "priority"}
    assert bound_of(GLOBAL, headers, model="gemini-2.5-pro").billings == (STANDARD, PRIORITY)
    with pytest.raises(UnboundedCostError, match="cachedContent"):
        bound_of(REGION, model="gemini-2.5-pro", cachedContent="c")


def test_claude_costs_more_in_a_region() -> None:
    new, old = "claude-opus-4-5@20251101", "claude-3-5-haiku@20241022"
    assert bound_of(REGION, model=new).billings == (Billing(factor=1.1),)
    assert bound_of(GLOBAL, model=new).billings == (STANDARD,)
    assert bound_of(REGION, model=old).billings == (STANDARD,)
    said = {"type": "message", "content": [TEXT], "usage": {"input_tokens": 10, "output_tokens": 2}}
    assert billing_of(REGION, said, request={"model": new}) == Billing(factor=1.1)
    assert billing_of(GLOBAL, said, request={"model": new}) == STANDARD
    assert billing_of(REGION, said, request={"model": new, "location": "global"}) == STANDARD
    assert billing_of(REGION, said, request={"model": old}) == STANDARD


def test_others_are_bounded_as_chat() -> None:
    bound = bound_of(REGION, model="meta/llama3-405b-instruct-maas")
    assert bound.output_tokens == 1000
    with pytest.raises(UnboundedCostError, match="the field what"):
        bound_of(REGION, model="meta/llama3-405b-instruct-maas", what=1)


def test_an_answer_is_billed_by_its_format() -> None:
    counts: dict[str, Any] = {"promptTokenCount": 10, "candidatesTokenCount": 2}
    candidate = {"content": {"parts": [{"text": "4"}]}, "finishReason": "STOP"}
    gemini = {"candidates": [candidate], "usageMetadata": {**counts, "trafficType": "ON_DEMAND_PRIORITY"}}
    assert billing_of(REGION, gemini) == PRIORITY
    choice = {"index": 0, "message": {"role": "assistant", "content": "4"}, "finish_reason": "stop"}
    chat = {"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1, "cost": 0.5}}
    told = billing_of(REGION, chat).reported
    assert told is not None
    assert told.total == 0.5
