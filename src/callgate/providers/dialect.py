"""The protocol of dialects: encode a request for a provider, decode its answer.

A dialect is a pure function of bytes. It does no I/O, reads no clock and no environment; it can be fed a
stream in pieces of any size. Where the words are sent, with which key and under which quota is a matter of
the host (`hosts.py`).

The one request format is OpenAI's: `messages`, `tools`, `tool_choice`, `temperature`, `top_p`, `max_tokens`,
`stop`, `seed`, `response_format`, and `model`. A dialect translates these; what it does not know passes
through unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from callgate.errors import APIClientError
from callgate.providers.canonical.billing import Billing, CostBound
from callgate.response import Delta, Response

__all__ = ["AnyDialect", "Dialect", "StreamDecoder", "WireRequest"]


@dataclass(slots=True)
class WireRequest:
    """A request as it goes over the wire.

    Attributes:
        path: Below the host's base URL, with a leading slash; the query included.
        body: The encoded body.
        headers: Headers that the dialect itself needs (a version), never a credential.
        joined: Lower-case names of headers that hold a list: the items of all sources are sent, each once.
        method: The HTTP method.
        stream: Whether the answer comes as a stream.
    """

    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    joined: frozenset[str] = frozenset()
    method: str = "POST"
    stream: bool = False


class StreamDecoder(Protocol):
    """Reads one streamed answer. Fed with bytes as they come; knows nothing of where these come from.

    Example::

        decoder = dialect.stream_decoder(headers)
        for piece in pieces:
            for delta in decoder.feed(piece):
                print(delta.text, end="")
        response = decoder.finish()
    """

    def feed(self, data: bytes) -> Iterable[Delta]:
        """Take in some bytes, and return the deltas that they complete.

        To be consumed, before the next call and before `finish`: the bytes may be read as it is.

        Raises:
            APIClientError: The stream holds an error, or cannot be read; the deltas before it come first.
        """
        ...

    def finish(self) -> Response:
        """The whole answer, once the bytes have ended.

        `raw` is the answer in the form of one piece, as far as the stream holds it.

        Raises:
            ResponseError: when the stream broke off before its end.
        """
        ...


class AnyDialect(Protocol):
    """What all dialects share, whatever their requests are encoded to: a name, answers and errors."""

    name: str
    """The name in cache keys and in the hosts table: "openai_chat"."""

    def decode(self, body: bytes, headers: Mapping[str, str], status_code: int = 200) -> Response:
        """The answer in our words.

        Raises:
            APIClientError: when the body is an error after all (some send one with a 200).
            ResponseError: when it cannot be read.
        """
        ...

    def stream_decoder(self, headers: Mapping[str, str]) -> StreamDecoder:
        """A decoder for one streamed answer."""
        ...

    def error(self, status_code: int, body: bytes, headers: Mapping[str, str]) -> APIClientError:
        """The typed error for an answer with an error status; never raises itself."""
        ...

    def billing(self, response: Response, request: Mapping[str, Any]) -> Billing:
        """The way in which an answer to a request is billed: its mode, or the cost that it reports."""
        ...


class Dialect(AnyDialect, Protocol):
    """A dialect over HTTP: encodes requests, decodes answers, classifies its own errors."""

    def encode(
        self, request: Mapping[str, Any], *, stream: bool = False, path: str | None = None
    ) -> WireRequest:
        """The request in the provider's words.

        Args:
            request: The one request format; never changed.
            stream: Ask for a stream, with its usage.
            path: Instead of the dialect's own path ("completions"), as the caller asked.

        Raises:
            InvalidRequestError: It cannot be encoded (a part of an unknown kind, a missing model).
        """
        ...

    def bound(self, wire: WireRequest, headers: Mapping[str, str]) -> CostBound:
        """The most that one attempt of an encoded request can be billed for.

        Args:
            wire: As `encode` returned it.
            headers: All headers that go with it, by lower-case names.

        Raises:
            UnboundedCostError: Something in it has no bound: a file, a search, a field that is not known.
        """
        ...
