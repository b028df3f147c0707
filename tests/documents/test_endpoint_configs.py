"""Endpoint configurations as the documents define them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from callgate import Endpoint, EndpointConfig, HttpTransportConfig, SdkTransportConfig, ServiceEndpointConfig

KEY = "sk-canary-0123456789abcdef"


def test_a_service_config_has_the_defaults_of_the_documents() -> None:
    config = ServiceEndpointConfig(name="n", transport_type="http", base_url="https://api.example.com")
    assert config.timeout == 60.0
    assert config.api_key is None
    assert config.default_headers == {}
    assert config.client_constructor_kwargs == {}
    assert config.default_request_kwargs == {}
    assert config.sdk_config is None


def test_the_transport_configs_have_the_defaults_of_the_documents() -> None:
    assert HttpTransportConfig().method == "POST"
    assert SdkTransportConfig(sdk_provider_name="openai").default_sdk_method_name is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"transport_type": "http"},
        {"transport_type": "sdk"},
        {"transport_type": "carrier pigeon", "base_url": "https://api.example.com"},
        {"transport_type": "http", "base_url": "https://api.example.com", "colour": "red"},
        {"transport_type": "http", "base_url": "ftp://api.example.com"},
        {"transport_type": "http", "base_url": "https://user:password@api.example.com"},
        {
            "transport_type": "http",
            "base_url": "https://api.example.com",
            "default_headers": {"X": "a\r\nY: b"},
        },
    ],
    ids=[
        "http needs base_url",
        "sdk needs sdk_config",
        "transport",
        "extra field",
        "scheme",
        "user info",
        "CR LF",
    ],
)
def test_a_service_config_that_cannot_work_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        ServiceEndpointConfig(name="n", **wrong)


def test_an_endpoint_config_has_the_defaults_of_the_documents() -> None:
    config = EndpointConfig(name="n", provider="p", base_url="https://api.example.com", endpoint="users")
    assert config.endpoint_params is None
    assert config.method == "POST"
    assert config.content_type == "application/json"
    assert config.auth_type == "bearer"
    assert config.timeout == 300
    assert config.max_retries == 3
    assert config.request_options is None
    assert config.api_key is None
    assert config.oai_compatible is False


@pytest.mark.parametrize(
    ("auth_type", "header", "value"),
    [("bearer", "authorization", f"Bearer {KEY}"), ("x-api-key", "x-api-key", KEY), ("none", "", None)],
)
def test_create_payload_gives_payload_and_headers_with_the_key(
    auth_type: Any, header: str, value: str | None
) -> None:
    config = EndpointConfig(
        name="get_users",
        provider="example",
        base_url="https://api.example.com",
        endpoint="users",
        method="GET",
        auth_type=auth_type,
        api_key=SecretStr(KEY),
        default_headers={"X-Team": "blue"},
    )
    request = {"limit": 10, "offset": 0}
    payload, headers = Endpoint(config).create_payload(request, extra_headers={"X-Request-ID": "123"})
    lower = {name.lower(): text for name, text in headers.items()}
    assert payload == {"limit": 10, "offset": 0}
    assert payload is not request
    assert lower["x-request-id"] == "123"
    assert lower["x-team"] == "blue"
    assert lower["content-type"] == "application/json"
    assert lower.get(header) == value
    if value is None:
        assert KEY not in str(headers)


def test_create_payload_adds_keywords_and_the_configured_ones() -> None:
    config = EndpointConfig(
        name="n",
        provider="p",
        base_url="https://api.example.com",
        endpoint="users",
        kwargs={"model": "m", "seed": 1},
    )
    payload, _ = Endpoint(config).create_payload({"limit": 10}, seed=2)
    assert payload == {"model": "m", "limit": 10, "seed": 2}


@pytest.mark.parametrize("key", [KEY, SecretStr(KEY)], ids=["str", "SecretStr"])
def test_a_configuration_shows_its_key_nowhere(key: Any) -> None:
    service = ServiceEndpointConfig(
        name="n", transport_type="http", base_url="https://a.example", api_key=key
    )
    plain = EndpointConfig(name="n", provider="p", base_url="https://a.example", endpoint="e", api_key=key)
    for config in (service, plain):
        shown = f"{config!r} {config} {config.model_dump()} {config.model_dump_json()} {Endpoint(config)!r}"
        assert KEY not in shown
