"""Gemini's dialect: `generateContent` of Google's Generative Language API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from callgate.errors import APIClientError
from callgate.providers.canonical.billing import Billing, CostBound
from callgate.providers.canonical.fields import read_service_tier
from callgate.providers.canonical.json import read_object, write_json
from callgate.providers.canonical.json_dialect import JsonDialect
from callgate.providers.canonical.messages import read_model, refuse
from callgate.providers.dialect import StreamDecoder, WireRequest
from callgate.providers.gemini.bounds import bill_content, bound_content
from callgate.providers.gemini.errors import error_of_body
from callgate.providers.gemini.request import SERVICE_TIERS, write_body
from callgate.providers.gemini.response import read_answer
from callgate.providers.gemini.stream import GeminiStream
from callgate.response import Response

__all__ = ["Gemini", "method_of"]


class Gemini(JsonDialect):
    """The dialect of Gemini with an API key.

    - The model stands in the path; `models/` and `tunedModels/` may stand before its name.
    - `response_format` becomes `responseMimeType` and `responseJsonSchema`; beside functions, which Gemini
      2.5 does not combine with a schema, the answer is the input of a forced function.
    - `reasoning_effort` becomes a thinking level for Gemini 3 and later, a budget for 2.5; the thoughts are
      then asked for, and are the response's `reasoning`.
    - `service_tier` becomes `serviceTier`, `web_search_options` Google's search, `modalities` the
      `responseModalities`; `cache_control` is left out, for Gemini caches by itself.
    - Function calls that come without an id get one, made of the answer's id; Gemini never sees it.
    - Thoughts are signed and must go back as they came: see `callgate.providers.canonical.messages.REPLAY`.

    >>> wire = Gemini().encode({"model": "gemini-2.5-flash", "messages": [{"role": "user", "content": "Hi"}]})
    >>> wire.path, wire.body
    ('/v1beta/models/gemini-2.5-flash:generateContent', b'{"contents":[{"role":"user","parts":[{"text":"Hi"}]}]}')
    """  # noqa: E501

    name = "gemini"
    _read = staticmethod(read_answer)

    def encode(
        self, request: Mapping[str, Any], *, stream: bool = False, path: str | None = None
    ) -> WireRequest:
        """The request as JSON.

        Raises:
            InvalidRequestError: It cannot be encoded: no model, no messages, a field that does not exist.
        """
        model = read_model(request)
        body = write_body(request, model)
        tier = read_service_tier(request, SERVICE_TIERS, "Gemini")
        if tier is not None:
            body.setdefault("serviceTier", tier)
        if path is None:
            path = f"/v1beta/{_resource(model)}:{method_of(stream)}"
        return WireRequest("/" + path.lstrip("/"), write_json(body), stream=stream)

    def bound(self, wire: WireRequest, headers: Mapping[str, str]) -> CostBound:
        return bound_content(read_object(wire.body), headers)

    def billing(self, response: Response, request: Mapping[str, Any]) -> Billing:
        return bill_content(response, request)

    def stream_decoder(self, headers: Mapping[str, str]) -> StreamDecoder:
        return GeminiStream(headers)

    def error(self, status_code: int, body: bytes, headers: Mapping[str, str]) -> APIClientError:
        return error_of_body(status_code, body, headers)


def method_of(stream: bool) -> str:
    """The method of a model, as it stands in the path."""
    return "streamGenerateContent?alt=sse" if stream else "generateContent"


def _resource(model: str) -> str:
    collection, slash, name = model.rpartition("/")
    if slash and collection not in ("models", "tunedModels"):
        raise refuse(f"the model {model!r} has a path before its name; write the name alone, or models/NAME")
    return f"{collection or 'models'}/{quote(name, safe='')}"
