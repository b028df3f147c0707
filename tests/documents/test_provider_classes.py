"""The provider classes of document 003 against the simulator's own verification of signatures and tokens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import genai_prices
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from callgate import Calling, ConfigurationError, Conversation, Engine, providers
from callgate.testing import Simulator

ACCESS, SECRET = "AKIAOFTHEDOCUMENTS", "secret/of+the=documents"
EMAIL = "batch@documents.iam.gserviceaccount.com"
KEY = "sk-of-the-documents-0123456789"


def complete(provider: Any, count: int = 12, path: Path | None = None, **settings: Any) -> list[Any]:
    talks = [Conversation.with_initial_message("Be short.", "user", f"How big is {n}?") for n in range(count)]
    engine = Engine(provider, path, **settings)
    return list(asyncio.run(engine.schedule_completions(talks, 0.3, "example")))


# OpenAI's format, wherever it is spoken


@pytest.mark.parametrize("path", ["", "/", "/chat/completions"])
def test_the_address_may_end_in_the_path_or_not(path: str) -> None:
    with Simulator(keys=[KEY]) as sim:
        provider = providers.OpenAICompatibleApiProvider(KEY, sim.base_url + path, model_id="gpt-4o-mini")
        assert all(each["response"] for each in complete(provider))
        assert sim.stats.by_status == {200: 12}


def test_the_key_may_be_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_OF_THE_DOCUMENTS", KEY)
    with Simulator(keys=[KEY]) as sim:
        provider = providers.OpenAICompatibleApiProvider("KEY_OF_THE_DOCUMENTS", sim.base_url, model_id="m")
        assert all(each["response"] for each in complete(provider))


def test_parameters_of_every_request_are_set_on_the_provider() -> None:
    def answers(ask: Any) -> str:
        return json.dumps({name: ask.body.get(name) for name in ("model", "top_p", "temperature")})

    with Simulator(answers=answers) as sim:
        provider = providers.OpenAICompatibleApiProvider(KEY, sim.base_url, model_id="m-1", top_p=0.5)
        [one] = complete(provider, 1)
    told = json.loads(one["response"]["choices"][0]["message"]["content"])
    assert told == {"model": "m-1", "top_p": 0.5, "temperature": 0.3}


# Claude at Bedrock, signed


def test_claude_at_bedrock_is_asked_with_a_signature_that_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    with Simulator(aws_secrets={ACCESS: SECRET}, answers=asked.append) as sim:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", sim.url)
        completions = complete(providers.AwsAnthropicProvider(ACCESS, SECRET))
        assert sim.stats.by_status == {200: 12}
    assert {each.model for each in asked} == {"anthropic.claude-3-haiku-20240307-v1:0"}
    assert all(each.body["max_tokens"] > 0 and each.body["system"] for each in asked)
    expected = [0, 0, 0.0, 0.0]
    for each in completions:
        assert each["response"]["content"][0]["type"] == "text"  # the provider's own JSON
        told = each["response"]["usage"]
        price = genai_prices.calc_price(
            genai_prices.Usage(input_tokens=told["input_tokens"], output_tokens=told["output_tokens"]),
            "anthropic.claude-3-haiku-20240307-v1:0",
            provider_id="aws",
        )
        parts = (told["input_tokens"], told["output_tokens"], price.input_price, price.output_price)
        expected = [have + float(part) for have, part in zip(expected, parts, strict=True)]
    monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "http://127.0.0.1:9")
    cost = Engine(providers.AwsAnthropicProvider(ACCESS, SECRET), None).get_cost_from_completions(completions)
    assert [cost["input_tokens"], cost["output_tokens"]] == expected[:2]
    assert [cost["input_cost"], cost["output_cost"]] == [pytest.approx(each) for each in expected[2:]]
    assert cost["total_tokens_cost"] == pytest.approx(sum(expected[2:]))


@pytest.mark.parametrize("keys", [(ACCESS, "another secret"), ("AKIAUNKNOWN", SECRET)])
def test_a_wrong_aws_key_fails_each_entry_and_leaks_no_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, keys: tuple[str, str]
) -> None:
    with Simulator(aws_secrets={ACCESS: SECRET}) as sim:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", sim.url)
        completions = complete(providers.AwsAnthropicProvider(*keys), path=tmp_path)
        assert set(sim.stats.by_status) == {403}
        assert len(completions) == 12
        assert all(each["response"] is None and each["error"] for each in completions)
        assert keys[1] not in repr(completions)
        # Nothing of it was kept: with the right keys all are asked, and answered.
        assert all(
            each["response"]
            for each in complete(providers.AwsAnthropicProvider(ACCESS, SECRET), path=tmp_path)
        )
        assert sim.stats.by_status[200] == 12


def test_the_region_is_part_of_what_is_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    with Simulator(aws_secrets={ACCESS: SECRET}) as sim:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", sim.url)
        assert all(
            each["response"]
            for each in complete(providers.AwsAnthropicProvider(ACCESS, SECRET, region="eu-west-1"))
        )


# Llama at Vertex, with a token of Google's


@pytest.fixture(scope="module")
def key_pair() -> tuple[str, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private.decode(), public.decode()


@pytest.fixture
def google(key_pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    with Simulator(google_accounts={EMAIL: key_pair[1]}) as sim:
        monkeypatch.setenv("VERTEX_BASE_URL", sim.url)
        yield sim


def account(sim: Simulator, private_key: str, **changes: Any) -> dict[str, Any]:
    return {
        "type": "service_account",
        "project_id": "documents",
        "private_key_id": "1",
        "private_key": private_key,
        "client_email": EMAIL,
        "token_uri": f"{sim.url}/token",
        **changes,
    }


@pytest.mark.parametrize("form", [dict, json.dumps])
def test_llama_at_vertex_is_asked_with_a_token_issued_for_the_account(
    google: Simulator, key_pair: tuple[str, str], form: Any
) -> None:
    info = account(google, key_pair[0])
    completions = complete(providers.GcpBetaCompletionsProvider(form(info)))
    assert google.stats.by_status[200] >= 12
    assert set(google.stats.by_status) == {200}
    assert all(each["response"]["choices"][0]["message"]["content"] for each in completions)


def test_an_account_with_another_ones_key_fails_each_entry_and_leaks_nothing(google: Simulator) -> None:
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = stranger.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    completions = complete(providers.GcpBetaCompletionsProvider(account(google, private)))
    assert len(completions) == 12
    assert all(each["response"] is None and each["error"] for each in completions)
    assert "PRIVATE KEY" not in repr(completions)
    assert private.splitlines()[1] not in repr(completions)
    assert google.stats.output_tokens == 0


def test_a_token_that_has_run_out_is_replaced(
    key_pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask_twice(engine: Engine) -> list[Any]:
        talk = Conversation.with_initial_message("user", "How big is the moon?")
        first = await engine.schedule_completions([talk], 0.3, "example")
        await asyncio.sleep(1.1)  # the simulator's tokens run out by the clock on the wall
        return [*first, *await engine.schedule_completions([talk], 0.3, "example")]

    with Simulator(google_accounts={EMAIL: key_pair[1]}, google_token_seconds=1.0) as sim:
        monkeypatch.setenv("VERTEX_BASE_URL", sim.url)
        provider = providers.GcpBetaCompletionsProvider(account(sim, key_pair[0]))
        completions = asyncio.run(ask_twice(Engine(provider, None)))
    assert [each["response"] is not None for each in completions] == [True, True]


@pytest.mark.parametrize("broken", ["{", "[]", "{}", {}, {"client_email": EMAIL}])
def test_an_invalid_service_account_is_refused_at_once_and_not_shown(broken: str | Mapping[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        providers.GcpBetaCompletionsProvider(broken)


# One's own


class ReversingProvider(providers.AbstractProvider):  # type: ignore[misc]
    async def call(self, calling: Calling) -> dict[str, Any]:
        return {
            "answer": calling.payload["messages"][-1]["content"][::-1],
            "warm": calling.payload["temperature"],
        }


def test_a_provider_of_ones_own_gets_the_request_in_the_one_format_and_its_answer_comes_back() -> None:
    assert ReversingProvider().name == "ReversingProvider"
    completions = complete(ReversingProvider(), 2)
    assert [each["response"] for each in completions] == [
        {"answer": "?0 si gib woH", "warm": 0.3},
        {"answer": "?1 si gib woH", "warm": 0.3},
    ]


def test_an_error_of_a_users_provider_is_in_its_entry_only() -> None:
    class Moody(providers.AbstractProvider):  # type: ignore[misc]
        async def call(self, calling: Calling) -> str:
            if "5" in calling.payload["messages"][-1]["content"]:
                raise LookupError("not that one")
            return "fine"

    completions = complete(Moody())
    assert [bool(each.get("error")) for each in completions] == [number == 5 for number in range(12)]
    assert "not that one" in str(completions[5]["error"])
    assert completions[5]["response"] is None
    assert completions[4]["response"] == "fine"


# Tokens and prices mean the same for all of them


@pytest.mark.parametrize(
    ("name", "variable", "model", "catalogue"),
    [
        ("openai", "OPENAI_BASE_URL", "gpt-4o-mini", "openai"),
        ("anthropic", "ANTHROPIC_BASE_URL", "claude-sonnet-4-5", "anthropic"),
        ("gemini", "GOOGLE_GEMINI_BASE_URL", "gemini-2.5-flash", "google"),
    ],
)
def test_cache_reads_and_reasoning_are_counted_and_priced_the_same_for_every_provider(
    monkeypatch: pytest.MonkeyPatch, name: str, variable: str, model: str, catalogue: str
) -> None:
    with Simulator(cached_share=0.5, always_reason=True, reasoning_tokens=30) as sim:
        monkeypatch.setenv(variable, sim.base_url if name == "openai" else sim.url)
        monkeypatch.setenv(f"{name.upper()}_API_KEY", KEY)
        engine = Engine(name, None, model=model)
        talk = Conversation.with_initial_message("user", "What follows from it? " * 100)
        completions = asyncio.run(engine.schedule_completions([talk], 0.3, "example"))
        cost = engine.get_cost_from_completions(completions)
        [billed] = sim.stats.as_dict()["keys"].values()
    assert cost["input_tokens"] == billed["input_tokens"]
    assert cost["output_tokens"] == billed["output_tokens"] > 30
    assert billed["cached_tokens"] > 50
    price = genai_prices.calc_price(
        genai_prices.Usage(
            input_tokens=billed["input_tokens"],
            cache_read_tokens=billed["cached_tokens"],
            output_tokens=billed["output_tokens"],
        ),
        model,
        provider_id=catalogue,
    )
    assert cost["total_tokens_cost"] == pytest.approx(float(price.total_price))
    dear = genai_prices.calc_price(
        genai_prices.Usage(input_tokens=billed["input_tokens"], output_tokens=billed["output_tokens"]),
        model,
        provider_id=catalogue,
    )
    assert cost["total_tokens_cost"] is not None
    assert cost["total_tokens_cost"] < float(dear.total_price)  # reads are cheaper than reading anew
