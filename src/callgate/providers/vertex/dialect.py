"""Google's Vertex AI: Gemini natively, Claude in the Messages format, every other model in OpenAI's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from callgate.errors import APIClientError, ConfigurationError
from callgate.providers.anthropic import errors as anthropic_errors
from callgate.providers.anthropic.hosting import BETA_HEADER, add_web_search, refuse_anthropic_only
from callgate.providers.anthropic.models import is_claude
from callgate.providers.anthropic.request import write_body as write_claude
from callgate.providers.canonical.billing import Billing, CostBound
from callgate.providers.canonical.fields import merge_extra_body, read_betas, read_service_tier
from callgate.providers.canonical.json import read_object, write_json
from callgate.providers.canonical.json_dialect import JsonDialect
from callgate.providers.canonical.messages import read_model, refuse
from callgate.providers.dialect import StreamDecoder, WireRequest
from callgate.providers.gemini import errors as gemini_errors
from callgate.providers.gemini.dialect import method_of
from callgate.providers.gemini.models import is_gemini
from callgate.providers.gemini.request import SERVICE_TIERS, write_body as write_gemini
from callgate.providers.openai_chat.dialect import OpenAIChat
from callgate.providers.openai_chat.quirks import GOOGLE
from callgate.providers.vertex.answers import VertexStream, read_any
from callgate.providers.vertex.bounds import bill_vertex, bound_vertex
from callgate.response import Response

__all__ = ["Vertex"]

_ANTHROPIC_VERSION = "vertex-2023-10-16"
_OURS = frozenset({"project", "location", "region", "express"})
_STANDARD: Mapping[str, str | None] = dict.fromkeys(("auto", "default", "standard", "standard_only"))
_FLEX_TIMEOUT = "1800"
"""Seconds; the longest that Google lets a flex request wait."""


class Vertex(JsonDialect):
    """The dialect of Vertex. The model's name decides: Gemini goes to `generateContent`, Claude to
    `rawPredict`, the others ("meta/...") to `endpoints/openapi`.

    `service_tier` becomes Google's headers; flex and priority exist for Gemini at the location "global".

    Args:
        project: The Google Cloud project. A `project` of the request wins.
        location: The region, or "global". A `location` or `region` of the request wins.

    >>> wire = Vertex("my-project", "us-east5").encode({"model": "claude-opus-4@20250514", "prompt": "Hi"})
    >>> wire.path.rpartition("locations/")[2]
    'us-east5/publishers/anthropic/models/claude-opus-4@20250514:rawPredict'
    """

    name = "vertex"
    _read = staticmethod(read_any)

    def __init__(self, project: str | None = None, location: str | None = None) -> None:
        self._project = project
        self._location = location
        self._chat = OpenAIChat(GOOGLE)

    def encode(
        self, request: Mapping[str, Any], *, stream: bool = False, path: str | None = None
    ) -> WireRequest:
        """The request as JSON, under the path of the project and the location.

        Raises:
            ConfigurationError: The project or the location is not known.
            InvalidRequestError: It cannot be encoded: no model, no messages, a field that does not exist.
        """
        model = read_model(request)
        body = {name: value for name, value in request.items() if name not in _OURS}
        if is_claude(model):
            wire = _encode_claude(body, model, stream)
        elif is_gemini(model):
            wire = self._encode_gemini(request, body, model, stream)
        else:
            read_service_tier(request, _STANDARD, model)
            body.pop("service_tier", None)
            wire = self._chat.encode({**body, "model": model}, stream=stream)
            wire.path = f"/endpoints/openapi{wire.path}"
        wire.path = self._parent(request, model) + wire.path if path is None else "/" + path.lstrip("/")
        return wire

    def bound(self, wire: WireRequest, headers: Mapping[str, str]) -> CostBound:
        return bound_vertex(read_object(wire.body), wire.path, headers)

    def billing(self, response: Response, request: Mapping[str, Any]) -> Billing:
        return bill_vertex(response, request, self._location_of(request))

    def stream_decoder(self, headers: Mapping[str, str]) -> StreamDecoder:
        return VertexStream(headers)

    def error(self, status_code: int, body: bytes, headers: Mapping[str, str]) -> APIClientError:
        try:
            data = read_object(body)
        except APIClientError:
            data = {}
        if data.get("type") == "error":
            return anthropic_errors.error_of_content(data, status_code, headers)
        return gemini_errors.error_of_body(status_code, body, headers)

    def _encode_gemini(
        self, request: Mapping[str, Any], body: Mapping[str, Any], model: str, stream: bool
    ) -> WireRequest:
        tier = read_service_tier(request, SERVICE_TIERS, "Gemini on Vertex")
        headers: dict[str, str] = {}
        if tier in ("flex", "priority"):
            if self._location_of(request) != "global" and not request.get("express"):
                raise refuse(f"service_tier {tier!r} exists at the location 'global' only")
            headers = {
                "x-vertex-ai-llm-request-type": "shared",
                "x-vertex-ai-llm-shared-request-type": tier,
            }
            if tier == "flex":
                headers["x-server-timeout"] = _FLEX_TIMEOUT
        name = quote(model.rpartition("/")[2], safe="@")
        path = f"/publishers/google/models/{name}:{method_of(stream)}"
        return WireRequest(
            path, write_json(write_gemini(body, model, on_vertex=True)), headers, stream=stream
        )

    def _parent(self, request: Mapping[str, Any], model: str) -> str:
        version = "/v1beta1" if is_gemini(model) else "/v1"
        if request.get("express") and is_gemini(model):
            return version
        project, location = request.get("project") or self._project, self._location_of(request)
        if not project or not location:
            missing = "project" if not project else "location"
            raise ConfigurationError(f"Vertex needs a {missing}: pass {missing}=", setting=missing)
        return f"{version}/projects/{quote(str(project), safe='')}/locations/{quote(location, safe='')}"

    def _location_of(self, request: Mapping[str, Any]) -> str:
        return str(request.get("location") or request.get("region") or self._location or "")


def _encode_claude(request: Mapping[str, Any], model: str, stream: bool) -> WireRequest:
    refuse_anthropic_only(request, "Vertex", web_search=True)
    read_service_tier(request, _STANDARD, "Claude on Vertex")
    # Google forbids structured outputs unless an organisation permits them, a forced tool never.
    body = {"anthropic_version": _ANTHROPIC_VERSION, **write_claude(request, model, holds_to_schema=False)}
    add_web_search(body, request)
    if stream:
        body["stream"] = True
    betas = read_betas(request)
    headers = {"anthropic-beta": ",".join(betas)} if betas else {}
    path = (
        f"/publishers/anthropic/models/{_claude_name(model)}:{'streamRawPredict' if stream else 'rawPredict'}"
    )
    written = write_json(merge_extra_body(body, request))
    return WireRequest(path, written, headers, joined=BETA_HEADER, stream=stream)


def _claude_name(model: str) -> str:
    """The name alone, as it stands in the path; "anthropic/" may stand before it."""
    publisher, _, name = model.rpartition("/")
    if publisher not in ("", "anthropic", "publishers/anthropic/models"):
        raise refuse(f"the model {model!r} is no Claude of Vertex; write its name alone")
    return quote(name, safe="@")
