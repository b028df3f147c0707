"""Switching the provider changes one string: every host of the table works from its environment variables."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

import pytest

from callgate import AuthenticationError, iModel
from callgate.providers.hosts import HOSTS, Host
from callgate.testing import Simulator

KEY = "sk-of-this-provider"
ASKED: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "How is Oslo?"},
    ],
    "temperature": 0.5,
    "top_p": 0.9,
    "max_tokens": 50,
    "stop": ["THE END"],
    "seed": 7,
}
ELSEWHERE = [host for host in HOSTS.values() if not (host.embedded or host.command)]
MODELS = {
    "anthropic": "claude-sonnet-4-5",
    "gemini": "gemini-2.5-flash",
    "bedrock": "amazon.nova-lite-v1:0",
    "bedrock_invoke": "anthropic.claude-3-haiku-20240307-v1:0",
    "vertex": "meta/llama-4-maverick",
}


def asked_of(host: Host) -> dict[str, Any]:
    """What is asked of every provider; the Responses dialect refuses stop sequences, for it has none."""
    if host.dialect == "openai_responses":
        return {name: value for name, value in ASKED.items() if name != "stop"}
    return ASKED


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets what this host's users set, with the simulator in the provider's place."""

    def set_for(host: Host, sim: Simulator) -> None:
        # The path of the provider's own base URL, for the simulator answers there as that provider does.
        path = urlsplit((host.base_url or "").replace("{region}", "r")).path
        assert host.base_url_env is not None
        monkeypatch.setenv(host.base_url_env, sim.url + path)
        if host.api_key_env is not None:
            monkeypatch.setenv(host.api_key_env, KEY)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-this-test")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "project")
        monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "us-east5")
        monkeypatch.setenv("OTHER_KEY", "sk-of-nobody")

    return set_for


@pytest.mark.parametrize("host", ELSEWHERE, ids=lambda host: host.provider)
def test_every_provider_takes_the_same_request(host: Host, environment: Any) -> None:
    # A Google token needs Google; a key in its place is what Google's own documents call an API key.
    settings = {"api_key": KEY} if host.auth == "google" else {}
    asked = asked_of(host)
    text = "Cold. THE END and more" if "stop" in asked else "Cold."

    async def main() -> None:
        async with Simulator(keys=[KEY], answers=lambda _: text) as sim:
            environment(host, sim)
            name = MODELS.get(host.provider, "some-model")
            async with iModel(provider=host.provider, model=name, **settings) as model:
                assert model.tags == {"llm", host.provider}
                assert model.name == host.name
                calling = await model.invoke(**asked)
                chunks = [chunk async for chunk in model.invoke_stream(**asked)]
            assert calling.response.text.strip() == "Cold."
            assert "".join(map(str, chunks)).strip() == "Cold."
            for response in (calling.response, chunks[-1].response):
                assert response.finish_reason == "stop"
                # Those that take no `stream_options` tell the usage unasked; the simulator does not.
                if response is calling.response or host.quirks.stream_options:
                    assert response.usage.input_tokens > 0
                    assert response.usage.output_tokens == 1
            assert len(calling.attempts) == 1
            assert sim.stats.accepted == 2

    asyncio.run(main())


# Google's tokens are looked at in tests/transport/test_auth.py: a key is none.
KEYED = [host for host in ELSEWHERE if host.auth != "google"]


# Amazon's keys come in pairs that sign the request, or alone as a bearer token, which goes before them.
@pytest.mark.parametrize(
    ("host", "bearer"),
    [(host, False) for host in KEYED] + [(host, True) for host in KEYED if host.auth == "sigv4"],
    ids=lambda value: value.provider if isinstance(value, Host) else "bearer" if value else "",
)
def test_every_provider_reports_a_wrong_key_as_an_authentication_error(
    host: Host, bearer: bool, environment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {} if host.auth == "sigv4" else {"api_key": "OTHER_KEY"}

    async def main() -> None:
        async with Simulator(keys=[KEY]) as sim:
            environment(host, sim)
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-nobody")
            if bearer:
                monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "of-nobody")
            else:
                monkeypatch.delenv("AWS_BEARER_TOKEN_BEDROCK", raising=False)
            name = MODELS.get(host.provider, "some-model")
            async with iModel(provider=host.provider, model=name, **settings) as model:
                calling = await model.invoke(**asked_of(host))
            assert isinstance(calling.error, AuthenticationError)
            assert len(calling.attempts) == 1, "nobody tries a wrong key twice"

    asyncio.run(main())
