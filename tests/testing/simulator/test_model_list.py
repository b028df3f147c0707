"""The model list in each provider's format."""

from __future__ import annotations

import orjson

from callgate.testing.simulator import Options, SimulatedProvider
from tests.testing.simulator.clocked_provider import ClockedProvider, parsed


def test_each_provider_has_its_own_format():
    provider = SimulatedProvider(Options(models=["m1"]), clock=lambda: 0.0)
    claude = orjson.loads(provider.handle("GET", "/v1/models", {"anthropic-version": "2023-06-01"}).body)
    assert claude["data"][0]["display_name"] == "m1"
    gemini = orjson.loads(provider.handle("GET", "/v1beta/models", {}).body)
    assert gemini["models"][0]["name"] == "models/m1"


def test_the_models_of_the_options_are_listed():
    plan = ClockedProvider(models=["m1"]).provider.handle("GET", "/v1/models", {})
    assert [model["id"] for model in parsed(plan)["data"]] == ["m1"]
