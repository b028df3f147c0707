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
from callgate.providers.canonical.error_body import error_object, message_of
from callgate.providers.canonical.errors import with_words
from callgate.providers.canonical.json import as_dict, excerpt, read_json, read_object
from callgate.providers.dialect import StreamDecoder
from callgate.response import Delta, Response
from callgate.transport.sse import ServerSentEvent, SSEParser

__all__ = ["EventStreamDecoder", "decode_stream", "read_document"]

_BLANK = b" \t\r\n\xef\xbb\xbf"
_KEEP_ALIVE = frozenset({"", "null", "[]", "ping", "keepalive", "keep-alive", "heartbeat"})
_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")


def read_document(body: bytes) -> dict[str, Any] | None:
    """The JSON object that an answer consists of; None for a stream: events, a list, or JSON in lines.

    Raises:
        ResponseError: The body is neither, or the object cannot be read.
    """
    if body[:1] != b"{":
        start = body.lstrip(_BLANK)
        if start.startswith(_FIELDS) or start[:1] == b"[":
            return None
    try:
        return read_object(_without_end_mark(body) if b"[DONE]" in body[-64:] else body)
    except ResponseError as error:
        if _split_json(body):
            return None
        what = with_words(error.message, message_of({}, excerpt(body)))
        raise ResponseError(what, response_content=error.response_content) from None


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

    __slots__ = ("_headers", "_last", "_parser", "_pieces", "_sniffed")

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers
        self._last = ""  # the data of the latest event
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
                    self._pieces, data = [], start
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
                    for _ in self._read(event):
                        pass
            except ResponseError:
                break  # cut off in the middle of an event; `_answer` decides whether the rest is enough
        stray = self._parser.stray
        self._raise_bare_error(stray)
        try:
            return self._answer()
        except ResponseError as error:
            words = self._words(stray)
            if type(error) is not ResponseError or not words:
                raise
            content = error.response_content or excerpt(stray or self._last)
            what = with_words(error.message, words)
            raise ResponseError(what, response_content=content, headers=self._headers) from None

    def _read(self, event: ServerSentEvent) -> Iterator[Delta]:
        self._last = event.data
        if event.event == "error":
            raise self._error(_read_if_json(event.data) or event.data)
        deltas: list[Delta] = []
        try:
            self._take(event, deltas)
        except ResponseError as error:
            yield from deltas
            parts = _split_event(event.data) if type(error) is ResponseError else None
            if parts is None:
                raise
            for part in parts:
                yield from self._read(ServerSentEvent(event.event, part))
            return
        except APIClientError:
            yield from deltas
            raise
        yield from deltas

    def _words(self, stray: bytes) -> str:
        """What the latest event or the stray lines of a stream without an answer say; empty for nothing."""
        latest = as_dict(_read_if_json(self._last))
        if "role" in as_dict(latest.get("message")):
            latest = {}  # a model's message and not one about an error
        return message_of(error_object(latest), None) or message_of({}, excerpt(stray))

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
        content = as_dict(content)
        if content.get("error") or "error" in (content.get("type"), content.get("object")):
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


def _read_if_json(text: str) -> Any:
    try:
        return read_json(text)
    except ResponseError:
        return None


def _split_event(data: str) -> list[str] | None:
    """The events in the data of one that cannot be read: some servers end each with a single line end.

    None for data that is broken; an empty list for data that keeps the connection open, such as "null".
    """
    lines = [line for line in data.split("\n") if line.strip("\"': \t").lower() not in _KEEP_ALIVE]
    if len(lines) == 1 and lines[0].strip('" ').upper() == "[DONE]" and lines[0][:6] != "[DONE]":
        return ["[DONE]"]
    return lines if len(lines) != 1 else None


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
