"""Hosts that cannot hold an answer to a schema are asked for JSON, and told the schema in the prompt."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from pydantic import BaseModel

from callgate import iModel
from callgate.policies.structured.layer import answer_format
from callgate.providers.catalog import dialect_of
from callgate.providers.hosts import HOSTS, find_host
from callgate.testing import Simulator
from callgate.testing.simulator import Ask


class Planet(BaseModel):
    name: str
    moons: int = 0


WANTED = answer_format(Planet)
ASKED = {"role": "user", "content": "Which planet?"}
UNHELD = [("deepseek", "deepseek-chat"), ("groq", "llama-3.3-70b-versatile")]


def said(provider: str, model: str, *messages: Any, **request: Any) -> dict[str, Any]:
    """The body of a request with a schema, as this host is sent it."""
    asked = {"model": model, "messages": list(messages) or [ASKED], "response_format": WANTED, **request}
    before = json.dumps(asked)
    body: dict[str, Any] = json.loads(dialect_of(find_host(provider)).encode(asked).body)
    assert json.dumps(asked) == before, "the caller's request is left alone"
    return body


@pytest.mark.parametrize(("provider", "model"), UNHELD)
def test_the_schema_stands_in_a_system_message(provider: str, model: str) -> None:
    body = said(provider, model)
    assert body["response_format"] == {"type": "json_object"}
    system, user = body["messages"]
    assert user == ASKED
    assert system["role"] == "system"
    assert "JSON" in system["content"], "without this word they refuse json_object"
    assert json.dumps(WANTED["json_schema"]["schema"], separators=(",", ":")) in system["content"]


@pytest.mark.parametrize(("provider", "model"), UNHELD)
def test_it_joins_the_system_message_that_is_there(provider: str, model: str) -> None:
    body = said(provider, model, {"role": "system", "content": "Be brief."}, ASKED)
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert body["messages"][0]["content"].startswith("Be brief.\n\n")
    assert '"moons"' in body["messages"][0]["content"]


def test_a_description_of_the_answer_is_included() -> None:
    described = {**WANTED, "json_schema": {**WANTED["json_schema"], "description": "The largest one."}}
    body = said("deepseek", "deepseek-chat", response_format=described)
    assert "The largest one." in body["messages"][0]["content"]


@pytest.mark.parametrize("model", ["openai/gpt-oss-120b", "moonshotai/kimi-k2-instruct-0905"])
def test_models_of_the_same_host_that_can_be_held_are(model: str) -> None:
    body = said("groq", model)
    assert body["response_format"] == WANTED
    assert body["messages"] == [ASKED]


@pytest.mark.parametrize("form", [{"type": "json_object"}, {"type": "text"}])
def test_what_is_no_schema_passes_through(form: Any) -> None:
    body = said("deepseek", "deepseek-chat", response_format=form)
    assert body["response_format"] == form
    assert body["messages"] == [ASKED]


CHAT = [host for host in HOSTS.values() if host.dialect == "openai_chat"]
HELD = [host.provider for host in CHAT if host.quirks.schema_models is None]


@pytest.mark.parametrize("provider", HELD)
def test_every_other_host_of_the_chat_dialect_is_sent_the_schema_itself(provider: str) -> None:
    body = said(provider, "some-model")
    assert (body["response_format"], body["messages"]) == (WANTED, [ASKED])


@pytest.mark.parametrize(("provider", "model"), UNHELD)
def test_the_answer_is_validated_and_asked_for_again(provider: str, model: str) -> None:
    asks: list[Ask] = []

    def answer(ask: Ask) -> str:
        asks.append(ask)
        return '{"name": "Mars", "moons": 2}' if len(asks) == 2 else "Mars, of course."

    async def main() -> Any:
        async with Simulator(answers=answer) as sim:
            async with iModel(provider=provider, model=model, base_url=sim.base_url, api_key="k") as it:
                return await it.invoke(messages=[ASKED], response_model=Planet)

    calling = asyncio.run(main())
    assert calling.response.parsed == Planet(name="Mars", moons=2)
    assert [ask.json_object for ask in asks] == [True, True]
    assert calling.usage.output_tokens == 3 + 4, "both answers are paid"
    assert [message["role"] for message in asks[1].body["messages"]] == [
        "system",
        "user",
        "assistant",
        "user",
    ]
