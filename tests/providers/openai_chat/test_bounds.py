"""What a request in OpenAI's chat dialect may cost at most, and what its answer is billed by."""

from __future__ import annotations

from typing import Any

import pytest

from callgate.providers.canonical.billing import STANDARD, Billing, UnboundedCostError, UnboundedOutputError
from callgate.providers.canonical.json import write_json
from callgate.providers.dialect import WireRequest
from callgate.providers.openai_chat.dialect import OpenAIChat
from callgate.providers.openai_chat.response import read_usage
from callgate.response import Cost
from tests.providers.bounded import IMAGE, PNG, billing_of, bound_of, input_of

DIALECT = OpenAIChat()
PRIORITY = Billing((("service_tier", "priority"),))


def test_every_byte_may_be_a_token() -> None:
    few = bound_of(DIALECT, model="m").input_tokens
    many = bound_of(DIALECT, model="m", messages=[{"role": "user", "content": "ä" * 500}]).input_tokens
    assert many - few == 1000 - len("Hello!")
    assert bound_of(DIALECT, model="grok-4").input_tokens > few + 1000  # which has a prompt of its own


def test_the_output_is_bounded_by_the_larger_of_two_names_and_by_the_choices() -> None:
    assert bound_of(DIALECT, max_tokens=5, max_completion_tokens=50).output_tokens == 50
    assert bound_of(DIALECT, max_tokens=50, n=2).output_tokens == 100
    assert bound_of(DIALECT, max_tokens=50, thinking_budget=20).output_tokens == 70
    predicted = {"type": "content", "content": "x" * 30}
    assert bound_of(DIALECT, max_tokens=50, prediction=predicted).output_tokens == 80
    assert bound_of(DIALECT, path="/embeddings", max_tokens=None, input="Hi").output_tokens == 0


@pytest.mark.parametrize(
    "wrong", [{"max_tokens": None}, {"extra_body": {"max_tokens": "200"}}, {"extra_body": {"n": -1}}]
)
def test_an_answer_without_a_bound_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UnboundedOutputError):
        bound_of(DIALECT, **wrong)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://example.com/cat"}},
        {"type": "image_url", "image_url": {"url": PNG + "A" * 4_000_000}},
        {"type": "image_url", "image_url": PNG + "A" * 4_000_000},
        {"type": "input_image", "image_url": PNG + "A" * 4_000_000, "detail": "high"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 4_000_000}},
    ],
)
def test_an_image_counts_as_its_most_tokens_whatever_its_size(part: dict[str, Any]) -> None:
    assert IMAGE <= input_of(DIALECT, part) < IMAGE + 100
    assert input_of(DIALECT, part, part) == 2 * input_of(DIALECT, part)


@pytest.mark.parametrize(
    ("part", "named"),
    [
        ({"type": "file", "file": {"file_id": "f"}}, "a part of type file"),
        (
            {"type": "input_audio", "input_audio": {"data": "AA", "format": "mp3"}},
            "a part of type input_audio",
        ),
        ({"type": "video_url", "video_url": {"url": "https://x.com/a.mp4"}}, "a part of type video_url"),
        ({"type": "document_url", "document_url": "https://x.com/a.pdf"}, "a part of type document_url"),
        ({"type": "image_url", "image_url": {"url": "data:application/pdf;base64,JVBE"}}, "application/pdf"),
        ({"type": "image_url", "image_url": {"url": "data:;base64,JVBE"}}, "text/plain"),
    ],
)
def test_a_part_whose_size_only_its_reader_knows_is_refused(part: Any, named: str) -> None:
    with pytest.raises(UnboundedCostError, match=named):
        input_of(DIALECT, part)


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"previous_response_id": "r"}, "the field previous_response_id"),
        ({"web_search_options": {"search_context_size": "low"}}, "the field web_search_options"),
        ({"search_parameters": {"mode": "on"}}, "the field search_parameters"),
        ({"models": ["a-dear-one"]}, "the field models"),
        ({"plugins": [{"id": "web"}]}, "the field plugins"),
        ({"provider": {"order": ["a-dear-one"]}}, "the field provider"),
        ({"best_of": 5}, "the field best_of"),
        ({"speed": "fast"}, "the field speed"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "alloy"}}, "the field audio"),
        ({"tools": [{"type": "web_search"}]}, "a tool of type web_search"),
        ({"tools": [{"googleSearch": {}}]}, "a tool with googleSearch"),
        ({"messages": [{"role": "assistant", "audio": {"id": "a"}}]}, "a message's audio"),
        ({"prompt_cache_options": {"ttl": "12h"}}, "12 hours"),
        ({"model": "gpt-4o-search-preview"}, "gpt-4o-search-preview, which searches"),
        ({"model": "openai/gpt-4o:online"}, "which searches"),
        ({"model": "groq/compound-mini"}, "which searches"),
        ({"model": "sonar-pro"}, "which searches"),
    ],
)
def test_what_brings_in_more_than_it_says_is_refused(more: dict[str, Any], named: str) -> None:
    with pytest.raises(UnboundedCostError, match=named):
        bound_of(DIALECT, **more)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"messages": ["Hi"]}, "a message of type str"),
        ({"messages": [{"role": "user", "content": [1.5]}]}, "a part of type float"),
        ({"messages": [{"role": "user", "content": [{"fileData": {}}]}]}, "a part with fileData"),
        ({"tools": [7]}, "a tool of type int"),
        ({"prompt": {"id": "pmpt_1"}}, "the field prompt"),
    ],
)
def test_a_body_that_only_an_sdk_would_send_is_refused(body: dict[str, Any], named: str) -> None:
    wire = WireRequest("/chat/completions", write_json({"max_tokens": 5, **body}))
    with pytest.raises(UnboundedCostError, match=named):
        DIALECT.bound(wire, {})


def test_what_is_empty_or_plain_is_not() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}, {"type": "custom", "custom": {"name": "g"}}]
    fields = {"models": None, "plugins": [], "modalities": ["text"], "audio": None, "best_of": False}
    assert bound_of(DIALECT, model="m", tools=tools, **fields).output_tokens == 1000


def test_tools_may_come_with_a_prompt_of_the_provider() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert bound_of(DIALECT, tools=tools).input_tokens - bound_of(DIALECT).input_tokens > 1000


def test_the_prompt_may_be_written_to_the_cache() -> None:
    assert bound_of(DIALECT).cache_writes == "5m"
    marked = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    assert bound_of(DIALECT, messages=[{"role": "user", "content": [marked]}]).cache_writes == "1h"


@pytest.mark.parametrize(
    ("tier", "billings"),
    [
        (None, (STANDARD, PRIORITY)),
        ("auto", (STANDARD, PRIORITY)),
        ("default", (STANDARD,)),
        ("flex", (STANDARD,)),
        ("on_demand", (STANDARD,)),
        ("priority", (PRIORITY,)),
        ("fast", (Billing((("service_tier", "fast"),)),)),
        ("ultrafast", (Billing((("service_tier", "ultrafast"),), 6.0),)),
    ],
)
def test_a_tier_bounds_how_it_may_be_billed(tier: str | None, billings: tuple[Billing, ...]) -> None:
    assert bound_of(DIALECT, service_tier=tier).billings == billings


def answer(**more: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": "4"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
    return {"id": "c", "model": "m", "choices": [choice], "usage": usage, **more}


@pytest.mark.parametrize(
    ("tier", "billing"),
    [
        (None, STANDARD),
        ("default", STANDARD),
        ("scale", STANDARD),
        ("priority", PRIORITY),
        ("PRIORITY", PRIORITY),
    ],
)
def test_an_answer_is_billed_in_the_tier_that_it_names(tier: str | None, billing: Billing) -> None:
    assert billing_of(DIALECT, answer(service_tier=tier)) == billing


def test_a_streamed_answer_is_billed_in_the_tier_that_it_names() -> None:
    decoder = DIALECT.stream_decoder({})
    piece = b'{"id":"c","model":"m","service_tier":"priority","choices":[{"index":0,"delta":{"content":"4"},'
    list(decoder.feed(b"data: " + piece + b'"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'))
    assert DIALECT.billing(decoder.finish(), {}) == PRIORITY


@pytest.mark.parametrize(
    ("usage", "told"),
    [
        ({"cost": 0.5}, Cost(0.0, 0.5)),
        ({"cost": 0}, Cost(0.0, 0.0)),
        ({"cost": "free"}, None),
        ({"cost": -1}, None),
        (
            {
                "cost": 0.5,
                "cost_details": {
                    "upstream_inference_prompt_cost": 0.1,
                    "upstream_inference_completions_cost": 0.4,
                },
            },
            Cost(0.1, 0.4),
        ),
        (
            {"cost": 0.01, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.2}},
            Cost(0.0, pytest.approx(0.21)),
        ),
        ({"cost": 0.01, "is_byok": True}, None),
        ({"cost_in_usd_ticks": 25_000_000}, Cost(0.0, 0.0025)),
        (
            {"cost": {"total_cost": 0.006, "input_tokens_cost": 0.001, "output_tokens_cost": 0.001}},
            Cost(pytest.approx(0.003), pytest.approx(0.003)),
        ),
    ],
)
def test_a_cost_that_the_provider_reports_rules(usage: dict[str, Any], told: Cost | None) -> None:
    whole = {"prompt_tokens": 10, "completion_tokens": 2, **usage}
    assert billing_of(DIALECT, answer(usage=whole)).reported == told


@pytest.mark.parametrize(
    "usage",
    [
        {},
        {"prompt_tokens": "500", "completion_tokens": "1000"},
        {"prompt_tokens": 500.5, "completion_tokens": -1},
        {"prompt_tokens": 500, "completion_tokens": "1000"},
        {"prompt_tokens": 10**18, "completion_tokens": 10**18},
        {"total_tokens": 1500},
        {"prompt_tokens": 500},
        {"prompt_tokens": 5, "completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": "9"}},
    ],
)
def test_a_usage_that_cannot_be_read_is_not_known(usage: dict[str, Any]) -> None:
    assert not read_usage(usage).is_known
