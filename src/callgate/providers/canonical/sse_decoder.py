"""Reading an answer whose form its bytes decide: server-sent events, one JSON document, or JSON in lines.

Gateways mislabel all of them: a stream that was asked for comes as one JSON object or as a bare error, a
plain call is answered with events, JSON is followed by `data: [DONE]`. So the first bytes are looked at, not
the content type.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

from callgate.errors import APIClientError, ResponseError
from callgate.exact_json import dumps
from callgate.providers.canonical.json import as_dict, read_json, read_object
from callgate.providers.dialect import StreamDecoder
from callgate.response import Delta, Response
from callgate.transport.sse import ServerSentEvent, SSEParser

__all__ = ["EventStreamDecoder", "decode_stream", "read_document"]

_BLANK = b" \t\r\n\xef\xbb\xbf"
_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")


def read_document(body: bytes) -> dict[str, Any] | None:
    """The JSON object that an answer consists of; None for an answer that is a stream.

    Raises:
        ResponseError: The body is neither, or the object cannot be read.
    """
    if body[:1] != b"{":
        start = body.lstrip(_BLANK)
        if start.startswith(_FIELDS) or start[:1] == b"[":
            return None
    return read_object(_without_end_mark(body) if b"[DONE]" in body[-64:] else body)


def decode_stream(body: bytes, decoder: StreamDecoder) -> Response:
    """Decode a streamed answer that is complete.

    Raises:
        APIClientError: The answer is an error after all, or cannot be read.
    """
    for _ in decoder.feed(body):
        pass
    return decoder.finish()


class EventStreamDecoder(ABC):
    """A `StreamDecoder` of server-sent events; a dialect defines what one event means and what all add up to.

    A body that is one JSON document is read as a whole answer; one JSON object per line, as the events.

    Args:
        headers: Of the answer, lower-case names.
    """

    __slots__ = ("_headers", "_parser", "_pieces", "_sniffed")

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers
        self._parser = SSEParser()
        self._sniffed = False
        self._pieces: list[bytes] | None = None  # of a body that is JSON

    def feed(self, data: bytes) -> Iterator[Delta]:
        """Yield the deltas that `data` completes; those before an error come before it is raised.

        Raises:
            APIClientError: The stream holds an error.
            ResponseError: An event of it cannot be read.
        """
        if not self._sniffed:
            start = data.lstrip(_BLANK)
            if start:
                self._sniffed = True
                if start[:1] in (b"{", b"["):
                    self._pieces = []
        if self._pieces is not None:
            self._pieces.append(data)
            return
        for event in self._parser.feed(data):
            if event.data.strip():  # some servers keep the connection open with empty events
                yield from self._read(event)

    def finish(self) -> Response:
        """Return the whole answer.

        Raises:
            APIClientError: The body ends in an error.
            ResponseError: The stream broke off before its end.
        """
        if self._pieces is not None:
            return self._finish_json(b"".join(self._pieces))
        for event in self._parser.finish():
            try:
                if event.data.strip():
                    self._take(event, [])
            except ResponseError:
                break  # cut off in the middle of an event; `_answer` decides whether the rest is enough
        self._raise_bare_error(self._parser.stray)
        return self._answer()

    def _read(self, event: ServerSentEvent) -> Iterator[Delta]:
        deltas: list[Delta] = []
        try:
            self._take(event, deltas)
        except APIClientError as error:
            yield from deltas
            if type(error) is ResponseError and event.event == "error":
                raise self._error(event.data) from None  # an error in plain text
            raise
        yield from deltas

    def _finish_json(self, body: bytes) -> Response:
        body = _without_end_mark(body)
        events = _split_json(body)
        if not events:
            return self._read_whole(body)
        for event in events:
            self._take(ServerSentEvent("", event), [])
        return self._answer()

    def _raise_bare_error(self, stray: bytes) -> None:
        """Raise the error whose JSON stands in the stream without `data:` before it, if there is one."""
        start = stray.find(b"{")
        if start < 0:
            return
        try:
            content = read_json(stray[start:].strip().removesuffix(b"]"))
        except ResponseError:
            return
        if as_dict(content).get("error"):
            raise self._error(content)

    @abstractmethod
    def _take(self, event: ServerSentEvent, deltas: list[Delta]) -> None:
        """Take in one event, and append the deltas it brings."""

    @abstractmethod
    def _answer(self) -> Response:
        """Return what the events add up to; raise ResponseError when the last of them is missing."""

    @abstractmethod
    def _read_whole(self, body: bytes) -> Response:
        """Read an answer that came in one piece."""

    @abstractmethod
    def _error(self, content: Any) -> APIClientError:
        """Return the typed error for the content of an error event: parsed JSON, or text."""


def _split_json(body: bytes) -> list[str]:
    """The events in a body that is a list of objects, or one object per line; none when it is neither."""
    if body.lstrip(_BLANK)[:1] == b"[":
        items = read_json(body)
        return [dumps(item).decode() for item in items if type(item) is dict]
    lines = [line for line in body.splitlines() if line.strip()]
    if len(lines) < 2 or not all(line.strip()[-1:] == b"}" for line in lines):
        return []
    return [line.decode("utf-8", "replace") for line in lines]


def _without_end_mark(body: bytes) -> bytes:
    """The body without a `data: [DONE]` that follows its JSON."""
    end = body[-64:].rstrip()
    if not end.endswith(b"[DONE]"):
        return body
    return body.rstrip().removesuffix(b"[DONE]").rstrip().removesuffix(b"data:")
