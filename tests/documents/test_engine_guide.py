"""Every Python block of the batch document (003) runs against the simulator, and both outputs are as shown.

Hosts are all that is rewritten. The blocks import nothing, so the three names they use are given to them.
"""

from __future__ import annotations

import ast
import asyncio
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import callgate
from callgate.testing import Simulator
from tests.documents.blocks import REQUESTS_ENGINE, Block, complete, read_blocks, run

IMPORTED: dict[str, Any] = {"requests_engine": callgate, "os": os, "asyncio": asyncio}
BLOCKS = read_blocks(REQUESTS_ENGINE)
FENCED = read_blocks(REQUESTS_ENGINE, language="")


@pytest.fixture
def provide() -> Iterator[Callable[..., Simulator]]:
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(Simulator(**options))


def block(number: int, heading: str) -> Block:
    found = BLOCKS[number - 1]
    assert found.heading == heading
    return found


def shape(value: Any) -> Any:
    """The names and the kinds of values; null fits where the document shows null."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    return type(value).__name__


def fits(found: Any, shown: Any) -> bool:
    """Whether everything that the document shows is there, and of the same kind."""
    if isinstance(shown, dict):
        return isinstance(found, dict) and all(
            name in found and fits(found[name], shown[name]) for name in shown
        )
    if isinstance(shown, list):
        return isinstance(found, list) and len(found) == len(shown) and all(map(fits, found, shown))
    return type(found) is type(shown)


def test_the_document_has_three_blocks() -> None:
    assert [found.number for found in BLOCKS] == [1, 2, 3]


def test_block_1_answers_in_order_with_both_outputs_as_shown(
    provide: Callable[..., Simulator], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    answers = {
        "How big is the moon? ": "About 3,474 kilometers.",
        "How big is the sun?": "About 1.39 million kilometers.",
    }
    sim = provide(keys=["sk-x"], answers=lambda ask: answers[ask.text])
    names, _ = run(block(1, "Getting started"), {"https://api.openai.com": sim.url}, **IMPORTED)
    completions = names["completions"]
    shown = ast.literal_eval(FENCED[0].code)
    assert fits(completions, shown)
    texts = [one["response"]["choices"][0]["message"]["content"] for one in completions]
    assert texts == list(answers.values())
    assert len({one["request_hash"] for one in completions}) == 2
    assert all(
        len(one["request_hash"]) == len(two["request_hash"])
        for one, two in zip(completions, shown, strict=True)
    )

    cost = names["engine"].get_cost_from_completions(completions)
    assert shape(cost) == shape(ast.literal_eval(FENCED[1].code))
    assert cost["total_tokens"] == cost["input_tokens"] + cost["output_tokens"]
    assert (cost["input_tokens"], cost["output_tokens"]) == (sim.stats.input_tokens, sim.stats.output_tokens)
    assert cost["input_cost"] == pytest.approx(cost["input_tokens"] * 0.15e-6)
    assert cost["output_cost"] == pytest.approx(cost["output_tokens"] * 0.6e-6)

    again, _ = run(block(1, "Getting started"), {"https://api.openai.com": sim.url}, **IMPORTED)
    assert again["completions"] == completions
    assert sim.stats.requests == 2  # "duplicate requests will hit the cache instead of the endpoint"


def test_block_2_claude_on_bedrock(
    provide: Callable[..., Simulator], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sim = provide(aws_secrets={"AKID": "secret"})
    monkeypatch.setenv("AWS_ACCESS_KEY", "AKID")
    monkeypatch.setenv("AWS_SECRET_KEY", "secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", sim.url)
    names, _ = run(block(2, "AwsAnthropicProvider"), **IMPORTED)
    completions = ask(names["provider"])
    assert completions[0]["response"]["content"][0]["text"]
    assert sim.stats.answered == 1


def test_block_3_a_model_on_vertex(
    provide: Callable[..., Simulator],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    google_account: dict[str, Any],
) -> None:
    monkeypatch.chdir(tmp_path)
    sim = provide(google_accounts={google_account["client_email"]: google_account.pop("public_key")})
    monkeypatch.setenv("VERTEX_BASE_URL", sim.url)
    whole = complete(
        block(3, "GcpBetaCompletionsProvider"),
        "your_service_account_info_object).",
        "your_service_account_info_object)",
        reason="the sentence's full stop stands inside the block",
    )
    account = {**google_account, "token_uri": sim.url + "/token"}
    for given in (account, json.dumps(account)):
        names, _ = run(whole, **IMPORTED, your_service_account_info_object=given)
        completions = ask(names["provider"])
        assert completions[0]["response"]["choices"][0]["message"]["content"]


@pytest.fixture(scope="module")
def google_account() -> dict[str, Any]:
    """A service account made here, with its public key beside it."""
    rsa = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.rsa")
    from cryptography.hazmat.primitives import serialization as form

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    public = key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    return {
        "type": "service_account",
        "project_id": "a-project",
        "private_key_id": "1",
        "private_key": private.decode(),
        "client_email": "batch@a-project.iam.gserviceaccount.com",
        "public_key": public.decode(),
    }


def ask(provider: Any) -> Any:
    moon = callgate.Conversation.with_initial_message("Answer shortly.", "user", "How big is the moon?")
    completions = asyncio.run(callgate.Engine(provider).schedule_completions([moon], 0.3, "example"))
    assert "error" not in completions[0], completions[0]
    return completions
