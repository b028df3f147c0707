"""Configurations are checked when they are made, and give no key away."""

from __future__ import annotations

import json
import traceback
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr, ValidationError

from callgate.backends.config import (
    EndpointConfig,
    HttpTransportConfig,
    SdkTransportConfig,
    ServiceEndpointConfig,
)
from callgate.backends.endpoint import Endpoint
from callgate.errors import ConfigurationError

CANARY = "sk-canary-5f3a"
HOST = "https://api.example.com"


def service(**changes: Any) -> ServiceEndpointConfig:
    return ServiceEndpointConfig(**{"name": "chat", "transport_type": "http", "base_url": HOST, **changes})


def endpoint(**changes: Any) -> EndpointConfig:
    settings = {"name": "users", "provider": "example", "base_url": HOST, "endpoint": "users", **changes}
    return EndpointConfig(**settings)


# -- keys


@pytest.mark.parametrize("make", [service, endpoint])
def test_a_key_is_held_and_never_shown(make: Any) -> None:
    for key in (CANARY, SecretStr(CANARY)):
        client = "client_constructor_kwargs" if make is service else "client_kwargs"
        headers = {"Authorization": CANARY, "X-Team": "red"}
        config = make(api_key=key, default_headers=headers, **{client: {"secret_key": CANARY}})
        assert config.read_api_key({}) == CANARY
        shown = [repr(config), str(config), config.model_dump_json(), str(config.model_dump())]
        assert not any(CANARY in text for text in shown)
        assert config.model_dump()["default_headers"] == {"X-Team": "red"}


@pytest.mark.parametrize("make", [service, endpoint])
def test_a_key_given_as_text_is_held_as_a_secret_and_one_set_later_is_not_shown(make: Any) -> None:
    config = make(api_key=CANARY)
    assert config.api_key == SecretStr(CANARY)
    config.api_key = CANARY
    assert CANARY not in repr(config) + str(config) + config.model_dump_json()
    assert config.read_api_key({}) == CANARY


@pytest.mark.parametrize("make", [service, endpoint])
def test_a_key_may_be_named_by_its_variable_and_is_then_restored_by_name(make: Any) -> None:
    config = make(api_key="MY_API_KEY")
    assert config.read_api_key({"MY_API_KEY": CANARY}) == CANARY
    again = type(config).model_validate(json.loads(config.model_dump_json()))
    assert again.read_api_key({"MY_API_KEY": CANARY}) == CANARY
    with pytest.raises(ConfigurationError, match="MY_API_KEY"):
        config.read_api_key({})


def test_a_secret_in_capitals_is_a_key_when_it_is_said_to_be_one() -> None:
    assert service(api_key=SecretStr("ALL_CAPITALS")).read_api_key({}) == "ALL_CAPITALS"
    assert service().read_api_key({}) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"api_key": [CANARY]},
        {"base_url": f"https://user:{CANARY}@api.example.com"},
        {"default_headers": {"X-Key": f"{CANARY}\r\nX-Admin: 1"}},
        {"timeout": CANARY},
        {"api_kay": CANARY},
    ],
)
def test_what_is_refused_is_not_shown(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError) as caught:
        service(**wrong)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


# -- where to


@pytest.mark.parametrize("make", [service, endpoint])
def test_plain_http_stays_on_this_machine_unless_asked_for(make: Any) -> None:
    assert make(base_url="http://127.0.0.1:8000/v1/").base_url == "http://127.0.0.1:8000/v1"
    with pytest.raises(ValidationError, match="in the clear"):
        make(base_url="http://10.0.0.5:8000", api_key=CANARY)
    assert (
        make(base_url="http://10.0.0.5:8000", api_key=CANARY, allow_http=True).base_url
        == "http://10.0.0.5:8000"
    )


def test_a_path_is_filled_in_and_what_fills_it_cannot_leave_its_place() -> None:
    config = endpoint(endpoint="/teams/{team}/models/{model}", params={"team": "../x?y", "model": "a:b"})
    assert config.full_url == f"{HOST}/teams/..%2Fx%3Fy/models/a:b"
    assert config.endpoint_params == ["team", "model"]
    with pytest.raises(ValidationError, match="team"):
        endpoint(endpoint="teams/{team}")
    with pytest.raises(ConfigurationError, match="base_url"):
        _ = endpoint(base_url=None).full_url


# -- the rest


def test_http_needs_a_base_url_and_sdk_needs_its_config() -> None:
    assert service().http_config == HttpTransportConfig(method="POST")
    with pytest.raises(ValidationError, match="base_url"):
        service(base_url=None)
    with pytest.raises(ValidationError, match="sdk_config"):
        service(transport_type="sdk", base_url=None)
    sdk = SdkTransportConfig(sdk_provider_name="openai")
    assert service(transport_type="sdk", base_url=None, sdk_config=sdk).sdk_config is sdk
    with pytest.raises(ValidationError):
        service(transport_type="telepathy")


@pytest.mark.parametrize(
    "setting", [{"base_url": "https://elsewhere.example"}, {"api_key": CANARY}, {"allow_http": True}]
)
def test_what_the_endpoint_is_given_cannot_come_by_way_of_the_sdks_client(setting: dict[str, Any]) -> None:
    """There it would not be checked before a key goes there."""
    config = service(
        transport_type="sdk",
        base_url=None,
        api_key="sk-1",
        sdk_config=SdkTransportConfig(sdk_provider_name="openai"),
        client_constructor_kwargs={**setting, "organization": "org"},
    )
    with pytest.raises(ConfigurationError, match=f"'chat' holds {next(iter(setting))};") as caught:
        Endpoint(config)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: service(colour="red"),
        lambda: HttpTransportConfig(colour="red"),  # type: ignore[call-arg]
        lambda: SdkTransportConfig(sdk_provider_name="openai", colour="red"),  # type: ignore[call-arg]
    ],
)
def test_unknown_fields_are_refused(make: Any) -> None:
    with pytest.raises(ValidationError, match="colour"):
        make()


def test_unknown_fields_of_an_endpoint_are_defaults_of_its_requests() -> None:
    config = endpoint(model="m", max_tokens=5, kwargs={"seed": 1})
    assert config.kwargs == {"seed": 1, "model": "m", "max_tokens": 5}
    assert config.model_dump()["kwargs"] == config.kwargs  # `max_tokens` is no secret


@pytest.mark.parametrize(
    "wrong", [{"timeout": 0}, {"timeout": -1}, {"max_retries": -1}, {"auth_type": "magic"}]
)
def test_values_out_of_their_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        endpoint(**wrong)


def test_methods_are_upper_case() -> None:
    assert endpoint(method="get").method == "GET"
    assert HttpTransportConfig(method="put").method == "PUT"
    with pytest.raises(ValidationError):
        HttpTransportConfig(method="GET /evil HTTP/1.1\r\n")


def test_a_model_for_the_requests_is_kept_and_not_serialised() -> None:
    class Query(BaseModel):
        limit: int = 10

    config = endpoint(request_options=Query)
    assert config.request_options is Query
    json.loads(config.model_dump_json())
