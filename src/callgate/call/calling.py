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
import time
from collections.abc import Awaitable, Callable, Generator, Mapping
from typing import Any

from callgate.call.status import Execution, Failure, RequestStatus
from callgate.call.view import CallRecord
from callgate.errors import CallCancelledError
from callgate.headers import mask_headers
from callgate.response import Cost, Delta, Response, Usage

__all__ = ["Calling", "Execution", "Failure", "NetworkRequestEvent", "RequestStatus", "mask_headers"]


_PENDING, _QUEUED, _PROCESSING, _CALLING, _COMPLETED, _FAILED = RequestStatus
_numbers = itertools.count(1)


class Calling(CallRecord):
    """One call: made, queued, on the wire, ended. Await it to wait for its end; it then gives itself.

    Awaiting never raises for a failed call; reading `.response` of a failed call raises its error.

    Example::

        calling = model.submit(messages=[{"role": "user", "content": "Hello!"}])
        await calling
        print(calling.status.value, calling.response.text)
    """

    __slots__ = (
        "__weakref__",
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
        "cancels",
        "completed_by",
        "deadline",
        "delivered",
        "elsewhere",
        "ended_at",
        "endpoint_url",
        "failures",
        "first_delta_at",
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
        "shares",
        "sink",
        "size",
        "spent",
        "spent_answers",
        "spent_cost",
        "status",
        "task",
        "timeout",
        "wire",
    )

    payload: Any
    """What is sent, the model's defaults included; a dialect translates it."""
    request: Any
    """What the caller asked for, without any defaults."""
    backend: Any
    num_api_tokens_needed: float
    metadata: dict[str, Any]
    timeout: float | None
    """Seconds one attempt may take on the wire; None: the backend's own."""
    deadline: float | None
    """The end of the whole call by the loop's clock, in seconds; None: none."""
    endpoint_url: str | None
    http_path: str | None
    sdk_method_name: str | None
    elsewhere: Callable[[BaseException], bool] | None
    """Told of each failed attempt that may be tried again: whether another model takes the call instead."""
    hedges: int
    """How many of the attempts were second ones beside one that took long; a loser's cost is unknown."""
    cached: bool
    shares: bool
    """Whether it waits for the answer to an equal request that somebody else has sent."""
    size: tuple[Any, int] | None
    """The payload whose characters were counted last, and how many: who reserves tokens counts them once."""
    sink: Callable[[Delta], Awaitable[None]] | None
    """Where the deltas of a stream go; None when nobody streams."""
    delivered: int
    """How many deltas have left; a retry is refused once it is not zero."""
    wire: Any
    """The encoded request, kept for the next attempt by the backend that made it."""
    pricer: Callable[[Usage, Calling], Cost | None] | None
    answer_type: Any
    """The pydantic model or `AnswerSchema` that the answer must satisfy; None: any text will do."""
    spent: Usage | None
    """Tokens of answers that were paid but not returned (they did not fit the schema)."""
    spent_answers: int
    """How many answers that were."""
    spent_cost: Cost | None
    """What those cost, by the prices of whoever gave them; None when that is not known."""
    completed_by: str | None
    """The name of the backend that answered, when a fallback did."""
    task: asyncio.Task[Any] | None
    """The task it runs in, for `cancel` and for the watch on its time."""
    cancels: int
    """How often `cancel` was called while it lived: that many cancellations of its task are nobody else's."""

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
        self._headers = headers
        self.num_api_tokens_needed = num_api_tokens_needed
        self.metadata = {} if metadata is None else metadata
        self.timeout = timeout
        self.deadline = deadline
        self.http_path = http_path
        self.sdk_method_name = sdk_method_name
        self.status = _PENDING
        self.attempts = 0
        self.hedges = 0
        self.failures = None
        self.elsewhere = None
        self.cached = False
        self.shares = False
        self.size = None
        self.sink = None
        self.delivered = 0
        self.first_delta_at = None
        self.wire = None
        self.pricer = None
        self.answer_type = None
        self.spent = None
        self.spent_answers = 0
        self.spent_cost = None
        self.completed_by = None
        self.made_at = _now() if now is None else now
        self.queued_on = None
        self.processed_at = None
        self.called_at = None
        self.ended_at = None
        self._number = next(_numbers)
        self._response = None
        self._error = None
        self._waiters: list[asyncio.Future[None]] | None = None
        self.task = None
        self.cancels = 0

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
        return self.cancels > 0

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

    def end_with(self, task: asyncio.Task[Any]) -> None:
        """End as its task did, unless it has ended: a task cancelled before its first step tells nobody."""
        if self.ended_at is None:
            error = None if task.cancelled() else task.exception()
            self.fail(error or asyncio.CancelledError(), task.get_loop().time())

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
        """The same call once more, to be attempted beside this one; nobody awaits it, and it has no task.

        Failures and what was spent are its own; attempts go on from here.
        """
        twin = copy.copy(self)
        twin.task = twin._waiters = twin.failures = None
        twin.spent = twin.spent_cost = None
        twin.spent_answers = 0
        return twin

    def spend(self, usage: Usage) -> None:
        """Count the tokens of an answer that was paid but not returned, at the prices of whoever gave it."""
        cost = None if self.pricer is None else self.pricer(usage, self)
        self.spent_answers += 1
        if self.spent is None:
            self.spent, self.spent_cost = usage, cost
        else:
            self.spent += usage
            before = self.spent_cost
            self.spent_cost = None if before is None or cost is None else before + cost

    async def emit(self, delta: Delta) -> None:
        """Pass one piece of a stream to whoever reads it; waits while that reader is full."""
        if self.sink is not None:
            if self.first_delta_at is None:
                self.first_delta_at = _now()
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
        self.cancels += 1
        if self.task is not None:
            self.task.cancel()
        else:
            self.fail(asyncio.CancelledError(), _now())
        return True

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
