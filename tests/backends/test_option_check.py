"""A setting that is misspelt is told, and no key goes into a request's body."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from callgate import ConfigurationError, iModel
from callgate.backends.endpoint import Endpoint
from callgate.backends.factory import make_endpoint
from callgate.backends.option_check import MODEL_SETTINGS
from callgate.policies.retry.config import RetryConfig

CANARY = "sk-canary-77aa"


def made(**settings: Any) -> Endpoint:
    endpoint = make_endpoint("openai", "chat/completions", {"api_key": "k", **settings})
    assert isinstance(endpoint, Endpoint)
    return endpoint


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("limit_request", "limit_requests"),
        ("limits_tokens", "limit_tokens"),
        ("limit_concurency", "limit_concurrency"),
        ("time_out", "timeout"),
        ("fallback", "fallbacks"),
        ("retry_cfg", "retry_config"),
        ("max_retry", "max_retries"),
        ("retries", "max_retries"),
        ("rpm", "limit_requests"),
        ("api_base", "base_url"),
        ("baseurl", "base_url"),
        ("extra_headers", "headers"),
    ],
)
def test_a_near_miss_says_what_may_be_meant(name: str, meant: str) -> None:
    with pytest.raises(ConfigurationError, match=f"no setting {name}; did you mean {meant}="):
        made(**{name: 5})


@pytest.mark.parametrize(
    "name", ["api_keys", "apikey", "openai_api_key", "key", "token", "auth_token", "secret", "password"]
)
def test_what_looks_like_a_key_is_refused_and_not_shown(name: str) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"{name}= would be sent .* did you mean api_key="
    ) as caught:
        made(**{name: CANARY})
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "audio", "best_of", "cache_control", "chat_template_kwargs", "extra_body", "format",
        "frequency_penalty", "guided_json", "include", "instructions", "keep_alive", "logit_bias",
        "logprobs", "max_completion_tokens", "max_output_tokens", "max_tokens", "metadata", "min_p",
        "modalities", "model", "models", "n", "num_ctx", "options", "parallel_tool_calls",
        "plugins", "prediction", "presence_penalty", "previous_response_id", "prompt_cache_key",
        "prompt_cache_retention", "random_seed", "reasoning", "reasoning_effort",
        "repetition_penalty", "response_format", "route", "safe_prompt", "safety_identifier",
        "safety_settings", "search_parameters", "seed", "service_tier", "stop", "stop_sequences",
        "stop_token_ids", "store", "stream_options", "system", "temperature", "thinking",
        "tool_choice", "tools", "top_k", "top_logprobs", "top_p", "transforms", "truncation",
        "user", "verbosity", "web_search_options",
    ],
)  # fmt: skip
def test_the_providers_own_parameters_pass(name: str) -> None:
    assert made(**{name: "x"}).defaults[name] == "x"


def test_so_it_is_for_a_model_and_max_retries_is_one_of_its_settings() -> None:
    settings: dict[str, Any] = {"provider": "openai", "model": "m", "api_key": "k"}
    with pytest.raises(ConfigurationError, match="limit_requests"):
        iModel(**settings, limit_request=5)
    model = iModel(**settings, max_retries=7)
    assert isinstance(model.backend, Endpoint)
    assert model.backend.retry_config == RetryConfig(max_retries=7)
    assert "max_retries" not in model.backend.defaults


def test_the_settings_of_a_model_are_all_there() -> None:
    keywords = set(inspect.signature(iModel.__init__).parameters) - {"self", "settings"}
    assert keywords == set(MODEL_SETTINGS) - {"headers"}
