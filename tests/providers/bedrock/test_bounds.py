"""What a request to Bedrock may cost at most, and what its answer is billed by."""

from __future__ import annotations

from typing import Any

import pytest

from callgate.providers.bedrock.dialect import BedrockConverse
from callgate.providers.bedrock.invoke import BedrockInvoke
from callgate.providers.bedrock.response import read_usage
from callgate.providers.canonical.billing import STANDARD, Billing, UnboundedCostError, UnboundedOutputError
from tests.providers.bounded import IMAGE, PNG, TEXT, billing_of, bound_of, input_of

CONVERSE, INVOKE = BedrockConverse(), BedrockInvoke()
HAIKU = {"model": "anthropic.claude-haiku-4-5-20251001-v1:0"}
PICTURE = {"type": "image_url", "image_url": {"url": PNG + "A" * 400_000}}
PDF = {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBE", "filename": "a.pdf"}}
PRIORITY = Billing((("serviceTier", "priority"),), 1.75)


@pytest.mark.parametrize("dialect", [CONVERSE, INVOKE])
def test_input_and_output_are_bounded(dialect: Any) -> None:
    bound = bound_of(dialect, **HAIKU)
    assert (bound.output_tokens, bound.cache_writes, bound.billings) == (1000, None, (STANDARD,))
    assert IMAGE <= input_of(dialect, PICTURE, **HAIKU) < IMAGE + 200


def test_converse_has_no_length_of_its_own() -> None:
    with pytest.raises(UnboundedOutputError):
        bound_of(CONVERSE, **HAIKU, max_tokens=None)


def test_blocks_count_as_their_bytes_with_the_images_in_them() -> None:
    call = {
        "id": "t",
        "type": "function",
        "function": {"name": "f", "arguments": '{"x": "' + "y" * 900 + '"}'},
    }

    def size(content: Any) -> int:
        turns = [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "t", "content": content},
        ]
        tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
        return bound_of(CONVERSE, **HAIKU, messages=turns, tools=tools).input_tokens

    assert size("x") > 900
    assert 890 < size("x" * 900) - size("x") < 910
    assert size([TEXT, PICTURE]) - size([TEXT]) >= IMAGE


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"performanceConfig": {"latency": "optimized"}}, r"performanceConfig\.latency=optimized"),
        ({"guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"}}, "guardrailConfig"),
    ],
)
@pytest.mark.parametrize("dialect", [CONVERSE, INVOKE])
def test_what_is_billed_besides_is_refused(dialect: Any, more: dict[str, Any], named: str) -> None:
    with pytest.raises(UnboundedCostError, match=named):
        bound_of(dialect, **HAIKU, **more)


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"promptVariables": {"x": {"text": "y"}}}, "the field promptVariables|additionalModel"),
        ({"additionalModelRequestFields": {"tools": [1]}}, r"additionalModelRequestFields\.tools"),
        ({"inferenceConfig": {"what": 1}}, r"inferenceConfig\.what"),
        ({"toolConfig": {"tools": [{"systemTool": {"name": "nova_grounding"}}]}}, "a tool with systemTool"),
        ({"additionalModelRequestFields": {"thinking": {"budget_tokens": 5000}}}, "budget_tokens"),
        ({"messages": [{"role": "user", "content": [PDF]}]}, "a part with document"),
    ],
)
def test_what_has_no_bound_is_refused(more: dict[str, Any], named: str) -> None:
    with pytest.raises(UnboundedCostError, match=named):
        bound_of(CONVERSE, **HAIKU, **more)


@pytest.mark.parametrize("dialect", [CONVERSE, INVOKE])
@pytest.mark.parametrize(
    ("tier", "billing"),
    [("default", STANDARD), ("flex", STANDARD), ("priority", PRIORITY)],
)
def test_a_tier_bounds_how_it_may_be_billed(dialect: Any, tier: str, billing: Billing) -> None:
    assert bound_of(dialect, **HAIKU, service_tier=tier).billings == (billing,)
    assert bound_of(dialect, **HAIKU, serviceTier={"type": tier}).billings == (billing,)


def test_a_tier_in_a_header_of_the_callers_counts() -> None:
    headers = {"X-Amzn-Bedrock-Service-Tier": "priority"}
    assert bound_of(INVOKE, headers, **HAIKU).billings == (PRIORITY,)
    with pytest.raises(UnboundedCostError, match="optimized"):
        bound_of(INVOKE, {"X-Amzn-Bedrock-PerformanceConfig-Latency": "optimized"}, **HAIKU)


@pytest.mark.parametrize("ttl", ["5m", "1h"])
def test_cache_points_bound_what_is_written_to_the_cache(ttl: str) -> None:
    marked = [{"role": "user", "content": [{**TEXT, "cache_control": {"type": "ephemeral", "ttl": ttl}}]}]
    assert bound_of(CONVERSE, **HAIKU, messages=marked).cache_writes == ttl
    assert bound_of(INVOKE, **HAIKU, messages=marked).cache_writes == ttl


def converse(**more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": [{"text": "4"}]}
    usage = {"inputTokens": 10, "outputTokens": 2, "totalTokens": 12}
    return {"output": {"message": message}, "stopReason": "end_turn", "usage": usage, **more}


def test_an_answer_of_converse_is_billed_in_the_tier_and_with_the_latency_that_it_names() -> None:
    assert billing_of(CONVERSE, converse()) == STANDARD
    assert billing_of(CONVERSE, converse(serviceTier={"type": "default"})) == STANDARD
    assert billing_of(CONVERSE, converse(serviceTier={"type": "priority"})) == PRIORITY
    optimized = billing_of(CONVERSE, converse(performanceConfig={"latency": "optimized"}))
    assert optimized == Billing((("latency", "optimized"),))


def test_an_answer_of_invoke_is_billed_as_its_headers_say() -> None:
    said = {"type": "message", "content": [TEXT], "usage": {"input_tokens": 10, "output_tokens": 2}}
    assert billing_of(INVOKE, said) == STANDARD
    assert billing_of(INVOKE, said, {"x-amzn-bedrock-service-tier": "priority"}) == PRIORITY
    headers = {"x-amzn-bedrock-performanceconfig-latency": "optimized"}
    assert billing_of(INVOKE, said, headers).mode == (("latency", "optimized"),)


def test_writes_that_are_kept_for_an_hour_are_counted() -> None:
    details = [{"ttl": "1h", "inputTokens": 20}, {"ttl": "5m", "inputTokens": 10}]
    usage = read_usage(
        {"inputTokens": 5, "outputTokens": 1, "cacheWriteInputTokens": 30, "cacheDetails": details}
    )

    assert (usage.cache_write_tokens, usage.cache_write_1h_tokens) == (30, 20)


@pytest.mark.parametrize("usage", [{}, {"inputTokens": 5}, {"inputTokens": 5.5, "outputTokens": 1}])
def test_a_usage_that_cannot_be_read_is_not_known(usage: dict[str, Any]) -> None:
    assert not read_usage(usage).is_known
