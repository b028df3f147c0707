"""What a request in Anthropic's Messages format may cost at most, and what its answer is billed by."""

from __future__ import annotations

from typing import Any

import pytest

from callgate.providers.anthropic.dialect import AnthropicMessages
from callgate.providers.anthropic.response import read_usage
from callgate.providers.canonical.billing import STANDARD, Billing, UnboundedCostError, UnboundedOutputError
from tests.providers.bounded import IMAGE, PNG, TEXT, billing_of, bound_of, input_of

DIALECT = AnthropicMessages()
OPUS = {"model": "claude-opus-5"}


def asking(part: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [part]}]}


def test_input_and_output_are_bounded() -> None:
    bound = bound_of(DIALECT, **OPUS)
    assert (bound.output_tokens, bound.cache_writes) == (1000, None)
    assert bound_of(DIALECT, **OPUS, max_tokens=None).output_tokens == 4096
    with pytest.raises(UnboundedOutputError):
        bound_of(DIALECT, **OPUS, extra_body={"max_tokens": "many"})


def test_thoughts_are_part_of_the_output() -> None:
    old = {"model": "claude-sonnet-4-5", "reasoning_effort": "high", "max_tokens": 9000}
    assert bound_of(DIALECT, **old).output_tokens == 9000
    beyond = {"thinking": {"type": "enabled", "budget_tokens": 2000}}
    with pytest.raises(UnboundedCostError, match=r"thinking\.budget_tokens"):
        bound_of(DIALECT, model="claude-sonnet-4-5", extra_body=beyond)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": PNG + "A" * 4_000_000}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 4_000_000}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/cat"}},
        {
            "type": "tool_result",
            "tool_use_id": "t",
            "content": [
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": "A" * 4_000_000},
                }
            ],
        },
        {
            "type": "document",
            "source": {
                "type": "content",
                "content": [{"type": "image", "source": {"type": "url", "url": "https://example.com/cat"}}],
            },
        },
    ],
)
def test_an_image_counts_as_its_most_tokens_wherever_it_stands(part: dict[str, Any]) -> None:
    assert IMAGE <= input_of(DIALECT, part, **OPUS) < IMAGE + 200


@pytest.mark.parametrize(
    "part",
    [
        {"type": "text", "text": "x" * 900},
        {"type": "tool_result", "tool_use_id": "t", "content": "x" * 900},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x" * 900}},
        {
            "type": "search_result",
            "source": "s",
            "title": "t",
            "content": [{"type": "text", "text": "x" * 900}],
        },
    ],
)
def test_text_counts_as_its_bytes_wherever_it_stands(part: Any) -> None:
    assert 900 < input_of(DIALECT, part, **OPUS) < 1100


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (
            asking({"type": "document", "source": {"type": "url", "url": "https://x.com/a.pdf"}}),
            "type document",
        ),
        (asking({"type": "container_upload", "file_id": "f"}), "container_upload"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "a tool of type web_search"),
        ({"web_search_options": {}}, "a tool of type web_search"),
        ({"mcp_servers": [{"url": "https://x.com"}]}, "the field mcp_servers"),
        ({"container": "c"}, "the field container"),
        ({"context_management": {"edits": []}}, "the field context_management"),
        ({"inference_geo": "mars"}, "inference_geo=mars"),
    ],
)
def test_what_has_no_bound_is_refused(more: dict[str, Any], named: str) -> None:
    with pytest.raises(UnboundedCostError, match=named):
        bound_of(DIALECT, **OPUS, **more)


def test_tools_that_the_caller_runs_are_bounded() -> None:
    tools = [{"type": "bash_20250124", "name": "bash"}, {"name": "f", "input_schema": {"type": "object"}}]
    assert bound_of(DIALECT, **OPUS, tools=tools).input_tokens > 1000
    # For the use of a computer: a prompt of 499 tokens, and the tools' own of 735, 245 and 700.
    tools = [{"type": f"{name}_20250124", "name": name} for name in ("computer", "bash", "text_editor")]
    assert bound_of(DIALECT, **OPUS, tools=tools).input_tokens > 499 + 735 + 245 + 700


@pytest.mark.parametrize(("ttl", "kept"), [(None, "5m"), ("5m", "5m"), ("1h", "1h")])
def test_marks_of_the_cache_bound_what_is_written_to_it(ttl: str | None, kept: str) -> None:
    mark = {"type": "ephemeral", **({"ttl": ttl} if ttl else {})}
    marked = [{"role": "user", "content": [{**TEXT, "cache_control": mark}]}]
    assert bound_of(DIALECT, **OPUS, messages=marked).cache_writes == kept
    assert bound_of(DIALECT, **OPUS, cache_control=mark).cache_writes == kept
    tool = {"name": "f", "input_schema": {"type": "object"}, "cache_control": mark}
    assert bound_of(DIALECT, **OPUS, tools=[tool]).cache_writes == kept


@pytest.mark.parametrize(
    ("more", "billing"),
    [
        ({}, Billing(factor=1.1)),  # the workspace's own place
        ({"inference_geo": "us"}, Billing(factor=1.1)),
        ({"inference_geo": "global"}, STANDARD),
        ({"speed": "fast", "inference_geo": "us"}, Billing((("speed", "fast"),), factor=1.1)),
        ({"speed": "standard", "inference_geo": "global"}, STANDARD),
    ],
)
def test_speed_and_place_bound_how_it_may_be_billed(more: dict[str, Any], billing: Billing) -> None:
    assert bound_of(DIALECT, **OPUS, **more).billings == (billing,)


def answer(**usage: Any) -> dict[str, Any]:
    counts = {"input_tokens": 10, "output_tokens": 2, **usage}
    return {
        "type": "message",
        "role": "assistant",
        "content": [TEXT],
        "stop_reason": "end_turn",
        "usage": counts,
    }


@pytest.mark.parametrize(
    ("usage", "billing"),
    [
        ({"service_tier": "standard", "speed": "standard", "inference_geo": "global"}, STANDARD),
        ({"service_tier": "priority", "inference_geo": "not_available"}, STANDARD),
        ({"speed": "fast"}, Billing((("speed", "fast"),))),
        ({"speed": "fast", "inference_geo": "us"}, Billing((("speed", "fast"),), factor=1.1)),
        ({"service_tier": "batch"}, Billing((("processing", "batch"),))),
        ({"service_tier": "gold"}, Billing((("service_tier", "gold"),))),
        ({"server_tool_use": {"web_search_requests": 3}}, Billing(searches=3)),
    ],
)
def test_an_answer_is_billed_as_its_usage_says(usage: dict[str, Any], billing: Billing) -> None:
    assert billing_of(DIALECT, answer(**usage)) == billing


def test_writes_that_are_kept_for_an_hour_and_compactions_are_counted() -> None:
    usage = read_usage(
        {
            "input_tokens": 10,
            "output_tokens": 2,
            "cache_creation_input_tokens": 30,
            "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
            "iterations": [
                {"type": "compaction", "input_tokens": 100, "output_tokens": 50},
                {"type": "message", "input_tokens": 10, "output_tokens": 2},
            ],
        }
    )

    assert (usage.input_tokens, usage.output_tokens) == (140, 52)
    assert (usage.cache_write_tokens, usage.cache_write_1h_tokens) == (30, 20)


@pytest.mark.parametrize(
    "usage",
    [
        {},
        {"input_tokens": 5},
        {"input_tokens": "5", "output_tokens": 1},
        {"input_tokens": 5, "output_tokens": 1, "cache_read_input_tokens": -1},
        {"input_tokens": 5, "output_tokens": 1, "iterations": [{"type": "compaction"}]},
    ],
)
def test_a_usage_that_cannot_be_read_is_not_known(usage: dict[str, Any]) -> None:
    assert not read_usage(usage).is_known
