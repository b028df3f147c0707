"""A setting that is misspelt is told, and no key goes into a request's body."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

from callgate import ConfigurationError, EndpointConfig, iModel
from callgate.backends.endpoint import Endpoint
from callgate.backends.factory import make_endpoint
from callgate.backends.option_check import MODEL_SETTINGS, problem_with_field
from callgate.policies.retry.config import RetryConfig
from callgate.transport.http import HttpTransport

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
        ("num_retries", "max_retries"),
    ],
)
def test_a_near_miss_says_what_may_be_meant(name: str, meant: str) -> None:
    with pytest.raises(ConfigurationError, match=f"unknown setting {name}; did you mean {meant}="):
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
    code = iModel.__init__.__code__
    keywords = set(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]) - {"self"}
    assert keywords == set(MODEL_SETTINGS) - {"headers"}
    # What an editor shows has these and the settings of the endpoint.
    assert keywords <= set(inspect.signature(iModel.__init__).parameters)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("mesages", "messages"),
        ("temprature", "temperature"),
        ("max_token", "max_tokens"),
        ("responce_format", "response_format"),
    ],
)
def test_a_misspelt_field_of_a_request_is_refused_and_extra_body_sends_it(name: str, meant: str) -> None:
    expected = rf"unknown field {name} of the request; did you mean {meant}\? extra_body="
    assert re.search(expected, problem_with_field(name) or "")
    with pytest.raises(ConfigurationError, match=expected):
        made(**{name: 1})
    assert problem_with_field("extra_body") is None


@pytest.mark.parametrize("name", ["num_retries", "max_retries", "api_key", "base_url"])
def test_a_setting_of_the_model_is_no_field_of_a_request(name: str) -> None:
    assert "is a setting of the model, not of one request" in (problem_with_field(name) or "")


@pytest.mark.parametrize("name", ["extensions", "http2", "follow_redirects", "cookies", "event_hooks"])
def test_a_setting_of_httpx_is_no_field_of_a_request(name: str) -> None:
    assert f"{name} is a setting of httpx, which callgate does not use; " in (problem_with_field(name) or "")
    with pytest.raises(ConfigurationError, match="a setting of httpx"):
        made(**{name: True})


def test_a_custom_endpoint_takes_any_field() -> None:
    config = EndpointConfig(name="x", provider="x", base_url="https://h.example", endpoint="x", temprature=1)
    assert Endpoint(config).defaults == {"temprature": 1}


def test_extra_headers_are_headers() -> None:
    assert made(extra_headers={"x-team": "moon"}, headers={"x-a": "b"}).config.default_headers == {
        "x-team": "moon",
        "x-a": "b",
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"regoin": "eu"}, "unknown setting regoin; did you mean region"),
        ({"http2": True}, "unknown setting http2; known are access_key"),
    ],
)
def test_an_unknown_client_setting_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        made(client_kwargs=settings)
    assert caught.value.setting == "client_kwargs"


def test_settings_of_the_transport_reach_it() -> None:
    for given in ({"proxy": "ftp://x"}, {"client_kwargs": {"proxy": "ftp://x"}}):
        with pytest.raises(ConfigurationError, match="proxy: the URL must be SCHEME"):
            made(**given)
    with pytest.raises(ConfigurationError, match="has a transport of its own; set verify on that"):
        made(verify=False, transport=HttpTransport())


@pytest.mark.parametrize("setting", ["retry_config", "circuit_breaker"])
def test_a_policy_is_also_a_mapping_of_its_settings(setting: str) -> None:
    name = {"retry_config": "max_retries", "circuit_breaker": "failure_threshold"}[setting]
    assert getattr(getattr(made(**{setting: {name: 9}}), setting), name) == 9
    for wrong in (5, {"no_such": 1}):
        with pytest.raises(ConfigurationError, match=setting) as caught:
            made(**{setting: wrong})
        assert caught.value.setting == setting
