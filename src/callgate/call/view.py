"""What a call shows to those who look, by the names that the documents give to its facts.

A calling keeps times as floats of the loop's clock and its id as a number. Here they become datetimes, texts
and log lines.
"""

from __future__ import annotations

import asyncio
import os
import time
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

from callgate.call.status import Execution, Failure, RequestStatus
from callgate.errors import APIClientError, CallCancelledError, SDKError
from callgate.headers import Headers, mask_headers
from callgate.response import Response

__all__ = ["CallRecord"]

_run_id = os.urandom(4).hex()
_wall_offset: float = time.time() - time.monotonic()


class CallRecord:
    """The facts of one call, to be read; `Calling`, which is one, fills them in.

    Example::

        await calling
        print(calling.request_id, calling.created_at, calling.error_type)
        print(*calling.logs, sep="\\n")
    """

    __slots__ = ()

    status: RequestStatus
    attempts: int
    """How often it went on the wire, second attempts included."""
    failures: list[Failure] | None
    """The attempts that failed, in their order; None while there is none."""
    http_method: str | None
    made_at: float
    """When it was made; this and the other moments in seconds of the loop's clock."""
    queued_on: float | None
    processed_at: float | None
    called_at: float | None
    first_delta_at: float | None
    """When the first piece of its stream came, which is one of the last attempt."""
    ended_at: float | None
    _number: int
    _headers: Mapping[str, str] | None
    _response: Response | None
    _error: BaseException | None

    @property
    def duration(self) -> float | None:
        """Seconds from its making to its end; None while it lives."""
        return None if self.ended_at is None else self.ended_at - self.made_at

    @property
    def time_to_first_chunk(self) -> float | None:
        """Seconds from going on the wire to the first piece of the stream; None where there was none."""
        if self.first_delta_at is None or self.called_at is None:
            return None
        return self.first_delta_at - self.called_at

    @property
    def execution(self) -> Execution:
        """The outcome so far, as the services document names it."""
        return Execution(self.status, self.duration, self._response, self._error)

    @property
    def request_id(self) -> str:
        """An id that is unique to this call."""
        return f"{_run_id}-{os.getpid():x}-{self._number:08x}"

    @property
    def method(self) -> str | None:
        """The HTTP method."""
        return self.http_method

    @property
    def headers(self) -> dict[str, str]:
        """The request's own headers; credentials are masked."""
        return mask_headers(self._headers)

    @property
    def request_headers(self) -> Mapping[str, str] | None:
        """The request's own headers as given, credentials included: for the transport only."""
        return self._headers

    @property
    def response_status_code(self) -> int | None:
        """The HTTP status of the last answer, of a failed call too; None when there was none."""
        if self._response is not None:
            return self._response.status_code
        return getattr(self._error, "status_code", None)

    @property
    def response_headers(self) -> Headers:
        """The headers of the last answer, of a failed call too; found by their names in any case."""
        if self._response is not None:
            return Headers(self._response.headers)
        return Headers(self._error.headers if isinstance(self._error, APIClientError | SDKError) else {})

    @property
    def response_body(self) -> Any:
        """The body of the last answer as parsed JSON or text, of a failed call too."""
        if self._response is not None:
            return self._response.raw
        return getattr(self._error, "response_content", None)

    @property
    def cancelled(self) -> bool:
        """Whether it ended because somebody cancelled it, or a stop did."""
        return isinstance(self._error, asyncio.CancelledError | CallCancelledError)

    @property
    def error_type(self) -> str | None:
        """The class name of the error."""
        return None if self._error is None else type(self._error).__name__

    @property
    def error_message(self) -> str | None:
        """The error in words."""
        if self._error is None:
            return None
        return str(self._error) or ("cancelled" if self.cancelled else type(self._error).__name__)

    @property
    def error_details(self) -> str | None:
        """The error's traceback, or None."""
        if self._error is None:
            return None
        return "".join(traceback.format_exception(self._error))

    @property
    def created_at(self) -> datetime:
        """When it was made (UTC)."""
        return _render(self.made_at)

    @property
    def updated_at(self) -> datetime:
        """When it last changed its status (UTC)."""
        moments = (self.made_at, self.queued_on, self.processed_at, self.called_at, self.ended_at)
        return _render(max(moment for moment in moments if moment is not None))

    @property
    def queued_at(self) -> datetime | None:
        """When it joined the line (UTC)."""
        return _utc(self.queued_on)

    @property
    def processing_started_at(self) -> datetime | None:
        """When it became the next in line (UTC); from here on it waited for its own quota only."""
        return _utc(self.processed_at)

    @property
    def call_started_at(self) -> datetime | None:
        """When its last attempt went on the wire (UTC)."""
        return _utc(self.called_at)

    @property
    def completed_at(self) -> datetime | None:
        """When it ended, well or not (UTC)."""
        return _utc(self.ended_at)

    @property
    def logs(self) -> list[str]:
        """Its life so far, a line each, oldest first."""
        moments = [
            (self.made_at, "created"),
            (self.queued_on, "queued"),
            (self.processed_at, "next in line, waiting for quota"),
            (self.called_at, f"calling (attempt {self.attempts})"),
            *((failure.at, f"attempt failed: {failure.error}") for failure in self.failures or ()),
            (self.ended_at, self.status.value + (f": {self.error_message}" if self._error else "")),
        ]
        lived = [(at, what) for at, what in moments if at is not None]
        return [f"{_render(at).isoformat()} {what}" for at, what in sorted(lived, key=itemgetter(0))]


def _utc(monotonic: float | None) -> datetime | None:
    return None if monotonic is None else _render(monotonic)


def _render(monotonic: float) -> datetime:
    return datetime.fromtimestamp(monotonic + _wall_offset, UTC)
