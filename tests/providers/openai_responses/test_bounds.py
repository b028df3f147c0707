"""What a request in the Responses dialect may cost at most, and what its answer is billed by."""

from __future__ import annotations

from typing import Any

import pytest

from callgate.providers.canonical.billing import STANDARD, Billing, UnboundedCostError, UnboundedOutputError
from callgate.providers.canonical.json import write_json
from callgate.providers.openai_responses.dialect import OpenAIResponses
from callgate.response import Cost
from tests.providers.bounded import IMAGE, PNG, billing_of, bound_of, input_of

DIALECT = OpenAIResponses()
PRIORITY = Billing((("service_tier", "priority"),))


def test_input_and_output_are_bounded() -> None:
    bound = bound_of(DIALECT, model="m")
    assert (bound.output_tokens, bound.cache_writes, bound.billings) == (1000, "5m", (STANDARD, PRIORITY))
    with pytest.raises(UnboundedOutputError):
        bound_of(DIALECT, model="m", max_tokens=None)
    picture = {"type": "image_url", "image_url": {"url": PNG + "A" * 4_000_000}}
    assert IMAGE <= input_of(DIALECT, picture, model="m") < IMAGE + 100


def test_items_count_as_their_bytes_with_the_images_in_them() -> None:
    def size(*items: Any) -> int:
        return bound_of(DIALECT, model="m", messages=None, input=list(items)).input_tokens

    text = [{"type": "input_text", "text": "x" * 900}]
    image = [{"type": "input_image", "image_url": PNG + "A" * 4_000_000}]
    least = size()
    assert 900 < size({"type": "message", "role": "user", "content": text}) - least < 1000
    assert 900 < size({"role": "user", "content": "x" * 900}) - least < 1000
    assert size({"type": "reasoning", "summary": [{"type": "summary_text", "text": "x" * 900}]}) - least > 900
    assert size({"type": "function_call_output", "call_id": "c", "output": image}) - least > IMAGE
    assert size({"type": "message", "role": "user", "content": image}) - least > IMAGE


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"previous_response_id": "r"}, "the field previous_response_id"),
        ({"conversation": "c"}, "the field conversation"),
        ({"prompt": {"id": "p"}}, "the field prompt"),
        ({"context_management": [{"type": "compaction"}]}, "the field context_management"),
        ({"tools": [{"type": "web_search"}]}, "a tool of type web_search"),
        ({"input": [{"type": "item_reference", "id": "i"}]}, "a part of type item_reference"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "a part of type input_file"),
        ({"input": [{"what": 1}]}, "a part with what"),
    ],
)
def test_what_has_no_bound_is_refused(more: dict[str, Any], named: str) -> None:
    with pytest.raises(UnboundedCostError, match=named):
        bound_of(DIALECT, model="m", **({"messages": None} if "input" in more else {}), **more)


def answer(**more: Any) -> dict[str, Any]:
    item = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "4"}]}
    usage = {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12}
    return {"id": "r", "object": "response", "status": "completed", "output": [item], "usage": usage, **more}


def test_an_answer_is_billed_in_its_tier_with_its_searches_or_at_its_cost() -> None:
    assert billing_of(DIALECT, answer(service_tier="default")) == STANDARD
    assert billing_of(DIALECT, answer(service_tier="priority")) == PRIORITY
    searched = answer(tool_usage={"web_search": {"num_requests": 3}})
    assert billing_of(DIALECT, searched) == Billing(searches=3)
    cost = {"total_cost": 0.5, "input_cost": 0.1, "output_cost": 0.4}
    told = answer(usage={"input_tokens": 10, "output_tokens": 2, "cost": cost})
    assert billing_of(DIALECT, told).reported == Cost(0.1, 0.4)


@pytest.mark.parametrize("usage", [{}, {"input_tokens": 5}, {"input_tokens": "5", "output_tokens": 1}])
def test_a_usage_that_cannot_be_read_is_not_known(usage: dict[str, Any]) -> None:
    read = DIALECT.decode(write_json(answer(usage=usage)), {}).usage
    assert read is not None
    assert not read.is_known
