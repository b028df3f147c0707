"""Gemini's dialect: `generateContent` of Google's Generative Language API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from callgate.errors import APIClientError
from callgate.providers.canonical.json import write_json
from callgate.providers.canonical.messages import read_model, refuse
from callgate.providers.canonical.sse_decoder import decode_body
from callgate.providers.dialect import StreamDecoder, WireRequest
from callgate.providers.gemini.errors import error_of_body
from callgate.providers.gemini.request import write_body
from callgate.providers.gemini.response import read_answer
from callgate.providers.gemini.stream import GeminiStream
from callgate.response import Response

__all__ = ["Gemini"]


class Gemini:
    """The dialect of Gemini with an API key.

    - The model stands in the path; `models/` and `tunedModels/` may stand before its name.
    - `response_format` becomes `responseMimeType` and `responseJsonSchema`.
    - `reasoning_effort` becomes a thinking level for Gemini 3 and later, a budget for older models; the
      thoughts are then asked for, and are the response's `reasoning`.
    - Function calls that come without an id get one, made of the answer's id; Gemini never sees it.
    - Thoughts are signed and must go back as they came: see `callgate.providers.canonical.messages.REPLAY`.

    >>> wire = Gemini().encode({"model": "gemini-2.5-flash", "messages": [{"role": "user", "content": "Hi"}]})
    >>> wire.path, wire.body
    ('/v1beta/models/gemini-2.5-flash:generateContent', b'{"contents":[{"role":"user","parts":[{"text":"Hi"}]}]}')
    """  # noqa: E501

    name = "gemini"
    opens_any_address = True
    """Whether an address under `image_url` may also be that of a film or a document."""

    def encode(
        self, request: Mapping[str, Any], *, stream: bool = False, path: str | None = None
    ) -> WireRequest:
        """The request as JSON.

        Raises:
            InvalidRequestError: when it cannot be said: no model, no messages, a part of an unknown kind.
        """
        model = read_model(request)
        body = write_json(write_body(request, model))
        if path is None:
            method = "streamGenerateContent?alt=sse" if stream else "generateContent"
            path = f"/v1beta/{_resource(model)}:{method}"
        return WireRequest("/" + path.lstrip("/"), body, stream=stream)

    def decode(self, body: bytes, headers: Mapping[str, str], status_code: int = 200) -> Response:
        """The answer in our words; of several candidates the first.

        Raises:
            APIClientError: when the body is an error after all.
            ResponseError: when it cannot be read.
        """
        return decode_body(
            body,
            lambda: self.stream_decoder(headers),
            lambda data: read_answer(data, headers, status_code),
        )

    def stream_decoder(self, headers: Mapping[str, str]) -> StreamDecoder:
        """A decoder for one streamed answer."""
        return GeminiStream(headers)

    def error(self, status_code: int, body: bytes, headers: Mapping[str, str]) -> APIClientError:
        """The typed error for an answer with an error status; never raises."""
        return error_of_body(status_code, body, headers)


def _resource(model: str) -> str:
    collection, slash, name = model.rpartition("/")
    if slash and collection not in ("models", "tunedModels"):
        raise refuse(f"the model {model!r} has a path before its name; write the name alone, or models/NAME")
    return f"{collection or 'models'}/{quote(name, safe='')}"
