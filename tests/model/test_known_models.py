"""The models that are listed for a provider."""

from __future__ import annotations

import pytest

from callgate.model.known_models import known_models
from callgate.model.pricing import price
from callgate.providers.hosts import HOSTS, find_host
from callgate.response import Usage

PRICED = sorted(name for name, host in HOSTS.items() if host.price_provider is not None)


@pytest.mark.parametrize("provider", ["openai", "anthropic", "groq"])
def test_a_listed_price_is_the_one_that_a_run_counts(provider: str) -> None:
    host = find_host(provider)
    found = [model for model in known_models(host) if model.input is not None]
    assert found
    for model in found:
        name = model.name.removeprefix(f"{provider}/")
        # Ten tokens: what a tier above a length of the input costs does not matter.
        cost = price(host.price_provider, name, Usage(10, 10))
        assert cost is not None
        assert cost.input * 100_000 == pytest.approx(model.input)
        if model.output is not None:
            assert cost.output * 100_000 == pytest.approx(model.output)


@pytest.mark.parametrize("provider", PRICED)
def test_every_provider_with_prices_has_models_by_name(provider: str) -> None:
    found = known_models(find_host(provider))
    assert found
    assert [model.name for model in found] == sorted({model.name for model in found})
    assert all(model.name.startswith(f"{provider}/") for model in found)
    assert all(model.input is not None or model.output is not None for model in found)


def test_gemini_does_not_list_what_only_vertex_sells() -> None:
    assert not any("claude" in model.name for model in known_models(find_host("gemini")))
    assert any("claude" in model.name for model in known_models(find_host("vertex")))
