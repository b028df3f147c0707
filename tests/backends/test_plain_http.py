"""Plain HTTP to another machine: where no key is sent, and where it is meant."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from callgate.backends.config import EndpointConfig, ServiceEndpointConfig
from callgate.backends.endpoint import Endpoint
from callgate.backends.factory import make_endpoint
from callgate.errors import ConfigurationError
from callgate.providers import OpenAICompatibleApiProvider

ELSEWHERE = "http://10.0.0.5:8000/v1"
CANARY = "sk-canary-51e2"


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VLLM_API_KEY", "VLLM_BASE_URL", "OLLAMA_API_KEY", "OLLAMA_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def base_url_of(provider: str | None, **settings: Any) -> str:
    made = make_endpoint(provider, "chat/completions", settings)
    assert isinstance(made, Endpoint)
    return made.base_url


def test_a_server_that_needs_no_key_may_be_on_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert base_url_of("vllm", base_url=ELSEWHERE) == ELSEWHERE
    assert base_url_of("vllm", base_url=ELSEWHERE, auth_type="none", api_key=CANARY) == ELSEWHERE
    assert base_url_of(None, base_url=ELSEWHERE) == ELSEWHERE
    monkeypatch.setenv("OLLAMA_BASE_URL", ELSEWHERE)
    assert base_url_of("ollama") == ELSEWHERE


def test_a_key_is_not_sent_in_the_clear_wherever_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    for secret in ({"api_key": CANARY}, {"headers": {"Authorization": CANARY}}):
        with pytest.raises(ConfigurationError, match=r"10\.0\.0\.5 would send keys in the clear") as caught:
            base_url_of("vllm", base_url=ELSEWHERE, **secret)
        assert CANARY not in str(caught.value)
        assert base_url_of("vllm", base_url=ELSEWHERE, allow_http=True, **secret) == ELSEWHERE
    monkeypatch.setenv("VLLM_API_KEY", CANARY)
    with pytest.raises(ConfigurationError, match="in the clear"):
        base_url_of("vllm", base_url=ELSEWHERE)
    monkeypatch.setenv("VLLM_BASE_URL", ELSEWHERE)
    with pytest.raises(ConfigurationError, match="in the clear"):
        base_url_of("vllm")
    assert base_url_of("vllm", allow_http=True) == ELSEWHERE


@pytest.mark.parametrize("provider", ["bedrock", "vertex"])
def test_signatures_and_tokens_are_not_sent_in_the_clear(provider: str) -> None:
    with pytest.raises(ConfigurationError, match="in the clear"):
        base_url_of(provider, base_url="http://10.0.0.5:8000", project="p", region="r")


def test_a_missing_key_is_reported_first() -> None:
    with pytest.raises(ConfigurationError, match="no key for openai"):
        base_url_of("openai", base_url=ELSEWHERE)


@pytest.mark.parametrize(
    "make",
    [
        lambda **given: EndpointConfig(name="x", provider="x", endpoint="chat/completions", **given),
        lambda **given: ServiceEndpointConfig(name="x", transport_type="http", **given),
    ],
)
def test_a_configuration_knows_it_already(make: Any) -> None:
    assert make(base_url=ELSEWHERE).base_url == ELSEWHERE
    for secret in (
        {"api_key": CANARY},
        {"api_key": "A_VARIABLE"},
        {"default_headers": {"x-api-key": CANARY}},
    ):
        with pytest.raises(ValidationError, match="in the clear") as caught:
            make(base_url=ELSEWHERE, **secret)
        assert CANARY not in str(caught.value)
        assert make(base_url=ELSEWHERE, allow_http=True, **secret).base_url == ELSEWHERE


def test_a_key_that_is_set_later_is_seen_when_the_endpoint_is_made() -> None:
    config = EndpointConfig(name="x", provider="x", base_url=ELSEWHERE, endpoint="chat/completions")
    config.api_key = CANARY
    with pytest.raises(ConfigurationError, match="in the clear"):
        Endpoint(config)


def test_the_documents_provider_says_what_is_wrong_in_one_line() -> None:
    with pytest.raises(ConfigurationError) as caught:
        OpenAICompatibleApiProvider(CANARY, ELSEWHERE, "m")
    assert str(caught.value) == (
        "http://10.0.0.5 would send keys in the clear; use https://, or to allow it set allow_http="
    )
    assert OpenAICompatibleApiProvider(CANARY, ELSEWHERE, "m", allow_http=True).base_url == ELSEWHERE
    with pytest.raises(ConfigurationError, match=r"^base_url: .*string"):
        Endpoint({"name": "x", "provider": "x", "endpoint": "chat/completions", "base_url": 7})


def test_the_client_of_such_an_endpoint_goes_there_too() -> None:
    endpoint = make_endpoint("vllm", "chat/completions", {"base_url": ELSEWHERE})
    assert isinstance(endpoint, Endpoint)
    assert endpoint.get_client().base_url == ELSEWHERE


def test_an_endpoint_without_a_key_sends_none() -> None:
    endpoint = make_endpoint("vllm", "chat/completions", {"base_url": ELSEWHERE})
    assert isinstance(endpoint, Endpoint)
    _, headers = endpoint.create_payload({})
    assert not {"authorization", "x-api-key", "api-key"} & {name.lower() for name in headers}
