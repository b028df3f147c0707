"""`iModel("PROVIDER/MODEL")` and `ask`: one call that returns its response or raises its error."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from callgate import AuthenticationError, ConfigurationError, iModel
from callgate.testing import Simulator
from callgate.testing.clock import run_virtual
from tests.composition.scripted_model import make_model


class Moon(BaseModel):
    radius_km: int


def payload_of(*args: Any, **keywords: Any) -> dict[str, Any]:
    model, backend = make_model("fine")
    response = run_virtual(model.ask(*args, **keywords))
    assert response.text == "fine"
    payload: dict[str, Any] = backend.callings[0].payload
    return payload


def test_a_text_becomes_a_conversation() -> None:
    assert payload_of("How big is the moon?", system="Be brief.", max_tokens=5) == {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "How big is the moon?"},
        ],
        "max_tokens": 5,
    }


def test_a_conversation_is_sent_as_it_is_and_not_changed() -> None:
    messages = [{"role": "user", "content": "Hi"}]
    assert payload_of(messages, temperature=0.0, seed=7) == {
        "messages": messages,
        "temperature": 0.0,
        "seed": 7,
    }
    payload_of(messages, system="Be brief.")
    assert messages == [{"role": "user", "content": "Hi"}]


def test_each_named_parameter_is_sent_and_none_leaves_the_models_own() -> None:
    parameters: dict[str, Any] = {
        "tools": [],
        "tool_choice": "none",
        "temperature": 0.0,
        "top_p": 1,
        "max_tokens": 5,
        "stop": ["."],
        "seed": 0,
        "reasoning_effort": "low",
    }
    sent = payload_of("Hi", **parameters, top_k=3)
    sent.pop("messages")
    assert sent == {**parameters, "top_k": 3}
    assert payload_of("Hi", **dict.fromkeys(parameters)).keys() == {"messages"}


def test_invoke_takes_a_prompt_and_a_system_prompt() -> None:
    model, backend = make_model("fine")
    run_virtual(model.invoke(prompt="Hi", system="Be brief."))
    assert backend.callings[0].payload == {"prompt": "Hi", "system": "Be brief."}


def test_messages_go_by_their_name_too() -> None:
    messages = [{"role": "user", "content": "Hi"}]
    assert payload_of(messages=messages) == {"messages": messages}


@pytest.mark.parametrize("given", [{}, {"prompt": "Hi", "messages": [{"role": "user", "content": "Hi"}]}])
def test_neither_a_prompt_nor_messages_is_refused_and_so_are_both(given: dict[str, Any]) -> None:
    model, _ = make_model("fine")
    with pytest.raises(ConfigurationError, match="ask takes a prompt or messages"):
        run_virtual(model.ask(**given))


@pytest.mark.parametrize("prompt", [5, {"role": "user", "content": "Hi"}])
def test_a_prompt_of_another_type_is_refused(prompt: Any) -> None:
    model, _ = make_model("fine")
    with pytest.raises(ConfigurationError, match="ask takes a text or a list of messages, got (int|dict)"):
        run_virtual(model.ask(prompt))


def test_a_response_model_is_parsed() -> None:
    model, _ = make_model('{"radius_km": 1737}')
    assert run_virtual(model.ask("How big?", response_model=Moon)).parsed == Moon(radius_km=1737)


def test_a_failed_call_raises_its_typed_error() -> None:
    model, _ = make_model(AuthenticationError("no such key", status_code=401))
    with pytest.raises(AuthenticationError, match="no such key"):
        run_virtual(model.ask("Hi"))


def test_the_sync_twin_of_ask() -> None:
    with Simulator(answers=["1737 km"]) as sim:
        model = iModel("openai/gpt-4o-mini", api_key="k", base_url=sim.base_url)
        assert model.ask_sync("How big is the moon?").text == "1737 km"
        model.close_sync()


@pytest.mark.parametrize("given", [("openai/gpt-4o-mini",), ()])
def test_a_name_with_its_provider_is_enough(given: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    model = iModel(*given) if given else iModel(model="openai/gpt-4o-mini")
    assert model.backend.defaults["model"] == "gpt-4o-mini"
    assert model.info.host is not None
    assert model.info.host.provider == "openai"
    asyncio.run(model.close())


@pytest.mark.parametrize(
    ("name", "message"),
    [("gpt-4o-mini", "did you mean openai/gpt-4o-mini"), ("/x", "names no provider"), ("opnai/x", "openai")],
)
def test_a_name_without_a_known_provider_is_refused_with_a_hint(name: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        iModel(name)
