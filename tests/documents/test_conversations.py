"""Conversations, completions and their cost, as document 003 describes them.

Written from the documents alone. The shipped simulator answers, and its own count is the judge.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import genai_prices
import pytest
from hypothesis import given, strategies as st

from callgate import ConfigurationError, Conversation, Engine, iModel, providers
from callgate.testing import Answer, Ask, Simulator
from tests.effort import examples

KEY = "sk-of-the-documents-0123456789"


@pytest.fixture(scope="module")
def echo() -> Iterator[Simulator]:
    """A provider that repeats what it was told; the latency is drawn, so that answers overtake each other."""
    with Simulator(echo=True, latency=0.004, latency_sigma=1.0) as sim:
        yield sim


def at(sim: Simulator, model: str = "gpt-4o-mini") -> providers.OpenAICompatibleApiProvider:
    return providers.OpenAICompatibleApiProvider(KEY, f"{sim.base_url}/chat/completions", model_id=model)


def ask(questions: list[str]) -> list[Conversation]:
    return [Conversation.with_initial_message("Answer shortly.", "user", each) for each in questions]


def said(completion: Any) -> str:
    text: str = completion["response"]["choices"][0]["message"]["content"]
    return text


def complete(engine: Engine, questions: list[str], temperature: float | None = 0.3) -> list[Any]:
    return list(asyncio.run(engine.schedule_completions(ask(questions), temperature, "example")))


# Conversations


def test_a_conversation_begins_with_its_system_prompt() -> None:
    moon = Conversation.with_initial_message("You are an assistant.", "user", "How big is the moon?")
    assert moon.to_messages() == [
        {"role": "system", "content": "You are an assistant."},
        {"role": "user", "content": "How big is the moon?"},
    ]


def test_the_snippet_with_a_missing_comma_has_the_same_meaning() -> None:
    lost = Conversation.with_initial_message("You are short" "user", "How big?")  # fmt: skip
    assert lost == Conversation.with_initial_message("You are short", "user", "How big?")


def test_role_and_content_alone_make_a_conversation_without_a_system_prompt() -> None:
    assert Conversation.with_initial_message("user", "Hi").to_messages() == [
        {"role": "user", "content": "Hi"}
    ]


def test_messages_are_added_one_after_another_and_an_unknown_role_is_refused() -> None:
    talk = Conversation().add_message("user", "1").add_message("assistant", "2")
    talk.add_message("user", [{"type": "text", "text": "3"}])
    assert [each["role"] for each in talk.to_messages()] == ["user", "assistant", "user"]
    assert talk.to_messages()[2]["content"] == [{"type": "text", "text": "3"}]
    with pytest.raises(ConfigurationError):
        talk.add_message("oracle", "4")
    assert len(talk) == 3


# Completions


def test_completions_have_the_shape_of_the_document_and_the_order_of_the_input(echo: Simulator) -> None:
    questions = [f"How big is moon {number}?" for number in range(60)]
    completions = complete(Engine(at(echo), None), questions)
    assert [said(each) for each in completions] == questions
    for each in completions:
        assert set(each) == {"response", "request_hash"}
        assert each["response"]["object"] == "chat.completion"
        assert each["response"]["usage"]["total_tokens"] > 0
        assert int(each["request_hash"], 16) >= 0
        assert len(each["request_hash"]) == 64
    assert len({each["request_hash"] for each in completions}) == 60


@examples(15)
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12).filter(str.strip),
        max_size=6,
    )
)
def test_equal_conversations_have_equal_hashes_and_others_have_others(
    echo: Simulator, words: list[str]
) -> None:
    completions = complete(Engine(at(echo), None), words)
    assert [said(each) for each in completions] == words
    hashes = [each["request_hash"] for each in completions]
    assert len(set(hashes)) == len(set(words))
    assert dict(zip(words, hashes, strict=True)) == {w: hashes[words.index(w)] for w in words}


def test_the_temperature_and_the_model_are_part_of_the_hash_and_the_task_and_the_key_are_not(
    echo: Simulator,
) -> None:
    def hash_of(provider: Any, temperature: float, task: str) -> str:
        engine = Engine(provider, None)
        [one] = asyncio.run(engine.schedule_completions(ask(["How big?"]), temperature, task))
        return one["request_hash"]

    first = hash_of(at(echo), 0.3, "example")
    assert hash_of(at(echo), 0.3, "another") == first
    other_key = providers.OpenAICompatibleApiProvider(
        "sk-other-key-000", echo.base_url, model_id="gpt-4o-mini"
    )
    assert hash_of(other_key, 0.3, "example") == first
    assert hash_of(at(echo), 0.4, "example") != first
    assert hash_of(at(echo, "gpt-4o"), 0.3, "example") != first


def test_the_hash_is_the_same_in_another_process(echo: Simulator) -> None:
    program = (
        "import asyncio, sys\n"
        "from callgate import Conversation, Engine, providers\n"
        "provider = providers.OpenAICompatibleApiProvider('k', sys.argv[1], model_id='gpt-4o-mini')\n"
        "talk = Conversation.with_initial_message('Answer shortly.', 'user', 'How big?')\n"
        "[one] = asyncio.run(Engine(provider, None).schedule_completions([talk], 0.3, 'example'))\n"
        "print(one['request_hash'])\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", program, echo.base_url],
        env={**os.environ, "PYTHONHASHSEED": "4711"},
        capture_output=True,
        text=True,
        check=True,
    )
    [here] = complete(Engine(at(echo), None), ["How big?"])
    assert told.stdout.strip() == here["request_hash"]


def test_a_failed_call_has_its_place_and_its_error_and_is_asked_again_next_time(tmp_path: Path) -> None:
    broken = True

    def answers(request: Ask) -> Answer | None:
        return Answer(status=400, message="not this one") if broken and "bad" in request.text else None

    questions = ["good 0", "bad 1", "good 2", "bad 3", "good 4"]
    with Simulator(answers=answers) as sim:
        engine = Engine(at(sim), tmp_path / "cache")
        first = complete(engine, questions)
        assert [each["response"] is None for each in first] == [False, True, False, True, False]
        assert [bool(each.get("error")) for each in first] == [False, True, False, True, False]
        assert "not this one" in str(first[1]["error"])
        assert len({each["request_hash"] for each in first}) == 5
        assert engine.get_cost_from_completions(first)["output_tokens"] == sum(
            first[good]["response"]["usage"]["completion_tokens"] for good in (0, 2, 4)
        )
        asked = sim.stats.requests
        broken = False
        second = complete(engine, questions)
        assert sim.stats.requests == asked + 2  # those that failed, and none of the others
    assert all(each["response"] is not None for each in second)
    assert [first[good]["response"] for good in (0, 2, 4)] == [second[good]["response"] for good in (0, 2, 4)]
    assert [each["request_hash"] for each in first] == [each["request_hash"] for each in second]


def test_a_batch_whose_every_call_is_refused_still_has_an_entry_for_each_and_does_not_raise() -> None:
    with Simulator(keys=["another-key"]) as sim:
        completions = complete(Engine(at(sim), None), [f"q{number}" for number in range(100)])
        assert len(completions) == 100
        assert all(each["response"] is None and each["error"] for each in completions)
        assert sim.stats.requests <= 10  # "a handful of calls"
        assert KEY not in repr(completions)


def test_the_engine_takes_a_model_or_a_providers_name_as_well(
    echo: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", echo.base_url)
    assert [said(each) for each in complete(Engine("openai", None, model="gpt-4o-mini"), ["a", "b"])] == [
        "a",
        "b",
    ]

    async def with_model() -> list[Any]:
        async with iModel(provider="openai", model="gpt-4o-mini") as model:
            return list(await Engine(model).schedule_completions(ask(["c"]), 0.0, "example"))

    assert [said(each) for each in asyncio.run(with_model())] == ["c"]


def test_max_inflight_requests_bounds_the_rows_in_flight() -> None:
    with Simulator(latency=0.01) as sim:
        complete(Engine(at(sim), None, max_inflight_requests=7), [f"q{number}" for number in range(80)])
        assert sim.stats.as_dict()["most_running"] == 7


# What it costs

DOCUMENTED: list[Any] = [
    {
        "response": {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion",
            "created": 1725640503,
            "model": "gpt-4o-mini-2024-07-18",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "...", "refusal": None},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": told, "completion_tokens": made, "total_tokens": told + made},
            "system_fingerprint": "fp_483d39d857",
        },
        "request_hash": digest,
    }
    for number, told, made, digest in ((1, 25, 18, "66365aa1"), (2, 24, 49, "a8df0035"))
]


def test_the_documents_completions_cost_what_the_document_says(echo: Simulator) -> None:
    cost = Engine(at(echo), None).get_cost_from_completions(DOCUMENTED)
    assert list(cost) == [
        "input_tokens",
        "output_tokens",
        "total_tokens",
        "input_cost",
        "output_cost",
        "total_tokens_cost",
    ]
    assert cost == {
        "input_tokens": 49,
        "output_tokens": 67,
        "total_tokens": 116,
        "input_cost": pytest.approx(7.35e-06),
        "output_cost": pytest.approx(4.02e-05),
        "total_tokens_cost": pytest.approx(4.755e-05),
    }


def test_reads_from_the_providers_cache_are_priced_as_such() -> None:
    with Simulator(cached_share=0.5) as sim:
        engine = Engine(at(sim), None)
        completions = complete(engine, ["What follows from it? " * 40, "And what else? " * 60])
        cost = engine.get_cost_from_completions(completions)
    expected = 0.0
    for each in completions:
        usage = each["response"]["usage"]
        read = usage["prompt_tokens_details"]["cached_tokens"]
        assert read > 10
        price = genai_prices.calc_price(
            genai_prices.Usage(
                input_tokens=usage["prompt_tokens"],
                cache_read_tokens=read,
                output_tokens=usage["completion_tokens"],
            ),
            "gpt-4o-mini",
            provider_id="openai",
        )
        expected += float(price.total_price)
    assert cost["total_tokens_cost"] == pytest.approx(expected)
    assert cost["input_tokens"] == sum(each["response"]["usage"]["prompt_tokens"] for each in completions)


def test_the_cost_of_a_model_without_a_price_is_none_and_its_tokens_are_still_counted() -> None:
    with Simulator() as sim:
        engine = Engine(at(sim, "nobody-sells-this-one"), None)
        cost = engine.get_cost_from_completions(complete(engine, ["a", "b"]))
        assert cost["input_cost"] is cost["output_cost"] is cost["total_tokens_cost"] is None
        assert (cost["input_tokens"], cost["output_tokens"]) == (
            sim.stats.input_tokens,
            sim.stats.output_tokens,
        )
        assert cost["total_tokens"] == sim.stats.input_tokens + sim.stats.output_tokens
