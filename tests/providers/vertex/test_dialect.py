"""Vertex: the model's name decides where a request goes and in whose words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from callgate.errors import ConfigurationError, InvalidRequestError
from callgate.providers.catalog import find_dialect
from callgate.providers.vertex.dialect import Vertex
from tests.providers.conformance import DialectConformance

DIALECT = Vertex("my-project", "us-east5")
USER = {"role": "user", "content": "Hi"}
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


@pytest.mark.parametrize("name", ["meta/llama3-405b-instruct-maas", "google/gemini-2.5-flash"])
@pytest.mark.parametrize("stream", [False, True])
def test_every_other_model_goes_to_the_openai_endpoint(name: str, stream: bool) -> None:
    wire = DIALECT.encode({"model": name, "messages": [USER], "seed": 1}, stream=stream)
    assert wire.path == f"{PARENT}/endpoints/openapi/chat/completions"
    body = json.loads(wire.body)
    assert (body["model"], body["seed"], body.get("stream", False)) == (name, 1, stream)


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
