"""All answers in the order in which they were asked for, whatever became of each, and what they cost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from callgate.batch.engine import Engine, Record
from callgate.batch.input.rows import Row
from callgate.batch.providers import AbstractProvider, OpenAICompatibleApiProvider
from callgate.call.calling import Calling
from callgate.errors import ConfigurationError
from callgate.messages import Conversation
from callgate.model.model import iModel
from callgate.testing import Simulator


def conversations(count: int) -> list[Conversation]:
    return [Conversation.with_initial_message("user", f"number {i}") for i in range(count)]


def provider(sim: Simulator, model: str = "gpt-4o-mini") -> OpenAICompatibleApiProvider:
    return OpenAICompatibleApiProvider("sk-x", sim.base_url, model_id=model)


def texts(completions: Any) -> list[str]:
    return [one["response"]["choices"][0]["message"]["content"] for one in completions]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_answers_come_in_the_order_of_the_questions() -> None:
    with Simulator(echo=True, latency=0.01, latency_sigma=1.0) as sim:
        engine = Engine(provider(sim))
        completions = asyncio.run(engine.schedule_completions(conversations(80), 0.3, "example"))
    assert texts(completions) == [f"number {i}" for i in range(80)]
    assert sim.stats.most_running <= 32


def test_the_cache_is_shared_by_engines_and_loops_and_duplicates_are_paid_for_once() -> None:
    with Simulator(echo=True, latency=0.005) as sim:
        half = conversations(20)
        first = asyncio.run(Engine(provider(sim)).schedule_completions(half, 0.3))
        engine = Engine(provider(sim))
        doubled = [*conversations(40), *conversations(40)]
        second = asyncio.run(engine.schedule_completions(doubled, 0.3))
        third = asyncio.run(engine.schedule_completions(doubled, 0.3))
        assert sim.stats.requests == 40
        assert sim.stats.paid_again == 0
    assert second[:20] == second[40:60] == first
    assert third == second
    assert Path("cache").exists()


def test_another_temperature_is_another_request() -> None:
    with Simulator() as sim:
        engine = Engine(provider(sim))
        one, other = (asyncio.run(engine.schedule_completions(conversations(1), t)) for t in (0.3, None))
        assert one[0]["request_hash"] != other[0]["request_hash"]
        assert sim.stats.requests == 2


def test_a_failed_one_says_why_and_is_not_kept() -> None:
    with Simulator(answers=[422]) as sim:
        engine = Engine(provider(sim), max_inflight_requests=1)
        completions = asyncio.run(engine.schedule_completions(conversations(3)))
        assert completions[0]["response"] is None
        assert "422" in completions[0]["error"]
        assert len(completions[0]["request_hash"]) == 64
        assert all(one["response"] for one in completions[1:])
        again = asyncio.run(engine.schedule_completions(conversations(3)))
        assert again[0]["response"] is not None
        assert again[0]["request_hash"] == completions[0]["request_hash"]
        assert sim.stats.requests == 4


def test_an_error_of_all_rows_is_raised_after_a_few_calls() -> None:
    with Simulator(keys=["other"]) as sim:
        completions = asyncio.run(Engine(provider(sim)).schedule_completions(conversations(50)))
        assert sim.stats.requests <= 6
    assert len(completions) == 50
    assert all(one["response"] is None and "401" in one["error"] for one in completions)
    assert len({one["request_hash"] for one in completions}) == 50
    assert completions[-1]["error"].startswith("not called: 3 rows failed in the same way")


def test_no_cache_and_a_model_that_has_its_own_say() -> None:
    async def with_model(sim: Simulator) -> None:
        async with iModel(provider(sim)) as model:
            await Engine(model).schedule_completions(conversations(2))

    with Simulator() as sim:
        asyncio.run(Engine(provider(sim), serialization_path=None).schedule_completions(conversations(2)))
        asyncio.run(with_model(sim))
        assert sim.stats.requests == 4
    assert not Path("cache").exists()


class EchoProvider(AbstractProvider):
    """Answers with what it was asked."""

    seen: Calling | None = None

    async def call(self, calling: Calling, /) -> Any:
        self.seen = calling
        return calling.payload["messages"][-1]["content"]


def test_a_provider_of_one_s_own() -> None:
    parrot = EchoProvider()
    engine = Engine(parrot, serialization_path=None)
    completions = asyncio.run(engine.schedule_completions(conversations(2), 0.5, "task"))
    assert [one["response"] for one in completions] == ["number 0", "number 1"]
    assert parrot.seen is not None
    assert parrot.seen.metadata["task_name"] == "task"
    assert engine.get_cost_from_completions(completions)["total_tokens_cost"] is None


def test_a_request_that_json_cannot_say_still_has_a_hash() -> None:
    engine = Engine(EchoProvider(), serialization_path=None)
    moon = Conversation().add_message("user", [{"type": "image", "data": {1, 2}}])
    completions = asyncio.run(engine.schedule_completions([moon]))
    assert len(completions[0]["request_hash"]) == 64


def test_costs_add_up_and_are_unknown_rather_than_wrong() -> None:
    with Simulator() as sim:
        engine = Engine(provider(sim))
        completions = asyncio.run(engine.schedule_completions(conversations(3)))
        cost = engine.get_cost_from_completions(completions)
        assert cost["input_tokens"] == sim.stats.input_tokens
        assert cost["output_tokens"] == sim.stats.output_tokens
        assert cost["total_tokens_cost"] == pytest.approx(
            sim.stats.input_tokens * 0.15e-6 + sim.stats.output_tokens * 0.6e-6
        )
        failed = {"response": None, "request_hash": "", "error": "x"}
        assert engine.get_cost_from_completions([*completions, failed]) == cost
        other = Engine(provider(sim, "a-model-nobody-prices"))
        completions = asyncio.run(other.schedule_completions(conversations(1)))
        cost = other.get_cost_from_completions(completions)
        assert (cost["input_cost"], cost["output_cost"], cost["total_tokens_cost"]) == (None, None, None)
        assert cost["total_tokens"]
    untold = {**completions[0]["response"], "usage": None}
    assert engine.get_cost_from_completions([{"response": untold}])["total_tokens_cost"] is None
    raws: list[Any] = [{"error": {"message": "no answer"}}, {"choices": []}, {1, 2}]
    for raw in raws:
        assert engine.get_cost_from_completions([{"response": raw}])["total_tokens_cost"] is None
    assert engine.get_cost_from_completions([])["total_tokens_cost"] == 0.0


def test_costs_are_by_the_prices_that_the_model_was_given() -> None:
    with Simulator() as sim:
        own = iModel(provider(sim, "a-model-nobody-prices"), prices={"input": 1.0, "output": 2.0})
        engine = Engine(own)
        completions = asyncio.run(engine.schedule_completions(conversations(3)))
        cost = engine.get_cost_from_completions(completions)
        assert cost["input_cost"] == pytest.approx(sim.stats.input_tokens * 1e-6)
        assert cost["output_cost"] == pytest.approx(sim.stats.output_tokens * 2e-6)
        # Whoever does not name its model in its answers is priced as the one that was asked.
        unnamed = [{"response": {**one["response"], "model": None}} for one in completions]
        assert engine.get_cost_from_completions(unnamed) == cost
        # Of a host without a price list, a price by the name alone would be somebody else's.
        elsewhere = Engine(iModel(provider="ollama", model="gpt-4o-mini", base_url=sim.base_url))
        completions = asyncio.run(elsewhere.schedule_completions(conversations(1)))
        assert completions[0]["response"] is not None
        assert elsewhere.get_cost_from_completions(completions)["total_tokens_cost"] is None


def test_settings_that_cannot_work() -> None:
    with pytest.raises(ConfigurationError, match="max_inflight_requests must be at least 1, got 0"):
        Engine(EchoProvider(), max_inflight_requests=0)
    with pytest.raises(ConfigurationError, match=r"a given model takes no further settings \(model\)"):
        Engine(iModel(EchoProvider()), model="x")


def test_whatever_a_run_takes_is_taken() -> None:
    [conversation] = conversations(1)
    messages = [{"role": "user", "content": "number 3"}]
    row = Row(77, 5, "mine", 9, {"messages": messages})
    given: list[Record] = [conversation, "number 1", {"prompt": "number 2"}, row]
    with Simulator(echo=True) as sim:
        engine = Engine(provider(sim), None)
        for temperature in (0.3, None):
            assert texts(asyncio.run(engine.schedule_completions(given, temperature))) == [
                f"number {i}" for i in range(4)
            ]
    assert row.request == {"messages": messages}
