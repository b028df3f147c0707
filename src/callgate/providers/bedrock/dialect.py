"""Bedrock's own dialect: `Converse` and `ConverseStream`, for every model that Amazon carries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from callgate.errors import APIClientError
from callgate.providers.bedrock.errors import error_of_body
from callgate.providers.bedrock.request import write_body
from callgate.providers.bedrock.response import read_answer
from callgate.providers.bedrock.stream import ConverseStream
from callgate.providers.canonical.json import read_object, write_json
from callgate.providers.canonical.messages import read_model
from callgate.providers.dialect import StreamDecoder, WireRequest
from callgate.response import Response

__all__ = ["BedrockConverse", "model_path"]


def model_path(model: str, operation: str) -> str:
    """The path of an operation on a model. Ids hold colons, ARNs also slashes: all are percent-encoded, as
    the signature wants them.

    >>> model_path("anthropic.claude-3-haiku-20240307-v1:0", "converse")
    '/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse'
    """
    return f"/model/{quote(model, safe='')}/{operation}"


class BedrockConverse:
    """The dialect that Bedrock translates into each model's own.

    - Pictures are sent inline or by `s3://`; Bedrock fetches nothing from the web.
    - `response_format` with a schema becomes `outputConfig.textFormat` for the models that Bedrock can hold
      to one, else a forced tool. Either way the JSON is `text`.
    - Fields that are neither ours nor Bedrock's (`top_k`) go to `additionalModelRequestFields`.
    - `seed`, the penalties and `parallel_tool_calls` have no counterpart and are left out.
    - Converse names neither the model nor the answer: `model` is None, `id` is the request's.

    >>> wire = BedrockConverse().encode({"model": "amazon.nova-lite-v1:0", "prompt": "Hi"})
    >>> wire.path, wire.body
    ('/model/amazon.nova-lite-v1%3A0/converse', b'{"messages":[{"role":"user","content":[{"text":"Hi"}]}]}')
    """

    name = "bedrock"

    def encode(
        self, request: Mapping[str, Any], *, stream: bool = False, path: str | None = None
    ) -> WireRequest:
        """The request as JSON.

        Raises:
            InvalidRequestError: when it cannot be said: no model, no messages, a picture by a web address.
        """
        model = read_model(request)
        body = write_json(write_body(request, model))
        if path is None:
            path = model_path(model, "converse-stream" if stream else "converse")
        return WireRequest("/" + path.lstrip("/"), body, stream=stream)

    def decode(self, body: bytes, headers: Mapping[str, str], status_code: int = 200) -> Response:
        """The answer in our words.

        Raises:
            ResponseError: when it cannot be read.
        """
        return read_answer(read_object(body), headers, status_code)

    def stream_decoder(self, headers: Mapping[str, str]) -> StreamDecoder:
        """A decoder for one streamed answer."""
        return ConverseStream(headers)

    def error(self, status_code: int, body: bytes, headers: Mapping[str, str]) -> APIClientError:
        """The typed error for an answer with an error status; never raises."""
        return error_of_body(status_code, body, headers)
