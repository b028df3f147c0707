"""Claude at Bedrock by `InvokeModel`: Anthropic's own body under Amazon's path, and in Amazon's frames."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from callgate.errors import APIClientError, ResponseError
from callgate.providers.anthropic.errors import error_of_content
from callgate.providers.anthropic.hosting import refuse_anthropic_only
from callgate.providers.anthropic.request import write_body
from callgate.providers.anthropic.response import read_answer
from callgate.providers.anthropic.stream import MessageBuilder, MessageStream
from callgate.providers.bedrock.bounds import bill_invoke, bound_invoke
from callgate.providers.bedrock.dialect import model_path
from callgate.providers.bedrock.errors import error_of_body, error_of_text, is_error
from callgate.providers.bedrock.frames import FrameDecoder, holds_frames
from callgate.providers.bedrock.models import is_named, model_behind, refuse_unnamed
from callgate.providers.bedrock.request import SERVICE_TIERS
from callgate.providers.canonical.billing import Billing, CostBound
from callgate.providers.canonical.errors import read_error_body
from callgate.providers.canonical.fields import merge_extra_body, read_betas, read_service_tier
from callgate.providers.canonical.json import as_dict, as_text, read_object, write_json
from callgate.providers.canonical.messages import read_model
from callgate.providers.canonical.sse_decoder import decode_stream, read_document
from callgate.providers.dialect import Dialect, StreamDecoder, WireRequest
from callgate.response import Delta, Response
from callgate.transport.eventstream import Frame

__all__ = ["BedrockInvoke"]

_VERSION = "bedrock-2023-05-31"
_IN_HEADERS = frozenset({"serviceTier", "performanceConfig", "guardrailConfig"})
"""Fields of Converse that `InvokeModel` takes as headers."""


class BedrockInvoke(Dialect):
    """The dialect of Claude at Bedrock by `InvokeModel`: Anthropic's own body under Amazon's path.

    - `service_tier`, `performanceConfig` and `guardrailConfig` become Amazon's headers.
    - `betas` becomes `anthropic_beta` in the body.
    - An ARN that does not name its model needs `base_model` for an effort or an answer format.

    >>> wire = BedrockInvoke().encode({"model": "anthropic.claude-3-haiku-20240307-v1:0", "prompt": "Hi"})
    >>> wire.path
    '/model/anthropic.claude-3-haiku-20240307-v1%3A0/invoke'
    """

    name = "bedrock_invoke"

    def encode(
        self, request: Mapping[str, Any], *, stream: bool = False, path: str | None = None
    ) -> WireRequest:
        """The request as JSON; the path holds the model and the choice of a stream.

        Raises:
            InvalidRequestError: It cannot be encoded: no model, no messages, a field that does not exist.
        """
        model = read_model(request)
        behind = model_behind(request, model)
        if not is_named(behind):
            for field in ("reasoning_effort", "response_format"):
                if request.get(field) not in (None, "none"):
                    raise refuse_unnamed(behind, field)
        refuse_anthropic_only(request, "Bedrock", web_search=False)
        of_amazon = {name: request[name] for name in _IN_HEADERS if request.get(name) is not None}
        rest = {name: value for name, value in request.items() if name not in _IN_HEADERS}
        body = {"anthropic_version": _VERSION, **write_body(rest, behind)}
        betas = read_betas(request)
        if betas:
            body["anthropic_beta"] = betas
        if path is None:
            path = model_path(model, "invoke-with-response-stream" if stream else "invoke")
        wire = write_json(merge_extra_body(body, request))
        return WireRequest("/" + path.lstrip("/"), wire, _headers(request, of_amazon), stream=stream)

    def bound(self, wire: WireRequest, headers: Mapping[str, str]) -> CostBound:
        return bound_invoke(read_object(wire.body), headers)

    def billing(self, response: Response, request: Mapping[str, Any]) -> Billing:
        return bill_invoke(response, request)

    def decode(self, body: bytes, headers: Mapping[str, str], status_code: int = 200) -> Response:
        return _read_body(body, headers, status_code)

    def stream_decoder(self, headers: Mapping[str, str]) -> StreamDecoder:
        return _InvokeStream(headers)

    def error(self, status_code: int, body: bytes, headers: Mapping[str, str]) -> APIClientError:
        return error_of_body(status_code, body, headers)


def _headers(request: Mapping[str, Any], of_amazon: Mapping[str, Any]) -> dict[str, str]:
    tier = read_service_tier(request, SERVICE_TIERS, "Bedrock")
    guardrail = as_dict(of_amazon.get("guardrailConfig"))
    performance = as_dict(of_amazon.get("performanceConfig"))
    headers = {
        "x-amzn-bedrock-service-tier": as_dict(of_amazon.get("serviceTier")).get("type") or tier,
        "x-amzn-bedrock-performanceconfig-latency": performance.get("latency"),
        "x-amzn-bedrock-guardrailidentifier": guardrail.get("guardrailIdentifier"),
        "x-amzn-bedrock-guardrailversion": guardrail.get("guardrailVersion"),
        "x-amzn-bedrock-trace": as_text(guardrail.get("trace")).upper(),
    }
    return {name: value for name, value in headers.items() if value}


def _read_body(body: bytes, headers: Mapping[str, str], status_code: int = 200) -> Response:
    if holds_frames(body):
        return decode_stream(body, _InvokeStream(headers))
    data = read_document(body)
    if data is None:
        return decode_stream(body, MessageStream(headers))
    if is_error(data, headers) or ("content" not in data and type(data.get("message")) is str):
        raise error_of_text(body, headers)
    return read_answer(data, headers, status_code)


class _InvokeStream(FrameDecoder):
    """Takes Anthropic's events out of Amazon's frames."""

    __slots__ = ("_builder",)

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__(headers)
        self._builder = MessageBuilder(headers)

    def _read_text(self, body: bytes) -> Response:
        return _read_body(body, self._headers)

    def _answer(self) -> Response:
        return self._builder.finish()

    def _error(self, body: bytes) -> APIClientError:
        content = read_error_body(body)
        if as_dict(content).get("type") == "error":
            return error_of_content(content, None, self._headers)
        return super()._error(body)

    def _take(self, frame: Frame) -> list[Delta]:
        if frame.text(":event-type") != "chunk":
            return []
        try:
            event = base64.b64decode(as_text(read_object(frame.payload).get("bytes")), validate=True)
        except ValueError:
            raise ResponseError("a chunk of the stream is no base64", headers=self._headers) from None
        return self._builder.take(read_object(event))
