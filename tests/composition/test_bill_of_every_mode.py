"""A budget is never passed by the bill, in any mode that is dearer than the standard one.

The bill is counted here by itself: by what the simulated provider served, the base prices of genai-prices,
and the multiples that the providers publish.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import pytest
from genai_prices import data_snapshot

from callgate import Budget, Engine, iModel
from callgate.errors import BatchStoppedError, InputError
from callgate.testing import VirtualClock
from callgate.transport.http import HttpAnswer, HttpStream

READ, WRITTEN = 400, 1000
"""Tokens of a question, one for each of its bytes, and of its answer."""
QUESTION = "x" * READ
AWS = {"access_key": "AKID", "secret_key": "s" * 40, "region": "us-east-1"}
GOOGLE = {"api_key": "k", "project": "p", "location": "us-east5"}
KEYED = {"api_key": "k"}
HAIKU = "anthropic.claude-3-5-haiku-20241022-v1:0"
SONNET = "anthropic.claude-3-7-sonnet-20250219-v1:0"
Answer = Mapping[str, Any]


class Till:
    """A `Transport` that serves one answer again and again."""

    def __init__(self, answer: Answer, headers: Mapping[str, str]) -> None:
        self.served = 0
        self._body = json.dumps(answer).encode()
        self._headers = {"content-type": "application/json", **headers}

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        timeout: float | None = None,
    ) -> HttpAnswer:
        self.served += 1
        await asyncio.sleep(1.0)
        return HttpAnswer(200, self._headers, self._body)

    def stream(self, *args: Any, **more: Any) -> AbstractAsyncContextManager[HttpStream]:
        raise NotImplementedError

    async def close(self) -> None:
        """Nothing is open."""


# -- answers -----------------------------------------------------------------------------------------------


def chat(usage: Answer | None = None, **more: Any) -> Answer:
    choice = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    counts = {"prompt_tokens": READ, "completion_tokens": WRITTEN, **(usage or {})}
    return {"object": "chat.completion", "choices": [choice], "usage": counts, **more}


def responses(usage: Answer | None = None, **more: Any) -> Answer:
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hi"}]}
    counts = {"input_tokens": READ, "output_tokens": WRITTEN, **(usage or {})}
    return {"object": "response", "status": "completed", "output": [said], "usage": counts, **more}


def messages(**usage: Any) -> Answer:
    counts = {"input_tokens": READ, "output_tokens": WRITTEN, **usage}
    said = [{"type": "text", "text": "hi"}]
    return {
        "type": "message", "role": "assistant", "content": said, "stop_reason": "end_turn", "usage": counts
    }  # fmt: skip


def gemini(**usage: Any) -> Answer:
    said = {"content": {"role": "model", "parts": [{"text": "hi"}]}, "finishReason": "STOP"}
    counts = {"promptTokenCount": READ, "candidatesTokenCount": WRITTEN, **usage}
    return {"candidates": [said], "usageMetadata": counts}


def converse(usage: Answer | None = None, **more: Any) -> Answer:
    said = {"message": {"role": "assistant", "content": [{"text": "hi"}]}}
    counts = {"inputTokens": READ, "outputTokens": WRITTEN, **(usage or {})}
    return {"output": said, "stopReason": "end_turn", "usage": counts, **more}


# -- the bill ----------------------------------------------------------------------------------------------


def base(provider: str, model: str) -> tuple[float, float]:
    """The standard prices of input and output, in US dollars per million tokens."""
    _, found = data_snapshot.get_snapshot().find_provider_model(model, None, provider, None)
    # The newest of those that hold from a day on.
    prices: Any = found.prices[-1].prices if isinstance(found.prices, list) else found.prices
    read, written = (getattr(each, "base", each) for each in (prices.input_mtok, prices.output_mtok))
    return float(read), float(written)


def dollars(
    provider: str, model: str, times: float = 1.0, *, read: float = READ, written: int = WRITTEN
) -> float:
    of_input, of_output = base(provider, model)
    return times * (read * of_input + written * of_output) / 1e6


@dataclass(frozen=True, slots=True)
class Served:
    """One kind of request, how it is answered, and what one answer is billed."""

    title: str
    provider: str
    model: str
    asked: Mapping[str, Any]
    answer: Answer
    bill: float
    settings: Mapping[str, Any] = field(default_factory=lambda: KEYED)
    headers: Mapping[str, str] = field(default_factory=dict)
    is_priced: bool = True
    """Whether the price of the mode that the answer names is listed, and its usage can be read."""


def openai(title: str, model: str, asked: Answer, answer: Answer, bill: float, **more: Any) -> Served:
    return Served(title, "openai", model, asked, answer, bill, **more)


def claude(title: str, model: str, asked: Answer, usage: Answer, times: float, **more: Any) -> Served:
    bill = dollars("anthropic", model, times)
    return Served(title, "anthropic", model, asked, messages(**usage), bill, **more)


def google(title: str, asked: Answer, usage: Answer, times: float, **more: Any) -> Served:
    bill = dollars("google", "gemini-2.5-pro", times)
    return Served(title, "gemini", "gemini-2.5-pro", asked, gemini(**usage), bill, **more)


def amazon(title: str, asked: Answer, answer: Answer, times: float, **more: Any) -> Served:
    provider = more.pop("provider", "bedrock")
    return Served(title, provider, HAIKU, asked, answer, dollars("aws", HAIKU, times), AWS, **more)


PRIORITY = {"service_tier": "priority"}
TIERS = [
    openai("asked, said", "gpt-5", PRIORITY, chat(service_tier="priority"), dollars("openai", "gpt-5", 2)),
    openai("asked, silent", "gpt-5", PRIORITY, chat(), dollars("openai", "gpt-5", 2)),
    openai("said", "gpt-4.1", {}, chat(service_tier="priority"), dollars("openai", "gpt-4.1", 1.75)),
    openai("asked, served as default", "gpt-5", PRIORITY, chat(service_tier="default"),
           dollars("openai", "gpt-5")),
    openai("flex", "gpt-5", {"service_tier": "flex"}, chat(service_tier="flex"),
           dollars("openai", "gpt-5", 0.5)),
    openai("said, where none is listed", "o1", {}, chat(service_tier="priority"), dollars("openai", "o1", 2),
           is_priced=False),
    openai("ultrafast, said", "gpt-5-nano", {}, chat(service_tier="ultrafast"),
           dollars("openai", "gpt-5-nano", 6)),
    Served("Responses, asked, silent", "openai_responses", "gpt-5", PRIORITY, responses(),
           dollars("openai", "gpt-5", 2)),
    Served("Responses, said", "openai_responses", "gpt-5", {}, responses(service_tier="priority"),
           dollars("openai", "gpt-5", 2)),
    claude("fast, said", "claude-opus-4-8", {"speed": "fast"}, {"speed": "fast"}, 2),
    claude("fast, silent", "claude-opus-4-8", {"speed": "fast"}, {}, 2),
    claude("fast by extra_body", "claude-opus-4-8", {"extra_body": {"speed": "fast"}}, {}, 2),
    claude("fast in the USA", "claude-opus-4-8", {"speed": "fast"}, {"inference_geo": "us"}, 2.2),
    claude("fast, never asked", "claude-opus-4-6", {}, {"speed": "fast"}, 6, is_priced=False),
    claude("place, asked", "claude-opus-4-6", {"inference_geo": "us"}, {}, 1.1),
    claude("place, said", "claude-opus-4-6", {}, {"inference_geo": "us"}, 1.1),
    claude("a place without a price", "claude-opus-4-6", {}, {"inference_geo": "eu"}, 1.5, is_priced=False),
    google("asked, said", PRIORITY, {"serviceTier": "priority"}, 1.8),
    google("asked, silent", PRIORITY, {}, 1.8),
    google("by extra_body, silent", {"extra_body": {"serviceTier": "priority"}}, {}, 1.8),
    google("said by a header", {}, {}, 1.8, headers={"x-gemini-service-tier": "priority"}),
    google("said as traffic", {}, {"trafficType": "ON_DEMAND_PRIORITY"}, 1.8),
    amazon("asked, said", PRIORITY, converse(serviceTier={"type": "priority"}), 1.75),
    amazon("asked, silent", PRIORITY, converse(), 1.75),
    amazon("said", {}, converse(serviceTier={"type": "priority"}), 1.75),
    amazon("optimized, said", {}, converse(performanceConfig={"latency": "optimized"}), 1.25,
           is_priced=False),
    amazon("InvokeModel, asked, silent", PRIORITY, messages(), 1.75, provider="bedrock_invoke"),
    amazon("InvokeModel, said", {}, messages(), 1.75, provider="bedrock_invoke",
           headers={"x-amzn-bedrock-service-tier": "priority"}),
]  # fmt: skip

SURPRISES = [served for served in TIERS if not served.is_priced]
"""Modes that were not asked for and have no listed price: what is in flight when the first answer names one
cannot be reserved for, but all of it is charged for."""

AN_HOUR = {"type": "ephemeral", "ttl": "1h"}
MARKED = {"messages": [
    {"role": "user", "content": [{"type": "text", "text": QUESTION, "cache_control": AN_HOUR}]}
]}  # fmt: skip
HOUR = {"ephemeral_1h_input_tokens": READ, "ephemeral_5m_input_tokens": 0}
KEPT = messages(input_tokens=0, cache_creation_input_tokens=READ, cache_creation=HOUR)
KEPT_AT_AWS = converse(
    {"inputTokens": 0, "cacheWriteInputTokens": READ, "cacheDetails": [{"ttl": "1h", "inputTokens": READ}]}
)
OWN = {"input": 3.0, "output": 15.0, "cache_write": 3.75}
CACHES = [
    Served("an hour", "anthropic", "claude-sonnet-4-5", MARKED, KEPT,
           dollars("anthropic", "claude-sonnet-4-5", read=2 * READ)),
    Served("an hour at own prices", "anthropic", "claude-sonnet-4-5", MARKED, KEPT,
           (2 * READ * 3 + WRITTEN * 15) / 1e6, {**KEYED, "prices": OWN}),
    Served("an hour at Vertex", "vertex", "claude-3-7-sonnet@20250219", MARKED, KEPT,
           dollars("google", "claude-3-7-sonnet", read=2 * READ), GOOGLE),
    Served("an hour at Bedrock", "bedrock", SONNET, MARKED, KEPT_AT_AWS,
           dollars("aws", SONNET, read=2 * READ), AWS),
    Served("an hour with InvokeModel", "bedrock_invoke", SONNET, MARKED, KEPT,
           dollars("aws", SONNET, read=2 * READ), AWS),
    openai("reads that cost more", "mine", {}, chat({"prompt_tokens_details": {"cached_tokens": READ}}),
           (READ * 50 + WRITTEN * 2) / 1e6,
           settings={**KEYED, "prices": {"input": 1.0, "output": 2.0, "cache_read": 50.0}}),
]  # fmt: skip

LONG = "x" * 210_000
LENGTHS = [
    openai("choices", "gpt-4o", {"n": 5}, chat({"completion_tokens": 5 * WRITTEN}),
           dollars("openai", "gpt-4o", written=5 * WRITTEN)),
    openai("prompts", "gpt-3.5-turbo-instruct", {"prompt": ["a"] * 20},
           chat({"prompt_tokens": 20, "completion_tokens": 20 * WRITTEN}),
           dollars("openai", "gpt-3.5-turbo-instruct", read=20, written=20 * WRITTEN)),
    openai("thoughts that cost more", "mine", {},
           chat({"completion_tokens_details": {"reasoning_tokens": WRITTEN}}),
           (READ * 1 + WRITTEN * 50) / 1e6,
           settings={**KEYED, "prices": {"input": 1.0, "output": 2.0, "reasoning": 50.0}}),
    Served("a long input", "gemini", "gemini-2.5-pro", {"messages": [{"role": "user", "content": LONG}]},
           gemini(promptTokenCount=len(LONG)), (len(LONG) * 2.5 + WRITTEN * 15) / 1e6),
    Served("another model's price", "anthropic", "claude-opus-4-6", {"base_model": "claude-haiku-4-5"},
           messages(), dollars("anthropic", "claude-opus-4-6")),
]  # fmt: skip

MEDIA = [
    Served("images unasked", "gemini", "gemini-2.5-flash-image", {},
           gemini(candidatesTokensDetails=[{"modality": "IMAGE", "tokenCount": WRITTEN}]),
           (READ * 0.3 + WRITTEN * 30) / 1e6),
]  # fmt: skip

REPORTED = [
    Served("OpenRouter", "openrouter", "openai/gpt-4o", {}, chat({"cost": 0.02}), 0.02),
    Served("OpenRouter, own key", "openrouter", "openai/gpt-4o", {},
           chat({"cost": 0.001, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.019}}), 0.02),
    Served("Responses of OpenRouter", "openai_responses", "gpt-5", {}, responses({"cost": 0.02}), 0.02),
    Served("xAI", "xai", "grok-4-0709", {}, chat({"cost_in_usd_ticks": 2 * 10**8}), 0.02),
    Served("Responses of xAI", "openai_responses", "gpt-5", {},
           responses({"cost_in_usd_ticks": 2 * 10**8}), 0.02),
]  # fmt: skip

UNREADABLE = [
    openai(f"usage {usage}", "gpt-5", {}, {**chat(), "usage": usage}, dollars("openai", "gpt-5"),
           is_priced=False)
    for usage in (
        None, {}, {"prompt_tokens": 0, "completion_tokens": 0}, {"total_tokens": READ},
        {"prompt_tokens": str(READ), "completion_tokens": str(WRITTEN)},
    )
]  # fmt: skip
UNREADABLE += [
    Served("usage of Claude", "anthropic", "claude-opus-4-6", {}, {**messages(), "usage": {}},
           dollars("anthropic", "claude-opus-4-6"), is_priced=False),
    Served("usage of Gemini", "gemini", "gemini-2.5-pro", {}, {**gemini(), "usageMetadata": None},
           dollars("google", "gemini-2.5-pro"), is_priced=False),
    amazon("usage of Bedrock", {}, {**converse(), "usage": {"inputTokens": -1}}, 1.0, is_priced=False),
]  # fmt: skip

EVERY = [*TIERS, *CACHES, *LENGTHS, *MEDIA, *REPORTED, *UNREADABLE]


def run(served: Served, till: Till, budget: Budget) -> str:
    """Ask until the budget is used up; what the run ended with."""

    async def main() -> str:
        model = iModel(
            provider=served.provider,
            model=served.model,
            transport=till,
            retry_config=None,
            limit_concurrency=4,
            **served.settings,
        )
        asked = [{"role": "user", "content": QUESTION}]
        rows = [
            {"custom_id": str(n), "body": {"messages": asked, "max_tokens": WRITTEN, **served.asked}}
            for n in range(200)
        ]
        try:
            async with model:
                async for _ in Engine(model).run(rows, budget=budget):
                    pass
        except (BatchStoppedError, InputError) as error:
            return str(error)
        return ""

    return VirtualClock().run(main())


def name_of(served: Served) -> str:
    return f"{served.provider}: {served.title}"


@pytest.mark.parametrize("served", EVERY, ids=name_of)
def test_the_bill_stays_within_the_budget(served: Served) -> None:
    till = Till(served.answer, served.headers)
    budget = Budget(50.5 * served.bill)
    ended = run(served, till, budget)
    bill = till.served * served.bill
    assert "is used up" in ended
    assert bill <= budget.spent * (1 + 1e-9)
    assert served in SURPRISES or budget.spent <= budget.limit * (1 + 1e-9)


@pytest.mark.parametrize("served", [one for one in EVERY if one.is_priced], ids=name_of)
def test_what_is_billed_is_what_is_charged(served: Served) -> None:
    till = Till(served.answer, served.headers)
    budget = Budget(50.5 * served.bill)
    run(served, till, budget)
    assert budget.spent == pytest.approx(till.served * served.bill)
    assert budget.spent >= 0.8 * budget.limit


UNBOUNDED = [
    ("anthropic", "claude-sonnet-4-5", {"web_search_options": {}}, "web_search_20250305"),
    ("anthropic", "claude-sonnet-4-5", {"extra_body": {"mcp_servers": [{"url": "x"}]}}, "mcp_servers"),
    ("anthropic", "claude-sonnet-4-5", {"extra_body": {"inference_geo": "eu"}}, "inference_geo"),
    ("anthropic", "claude-opus-4-6", {"speed": "fast"}, "speed=fast"),
    ("gemini", "gemini-2.5-pro", {"web_search_options": {}}, "googleSearch"),
    ("gemini", "gemini-2.5-pro", {"extra_body": {"cachedContent": "c"}}, "cachedContent"),
    ("openai", "gpt-4o", {"web_search_options": {}}, "web_search_options"),
    ("openai", "gpt-4o", {"max_tokens": None}, "longest answer"),
    ("openai", "gpt-audio", {"modalities": ["text", "audio"]}, "modalities"),
    ("openai", "o3-deep-research", {}, "which searches"),
    ("openai", "o1", PRIORITY, "service_tier=priority"),
    ("openai_responses", "gpt-5", {"tools": [{"type": "web_search"}]}, "web_search"),
    ("openrouter", "openai/gpt-4o", {"plugins": [{"id": "web"}]}, "plugins"),
    ("openrouter", "openai/gpt-4o:online", {}, "which searches"),
    ("xai", "grok-4-0709", {"search_parameters": {}}, "search_parameters"),
    ("groq", "groq/compound", {}, "which searches"),
]


@pytest.mark.parametrize(("provider", "model", "asked", "named"), UNBOUNDED)
def test_what_cannot_be_bounded_is_not_sent(provider: str, model: str, asked: Answer, named: str) -> None:
    till = Till(chat(), {})
    ended = run(Served("", provider, model, asked, {}, 0.0), till, Budget(5.0))
    assert named in ended
    assert till.served == 0
