"""A key appears nowhere: not in a repr, an error, a log, a traceback, a serialised model."""

import asyncio
import json
import logging
import traceback

import pytest
from pydantic import SecretStr

from callgate import Calling, iModel
from callgate.backends.config import EndpointConfig, ServiceEndpointConfig
from callgate.testing import Simulator

CANARY = "sk-canary-9f3b7c51"

# provider, model, whether the base URL ends in /v1, further settings
PROVIDERS = [
    ("openai", "gpt-4o-mini", True),
    ("openai_responses", "gpt-4o-mini", True),
    ("groq", "llama-3.3-70b-versatile", True),
    ("anthropic", "claude-sonnet-4-5", False),
    ("gemini", "gemini-2.5-flash", False),
]


def everything_said_of(calling: Calling, model: iModel) -> str:
    """All that a person could look at."""
    said = [repr(calling), repr(model), repr(model.backend), str(calling.headers), str(calling.logs)]
    said += [
        str(calling.error),
        repr(calling.error),
        str(calling.error_details),
        str(calling.response_headers),
    ]
    said += [str(calling.endpoint_url), json.dumps(model.to_dict()), repr(calling.execution)]
    if calling.error is not None:
        said += traceback.format_exception(calling.error)
        said += [repr(vars(calling.error))]
    return "\n".join(said)


@pytest.mark.parametrize(("provider", "name", "versioned"), PROVIDERS)
@pytest.mark.parametrize(
    "fault", [{}, {"keys": ["another"]}, {"faults": {"500": 1.0}}], ids=["ok", "401", "500"]
)
def test_a_key_is_never_shown(
    provider: str, name: str, versioned: bool, fault: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def scenario() -> str:
        async with Simulator(**fault) as sim:
            root = sim.base_url.removesuffix("/v1")
            base_url = root + "/v1" if versioned else root
            async with iModel(
                provider=provider, base_url=base_url, model=name, api_key=SecretStr(CANARY), retry_config=None
            ) as model:
                calling = await model.invoke(messages=[{"role": "user", "content": "Hello"}], max_tokens=5)
                assert calling.done
                assert (calling.error is None) == (not fault)
                return everything_said_of(calling, model)

    assert CANARY not in asyncio.run(scenario())
    assert CANARY not in caplog.text


def test_a_model_is_written_down_without_its_key_and_restored_from_the_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEST_PROVIDER_KEY", CANARY)
    model = iModel(
        provider="anthropic", api_key="TEST_PROVIDER_KEY", model="claude-sonnet-4-5", limit_requests=50
    )
    written = json.dumps(model.to_dict())
    assert CANARY not in written
    assert "TEST_PROVIDER_KEY" in written
    restored = iModel.from_dict(json.loads(written))
    assert restored.id != model.id
    assert restored.to_dict() == model.to_dict()
    monkeypatch.delenv("TEST_PROVIDER_KEY")
    with pytest.raises(ValueError, match="TEST_PROVIDER_KEY"):
        iModel.from_dict(json.loads(written))


def test_a_raw_key_is_cleared_when_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    model = iModel(provider="anthropic", api_key=SecretStr(CANARY), model="claude-sonnet-4-5")
    written = model.to_dict()
    assert CANARY not in json.dumps(written)
    with pytest.raises(ValueError, match="ANTHROPIC_API_KEY"):
        iModel.from_dict(written)


@pytest.mark.parametrize(
    "config",
    [
        ServiceEndpointConfig(
            name="s", transport_type="http", base_url="https://api.example.com", api_key=CANARY
        ),
        EndpointConfig(
            name="e", provider="openai", endpoint="x", api_key=CANARY, default_headers={"X-Api-Key": CANARY}
        ),
    ],
)
def test_a_configuration_does_not_show_its_key(config: EndpointConfig | ServiceEndpointConfig) -> None:
    assert CANARY not in repr(config)
    assert CANARY not in config.model_dump_json()


def test_a_key_with_a_line_break_is_refused_without_being_shown() -> None:
    with pytest.raises(ValueError, match="control character|line break") as caught:
        iModel(provider="openai", api_key=SecretStr(CANARY + "\r\nx-evil: 1"), model="m")
    assert CANARY not in str(caught.value)
