"""What the decoders of server-sent event streams share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from callgate.errors import ResponseError
from callgate.response import Delta, Response
from callgate.transport.sse import ServerSentEvent, SSEParser

__all__ = ["EventStreamDecoder"]


class EventStreamDecoder(ABC):
    """A `StreamDecoder` of server-sent events. A dialect says what one event means and what they add up to.

    Some servers answer a request for a stream with one JSON object; that is understood too, at the end.

    Args:
        headers: Of the answer, lower-case names.
    """

    __slots__ = ("_headers", "_parser", "_pieces")

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers
        self._parser = SSEParser()
        is_json = headers.get("content-type", "").startswith("application/json")
        self._pieces: list[bytes] | None = [] if is_json else None

    def feed(self, data: bytes) -> list[Delta]:
        """The deltas that `data` completes.

        Raises:
            APIClientError: when the stream says that it failed.
            ResponseError: when an event of it cannot be read.
        """
        deltas: list[Delta] = []
        if self._pieces is not None:
            self._pieces.append(data)
        else:
            for event in self._parser.feed(data):
                if event.data.strip():  # some servers keep the connection open with empty events
                    self._take(event, deltas)
        return deltas

    def finish(self) -> Response:
        """The whole answer.

        Raises:
            ResponseError: when the stream broke off before its end.
        """
        if self._pieces is not None:
            return self._read_whole(b"".join(self._pieces))
        for event in self._parser.finish():
            try:
                if event.data.strip():
                    self._take(event, [])
            except ResponseError:
                break  # cut off in the middle of an event; whether the rest is enough, `_answer` judges
        return self._answer()

    @abstractmethod
    def _take(self, event: ServerSentEvent, deltas: list[Delta]) -> None:
        """Take in one event, and append the deltas it brings."""

    @abstractmethod
    def _answer(self) -> Response:
        """What the events add up to; a ResponseError when the last of them is missing."""

    @abstractmethod
    def _read_whole(self, body: bytes) -> Response:
        """An answer that came in one piece."""
