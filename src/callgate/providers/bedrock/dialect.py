"""Bedrock's own dialect: `Converse` and `ConverseStream`, for every model at Bedrock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from callgate.errors import APIClientError
from callgate.providers.bedrock.bounds import bill_converse, bound_converse
from callgate.providers.bedrock.errors import error_of_body, error_of_text, is_error
from callgate.providers.bedrock.frames import holds_frames
from callgate.providers.bedrock.request import write_body
from callgate.providers.bedrock.response import read_answer
from callgate.providers.bedrock.stream import ConverseStream
from callgate.providers.canonical.billing import Billing, CostBound
from callgate.providers.canonical.json import read_object, write_json
from callgate.providers.canonical.messages import read_model
from callgate.providers.dialect import Dialect, StreamDecoder, WireRequest
from callgate.response import Response

__all__ = ["BedrockConverse", "model_path"]


def model_path(model: str, operation: str) -> str:
    """The path of an operation on a model. Its id is percent-encoded, as the signature needs it.

    >>> model_path("anthropic.claude-3-haiku-20240307-v1:0", "converse")
    '/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse'
    """
    return f"/model/{quote(model, safe='')}/{operation}"


class BedrockConverse(Dialect):
    """The dialect that Bedrock translates into that of each model.

    - Pictures are sent inline or by `s3://`; Bedrock fetches nothing from the web.
    - `response_format` with a schema becomes `outputConfig.textFormat` for the models that Bedrock can hold
      to one, else a forced tool. Either way the JSON is `text`.
    - Without tools that may be called, tool calls of the conversation are written as text: Converse refuses
      them otherwise, and has no `tool_choice="none"`.
    - `cache_control` becomes a cache point, `service_tier` becomes `serviceTier`.
    - Fields that are neither canonical nor Bedrock's (`top_k`) go to `additionalModelRequestFields`.
    - `seed` and the penalties do not exist and are left out.
    - An ARN that does not name its model needs `base_model` for an effort or an answer format.
    - Converse names neither the model nor the answer: `model` is None, `id` is that of the HTTP request.

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
            InvalidRequestError: It cannot be encoded: no model, no messages, a field that does not exist.
        """
        model = read_model(request)
        body = write_json(write_body(request, model))
        if path is None:
            path = model_path(model, "converse-stream" if stream else "converse")
        return WireRequest("/" + path.lstrip("/"), body, stream=stream)

    def bound(self, wire: WireRequest, headers: Mapping[str, str]) -> CostBound:
        return bound_converse(read_object(wire.body))

    def billing(self, response: Response, request: Mapping[str, Any]) -> Billing:
        return bill_converse(response, request)

    def decode(self, body: bytes, headers: Mapping[str, str], status_code: int = 200) -> Response:
        if holds_frames(body):
            stream = ConverseStream(headers)
            for _ in stream.feed(body):
                pass
            return stream.finish()
        data = read_object(body)
        if is_error(data, headers):
            raise error_of_text(body, headers)
        return read_answer(data, headers, status_code)

    def stream_decoder(self, headers: Mapping[str, str]) -> StreamDecoder:
        return ConverseStream(headers)

    def error(self, status_code: int, body: bytes, headers: Mapping[str, str]) -> APIClientError:
        return error_of_body(status_code, body, headers)
