"""A key appears in no repr, error, log, traceback, cache, journal or serialised model."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from callgate import (
    APIClientError,
    Calling,
    CircuitBreaker,
    ConfigurationError,
    Endpoint,
    HookPhase,
    HookRegistry,
    SdkTransportConfig,
    ServiceEndpointConfig,
    iModel,
)
from callgate.backends.config import EndpointConfig
from callgate.providers.hosts import HOSTS
from callgate.testing import Simulator
from tests.composition.provider_setups import PROVIDER_SETUPS, ProviderSetup
from tests.documents.http_service import Request, serve_in_thread
from tests.frames import variables_in_sight

CANARY = "sk-canary-9f3b7c51"
HELLO = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}
APIS = [setup for setup in PROVIDER_SETUPS if not setup.command]
KEYED = [setup for setup in APIS if "api_key" in setup.settings]
title = {"ids": lambda value: getattr(value, "title", None)}


def canary_settings(setup: ProviderSetup) -> dict[str, Any]:
    """What lets the setup in, with the canary in every place of a secret."""
    if "api_key" in setup.settings:
        return {"api_key": SecretStr(CANARY)}
    return {"access_key": "AKIDCANARY", "secret_key": CANARY, "session_token": CANARY + "-token"}


def all_texts_of(calling: Calling, model: iModel) -> str:
    """All that a person could look at."""
    said = [repr(calling), repr(model), repr(model.backend), str(calling.headers), str(calling.logs)]
    said += [str(calling.response_headers), str(calling.response_body), str(calling.error_details)]
    said += [str(calling.endpoint_url), json.dumps(model.to_dict()), repr(calling.execution)]
    for failure in [calling.error, *(each.error for each in calling.attempts)]:
        if failure is not None:
            said += [str(failure), repr(failure), repr(vars(failure)), *traceback.format_exception(failure)]
            said += [f"{where} = {shown}" for where, shown in variables_in_sight(failure)]
    return "\n".join(said)


async def made(model: iModel, **request: Any) -> str:
    """One plain and one streamed call, and all that is said of them."""
    calling = await model.invoke(**request)
    streamed = await model.invoke_stream_with_channel(**request)
    with suppress(APIClientError):
        await streamed.response()
    said = all_texts_of(calling, model) + all_texts_of(streamed.calling, model)
    return said + repr(streamed)


# -- calls -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setup", APIS, **title)
@pytest.mark.parametrize(
    "fault",
    [
        {},
        {"keys": ["another"]},
        {"faults": {"500": 1.0}},
        {"faults": {"reset": 1.0}},
        {"faults": {"garbage": 1.0}},
    ],
    ids=["ok", "401", "500", "reset", "garbage"],
)
def test_a_key_is_never_shown(
    setup: ProviderSetup, fault: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def scenario() -> str:
        async with Simulator(**fault) as sim:
            async with setup.model_at(sim.url, **canary_settings(setup)) as model:
                return await made(model, **HELLO)

    assert CANARY not in asyncio.run(scenario())
    assert CANARY not in caplog.text


@pytest.mark.parametrize("setup", APIS, **title)
@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "https://127.0.0.1:9"])
def test_a_connection_that_is_refused_shows_no_key(setup: ProviderSetup, url: str) -> None:
    async def scenario() -> str:
        async with setup.model_at(url, **canary_settings(setup)) as model:
            return await made(model, **HELLO)

    assert CANARY not in asyncio.run(scenario())


def quoted(request: Request) -> str:
    """The credential as it came."""
    names = ("authorization", "x-api-key", "x-goog-api-key", "api-key", "x-amz-security-token")
    return " ".join(request.headers[name] for name in names if name in request.headers)


def as_error(request: Request) -> Any:
    said = f"Incorrect API key provided: {quoted(request)}."
    error = {"message": said, "type": "invalid_request_error", "code": "invalid_api_key"}
    return 401, {"X-Debug": quoted(request)}, {"type": "error", "message": said, "error": error}


def as_text(request: Request) -> Any:
    return 403, {}, f"<html>forbidden: {quoted(request)}</html>"


def at_the_cut(request: Request) -> Any:
    """A message so long that it is cut short within the key."""
    said = "x" * (995 - len(quoted(request)) + len(CANARY)) + quoted(request)
    return 500, {}, {"message": said, "error": {"message": said, "type": "server_error"}}


def as_answer(request: Request) -> Any:
    """A status of 200, and an error all the same."""
    return 200, {}, {"error": {"message": f"no such key: {quoted(request)}", "code": 401, "type": "e"}}


def as_event(request: Request) -> Any:
    event = {"type": "error", "error": {"message": f"no such key: {quoted(request)}", "type": "e"}}
    data = f"event: error\ndata: {json.dumps(event)}\n\n"
    return 200, {"Content-Type": "text/event-stream"}, data.encode()


@pytest.mark.parametrize("setup", APIS, **title)
@pytest.mark.parametrize("quoting", [as_error, as_text, at_the_cut, as_answer, as_event])
def test_a_key_that_the_provider_quotes_is_taken_out(
    setup: ProviderSetup, quoting: Callable[[Request], Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def scenario(url: str) -> str:
        async with setup.model_at(url, **canary_settings(setup)) as model:
            return await made(model, **HELLO)

    with serve_in_thread(quoting) as service:
        said = asyncio.run(scenario(service.url))
        assert any(CANARY in quoted(request) for request in service.requests), "it has been there"
    assert CANARY[:12] not in said
    assert CANARY[:12] not in caplog.text


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_key_that_comes_back_through_an_official_sdk_is_taken_out(
    provider: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    method = {"openai": "chat.completions.create", "anthropic": "messages.create"}[provider]

    async def scenario(url: str) -> str:
        config = ServiceEndpointConfig(
            name="sdk",
            transport_type="sdk",
            api_key=SecretStr(CANARY),
            base_url=url,
            sdk_config=SdkTransportConfig(sdk_provider_name=provider, default_sdk_method_name=method),
        )
        async with Endpoint(config, retry_config=None) as endpoint, iModel(backend=endpoint) as model:
            calling = await model.invoke(model="m", **HELLO)
            assert calling.error is not None
            return all_texts_of(calling, model)

    with serve_in_thread(as_error) as service:
        said = asyncio.run(scenario(service.url))
        assert CANARY in quoted(service.requests[0])
    assert CANARY not in said
    assert CANARY not in caplog.text


@pytest.mark.parametrize("quoting", [as_error, at_the_cut])
def test_a_key_that_comes_back_through_a_command_is_taken_out(
    quoting: Callable[[Request], Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    (setup,) = (setup for setup in PROVIDER_SETUPS if setup.command)
    env = {"HOME": str(tmp_path), "ANTHROPIC_API_KEY": CANARY, "CLAUDE_CODE_MAX_RETRIES": "0"}

    async def scenario(url: str) -> str:
        async with setup.model_at(url, env=env) as model:
            calling = await model.invoke(**HELLO)
            assert calling.error is not None
            said = [repr(calling), repr(model), repr(model.backend), str(calling.logs)]
            said += [str(calling.error), repr(vars(calling.error)), str(calling.error_details)]
            return "".join(said)

    with serve_in_thread(quoting) as service:
        said = asyncio.run(scenario(service.url))
        assert any(CANARY in quoted(request) for request in service.requests), "it has been there"
    assert CANARY not in said
    assert CANARY not in caplog.text


def test_hooks_see_no_key() -> None:
    said: list[str] = []

    def note(event: Calling, **_: Any) -> None:
        said.append(f"{event!r} {event.headers} {event.payload} {event.execution} {event.error_details}")

    async def scenario(url: str) -> None:
        hooks = HookRegistry(dict.fromkeys(HookPhase, note))
        setup = KEYED[0]
        async with setup.model_at(url, api_key=SecretStr(CANARY), hook_registry=hooks) as model:
            await model.invoke(**HELLO)

    with serve_in_thread(as_error) as service:
        asyncio.run(scenario(service.url))
    assert len(said) == 3
    assert CANARY not in "".join(said)


# -- files -----------------------------------------------------------------------------------------------


def test_a_batch_leaves_no_key_in_its_files_or_on_the_terminal(tmp_path: Path) -> None:
    """Answers, errors, journal, cache: every byte of them."""

    def half_refused(request: Request) -> Any:
        if "row 1" in request.json["messages"][0]["content"]:
            return 400, {}, as_error(request)[2]
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Yes."}}
        return 200, {}, {"id": "1", "object": "chat.completion", "model": "m", "choices": [choice]}

    rows = [{"custom_id": str(number), "prompt": f"row {number}"} for number in range(12)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with serve_in_thread(half_refused) as service:
        command = ["run", "in.jsonl", "-m", "openai/m", "-o", "out.jsonl", "--cache", "cache"]
        ended = subprocess.run(
            [sys.executable, "-m", "callgate", *command, "--base-url", service.url + "/v1"],
            cwd=tmp_path,
            env={**os.environ, "OPENAI_API_KEY": CANARY},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ended.returncode == 1, ended.stderr
        assert CANARY in quoted(service.requests[0])
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(b"Yes." in path.read_bytes() for path in written)
    assert any(b"Incorrect API key" in path.read_bytes() for path in written)
    for path in written:
        assert CANARY.encode() not in path.read_bytes(), path.name
    assert CANARY not in ended.stdout + ended.stderr


def test_a_cache_holds_no_key(tmp_path: Path) -> None:
    async def scenario() -> str:
        async with Simulator() as sim:
            setup = KEYED[0]
            async with setup.model_at(sim.url, api_key=SecretStr(CANARY), cache=tmp_path / "c") as model:
                first, second = await model.invoke(**HELLO), await model.invoke(**HELLO)
                assert (first.cached, second.cached) == (False, True)
                return all_texts_of(second, model)

    assert CANARY not in asyncio.run(scenario())
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not any(CANARY.encode() in path.read_bytes() for path in files)


# -- models written down ---------------------------------------------------------------------------------


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the clouds want to know besides a key."""
    for variable, value in {
        "AWS_REGION": "us-east-1",
        "AZURE_OPENAI_ENDPOINT": "https://resource.openai.azure.com",
        "GOOGLE_CLOUD_PROJECT": "project",
        "GOOGLE_CLOUD_LOCATION": "us-east5",
        "TEST_PROVIDER_KEY": CANARY,
    }.items():
        monkeypatch.setenv(variable, value)


@pytest.mark.parametrize("provider", [host.provider for host in HOSTS.values() if not host.embedded])
@pytest.mark.usefixtures("places")
def test_a_model_of_every_provider_is_written_down_without_its_key_and_restored(provider: str) -> None:
    model = iModel(
        provider=provider,
        api_key="TEST_PROVIDER_KEY",
        model="m",
        temperature=0.5,
        limit_requests=50,
        circuit_breaker=CircuitBreaker(failure_threshold=7),
        name="mine",
    )
    written = json.dumps(model.to_dict())
    assert CANARY not in written
    assert "TEST_PROVIDER_KEY" in written
    restored = iModel.from_dict(json.loads(written))
    assert restored.id != model.id
    assert (restored.name, restored.tags) == ("mine", model.tags)
    assert restored.to_dict() == model.to_dict() == json.loads(written)
    assert restored.backend.circuit_breaker.failure_threshold == 7
    assert CANARY not in repr(restored) + repr(restored.backend)


@pytest.mark.parametrize("provider", ["openai", "gemini", "groq", "anthropic", "vertex", "claude_code"])
@pytest.mark.usefixtures("places")
def test_a_missing_variable_is_named(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = iModel(provider=provider, api_key="TEST_PROVIDER_KEY", model="m").to_dict()
    monkeypatch.delenv("TEST_PROVIDER_KEY")
    with pytest.raises(ValueError, match="TEST_PROVIDER_KEY"):
        iModel.from_dict(written)


@pytest.mark.parametrize("setup", APIS, **title)
def test_a_restored_model_works(setup: ProviderSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_PROVIDER_KEY", CANARY)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDCANARY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    # AWS keys have no name of a variable: the usual ones are read again.
    named = {"api_key": "TEST_PROVIDER_KEY"}
    settings = named if setup in KEYED else {"access_key": None, "secret_key": None}

    async def scenario() -> None:
        async with Simulator(keys=[CANARY, "AKIDCANARY"], answers=["one", "two"]) as sim:
            async with setup.model_at(sim.url, **settings, max_tokens=50) as model:
                assert (await model.invoke(**HELLO)).response.text == "one"
                written = json.dumps(model.to_dict())
            assert CANARY not in written
            async with iModel.from_dict(json.loads(written)) as restored:
                assert (await restored.invoke(**HELLO)).response.text == "two"

    asyncio.run(scenario())


def test_a_raw_key_is_cleared_when_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    model = iModel(provider="anthropic", api_key=SecretStr(CANARY), model="claude-sonnet-4-5")
    written = model.to_dict()
    assert CANARY not in json.dumps(written)
    with pytest.raises(ValueError, match="ANTHROPIC_API_KEY"):
        iModel.from_dict(written)


@pytest.mark.parametrize(
    "settings",
    [
        {"provider": "bedrock", "access_key": "AKID", "secret_key": CANARY, "session_token": CANARY},
        {"provider": "openai", "api_key": "k", "headers": {"Helicone-Auth": CANARY, "Cookie": CANARY}},
        {"provider": "openai", "api_key": "k", "headers": {"Ocp-Apim-Subscription-Key": CANARY}},
    ],
)
@pytest.mark.usefixtures("places")
def test_no_other_secret_is_written_down_or_shown(settings: dict[str, Any]) -> None:
    model = iModel(model="m", **settings)
    assert CANARY not in json.dumps(model.to_dict())
    assert CANARY not in repr(model) + repr(model.backend) + repr(model.backend.config)


def test_a_service_account_is_not_written_down() -> None:
    config = EndpointConfig(
        name="v",
        provider="vertex",
        endpoint="x",
        client_kwargs={"location": "us-east5", "service_account": {"private_key": CANARY}},
    )
    assert CANARY not in config.model_dump_json()
    assert CANARY not in repr(config)
    assert "us-east5" in config.model_dump_json()


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


def frames_of(wrong: dict[str, Any]) -> str:
    """All that a failed constructor shows, with the local variables of its frames."""
    with pytest.raises(ConfigurationError) as caught:
        iModel(**{"provider": "openai", "model": "m", "api_key": "k", **wrong})
    shown = [f"{where} = {value}" for where, value in variables_in_sight(caught.value)]
    return "\n".join([*traceback.format_exception(caught.value), *shown])


@pytest.mark.parametrize(
    "wrong",
    [
        {"base_url": f"https://api.example/v1?key={CANARY}"},
        {"base_url": f"https://api.example/v1#{CANARY}"},
        {"api_kye": CANARY},
        {"provider": CANARY},
        {"headers": f"Authorization: Bearer {CANARY}"},
        {"headers": {"Authorization": f"Bearer {CANARY}\n"}},
        {"client_kwargs": {"auth": ("user", CANARY)}},
    ],
    ids=str,
)
def test_a_key_in_the_wrong_place_is_not_shown(wrong: dict[str, Any]) -> None:
    assert CANARY not in frames_of(wrong)


def test_settings_in_the_place_of_a_model_are_not_quoted() -> None:
    with pytest.raises(ConfigurationError, match="got list") as caught:
        iModel("openai/gpt-4o-mini", api_key="k", fallbacks=[{"api_key": CANARY}])  # type: ignore[list-item]
    assert CANARY not in str(caught.value)
