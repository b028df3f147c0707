"""Vertex: the model's name decides where a request goes and in whose words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from callgate.errors import ConfigurationError, InvalidRequestError
from callgate.providers.catalog import find_dialect
from callgate.providers.vertex.dialect import Vertex
from tests.providers.conformance import DialectConformance, read_stream

DIALECT = Vertex("my-project", "us-east5")
USER = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
PARENT = "/v1/projects/my-project/locations/us-east5"


class TestConformance(DialectConformance):
    dialect = DIALECT
    recorded = "vertex"


@pytest.mark.parametrize("name", ["claude-sonnet-4-5@20250929", "anthropic/claude-sonnet-4-5@20250929"])
def test_claude_goes_to_raw_predict_in_anthropics_words(name: str) -> None:
    wire = DIALECT.encode({"model": name, "messages": [USER], "max_tokens": 5, "seed": 1})
    assert wire.path == f"{PARENT}/publishers/anthropic/models/claude-sonnet-4-5@20250929:rawPredict"
    assert json.loads(wire.body) == {
        "anthropic_version": "vertex-2023-10-16",
        "max_tokens": 5,
        "messages": [USER],
    }


def test_a_stream_of_claudes() -> None:
    wire = DIALECT.encode({"model": "claude-opus-4-1", "messages": [USER]}, stream=True)
    assert wire.path == f"{PARENT}/publishers/anthropic/models/claude-opus-4-1:streamRawPredict"
    assert json.loads(wire.body)["stream"] is True
    assert wire.stream


@pytest.mark.parametrize("stream", [False, True])
def test_every_other_model_goes_to_the_openai_endpoint(stream: bool) -> None:
    name = "meta/llama3-405b-instruct-maas"
    wire = DIALECT.encode({"model": name, "messages": [USER], "seed": 1}, stream=stream)
    assert wire.path == f"{PARENT}/endpoints/openapi/chat/completions"
    body = json.loads(wire.body)
    assert (body["model"], body["seed"], body.get("stream", False)) == (name, 1, stream)


GEMINI = "gemini-2.5-flash"


@pytest.mark.parametrize("name", [GEMINI, f"google/{GEMINI}", f"publishers/google/models/{GEMINI}"])
def test_gemini_is_asked_natively(name: str) -> None:
    wire = DIALECT.encode({"model": name, "messages": [USER], "max_tokens": 5})
    assert wire.path == f"/v1beta1{PARENT[3:]}/publishers/google/models/{GEMINI}:generateContent"
    assert json.loads(wire.body) == {
        "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
        "generationConfig": {"maxOutputTokens": 5},
    }
    streamed = DIALECT.encode({"model": name, "messages": [USER]}, stream=True)
    assert streamed.path.endswith(":streamGenerateContent?alt=sse")


def test_gemini_with_a_key_of_express_mode_needs_no_project() -> None:
    wire = Vertex().encode({"model": GEMINI, "prompt": "Hi", "express": True, "service_tier": "flex"})
    assert wire.path == f"/v1beta1/publishers/google/models/{GEMINI}:generateContent"
    assert "express" not in json.loads(wire.body)
    with pytest.raises(ConfigurationError, match="project"):
        Vertex().encode({"model": "claude-opus-4-1", "prompt": "Hi", "express": True})


@pytest.mark.parametrize(
    ("tier", "headers"),
    [
        ("auto", {}),
        ("default", {}),
        (
            "flex",
            {
                "x-vertex-ai-llm-request-type": "shared",
                "x-vertex-ai-llm-shared-request-type": "flex",
                "x-server-timeout": "1800",
            },
        ),
        (
            "priority",
            {"x-vertex-ai-llm-request-type": "shared", "x-vertex-ai-llm-shared-request-type": "priority"},
        ),
    ],
)
def test_service_tier_of_gemini_is_sent_in_headers(tier: str, headers: dict[str, str]) -> None:
    request = {"model": GEMINI, "prompt": "Hi", "service_tier": tier}
    wire = DIALECT.encode({**request, "location": "global"})
    assert dict(wire.headers) == headers
    assert "serviceTier" not in json.loads(wire.body)
    if headers:
        with pytest.raises(InvalidRequestError, match="location 'global' only"):
            DIALECT.encode(request)


@pytest.mark.parametrize("model", ["claude-opus-4-1", "meta/llama3-405b-instruct-maas"])
def test_other_models_have_the_standard_tier_only(model: str) -> None:
    request = {"model": model, "prompt": "Hi", "service_tier": "flex", "location": "global"}
    with pytest.raises(InvalidRequestError, match="no service_tier 'flex'"):
        DIALECT.encode(request)
    wire = DIALECT.encode({**request, "service_tier": "default"})
    assert "service_tier" not in json.loads(wire.body)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"model": GEMINI, "tools": [TOOL], "web_search_options": {}}, "no web search beside functions"),
        ({"model": "claude-opus-5", "speed": "fast"}, "only Anthropic's own API"),
        ({"model": "claude-opus-5", "inference_geo": "us"}, "the region"),
    ],
)
def test_what_vertex_lacks_and_what_changes_the_answer_is_refused(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidRequestError, match=why):
        DIALECT.encode({"prompt": "Hi", **fields})


def test_betas_and_web_search_of_claude() -> None:
    wire = DIALECT.encode(
        {"model": "claude-opus-5", "prompt": "Hi", "betas": ["b-1"], "web_search_options": {}}
    )
    assert dict(wire.headers) == {"anthropic-beta": "b-1"}
    body = json.loads(wire.body)
    assert body["tools"] == [{"type": "web_search_20250305", "name": "web_search"}]
    assert "betas" not in body


GEMINIS = {
    "candidates": [{"content": {"parts": [{"text": "Hi"}]}, "finishReason": "STOP"}],
    "modelVersion": GEMINI,
}


@pytest.mark.parametrize(
    "body",
    [
        f"data: {json.dumps(GEMINIS)}\n\n",
        json.dumps(GEMINIS),
        json.dumps([GEMINIS]),
        json.dumps(GEMINIS) + "\n\ndata: [DONE]\n\n",
    ],
)
def test_an_answer_of_gemini_is_read_in_every_form(body: str) -> None:
    _, streamed = read_stream(DIALECT, [body.encode()], {})
    whole = DIALECT.decode(body.encode(), {})
    for response in (streamed, whole):
        assert (response.text, response.finish_reason, response.model) == ("Hi", "stop", GEMINI)


def test_a_requests_own_project_and_location_go_before_the_dialects_and_are_not_sent() -> None:
    request: dict[str, Any] = {"model": "meta/x", "messages": [USER], "project": "p/q", "location": "global"}
    wire = DIALECT.encode(request)
    assert wire.path == "/v1/projects/p%2Fq/locations/global/endpoints/openapi/chat/completions"
    assert json.loads(wire.body) == {"model": "meta/x", "messages": [USER]}


@pytest.mark.parametrize(("given", "missing"), [({}, "project"), ({"project": "p"}, "location")])
def test_without_project_or_location_nothing_is_sent(given: dict[str, str], missing: str) -> None:
    with pytest.raises(ConfigurationError, match=missing):
        find_dialect("vertex").encode({"model": "meta/x", "messages": [USER], **given})


def test_the_callers_own_path_goes_before_ours() -> None:
    for model in ("meta/x", "claude-opus-4-1"):
        assert Vertex().encode({"model": model, "messages": [USER]}, path="/v1/own").path == "/v1/own"


def test_a_claude_of_another_publisher_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="its name alone"):
        DIALECT.encode({"model": "us.anthropic/claude-3", "messages": [USER]})
