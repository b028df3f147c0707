"""Functions of several backends: decoding a stream, and reading a Retry-After that is a date."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from callgate.call.calling import Calling
from callgate.errors import APIClientError
from callgate.providers.canonical.content import arguments_text
from callgate.providers.dialect import StreamDecoder
from callgate.providers.quota_headers import read_retry_after
from callgate.response import Delta, Response, ToolCallDelta

__all__ = ["StreamReader", "with_dated_wait"]


def with_dated_wait(error: APIClientError, headers: Mapping[str, str]) -> APIClientError:
    """The error with its `retry_after`, also from a Retry-After that is a date.

    A dialect has no clock, so it cannot read a date if the response has no `date` header.
    """
    if error.retry_after is None and "retry-after" in headers:
        error.retry_after = read_retry_after(headers, time.time())
    return error


class StreamReader:
    """Passes the deltas of one streamed answer on to its call.

    An answer may come in one piece although a stream was asked for, and a last event without a line end is
    decoded only when the bytes have ended. What no delta has brought until then is passed on at the end, so
    that the deltas always add up to the answer.

    Example::

        reader = StreamReader(calling, dialect.stream_decoder(headers))
        async for piece in pieces:
            await reader.feed(piece)
        response = await reader.finish()
    """

    __slots__ = ("_calling", "_calls", "_decoder", "_reasoning", "_text")

    def __init__(self, calling: Calling, decoder: StreamDecoder) -> None:
        self._calling = calling
        self._decoder = decoder
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: set[int] = set()

    async def feed(self, piece: bytes) -> None:
        """Decode some bytes, and pass on the deltas that they complete.

        Raises:
            APIClientError: The stream holds an error, or cannot be read.
        """
        for delta in self._decoder.feed(piece):
            if delta.text:
                self._text.append(delta.text)
            if delta.reasoning:
                self._reasoning.append(delta.reasoning)
            if delta.tool_call is not None:
                self._calls.add(delta.tool_call.index)
            await self._calling.emit(delta)

    async def finish(self, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        """Pass on what is left, and return the whole answer.

        Raises:
            APIClientError: The stream ended in an error.
            ResponseError: It broke off before its end.
        """
        response = self._decoder.finish()
        for delta in self._rest_of(response):
            await self._calling.emit(delta)
        response.status_code = status
        if headers is not None and not response.headers:
            response.headers = headers
        return response

    def _rest_of(self, response: Response) -> Iterator[Delta]:
        reasoning = _rest(response.reasoning or "", self._reasoning)
        text = _rest(response.text, self._text)
        if text or reasoning:
            yield Delta(text, reasoning)
        for number, call in enumerate(response.tool_calls):
            if number not in self._calls:
                yield Delta(tool_call=ToolCallDelta(number, call.id, call.name, arguments_text(call)))


def _rest(whole: str, pieces: list[str]) -> str:
    """What of a text no piece has brought; nothing if the pieces are not its beginning."""
    if not pieces:
        return whole
    said = "".join(pieces)
    return whole[len(said) :] if whole.startswith(said) else ""
