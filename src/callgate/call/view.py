"""The facts of a call as its users read them: ids, datetimes, headers, error texts and log lines.

A calling keeps times as floats of the loop's clock and its id as a number; they are rendered here when read.
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

from callgate.call.attempt import Attempt
from callgate.call.status import Execution, RequestStatus
from callgate.errors import APIClientError, CallCancelledError, SDKError
from callgate.headers import Headers, mask_headers
from callgate.response import Response

__all__ = ["CallView"]

_run_id = os.urandom(4).hex()
_wall_offset: float = time.time() - time.monotonic()


class CallView:
    """Read-only facts of one call; `Calling` is the subclass that writes them.

    Example::

        await calling
        print(calling.request_id, calling.created_at, calling.error_type)
        print(*calling.logs, sep="\\n")
    """

    __slots__ = ()

    status: RequestStatus
    attempts: list[Attempt]
    """Its attempts in the order in which they were admitted, hedges included; `len` counts them."""
    cached: bool
    http_method: str | None
    request_headers: Mapping[str, str] | None
    """The request's own headers with credentials: for the transport only."""
    made_at: float
    """When it was created; this and the other times are seconds of the loop's clock."""
    queued_on: float | None
    processed_at: float | None
    ended_at: float | None
    _sent_method: str | None
    _number: int
    _response: Response | None
    _error: BaseException | None

    @property
    def duration(self) -> float | None:
        """Seconds from creation to end; None while it runs."""
        return None if self.ended_at is None else self.ended_at - self.made_at

    @property
    def sent_at(self) -> float | None:
        """When its last attempt was sent; None if nothing was sent."""
        return next((each.sent_at for each in reversed(self.attempts) if each.sent_at is not None), None)

    @property
    def in_flight(self) -> bool:
        """True while an attempt is in flight."""
        return any(attempt.in_flight for attempt in self.attempts)

    @property
    def time_to_first_chunk(self) -> float | None:
        """Seconds from the start of the last attempt to the first piece of its stream; None without one."""
        last = self.attempts[-1] if self.attempts else None
        if last is None or last.first_byte_at is None:
            return None
        return last.first_byte_at - last.started_at

    @property
    def completed_by(self) -> str | None:
        """Name of the endpoint whose response the call returned; None if it was cached or failed."""
        if self._response is None or self.cached:
            return None
        return next((each.endpoint for each in reversed(self.attempts) if each.response is not None), None)

    @property
    def execution(self) -> Execution:
        """The outcome so far: status, duration, response, error."""
        return Execution(self.status, self.duration, self._response, self._error)

    @property
    def request_id(self) -> str:
        """An id that is unique to this call."""
        return f"{_run_id}-{os.getpid():x}-{self._number:08x}"

    @property
    def method(self) -> str | None:
        """The HTTP method."""
        return self.http_method or self._sent_method

    @property
    def headers(self) -> dict[str, str]:
        """The request's own headers; credentials are masked."""
        return mask_headers(self.request_headers)

    @property
    def response_status_code(self) -> int | None:
        """The HTTP status of the last response, also of a failed call; None if there was none."""
        if self._response is not None:
            return self._response.status_code
        return getattr(self._error, "status_code", None)

    @property
    def response_headers(self) -> Headers:
        """The headers of the last response, also of a failed call; names match in any case."""
        if self._response is not None:
            return Headers(self._response.headers)
        return Headers(self._error.headers if isinstance(self._error, APIClientError | SDKError) else {})

    @property
    def response_body(self) -> Any:
        """The body of the last response as parsed JSON or text, also of a failed call."""
        if self._response is not None:
            return self._response.raw
        return getattr(self._error, "response_content", None)

    @property
    def cancelled(self) -> bool:
        """True if it was cancelled, by `cancel` or by a stop."""
        return isinstance(self._error, asyncio.CancelledError | CallCancelledError)

    @property
    def error_type(self) -> str | None:
        """Class name of the error, or None."""
        return None if self._error is None else type(self._error).__name__

    @property
    def error_message(self) -> str | None:
        """Text of the error, or None."""
        if self._error is None:
            return None
        return str(self._error) or ("cancelled" if self.cancelled else type(self._error).__name__)

    @property
    def error_details(self) -> str | None:
        """Traceback of the error, or None."""
        if self._error is None:
            return None
        return "".join(traceback.format_exception(self._error))

    @property
    def created_at(self) -> datetime:
        """When it was created (UTC)."""
        return _render(self.made_at)

    @property
    def updated_at(self) -> datetime:
        """When its status last changed (UTC)."""
        moments = (self.made_at, self.queued_on, self.processed_at, self._admitted_at, self.ended_at)
        return _render(max(moment for moment in moments if moment is not None))

    @property
    def queued_at(self) -> datetime | None:
        """When it joined the queue (UTC)."""
        return _utc(self.queued_on)

    @property
    def processing_started_at(self) -> datetime | None:
        """When it came to the head of the queue (UTC); from then on it waited for its own quota only."""
        return _utc(self.processed_at)

    @property
    def call_started_at(self) -> datetime | None:
        """When its last attempt was admitted (UTC)."""
        return _utc(self._admitted_at)

    @property
    def completed_at(self) -> datetime | None:
        """When it ended (UTC)."""
        return _utc(self.ended_at)

    @property
    def logs(self) -> list[str]:
        """Its history, one line per event, oldest first."""
        moments: list[tuple[float | None, str]] = [
            (self.made_at, "created"),
            (self.queued_on, "queued"),
            (self.processed_at, "next in the queue, waiting for quota"),
        ]
        for number, attempt in enumerate(self.attempts, 1):
            at = f" at {attempt.endpoint}" if attempt.endpoint else ""
            moments.append((attempt.started_at, f"calling (attempt {number}{at})"))
            if attempt.error is not None:
                moments.append((attempt.ended_at, f"attempt {number} failed: {attempt.error}"))
        end = self.status.value + (f": {self.error_message}" if self._error else "")
        moments.append((self.ended_at, end))
        lived = [(at, what) for at, what in moments if at is not None]
        return [f"{_render(at).isoformat()} {what}" for at, what in sorted(lived, key=itemgetter(0))]

    @property
    def _admitted_at(self) -> float | None:
        return self.attempts[-1].started_at if self.attempts else None


def _utc(monotonic: float | None) -> datetime | None:
    return None if monotonic is None else _render(monotonic)


def _render(monotonic: float) -> datetime:
    return datetime.fromtimestamp(monotonic + _wall_offset, UTC)
