"""Reading answers of Vertex, which come in one of three formats; the bytes decide which."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from callgate.errors import APIClientError
from callgate.providers.anthropic import errors as anthropic_errors
from callgate.providers.anthropic.response import read_answer as read_message
from callgate.providers.anthropic.stream import MessageStream
from callgate.providers.canonical.json import as_dict, as_list
from callgate.providers.gemini import errors as gemini_errors
from callgate.providers.gemini.response import read_answer as read_candidates
from callgate.providers.gemini.stream import GeminiStream
from callgate.providers.openai_chat.response import read_answer as read_completion
from callgate.providers.openai_chat.stream import ChatStream
from callgate.response import Delta, Response
from callgate.transport.sse import ServerSentEvent, SSEParser

__all__ = ["VertexStream", "read_any"]

_decoder = json.JSONDecoder()


def read_any(data: dict[str, Any], headers: Mapping[str, str], status_code: int = 200) -> Response:
    """Read an answer object of any of the three formats.

    Raises:
        APIClientError: It is an error after all.
        ResponseError: There is no answer in it.
    """
    if _is_googles_error(data):
        raise gemini_errors.error_of_content(data, None, headers)
    if _is_claudes(data):
        return read_message(data, headers, status_code)
    if _is_geminis(data):
        return read_candidates(data, headers, status_code)
    return read_completion(data, headers, status_code)


class VertexStream:
    """Reads one stream, in the format that its first event is in."""

    __slots__ = ("_chosen", "_headers", "_held", "_sniffer")

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers
        self._held: list[bytes] = []
        self._sniffer = SSEParser()
        self._chosen: MessageStream | GeminiStream | ChatStream | None = None

    def feed(self, data: bytes) -> Iterator[Delta]:
        """Yield the deltas that `data` completes.

        Raises:
            APIClientError: The stream holds an error.
            ResponseError: An event of it cannot be read.
        """
        if self._chosen is None:
            self._held.append(data)
            if self._is_json():
                return
            events = [event for event in self._sniffer.feed(data) if event.data.strip()]
            if not events:
                return
            self._chosen, data = self._choose(events[0]), b"".join(self._held)
            self._held.clear()
        yield from self._chosen.feed(data)

    def finish(self) -> Response:
        """Return the whole answer.

        Raises:
            APIClientError: The body ends in an error.
            ResponseError: The stream broke off before its end.
        """
        if self._chosen is None:
            body = b"".join(self._held)
            whole = ServerSentEvent("", body.decode("utf-8", "replace"))
            events = [] if self._is_json() else self._sniffer.finish()
            self._chosen = self._choose(events[0] if events else whole)
            for _ in self._chosen.feed(body):
                pass
        return self._chosen.finish()

    def _is_json(self) -> bool:
        return b"".join(self._held[:2]).lstrip()[:1] in (b"{", b"[")

    def _choose(self, first: ServerSentEvent) -> MessageStream | GeminiStream | ChatStream:
        # Anthropic names every event, the others none. The readers of all three know Google's errors.
        if first.event:
            return _ClaudeStream(self._headers)
        data = _first_object(first.data)
        if _is_claudes(data):
            return _ClaudeStream(self._headers)
        return _GeminiStream(self._headers) if _is_geminis(data) else _OpenStream(self._headers)


def _first_object(text: str) -> dict[str, Any]:
    """The JSON object that a text, or the list at its start, begins with; an empty one for none."""
    try:
        value, _ = _decoder.raw_decode(text.lstrip())
    except (ValueError, RecursionError):
        return {}
    return as_dict(value[0] if type(value) is list and value else value)


def _is_claudes(data: dict[str, Any]) -> bool:
    return "choices" not in data and (
        data.get("type") in ("message", "error") or type(data.get("content")) is list or "stop_reason" in data
    )


def _is_geminis(data: dict[str, Any]) -> bool:
    return not {"candidates", "promptFeedback", "usageMetadata"}.isdisjoint(data)


def _is_googles_error(data: dict[str, Any]) -> bool:
    error = as_dict(data.get("error"))
    return "status" in error or type(error.get("code")) is int or bool(as_list(error.get("details")))


def _error_of(content: Any, headers: Mapping[str, str]) -> APIClientError | None:
    """The error in Google's or Anthropic's form: either may end a stream of any format."""
    data = as_dict(content)
    if _is_googles_error(data):
        return gemini_errors.error_of_content(content, None, headers)
    return anthropic_errors.error_of_content(content, None, headers) if data.get("type") == "error" else None


class _ClaudeStream(MessageStream):
    __slots__ = ()

    def _error(self, content: Any) -> APIClientError:
        return _error_of(content, self._headers) or super()._error(content)


class _GeminiStream(GeminiStream):
    __slots__ = ()

    def _error(self, content: Any) -> APIClientError:
        return _error_of(content, self._headers) or super()._error(content)


class _OpenStream(ChatStream):
    __slots__ = ()

    def _error(self, content: Any) -> APIClientError:
        return _error_of(content, self._headers) or super()._error(content)
