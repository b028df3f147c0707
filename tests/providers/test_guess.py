"""The provider that a model's name, or a misspelt provider, stands for."""

from __future__ import annotations

import pytest

from callgate.errors import ConfigurationError
from callgate.providers.guess import did_you_mean, provider_of, split_model
from callgate.providers.hosts import HOSTS


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gpt-4o-mini", "openai"),
        ("o3-mini", "openai"),
        (" Claude-Sonnet-4-5 ", "anthropic"),
        ("gemini-2.5-flash", "gemini"),
        ("grok-4", "xai"),
        ("llama-3.3-70b", None),
        ("", None),
    ],
)
def test_a_family_of_models_names_its_provider(model: str, provider: str | None) -> None:
    assert provider_of(model) == provider
    assert provider is None or provider in HOSTS


def test_a_misspelt_provider_gets_the_closest_name() -> None:
    assert did_you_mean("Opnai", HOSTS) == "; did you mean openai?"
    assert did_you_mean("gpt-4o", HOSTS) == "; gpt-4o is a model of openai"
    assert did_you_mean("xyzzy", HOSTS) == ""


def test_the_model_may_hold_slashes() -> None:
    assert split_model("openrouter/meta-llama/llama-3") == ("openrouter", "meta-llama/llama-3")
    assert split_model("vllm") == ("vllm", None)
    assert split_model("vllm/") == ("vllm", None)


@pytest.mark.parametrize(
    ("text", "message"), [("/gpt-4o", "names no provider"), ("gpt-4o", "did you mean openai/gpt-4o?")]
)
def test_a_model_without_its_provider_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        split_model(text)
    assert caught.value.setting == "model"
