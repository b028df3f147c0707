"""OpenAI's chat dialect, as OpenAI and most other hosts speak it.

Reading is lenient and does not depend on the host (`response.py`, `stream.py`); what a host accepts is data
(`quirks.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callgate.errors import APIClientError
from callgate.providers.canonical.billing import Billing, CostBound
from callgate.providers.canonical.fields import merge_extra_body
from callgate.providers.canonical.json import read_object, write_json
from callgate.providers.canonical.sse_decoder import decode_stream, read_document
from callgate.providers.dialect import Dialect, StreamDecoder, WireRequest
from callgate.providers.openai_chat.bounds import bill_chat, bound_chat
from callgate.providers.openai_chat.errors import error_of_body
from callgate.providers.openai_chat.quirks import ChatQuirks
from callgate.providers.openai_chat.request import is_plain, plain_fields, write_body
from callgate.providers.openai_chat.response import read_answer
from callgate.providers.openai_chat.stream import ChatStream
from callgate.response import Response

__all__ = ["OpenAIChat"]

_CHAT = "/chat/completions"
_OURS = ("stream", "stream_options", "extra_body", "extra_headers")


class OpenAIChat(Dialect):
    """The dialect of `POST /chat/completions`, and of the host's other paths where one is asked for.

    On the path of chats, `prompt` and `system` are a conversation, messages take the form that the host
    accepts, and what it lacks is left out or refused. On any other path ("/completions", "/embeddings") the
    fields are sent as given.

    An answer that holds reasoning has it under `metadata["replay"]`: put that into the assistant message that
    answers for it, and it goes back to the host as it came.

    >>> wire = OpenAIChat().encode({"model": "m", "messages": [{"role": "user", "content": "Hi"}]})
    >>> wire.path, wire.body
    ('/chat/completions', b'{"model":"m","messages":[{"role":"user","content":"Hi"}]}')
    """

    name = "openai_chat"

    def __init__(self, quirks: ChatQuirks | None = None) -> None:
        self._quirks = quirks or ChatQuirks()
        self._plain = plain_fields(self._quirks)

    def encode(
        self, request: Mapping[str, Any], *, stream: bool = False, path: str | None = None
    ) -> WireRequest:
        """The request as JSON. A stream is asked to report its usage.

        Raises:
            InvalidRequestError: Something in it cannot be sent to this host.
        """
        where = _CHAT if path is None else path if path[:1] == "/" else "/" + path
        if where.endswith(_CHAT):
            # Most requests need no translation, and encoding is on the path of every call.
            plain = request.keys() <= self._plain and is_plain(request)
            if plain and not stream:
                return WireRequest(where, write_json(request))
            body = dict(request) if plain else write_body(request, self._quirks)
        else:
            body = {name: value for name, value in request.items() if name not in _OURS}
        if stream:
            body["stream"] = True
            options = request.get("stream_options")
            if self._quirks.stream_options:
                body["stream_options"] = {"include_usage": True, **(options or {})}
        return WireRequest(where, write_json(merge_extra_body(body, request)), stream=stream)

    def bound(self, wire: WireRequest, headers: Mapping[str, str]) -> CostBound:
        return bound_chat(read_object(wire.body), wire.path)

    def billing(self, response: Response, request: Mapping[str, Any]) -> Billing:
        return bill_chat(response, request)

    def decode(self, body: bytes, headers: Mapping[str, str], status_code: int = 200) -> Response:
        data = read_document(body)
        if data is None:
            return decode_stream(body, self.stream_decoder(headers))
        return read_answer(data, headers, status_code, self._quirks.provider)

    def stream_decoder(self, headers: Mapping[str, str]) -> StreamDecoder:
        return ChatStream(headers, self._quirks.provider)

    def error(self, status_code: int, body: bytes, headers: Mapping[str, str]) -> APIClientError:
        return error_of_body(status_code, body, headers)
