"""What a request to Gemini may cost at most, and what its answer is billed by."""

from __future__ import annotations

from typing import Any

import pytest

from callgate.providers.canonical.billing import STANDARD, Billing, UnboundedCostError, UnboundedOutputError
from callgate.providers.gemini.dialect import Gemini
from callgate.providers.gemini.response import read_usage
from tests.providers.bounded import IMAGE, PNG, billing_of, bound_of, input_of

DIALECT = Gemini()
PRO = {"model": "gemini-2.5-pro"}
PRIORITY = Billing((("service_tier", "priority"),), 1.8)
FLEX = Billing((("service_tier", "flex"),), 0.5)


def picture(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def test_input_and_output_are_bounded() -> None:
    bound = bound_of(DIALECT, **PRO)
    assert (bound.output_tokens, bound.cache_writes, bound.billings) == (1000, None, (STANDARD,))
    assert bound_of(DIALECT, **PRO, n=3).output_tokens == 3000
    for wrong in ({"max_tokens": None}, {"n": -1}, {"generationConfig": {"maxOutputTokens": "9"}}):
        with pytest.raises(UnboundedOutputError):
            bound_of(DIALECT, **PRO, **wrong)
    assert bound_of(DIALECT, **PRO, generationConfig={"maxOutputTokens": 9000}).output_tokens == 9000


def test_an_image_counts_as_its_most_tokens_whatever_its_size() -> None:
    for url in (PNG + "A" * 4_000_000, "https://example.com/cat.png?size=1"):
        assert IMAGE <= input_of(DIALECT, picture(url), **PRO) < IMAGE + 100


@pytest.mark.parametrize(
    "url", ["https://youtu.be/dQw4", "https://example.com/film.mp4", "https://example.com/cat"]
)
def test_what_may_be_a_film_or_a_document_is_refused(url: str) -> None:
    with pytest.raises(UnboundedCostError, match="a part with fileData that is"):
        input_of(DIALECT, picture(url), **PRO)


def test_parts_count_as_their_bytes_with_the_images_in_them() -> None:
    assert 900 < input_of(DIALECT, {"text": "x" * 900}, **PRO) < 1000
    part = {"inlineData": {"mimeType": "image/png", "data": "A" * 400_000}}
    call = {"functionResponse": {"name": "f", "response": {}, "parts": [part]}}
    assert IMAGE <= input_of(DIALECT, call, **PRO) < IMAGE + 200


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"cachedContent": "c"}, "the field cachedContent"),
        ({"cached_content": "c"}, "the field cachedContent"),
        ({"tools": [{"googleSearch": {}}]}, "a tool with googleSearch"),
        ({"web_search_options": {}}, "a tool with googleSearch"),
        ({"tools": [{"codeExecution": {}}]}, "a tool with codeExecution"),
        ({"modalities": ["text", "image"]}, "responseModalities"),
        ({"generationConfig": {"speechConfig": {"x": 1}}}, r"generationConfig\.speechConfig"),
        (
            {"messages": [{"role": "user", "content": [{"fileData": {"fileUri": "u"}}]}]},
            "a part with fileData",
        ),
        ({"messages": [{"role": "user", "content": [{"executableCode": {}}]}]}, "a part with executableCode"),
    ],
)
def test_what_has_no_bound_is_refused(more: dict[str, Any], named: str) -> None:
    with pytest.raises(UnboundedCostError, match=named):
        bound_of(DIALECT, **PRO, **more)


@pytest.mark.parametrize(
    ("more", "billings"),
    [
        ({"service_tier": "default"}, (STANDARD,)),
        ({"service_tier": "priority"}, (STANDARD, PRIORITY)),
        ({"serviceTier": "PRIORITY"}, (STANDARD, PRIORITY)),
        ({"service_tier": "flex"}, (STANDARD, FLEX)),
        ({"extra_body": {"serviceTier": "gold"}}, (STANDARD, Billing((("service_tier", "gold"),)))),
    ],
)
def test_a_tier_bounds_how_it_may_be_billed(more: dict[str, Any], billings: tuple[Billing, ...]) -> None:
    assert bound_of(DIALECT, **PRO, **more).billings == billings


def answer(**usage: Any) -> dict[str, Any]:
    candidate = {"content": {"role": "model", "parts": [{"text": "4"}]}, "finishReason": "STOP"}
    counts = {"promptTokenCount": 10, "candidatesTokenCount": 2, **usage}
    return {"candidates": [candidate], "modelVersion": "gemini-2.5-pro", "usageMetadata": counts}


@pytest.mark.parametrize(
    ("usage", "billing"),
    [
        ({}, STANDARD),
        ({"serviceTier": "standard"}, STANDARD),
        ({"serviceTier": "PRIORITY"}, PRIORITY),
        ({"trafficType": "ON_DEMAND"}, STANDARD),
        ({"trafficType": "ON_DEMAND_PRIORITY"}, PRIORITY),
        ({"trafficType": "ON_DEMAND_FLEX"}, FLEX),
        ({"trafficType": "SOMETHING_NEW"}, Billing((("service_tier", "something_new"),))),
    ],
)
def test_an_answer_is_billed_in_the_tier_that_its_usage_names(
    usage: dict[str, Any], billing: Billing
) -> None:
    assert billing_of(DIALECT, answer(**usage)) == billing


def test_an_answer_is_billed_in_the_tier_that_its_header_names() -> None:
    assert billing_of(DIALECT, answer(), {"x-gemini-service-tier": "priority"}) == PRIORITY
    # What was asked as priority may be served as standard.
    served = answer(serviceTier="standard")
    assert billing_of(DIALECT, served, {"x-gemini-service-tier": "priority"}) == STANDARD


@pytest.mark.parametrize(
    "usage",
    [
        {},
        {"candidatesTokenCount": 5},
        {"promptTokenCount": 5, "candidatesTokenCount": "1"},
        {"promptTokenCount": 5, "candidatesTokenCount": 1, "thoughtsTokenCount": -1},
    ],
)
def test_a_usage_that_cannot_be_read_is_not_known(usage: dict[str, Any]) -> None:
    assert not read_usage(usage).is_known
