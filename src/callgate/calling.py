"""`Calling`: one call's whole life in one object.

What was asked, where it stands, when it got there, every attempt, the answer or the error, what it cost. The
documents know it as `Calling` and as `NetworkRequestEvent`: one class, two names.

One is made for every call, so nothing is rendered before somebody looks: times are kept as floats of the
loop's clock, the id as a number, logs not at all.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import os
import time
import traceback
from collections.abc import Awaitable, Callable, Generator, Mapping
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

from callgate.errors import APIClientError, CallCancelledError, SDKError
from callgate.headers import Headers, mask_headers
from callgate.lifecycle import Execution, Failure, RequestStatus
from callgate.response import Cost, Delta, Response, Usage

__all__ = ["Calling", "Execution", "Failure", "NetworkRequestEvent", "RequestStatus", "mask_headers"]


_PENDING, _QUEUED, _PROCESSING, _CALLING, _COMPLETED, _FAILED = RequestStatus
_numbers = itertools.count(1)
_run_id = os.urandom(4).hex()
_wall_offset: float = time.time() - time.monotonic()


class Calling:
    """One call: made, queued, on the wire, ended. Await it to wait for its end; it then gives itself.

    Awaiting never raises for a failed call; reading `.response` of a failed call raises its error.

    Example::

        calling = model.submit(messages=[{"role": "user", "content": "Hello!"}])
        await calling
        print(calling.status.value, calling.response.text)
    """

    __slots__ = (
        "_cancel_requested",
        "_error",
        "_headers",
        "_number",
        "_response",
        "_waiters",
        "answer_type",
        "attempts",
        "backend",
        "cached",
        "called_at",
        "completed_by",
        "deadline",
        "delivered",
        "ended_at",
        "endpoint_url",
        "failures",
        "hedges",
        "http_method",
        "http_path",
        "made_at",
        "metadata",
        "num_api_tokens_needed",
        "payload",
        "pricer",
        "processed_at",
        "queued_on",
        "request",
        "sdk_method_name",
        "sink",
        "spent",
        "spent_cost",
        "status",
        "task",
        "timeout",
        "wire",
    )

    def __init__(
        self,
        payload: Any = None,
        *,
        backend: Any = None,
        endpoint_url: str | None = None,
        method: str | None = None,
        headers: Mapping[str, str] | None = None,
        num_api_tokens_needed: float = 0,
        metadata: dict[str, Any] | None = None,
        timeout: float | None = None,
        deadline: float | None = None,
        http_path: str | None = None,
        sdk_method_name: str | None = None,
        now: float | None = None,
    ) -> None:
        self.payload = payload
        """What is sent, the model's defaults included; a dialect translates it."""
        self.request = payload
        """What the caller asked for, without any defaults."""
        self.backend = backend
        self.endpoint_url = endpoint_url
        self.http_method = method
        self._headers = headers
        self.num_api_tokens_needed = num_api_tokens_needed
        self.metadata: dict[str, Any] = {} if metadata is None else metadata
        self.timeout = timeout
        """Seconds one attempt may take on the wire; None: the backend's own."""
        self.deadline = deadline
        """The end of the whole call by the loop's clock, in seconds; None: none."""
        self.http_path = http_path
        self.sdk_method_name = sdk_method_name
        self.status = _PENDING
        self.attempts = 0
        """How often it went on the wire, second attempts included."""
        self.hedges = 0
        """How many of the attempts were second ones beside one that took long; a loser's cost is unknown."""
        self.failures: list[Failure] | None = None
        self.cached = False
        self.sink: Callable[[Delta], Awaitable[None]] | None = None
        """Where the deltas of a stream go; None when nobody streams."""
        self.delivered = 0
        """How many deltas have left; a retry is refused once it is not zero."""
        self.wire: Any = None
        """The encoded request, kept for the next attempt by the backend that made it."""
        self.pricer: Callable[[Usage, Calling], Cost | None] | None = None
        self.answer_type: Any = None
        """The pydantic model or `AnswerSchema` that the answer must satisfy; None: any text will do."""
        self.spent: Usage | None = None
        """Tokens of answers that were paid but not returned (they did not fit the schema)."""
        self.spent_cost: Cost | None = None
        """What those cost, by the prices of whoever gave them; None when that is not known."""
        self.completed_by: str | None = None
        """The name of the backend that answered, when a fallback did."""
        self.made_at = _now() if now is None else now
        self.queued_on: float | None = None
        self.processed_at: float | None = None
        self.called_at: float | None = None
        self.ended_at: float | None = None
        self._number = next(_numbers)
        self._response: Response | None = None
        self._error: BaseException | None = None
        self._waiters: list[asyncio.Future[None]] | None = None
        self.task: asyncio.Task[Any] | None = None
        """The task it runs in, for `cancel` and for the watch on its time."""
        self._cancel_requested = False

    # -- its way -----------------------------------------------------------------------------------------

    def mark_queued(self, now: float) -> None:
        """It has joined a line."""
        self.queued_on = now
        self.status = _QUEUED

    def bind(self, task: asyncio.Task[Any] | None) -> None:
        """Tell the task it runs in, for `cancel`."""
        self.task = task

    @property
    def cancel_requested(self) -> bool:
        """Whether `cancel` was called on it."""
        return self._cancel_requested

    # -- its end -----------------------------------------------------------------------------------------

    def complete(self, response: Response, now: float) -> None:
        """End well. Called once, by whoever owns the call; a second end is ignored."""
        if self.ended_at is not None:
            return
        self._response = response
        self.status = _COMPLETED
        self._end(now)

    def fail(self, error: BaseException, now: float) -> None:
        """End with an error. Called once, by whoever owns the call; a second end is ignored."""
        if self.ended_at is not None:
            return
        self._error = error
        self.status = _FAILED
        self._end(now)

    def _end(self, now: float) -> None:
        self.ended_at = now
        self.task = None
        self.wire = None
        if self._waiters is not None:
            waiters, self._waiters = self._waiters, None
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def note_failure(self, error: BaseException, now: float) -> None:
        """Keep the error of one attempt; the call itself may go on."""
        if self.failures is None:
            self.failures = []
        self.failures.append(Failure(now, error))

    def twin(self) -> Calling:
        """The same call once more, to be attempted beside this one; nobody awaits it, and it has no task."""
        twin = copy.copy(self)
        twin.task = twin._waiters = twin.failures = None
        return twin

    def spend(self, usage: Usage) -> None:
        """Count the tokens of an answer that was paid but not returned, at the prices of whoever gave it."""
        cost = None if self.pricer is None else self.pricer(usage, self)
        if self.spent is None:
            self.spent, self.spent_cost = usage, cost
        else:
            self.spent += usage
            before = self.spent_cost
            self.spent_cost = None if before is None or cost is None else before + cost

    async def emit(self, delta: Delta) -> None:
        """Pass one piece of a stream to whoever reads it; waits while that reader is full."""
        if self.sink is not None:
            self.delivered += 1
            await self.sink(delta)

    # -- waiting and cancelling --------------------------------------------------------------------------

    def __await__(self) -> Generator[Any, None, Calling]:
        if self.ended_at is None:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            if self._waiters is None:
                self._waiters = []
            self._waiters.append(waiter)
            yield from waiter
        return self

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self.ended_at is not None

    def cancel(self) -> bool:
        """Cancel the call; it ends FAILED with `error_type` "CancelledError". False when it had ended.

        A call that has no task yet, because it was only made or waits behind a full queue, ends at once and
        is never sent.
        """
        if self.ended_at is not None:
            return False
        self._cancel_requested = True
        if self.task is not None:
            self.task.cancel()
        else:
            self.fail(asyncio.CancelledError(), _now())
        return True

    @property
    def cancelled(self) -> bool:
        """Whether it ended because somebody cancelled it, or a stop did."""
        return isinstance(self._error, asyncio.CancelledError | CallCancelledError)

    # -- what came of it ---------------------------------------------------------------------------------

    @property
    def response(self) -> Response:
        """The answer.

        Raises:
            APIClientError: (or what else ended it) when the call failed.
            CallCancelledError: when it was cancelled.
            RuntimeError: when it has not ended yet.
        """
        if self._response is not None:
            return self._response
        if self._error is None:
            raise RuntimeError(f"call {self.request_id} has not ended; await it first")
        if isinstance(self._error, asyncio.CancelledError):
            raise CallCancelledError(f"call {self.request_id} was cancelled")
        raise self._error

    @property
    def answer(self) -> Response | None:
        """The answer, or None when there is none; never raises."""
        return self._response

    @property
    def error(self) -> BaseException | None:
        """The exception that ended it, or None."""
        return self._error

    @property
    def usage(self) -> Usage | None:
        """Tokens of all answers paid for this call, or None when the provider did not say."""
        usage = None if self._response is None else self._response.usage
        if self.spent is None:
            return usage
        return self.spent if usage is None else self.spent + usage

    @property
    def cost(self) -> Cost | None:
        """What it cost in US dollars; an answer from the cache costs 0; None when the price is not known."""
        if self.pricer is None:
            return None
        if self.cached:
            return self.spent_cost if self.spent is not None else Cost(0.0, 0.0)
        usage = None if self._response is None else self._response.usage
        if usage is None:
            return self.spent_cost
        own = self.pricer(usage, self)
        if self.spent is None or own is None:
            return own
        return None if self.spent_cost is None else self.spent_cost + own

    @property
    def duration(self) -> float | None:
        """Seconds from its making to its end; None while it lives."""
        return None if self.ended_at is None else self.ended_at - self.made_at

    @property
    def execution(self) -> Execution:
        """The outcome so far, as the services document names it."""
        return Execution(self.status, self.duration, self._response, self._error)

    # -- the names of NetworkRequestEvent ----------------------------------------------------------------

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

    def __repr__(self) -> str:
        bits = [f"<Calling {self.request_id} {self.status.value}"]
        if self.attempts > 1:
            bits.append(f"attempts={self.attempts}")
        if self._error is not None:
            bits.append(f"error={self.error_type}")
        return " ".join(bits) + ">"


NetworkRequestEvent = Calling


def _now() -> float:
    """The time of the running loop, whose clock the other moments are of; outside of one, the same clock."""
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return time.monotonic()


def _utc(monotonic: float | None) -> datetime | None:
    return None if monotonic is None else _render(monotonic)


def _render(monotonic: float) -> datetime:
    return datetime.fromtimestamp(monotonic + _wall_offset, UTC)
