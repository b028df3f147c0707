"""The credential of an endpoint in a cloud: keys, tokens and signatures, given or from the environment."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from callgate import AuthenticationError, ConfigurationError
from callgate.backends.endpoint import Endpoint
from callgate.backends.factory import make_endpoint
from callgate.transport.http import HttpAnswer

KEY = "bedrock-api-key-QWxhZGRpbg"
AWS = {"access_key": "AKIA", "secret_key": "s3cr3t"}
CLEARED = (
    "AWS_BEARER_TOKEN_BEDROCK", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "GOOGLE_CLOUD_PROJECT",
    "GOOGLE_CLOUD_LOCATION", "CLOUD_ML_REGION", "AWS_REGION", "AWS_DEFAULT_REGION",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _without_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CLEARED:
        monkeypatch.delenv(name, raising=False)


class Recorder:
    """A transport that keeps the headers it is given, and refuses."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None, **_: Any
    ) -> HttpAnswer:
        self.headers = {name.lower(): value for name, value in headers.items()}
        return HttpAnswer(401, {}, b"{}")

    async def close(self) -> None:
        pass


def endpoint(provider: str, **settings: Any) -> Endpoint:
    return make_endpoint(provider, "chat/completions", {"model": "m", **settings})


def headers_of(provider: str, **settings: Any) -> dict[str, str]:
    """The headers of one request of an endpoint with these settings."""
    recorder = Recorder()

    async def main() -> None:
        async with endpoint(provider, transport=recorder, **settings) as made:
            with pytest.raises(AuthenticationError):
                await made.call({"prompt": "Hi"})

    asyncio.run(main())
    return recorder.headers


@pytest.mark.parametrize("provider", ["bedrock", "bedrock_invoke"])
def test_a_key_of_bedrock_is_a_bearer_token(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = headers_of(provider, region="us-east-1", api_key=KEY)
    assert given["authorization"] == f"Bearer {KEY}"
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", KEY)
    assert headers_of(provider, region="us-east-1")["authorization"] == f"Bearer {KEY}"


def test_keys_of_aws_that_were_given_win_over_a_bedrock_key_in_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", KEY)
    headers = headers_of("bedrock", region="us-east-1", **AWS)
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256 ")
    with pytest.raises(ConfigurationError, match="not both"):
        endpoint("bedrock", region="us-east-1", api_key=KEY, **AWS)


def test_base_model_is_a_default_of_every_request() -> None:
    made = endpoint("bedrock", region="us-east-1", model="arn:x", base_model="anthropic.claude-opus-5", **AWS)
    assert made.defaults["base_model"] == "anthropic.claude-opus-5"


# -- Azure

AZURE = {"base_url": "https://r.openai.azure.com/openai/v1"}


class Credential:
    def __init__(self) -> None:
        self.scopes: list[str] = []

    def get_token(self, scope: str) -> Any:
        self.scopes.append(scope)
        return SimpleNamespace(token="entra-token", expires_on=2e9)


@pytest.mark.parametrize(
    ("base_url", "scope"),
    [
        (AZURE["base_url"], "https://cognitiveservices.azure.com/.default"),
        ("https://r.services.ai.azure.com/openai/v1", "https://ai.azure.com/.default"),
    ],
)
def test_a_credential_of_entra_is_asked_for_the_scope_of_the_address(base_url: str, scope: str) -> None:
    credential = Credential()
    headers = headers_of("azure", base_url=base_url, credential=credential)
    assert headers["authorization"] == "Bearer entra-token"
    assert credential.scopes == [scope]


def test_entra_by_auth_type_uses_the_default_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    identity = pytest.importorskip("azure.identity")
    monkeypatch.setattr(identity, "DefaultAzureCredential", Credential)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "a-key-that-is-not-meant")
    assert headers_of("azure", **AZURE, auth_type="entra")["authorization"] == "Bearer entra-token"


def test_a_function_that_provides_tokens() -> None:
    headers = headers_of("azure", **AZURE, azure_ad_token_provider=lambda: "provided")
    assert headers["authorization"] == "Bearer provided"


def test_a_token_that_is_given_or_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    made = endpoint("azure", **AZURE, azure_ad_token="eyJ0-given")
    assert headers_of("azure", **AZURE, azure_ad_token="eyJ0-given")["authorization"] == "Bearer eyJ0-given"
    assert "eyJ0-given" not in repr(made)
    assert "eyJ0-given" not in str(made.to_dict())
    monkeypatch.setenv("AZURE_OPENAI_AD_TOKEN", "eyJ0-set")
    assert headers_of("azure", **AZURE)["authorization"] == "Bearer eyJ0-set"
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "a-key")
    assert headers_of("azure", **AZURE)["api-key"] == "a-key"


# -- Vertex


def test_a_key_of_googles_is_sent_as_a_key_and_needs_no_project() -> None:
    made = endpoint("vertex", api_key="AIzaSyB-12")
    assert (
        headers_of("vertex", api_key="AIzaSyB-12", model="gemini-2.5-flash")["x-goog-api-key"] == "AIzaSyB-12"
    )
    assert made.base_url == "https://aiplatform.googleapis.com"
    assert made.defaults["express"] is True


def test_any_other_key_at_vertex_is_an_access_token() -> None:
    place = {"project": "p", "location": "us-east5"}
    made = endpoint("vertex", api_key="ya29.a0", **place)
    assert headers_of("vertex", api_key="ya29.a0", **place)["authorization"] == "Bearer ya29.a0"
    assert "express" not in made.defaults


@pytest.mark.parametrize(
    ("location", "base_url"),
    [
        ("us-east5", "https://us-east5-aiplatform.googleapis.com"),
        ("global", "https://aiplatform.googleapis.com"),
        ("us", "https://aiplatform.us.rep.googleapis.com"),
        ("eu", "https://aiplatform.eu.rep.googleapis.com"),
    ],
)
def test_the_location_decides_the_host_of_vertex(location: str, base_url: str) -> None:
    assert endpoint("vertex", api_key="ya29.a0", project="p", location=location).base_url == base_url
