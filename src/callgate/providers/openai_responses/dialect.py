"""OpenAI's Responses dialect: `POST /responses`.

The same things as in the chat dialect, said differently: messages are `input` items, system messages the
`instructions`, tools are flat, and an answer is a list of items with a status instead of a finish reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callgate.errors import APIClientError
from callgate.providers.canonical.billing import Billing, CostBound
from callgate.providers.canonical.json import read_object, write_json
from callgate.providers.canonical.json_dialect import JsonDialect
from callgate.providers.dialect import StreamDecoder, WireRequest
from callgate.providers.openai_chat.errors import error_of_body
from callgate.providers.openai_responses.bounds import bill_response, bound_response
from callgate.providers.openai_responses.request import write_body
from callgate.providers.openai_responses.response import read_answer
from callgate.providers.openai_responses.stream import ResponsesStream
from callgate.response import Response

__all__ = ["OpenAIResponses"]


class OpenAIResponses(JsonDialect):
    """The Responses dialect.

    - `stop` is refused: this dialect has none. `n` is 1, as everywhere but in the chat dialect and Gemini's.
    - `seed`, the penalties, `logit_bias`, `prediction` and `modalities` have no counterpart and are left out.

    An answer that holds reasoning items has them under `metadata["replay"]`: put that into the assistant
    message that answers for it, and they go back to the model as they came.

    >>> wire = OpenAIResponses().encode({"model": "m", "messages": [{"role": "user", "content": "Hi"}]})
    >>> wire.path, wire.body
    ('/responses', b'{"model":"m","input":[{"role":"user","content":"Hi"}]}')
    """

    name = "openai_responses"
    _read = staticmethod(read_answer)

    def encode(
        self, request: Mapping[str, Any], *, stream: bool = False, path: str | None = None
    ) -> WireRequest:
        """The request as JSON.

        Raises:
            InvalidRequestError: when something in it cannot be said.
        """
        body = write_body(request)
        if stream:
            body["stream"] = True
        where = "/responses" if path is None else path if path[:1] == "/" else "/" + path
        return WireRequest(where, write_json(body), stream=stream)

    def bound(self, wire: WireRequest, headers: Mapping[str, str]) -> CostBound:
        return bound_response(read_object(wire.body))

    def billing(self, response: Response, request: Mapping[str, Any]) -> Billing:
        return bill_response(response, request)

    def stream_decoder(self, headers: Mapping[str, str]) -> StreamDecoder:
        return ResponsesStream(headers)

    def error(self, status_code: int, body: bytes, headers: Mapping[str, str]) -> APIClientError:
        return error_of_body(status_code, body, headers)
