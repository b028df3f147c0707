"""`Calling`: one call's whole life in one object, from creation to response or error."""

from __future__ import annotations

import asyncio
import copy
import itertools
import time
from collections.abc import Awaitable, Callable, Generator, Mapping
from typing import Any, Generic

from callgate.call.attempt import Attempt, Permit, Pricer
from callgate.call.status import Execution, RequestStatus
from callgate.call.view import CallView
from callgate.errors import CallCancelledError
from callgate.response import Cost, Delta, Parsed, Response, Usage

__all__ = ["Calling", "Execution", "NetworkRequestEvent", "RequestStatus"]

_PENDING, _QUEUED, _PROCESSING, _CALLING, _COMPLETED, _FAILED = RequestStatus
_numbers = itertools.count(1)
_SHOWN = 60


class Calling(CallView, Generic[Parsed]):
    """One call: created, queued, sent in one or more attempts, ended.

    `await calling` waits for its end and returns the calling; it never raises for a failed call. Reading
    `.response` of a failed call raises its error.

    One object is created per call, so nothing is rendered before it is read: times are floats of the loop's
    clock, the id is a number.

    Example::

        calling = model.submit(messages=[{"role": "user", "content": "Hello!"}])
        await calling
        print(calling.status.value, calling.response.text)
    """

    __slots__ = (
        "__weakref__",
        "_encoded",
        "_error",
        "_number",
        "_response",
        "_sent_method",
        "_waiters",
        "answer_type",
        "attempt",
        "attempts",
        "backend",
        "cached",
        "cancels",
        "deadline",
        "delivered",
        "ended_at",
        "endpoint_url",
        "http_method",
        "http_path",
        "is_hedge",
        "made_at",
        "metadata",
        "num_api_tokens_needed",
        "payload",
        "pricer",
        "processed_at",
        "queued_on",
        "request",
        "request_headers",
        "route",
        "sdk_method_name",
        "shares",
        "sink",
        "size",
        "status",
        "task",
        "timeout",
    )

    payload: Any
    """The request with the model's defaults; a dialect translates it."""
    request: Any
    """The request as the caller gave it, without defaults."""
    backend: Any
    num_api_tokens_needed: float
    metadata: dict[str, Any]
    timeout: float | None
    """Seconds that one attempt may take; None: the backend's own."""
    deadline: float | None
    """End of the whole call, in seconds of the loop's clock; None: none."""
    endpoint_url: str | None
    http_path: str | None
    sdk_method_name: str | None
    attempt: Attempt | None
    """The attempt that runs in this call's task, or the last one that did."""
    route: Any
    """State of the route layer for this call: endpoints tried, and until when each is closed to it."""
    is_hedge: bool
    """True for the copy of a call that makes a hedge's second attempt."""
    cached: bool
    """True if the response came from the cache or from an identical call; it then costs nothing."""
    shares: bool
    """True while waiting on an identical request in flight (single-flight)."""
    size: tuple[Any, int, int | None] | None
    """The payload that was measured last, its characters and its bound on the output in tokens, if any."""
    sink: Callable[[Delta], Awaitable[None]] | None
    """Where the deltas of a stream go; None for a call that is not streamed."""
    delivered: int
    """How many deltas have left; a call is not retried once it is not zero."""
    pricer: Pricer | None
    answer_type: Any
    """The pydantic model or `AnswerSchema` that the response must match; None: any text."""
    task: asyncio.Task[Any] | None
    """The task it runs in, for `cancel` and for timeouts."""
    cancels: int
    """How often `cancel` was called: this many cancellations of its task come from the calling itself."""

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
        self.request = payload
        self.backend = backend
        self.endpoint_url = endpoint_url
        self.http_method = method
        self.request_headers = headers
        self.num_api_tokens_needed = num_api_tokens_needed
        self.metadata = {} if metadata is None else metadata
        self.timeout = timeout
        self.deadline = deadline
        self.http_path = http_path
        self.sdk_method_name = sdk_method_name
        self.status = _PENDING
        self.attempts: list[Attempt] = []
        self.attempt = None
        self.route = None
        self.cached = False
        self.shares = False
        self.size = None
        self.sink = None
        self.delivered = 0
        self.pricer = None
        self.answer_type = None
        self.made_at = _now() if now is None else now
        self.queued_on = None
        self.processed_at = None
        self.ended_at = None
        self.task = None
        self.cancels = 0
        self._encoded: tuple[Any, Any, Any] | None = None
        self.is_hedge = False
        self._number = next(_numbers)
        self._response = None
        self._error = None
        self._sent_method = None
        self._waiters: list[asyncio.Future[None]] | None = None

    # -- queue and attempts ------------------------------------------------------------------------------

    def mark_queued(self, now: float) -> None:
        """Record that it joined a queue; the first time counts."""
        if self.queued_on is None:
            self.queued_on = now
        self.status = _QUEUED

    def mark_next(self, now: float) -> None:
        """Record that it is at the head of the queue."""
        self.processed_at = now
        self.status = _PROCESSING

    def begin_attempt(self, endpoint: str, now: float, permit: Permit | None = None) -> Attempt:
        """Record that the limiter has admitted it to an endpoint, and return the new attempt.

        Args:
            endpoint: The endpoint's name.
            now: Seconds of the loop's clock.
            permit: Where to report when the request is sent, if that is later.
        """
        if self.queued_on is None:
            self.queued_on = now
        if self.processed_at is None:
            self.processed_at = now
        self.status = _CALLING
        attempt = self.attempt = Attempt(
            endpoint, now, hedge=self.is_hedge, pricer=self.pricer, payload=self.payload, permit=permit
        )
        self.attempts.append(attempt)
        return attempt

    def note_request(
        self, url: str, method: str | None = None, *, encoder: Any = None, wire: Any = None
    ) -> None:
        """Record where the current attempt goes, as the backend has resolved it.

        Args:
            url, method: Of the request.
            encoder, wire: The encoded request, kept for the next attempt of the same payload by this encoder.
        """
        self.endpoint_url = url
        self._sent_method = method
        self._encoded = (encoder, self.payload, wire)

    def encoded(self, encoder: Any) -> Any:
        """The encoded request that `encoder` kept for this payload; None if there is none."""
        kept = self._encoded
        if kept is not None and kept[0] is encoder and kept[1] is self.payload:
            return kept[2]
        return None

    def fork(self) -> Calling[Parsed]:
        """A copy for an attempt that runs beside this call in another task (a hedge).

        It shares `attempts`, which marks the new ones as hedges. It is not awaited and has no task yet.
        """
        fork = copy.copy(self)
        fork.task = fork._waiters = fork.attempt = None
        fork.is_hedge = True
        return fork

    async def emit(self, delta: Delta) -> None:
        """Pass one piece of a stream to its reader; waits while the reader's buffer is full."""
        if self.sink is not None:
            attempt = self.attempt
            if attempt is not None and attempt.first_byte_at is None:
                attempt.first_byte_at = _now()
            self.delivered += 1
            await self.sink(delta)

    # -- its end -----------------------------------------------------------------------------------------

    def complete(self, response: Response, now: float) -> None:
        """End with a response. A second end is ignored."""
        if self.ended_at is not None:
            return
        self._response = response
        self.status = _COMPLETED
        self._end(now)

    def fail(self, error: BaseException, now: float) -> None:
        """End with an error. A second end is ignored."""
        if self.ended_at is not None:
            return
        self._error = error
        self.status = _FAILED
        self._end(now)

    def end_with(self, task: asyncio.Task[Any]) -> None:
        """End as its task did, unless it has ended: a task cancelled before its first step runs no code."""
        if self.ended_at is None:
            error = None if task.cancelled() else task.exception()
            self.fail(error or asyncio.CancelledError(), task.get_loop().time())

    def _end(self, now: float) -> None:
        self.ended_at = now
        self.task = None
        self._encoded = None
        if self._waiters is not None:
            waiters, self._waiters = self._waiters, None
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    # -- waiting and cancelling --------------------------------------------------------------------------

    def __await__(self) -> Generator[Any, None, Calling[Parsed]]:
        if self.ended_at is None:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            if self._waiters is None:
                self._waiters = []
            self._waiters.append(waiter)
            yield from waiter
        return self

    @property
    def done(self) -> bool:
        """True once it has a response or an error."""
        return self.ended_at is not None

    def bind(self, task: asyncio.Task[Any] | None) -> None:
        """Set the task it runs in, which `cancel` cancels."""
        self.task = task

    @property
    def cancel_requested(self) -> bool:
        """True once `cancel` was called."""
        return self.cancels > 0

    def cancel(self) -> bool:
        """Cancel the call; it ends FAILED with `error_type` "CancelledError". False if it had ended.

        A call without a task (only created, or waiting behind a full queue) ends at once and is never sent.
        """
        if self.ended_at is not None:
            return False
        self.cancels += 1
        if self.task is not None:
            self.task.cancel()
        else:
            self.fail(asyncio.CancelledError(), _now())
        return True

    # -- its result --------------------------------------------------------------------------------------

    @property
    def response(self) -> Response[Parsed]:
        """The response.

        Raises:
            APIClientError: (or whatever error ended it) if the call failed.
            CallCancelledError: if it was cancelled.
            RuntimeError: if it has not ended.
        """
        if self._response is not None:
            return self._response
        if self._error is None:
            raise RuntimeError(f"call {self.request_id} has not ended; await it first")
        if isinstance(self._error, asyncio.CancelledError):
            raise CallCancelledError(f"call {self.request_id} was cancelled")
        raise self._error

    @property
    def answer(self) -> Response[Parsed] | None:
        """The response, or None; never raises."""
        return self._response

    @property
    def error(self) -> BaseException | None:
        """The exception that ended it, or None."""
        return self._error

    @property
    def usage(self) -> Usage | None:
        """Tokens of all responses paid for this call; None if the provider reported none.

        A call answered from the cache has the usage of the stored response.
        """
        responses = [attempt.response for attempt in self.attempts if attempt.response is not None]
        if self._response is not None and (self.cached or not responses):
            responses.append(self._response)
        total: Usage | None = None
        for response in responses:
            usage = response.usage
            if usage is not None:
                total = usage if total is None else total + usage
        return total

    @property
    def cost(self) -> Cost | None:
        """Cost of all responses paid for this call, in US dollars; None if one of them has no known price.

        A response from the cache costs 0.
        """
        total = Cost(0.0, 0.0) if self.cached and self.pricer is not None else None
        for attempt in self.attempts:
            if attempt.usage is None:
                continue
            cost = attempt.cost
            if cost is None:
                return None
            total = cost if total is None else total + cost
        return total

    def __repr__(self) -> str:
        bits = [f"<Calling {self.request_id} {self.status.value}"]
        if len(self.attempts) > 1:
            bits.append(f"attempts={len(self.attempts)}")
        if self._error is not None:
            bits.append(f"error={self.error_type}({_shown(self.error_message or '')})")
        if self._response is not None:
            bits.append(_shown(self._response.text))
        return " ".join(bits) + ">"


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "...")


NetworkRequestEvent = Calling


def _now() -> float:
    """The time of the running loop; outside of one, the same clock."""
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return time.monotonic()
