"""Functions of several backends: decoding a stream, and reading a Retry-After that is a date."""

from __future__ import annotations

import time
from collections.abc import Mapping

from callgate.call.calling import Calling
from callgate.errors import APIClientError
from callgate.providers.dialect import StreamDecoder
from callgate.providers.quota_headers import read_retry_after
from callgate.response import Response

__all__ = ["emit", "finish", "with_dated_wait"]


async def emit(calling: Calling, decoder: StreamDecoder, piece: bytes) -> None:
    for delta in decoder.feed(piece):
        await calling.emit(delta)


def with_dated_wait(error: APIClientError, headers: Mapping[str, str]) -> APIClientError:
    """The error with its `retry_after`, also from a Retry-After that is a date.

    A dialect has no clock, so it cannot read a date if the response has no `date` header.
    """
    if error.retry_after is None and "retry-after" in headers:
        error.retry_after = read_retry_after(headers, time.time())
    return error


def finish(decoder: StreamDecoder, status: int, headers: Mapping[str, str]) -> Response:
    response = decoder.finish()
    response.status_code = status
    if not response.headers:
        response.headers = headers
    return response
