"""Google's Vertex AI: Claude in Anthropic's words, every other model in OpenAI's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from callgate.errors import APIClientError, ConfigurationError
from callgate.providers.anthropic import errors as anthropic_errors
from callgate.providers.anthropic.models import is_claude
from callgate.providers.anthropic.request import write_body
from callgate.providers.anthropic.response import read_answer as read_message
from callgate.providers.anthropic.stream import MessageStream
from callgate.providers.canonical.json import as_dict, as_list, read_object, write_json
from callgate.providers.canonical.messages import read_model, refuse
from callgate.providers.canonical.sse_decoder import decode_body
from callgate.providers.dialect import StreamDecoder, WireRequest
from callgate.providers.gemini import errors as gemini_errors
from callgate.providers.openai_chat.dialect import OpenAIChat
from callgate.providers.openai_chat.response import read_answer as read_completion
from callgate.providers.openai_chat.stream import ChatStream
from callgate.response import Delta, Response
from callgate.transport.sse import ServerSentEvent, SSEParser

__all__ = ["Vertex"]

_ANTHROPIC_VERSION = "vertex-2023-10-16"
_OURS = ("project", "location", "region")


class Vertex:
    """The dialect of Vertex. The model's name decides: Claude goes to `rawPredict`, the others ("meta/...",
    "google/...") to `endpoints/openapi`.

    Args:
        project: The Google Cloud project. A request's own `project` goes before it.
        location: The region, or "global". A request's own `location` or `region` goes before it.

    >>> wire = Vertex("my-project", "us-east5").encode({"model": "claude-opus-4@20250514", "prompt": "Hi"})
    >>> wire.path.rpartition("locations/")[2]
    'us-east5/publishers/anthropic/models/claude-opus-4@20250514:rawPredict'
    """

    name = "vertex"

    def __init__(self, project: str | None = None, location: str | None = None) -> None:
        self._project = project
        self._location = location
        self._chat = OpenAIChat()

    def encode(
        self, request: Mapping[str, Any], *, stream: bool = False, path: str | None = None
    ) -> WireRequest:
        """The request as JSON, under the project's and the location's path.

        Raises:
            ConfigurationError: when the project or the location is not known.
            InvalidRequestError: when it cannot be said: no model, no messages, a part of an unknown kind.
        """
        model = read_model(request)
        parent = self._parent(request) if path is None else ""
        body = {name: value for name, value in request.items() if name not in _OURS}
        if not is_claude(model):
            wire = self._chat.encode({**body, "model": model}, stream=stream, path=path)
            if path is None:
                wire.path = f"{parent}/endpoints/openapi{wire.path}"
            return wire
        # Google forbids structured outputs unless an organisation permits them, a forced tool never.
        written = {
            "anthropic_version": _ANTHROPIC_VERSION,
            **write_body(body, model, holds_to_schema=False),
        }
        if stream:
            written["stream"] = True
        if path is None:
            method = "streamRawPredict" if stream else "rawPredict"
            path = f"{parent}/publishers/anthropic/models/{_claude_name(model)}:{method}"
        return WireRequest("/" + path.lstrip("/"), write_json(written), stream=stream)

    def decode(self, body: bytes, headers: Mapping[str, str], status_code: int = 200) -> Response:
        """The answer in our words, whichever of the two it is in.

        Raises:
            APIClientError: when the body is an error after all.
            ResponseError: when it cannot be read.
        """
        return decode_body(
            body,
            lambda: self.stream_decoder(headers),
            lambda data: _read_answer(data, headers, status_code),
        )

    def stream_decoder(self, headers: Mapping[str, str]) -> StreamDecoder:
        """A decoder for one streamed answer, whichever of the two it is in."""
        return _EitherStream(headers)

    def error(self, status_code: int, body: bytes, headers: Mapping[str, str]) -> APIClientError:
        """The typed error for an answer with an error status; never raises."""
        try:
            data = read_object(body)
        except APIClientError:
            data = {}
        if data.get("type") == "error":
            return anthropic_errors.error_of_content(data, status_code, headers)
        return gemini_errors.error_of_body(status_code, body, headers)

    def _parent(self, request: Mapping[str, Any]) -> str:
        project = request.get("project") or self._project
        location = request.get("location") or request.get("region") or self._location
        if not project or not location:
            missing = "project" if not project else "location"
            raise ConfigurationError(f"Vertex needs to know the {missing}: pass {missing}=")
        return f"/v1/projects/{quote(str(project), safe='')}/locations/{quote(str(location), safe='')}"


def _claude_name(model: str) -> str:
    """The name alone, as it stands in the path; "anthropic/" may stand before it."""
    publisher, _, name = model.rpartition("/")
    if publisher not in ("", "anthropic", "publishers/anthropic/models"):
        raise refuse(f"the model {model!r} is no Claude of Vertex; write its name alone")
    return quote(name, safe="@")


def _is_anthropics(data: dict[str, Any]) -> bool:
    return "choices" not in data and (
        data.get("type") in ("message", "error") or type(data.get("content")) is list or "stop_reason" in data
    )


def _is_googles_error(data: dict[str, Any]) -> bool:
    error = as_dict(data.get("error"))
    return "status" in error or type(error.get("code")) is int or bool(as_list(error.get("details")))


def _read_answer(data: dict[str, Any], headers: Mapping[str, str], status_code: int = 200) -> Response:
    if _is_googles_error(data):
        raise gemini_errors.error_of_content(data, None, headers)
    if _is_anthropics(data):
        return read_message(data, headers, status_code)
    return read_completion(data, headers, status_code)


class _EitherStream:
    """Waits until the first event shows which of the two formats the stream is in."""

    __slots__ = ("_chosen", "_headers", "_held", "_sniffer")

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers
        self._held: list[bytes] = []
        self._sniffer = SSEParser()
        self._chosen: StreamDecoder | None = None

    def feed(self, data: bytes) -> Iterator[Delta]:
        """Yield the deltas that `data` completes.

        Raises:
            APIClientError: The stream holds an error.
            ResponseError: An event of it cannot be read.
        """
        if self._chosen is None:
            self._held.append(data)
            events = [event for event in self._sniffer.feed(data) if event.data.strip()]
            if not events or self._is_json():
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
            if self._is_json():
                return decode_body(
                    body, lambda: _OpenStream(self._headers), lambda data: _read_answer(data, self._headers)
                )
            events = self._sniffer.finish() or [ServerSentEvent("", "")]
            self._chosen = self._choose(events[0])
            for _ in self._chosen.feed(body):
                pass
        return self._chosen.finish()

    def _choose(self, first: ServerSentEvent) -> StreamDecoder:
        # Anthropic names every event, OpenAI's dialect none. Google's own errors come without a name too,
        # and the chat decoder reads them.
        return _ClaudeStream(self._headers) if first.event else _OpenStream(self._headers)

    def _is_json(self) -> bool:
        return b"".join(self._held[:2]).lstrip()[:1] == b"{"


class _ClaudeStream(MessageStream):
    __slots__ = ()

    def _error(self, content: Any) -> APIClientError:
        if _is_googles_error(as_dict(content)):
            return gemini_errors.error_of_content(content, None, self._headers)
        return super()._error(content)


class _OpenStream(ChatStream):
    __slots__ = ()

    def _error(self, content: Any) -> APIClientError:
        if _is_googles_error(as_dict(content)):
            return gemini_errors.error_of_content(content, None, self._headers)
        return super()._error(content)
