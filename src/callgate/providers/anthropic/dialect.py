"""Anthropic's dialect: `POST /v1/messages`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callgate.errors import APIClientError
from callgate.providers.anthropic.bounds import bill_messages, bound_messages
from callgate.providers.anthropic.errors import error_of_body
from callgate.providers.anthropic.hosting import BETA_HEADER, write_anthropic_fields
from callgate.providers.anthropic.request import write_body
from callgate.providers.anthropic.response import read_answer
from callgate.providers.anthropic.stream import MessageStream
from callgate.providers.canonical.billing import Billing, CostBound
from callgate.providers.canonical.fields import merge_extra_body
from callgate.providers.canonical.json import read_object, write_json
from callgate.providers.canonical.json_dialect import JsonDialect
from callgate.providers.canonical.messages import read_model
from callgate.providers.dialect import StreamDecoder, WireRequest
from callgate.response import Response

__all__ = ["AnthropicMessages"]

_PATH = "/v1/messages"
_HEADERS = {"anthropic-version": "2023-06-01"}


class AnthropicMessages(JsonDialect):
    """The dialect of Claude, and of the servers that speak like it.

    - `max_tokens` is required there; without one 4096 are asked for (more while the model thinks).
    - The first system messages become `system`; a later one keeps its place (see `fold_conversation`).
    - `response_format` with a schema becomes `output_config.format` for Claude 4.5 and later, and a forced
      tool for older models and for schemas that cannot be enforced so. Either way the JSON is `text`.
    - `reasoning_effort` becomes an effort for Claude 4.6 and later, a budget of tokens for older models.
    - `betas` becomes the header `anthropic-beta`; `web_search_options` becomes Claude's web search.
    - `service_tier` is auto or standard_only; flex does not exist and is refused.
    - `seed`, the penalties, `logit_bias` and `logprobs` do not exist and are left out.
    - Thoughts are signed and must go back as they came: see `callgate.providers.canonical.messages.REPLAY`.

    >>> wire = AnthropicMessages().encode({"model": "claude-opus-5", "messages": [{"role": "user", "content": "Hi"}]})
    >>> wire.path, wire.body
    ('/v1/messages', b'{"model":"claude-opus-5","max_tokens":4096,"messages":[{"role":"user","content":"Hi"}]}')
    """  # noqa: E501

    name = "anthropic"
    _read = staticmethod(read_answer)

    def encode(
        self, request: Mapping[str, Any], *, stream: bool = False, path: str | None = None
    ) -> WireRequest:
        """The request as JSON.

        Raises:
            InvalidRequestError: It cannot be encoded: no model, no messages, a field that does not exist.
        """
        model = read_model(request)
        body = {"model": model, **write_body(request, model)}
        betas = write_anthropic_fields(body, request)
        if stream:
            body["stream"] = True
        headers = {**_HEADERS, "anthropic-beta": ",".join(betas)} if betas else _HEADERS
        body = merge_extra_body(body, request)
        return WireRequest(_full_path(path), write_json(body), headers, joined=BETA_HEADER, stream=stream)

    def bound(self, wire: WireRequest, headers: Mapping[str, str]) -> CostBound:
        return bound_messages(read_object(wire.body))

    def billing(self, response: Response, request: Mapping[str, Any]) -> Billing:
        return bill_messages(response, request)

    def stream_decoder(self, headers: Mapping[str, str]) -> StreamDecoder:
        return MessageStream(headers)

    def error(self, status_code: int, body: bytes, headers: Mapping[str, str]) -> APIClientError:
        return error_of_body(status_code, body, headers)


def _full_path(path: str | None) -> str:
    if path is None:
        return _PATH
    path = "/" + path.lstrip("/")
    return _PATH if path == "/messages" else path
