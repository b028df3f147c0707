"""Any JSON service: no chat format, no usage; and OpenAI's answers where these come.

It stands behind endpoints whose provider is not known: the body is sent as it is, and the answer is whatever
the service returns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from callgate.errors import APIClientError, InvalidRequestError, ResponseError
from callgate.exact_json import dumps, loads
from callgate.providers.canonical.billing import Billing, CostBound, UnboundedCostError
from callgate.providers.dialect import Dialect, StreamDecoder, WireRequest
from callgate.providers.openai_chat.dialect import OpenAIChat
from callgate.providers.openai_chat.response import read_other_usage
from callgate.response import Response

__all__ = ["PlainJson"]


class PlainJson(Dialect):
    """The dialect of services without one. With method GET or DELETE the request becomes the query.

    >>> PlainJson("GET").encode({"limit": 10}, path="/users").path
    '/users?limit=10'
    """

    name = "plain_json"

    def __init__(self, method: str = "POST") -> None:
        self.method = method.upper()
        self._chat = OpenAIChat()

    def encode(
        self, request: Mapping[str, Any], *, stream: bool = False, path: str | None = None
    ) -> WireRequest:
        """The request as JSON, or as a query."""
        where = path or ""
        if self.method in ("GET", "DELETE", "HEAD"):
            query = urlencode(request, doseq=True) if request else ""
            glue = "&" if "?" in where else "?"
            return WireRequest(where + (glue + query if query else ""), b"", method=self.method)
        try:
            body = dumps({**request, "stream": True} if stream else request)
        except (TypeError, ValueError) as error:
            raise InvalidRequestError(f"the request is no JSON: {error}") from error
        return WireRequest(where, body, method=self.method, stream=stream)

    def bound(self, wire: WireRequest, headers: Mapping[str, str]) -> CostBound:
        if not wire.body:
            raise UnboundedCostError(f"a {self.method} request")
        return self._chat.bound(wire, headers)

    def billing(self, response: Response, request: Mapping[str, Any]) -> Billing:
        return self._chat.billing(response, request)

    def decode(self, body: bytes, headers: Mapping[str, str], status_code: int = 200) -> Response:
        """The answer's JSON, or its text; an OpenAI-style answer is read as one."""
        try:
            data = loads(body)
        except ValueError:
            text = body.decode("utf-8", "replace")
            if "json" in headers.get("content-type", ""):
                raise ResponseError(
                    "the service promised JSON and sent something else",
                    status_code=status_code,
                    response_content=text[:2000],
                    headers=headers,
                ) from None
            return Response(text=text, raw=text, headers=headers, status_code=status_code)
        if isinstance(data, dict) and isinstance(data.get("choices"), list):
            return self._chat.decode(body, headers, status_code)
        text = data if isinstance(data, str) else ""
        usage = read_other_usage(data) if isinstance(data, dict) else None
        return Response(text=text, data=data, usage=usage, raw=data, headers=headers, status_code=status_code)

    def stream_decoder(self, headers: Mapping[str, str]) -> StreamDecoder:
        """OpenAI-style events: the only stream format that services without a dialect share."""
        return self._chat.stream_decoder(headers)

    def error(self, status_code: int, body: bytes, headers: Mapping[str, str]) -> APIClientError:
        """OpenAI-style error bodies are read as such; any other body is the message."""
        return self._chat.error(status_code, body, headers)
