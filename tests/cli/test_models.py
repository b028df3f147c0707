"""`callgate models`."""

from __future__ import annotations

from collections.abc import Callable

import orjson

from callgate.providers.hosts import HOSTS
from tests.cli.conftest import CommandResult

Run = Callable[..., CommandResult]


def test_the_models_of_a_provider_are_listed_with_prices_and_context(callgate: Run) -> None:
    ended = callgate("models", "openai")
    assert ended.code == 0
    lines = [line.split() for line in ended.out.splitlines()]
    assert lines[0] == ["model", "input", "cached", "output", "context"]
    assert ["openai/gpt-4o-mini", "0.15", "0.075", "0.6", "128,000"] in lines
    assert ended.err.startswith("US dollars per million tokens")


def test_the_same_as_json(callgate: Run) -> None:
    models = orjson.loads(callgate("models", "openai", "--json").out)
    mini = next(model for model in models if model["name"] == "openai/gpt-4o-mini")
    assert mini.items() >= {"input": 0.15, "output": 0.6, "context": 128_000, "tiered": False}.items()


def test_without_a_provider_all_are_listed_with_their_keys(callgate: Run) -> None:
    lines = callgate("models").out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(HOSTS)
    assert any(line.startswith("groq ") and line.endswith("GROQ_API_KEY") for line in lines)
    counts = orjson.loads(callgate("models", "--json").out)
    assert [each["provider"] for each in counts] == list(HOSTS)


def test_a_provider_without_prices_says_how_to_name_a_model(callgate: Run) -> None:
    assert callgate("models", "ollama").out == (
        "no prices are known for ollama; a model of its own works as well: -m ollama/NAME\n"
    )
    assert "local/smollm2" in callgate("models", "local").out


def test_the_start_of_a_name_lists_only_these_models(callgate: Run) -> None:
    names = [line.split()[0] for line in callgate("models", "openai/gpt-4o-mini").out.splitlines()[1:]]
    assert "openai/gpt-4o-mini" in names
    assert all(name.startswith("openai/gpt-4o-mini") for name in names)
    assert callgate("models", "openai/own").out.endswith("works as well: -m openai/own\n")


def test_an_unknown_provider_is_refused_with_the_nearest(callgate: Run) -> None:
    ended = callgate("models", "opnai")
    assert ended.code == 2
    assert "did you mean openai?" in ended.err
