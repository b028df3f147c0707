"""Reading one streamed answer of Bedrock: binary frames, or what a gateway sends instead of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping

from callgate.errors import APIClientError, ResponseError
from callgate.providers.bedrock.errors import error_of_frame, error_of_text
from callgate.providers.canonical.json import as_dict, read_json
from callgate.response import Delta, Response
from callgate.transport.eventstream import EventStreamParser, Frame

__all__ = ["FrameDecoder", "holds_frames"]


def holds_frames(body: bytes) -> bool:
    """True for a body of frames: they begin with the high byte of their length, texts with a letter."""
    return body[:1] in (b"\0", b"\1")


class FrameDecoder(ABC):
    """A `StreamDecoder` of frames; a dialect defines what one frame means and what all add up to.

    A body that is text is read as a whole answer, and JSON behind the frames as the error that it is.

    Args:
        headers: Of the answer, lower-case names.
    """

    __slots__ = ("_began", "_headers", "_parser")

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers
        self._parser = EventStreamParser()
        self._began = False

    def feed(self, data: bytes) -> Iterator[Delta]:
        """Yield the deltas that `data` completes; those before an error come before it is raised.

        Raises:
            APIClientError: The stream holds an error.
            ResponseError: A frame is damaged or cannot be read.
        """
        for frame in self._parser.feed(data):
            self._began = True
            if frame.text(":message-type") in ("exception", "error"):
                raise error_of_frame(frame, self._headers)
            yield from self._take(frame)
        if self._parser.failure is not None:
            raise self._parser.failure

    def finish(self) -> Response:
        """Return the whole answer.

        Raises:
            APIClientError: The body is, or ends in, an error.
            ResponseError: The stream broke off before its end.
        """
        text = self._parser.stray
        if text.strip() and not self._began:
            return self._read_text(text)
        if text.strip():
            self._raise_error_in(text)
        return self._answer()

    def _raise_error_in(self, text: bytes) -> None:
        try:
            content = as_dict(read_json(text))
        except ResponseError:
            return
        if content.get("message") or content.get("Message") or content.get("error"):
            raise self._error(text)

    def _error(self, body: bytes) -> APIClientError:
        """The typed error for JSON without a frame."""
        return error_of_text(body, self._headers)

    @abstractmethod
    def _take(self, frame: Frame) -> list[Delta]:
        """Take in one frame, and return the deltas that it brings."""

    @abstractmethod
    def _answer(self) -> Response:
        """Return what the frames add up to; raise ResponseError when the last of them is missing."""

    @abstractmethod
    def _read_text(self, body: bytes) -> Response:
        """Read a body that is text."""
