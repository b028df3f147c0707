"""The address and the credential of an endpoint, by configuration, environment and hosts table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from callgate.backends.address import Address, find_address, host_named
from callgate.backends.config import EndpointConfig
from callgate.errors import ConfigurationError
from callgate.transport.auth import SigV4Auth
from callgate.transport.tokens import GoogleAuth

KEY = "sk-canary-41c7"


def address_of(provider: str, environ: Mapping[str, str] | None = None, **settings: Any) -> Address:
    config = EndpointConfig(name="e", provider=provider, endpoint="chat/completions", **settings)
    return find_address(config, host_named(provider, config.base_url), environ or {})


def test_the_key_comes_from_the_providers_variable() -> None:
    address = address_of("openai", {"OPENAI_API_KEY": KEY})
    assert (address.base_url, address.key_variable) == ("https://api.openai.com/v1", "OPENAI_API_KEY")
    assert KEY not in repr(address)


def test_a_missing_key_is_an_error_that_names_the_variable() -> None:
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY") as caught:
        address_of("openai")
    assert caught.value.setting == "api_key"


def test_a_server_on_this_machine_needs_no_key() -> None:
    address = address_of("openai", base_url="http://127.0.0.1:8000/v1")
    assert (address.base_url, address.key_variable) == ("http://127.0.0.1:8000/v1", "OPENAI_API_KEY")


def test_the_base_url_of_the_configuration_precedes_that_of_the_environment() -> None:
    environ = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "https://gateway.example.com/v1/"}
    assert address_of("openai", environ).base_url == "https://gateway.example.com/v1"
    given = address_of("openai", environ, base_url="https://other.example.com/v1")
    assert given.base_url == "https://other.example.com/v1"


def test_an_unknown_provider_needs_a_base_url() -> None:
    with pytest.raises(ConfigurationError, match="opnai"):
        host_named("opnai", None)
    assert host_named("opnai", "https://api.example.com") is None


def test_the_region_is_part_of_the_address() -> None:
    keys = {"access_key": "AK", "secret_key": "SK"}
    address = address_of("bedrock", {"AWS_REGION": "eu-west-1"}, client_kwargs=keys)
    assert "eu-west-1" in address.base_url
    assert isinstance(address.auth, SigV4Auth)
    given = address_of("bedrock", {"AWS_REGION": "eu-west-1"}, client_kwargs={**keys, "region": "us-west-2"})
    assert "us-west-2" in given.base_url


def test_a_missing_region_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="needs a region") as caught:
        address_of("bedrock", client_kwargs={"access_key": "AK", "secret_key": "SK"})
    assert caught.value.setting == "region"


def test_the_global_location_of_google_has_no_region_in_its_host() -> None:
    address = address_of("vertex", client_kwargs={"location": "global", "project": "p"})
    assert "global" not in address.base_url
    assert isinstance(address.auth, GoogleAuth)


def test_the_api_version_of_azure_is_in_the_query() -> None:
    environ = {"AZURE_OPENAI_API_KEY": KEY}
    address = address_of(
        "azure",
        environ,
        base_url="https://x.openai.azure.com",
        client_kwargs={"api_version": "2024-10-21"},
    )
    assert address.query == "api-version=2024-10-21"
