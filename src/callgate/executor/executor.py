"""`Executor`: owns a limiter, a queue of calls, and the lifetime of the calls in it.

Admission is driven by events: the end of a call, a refilled quota or a changed limit admits the next call.
There are no workers, and nothing polls.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import Enum
from typing import Any

from callgate.call.calling import Calling
from callgate.errors import ConfigurationError
from callgate.executor.backlog import Backlog
from callgate.executor.function_backend import ApiCall, Returned429, api_call_backend
from callgate.pipeline import Layers, Service, pipeline
from callgate.policies.limit.adaptive import AdaptiveConcurrency
from callgate.policies.limit.layer import limit_layer
from callgate.policies.limit.limiter import Limiter
from callgate.policies.limit.pushback import Pushback
from callgate.policies.limit.quota import Quota
from callgate.policies.observe.layer import observe_layer
from callgate.reprs import live_repr
from callgate.response import Response

__all__ = ["Executor"]


class _State(Enum):
    NEW = "not started"
    RUNNING = "running"
    DRAINING = "draining"
    STOPPED = "stopped"


class Executor:
    """Runs calls within concurrency, request and token limits, first come, first served.

    Args:
        queue_capacity: How many calls may wait in the queue; with more, `submit_task` waits.
        concurrency_limit: How many calls may be in flight; None: no limit.
        requests_rate: The most calls in any window of `requests_period`; None: no limit.
        requests_period: Seconds.
        requests_bucket_capacity: A burst on top of what one window needs, in calls.
        api_tokens_rate: Tokens per `api_tokens_period`; None: no limit.
        api_tokens_period: Seconds.
        api_tokens_bucket_capacity: A burst on top of what one window needs, in tokens.
        num_workers: Has no effect: there are no workers.
        adaptive: Finds a safe concurrency by trial where the provider's limits are not known; replaces
            `concurrency_limit`.

    Raises:
        ConfigurationError: (a ValueError) when a limit is not a positive number.

    Example::

        async with Executor(concurrency_limit=5, requests_rate=10.0) as executor:
            event = await executor.submit_task(fetch_data, endpoint_url="https://api.example.com/data")
            await event
            print(event.response_status_code, event.response_body)
    """

    def __init__(
        self,
        queue_capacity: int = 1000,
        concurrency_limit: int | None = 10,
        requests_rate: float | None = 10.0,
        requests_period: float = 1.0,
        requests_bucket_capacity: float | None = None,
        api_tokens_rate: float | None = None,
        api_tokens_period: float = 60.0,
        api_tokens_bucket_capacity: float | None = None,
        num_workers: int = 5,
        *,
        adaptive: AdaptiveConcurrency | None = None,
    ) -> None:
        if type(queue_capacity) is not int or queue_capacity < 1:
            raise ConfigurationError(
                f"queue_capacity must be a whole number from 1, got {queue_capacity!r}",
                setting="queue_capacity",
            )
        self.queue_capacity = queue_capacity
        self.num_workers = num_workers
        self._settings: dict[str, Any] = {
            "queue_capacity": queue_capacity,
            "concurrency_limit": concurrency_limit,
            "requests_rate": requests_rate,
            "requests_period": requests_period,
            "requests_bucket_capacity": requests_bucket_capacity,
            "api_tokens_rate": api_tokens_rate,
            "api_tokens_period": api_tokens_period,
            "api_tokens_bucket_capacity": api_tokens_bucket_capacity,
            "adaptive": adaptive is not None,
        }
        self.limiter = Limiter(
            concurrency=None if adaptive is not None else concurrency_limit,
            requests=_quota(requests_rate, requests_period, requests_bucket_capacity),
            tokens=_quota(api_tokens_rate, api_tokens_period, api_tokens_bucket_capacity),
            adaptive=adaptive,
        )
        self._state = _State.NEW
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pushback = Pushback(random.Random(), at_once=True)
        self._layers = Layers()
        self._forget_calls()
        self._on_dispatched: tuple[Callable[[Calling], None], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The limits as given, ready for JSON."""
        return dict(self._settings)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Executor:
        """An executor with the limits that `to_dict` returned, and its full capacity.

        >>> Executor.from_dict(Executor(requests_rate=5.0).to_dict()).to_dict()["requests_rate"]
        5.0
        """
        adaptive = AdaptiveConcurrency() if data.get("adaptive") else None
        return cls(**{**data, "adaptive": adaptive})

    # -- starting and stopping ------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """True while calls are accepted; False if the event loop in which it was started is closed."""
        return self._state is _State.RUNNING and self._loop is not None and not self._loop.is_closed()

    async def start(self) -> None:
        """Accept calls from now on. Starting twice has no effect; after a stop it starts again.

        Raises:
            RuntimeError: a stop is under way, or the executor runs in another event loop.
        """
        self.open()

    def open(self) -> None:
        """As `start`, without `await`; called within a running loop."""
        loop = asyncio.get_running_loop()
        self._leave_closed_loop()
        if self._state is _State.DRAINING:
            raise RuntimeError("the executor is stopping; start it again when stop() has returned")
        if self._state is _State.RUNNING:
            self._check_running()
            return
        self._loop = loop
        self._state = _State.RUNNING
        self._layers = Layers(
            observe=observe_layer(loop.time),
            retry=_answer_with_429,
            limit=limit_layer(self.limiter, loop.time, pushback=self._pushback, dispatched=self.dispatched),
        )

    def _leave_closed_loop(self) -> None:
        """Drop a loop that was closed before a stop, with the calls that were left in it."""
        if self._loop is not None and self._loop.is_closed():
            self._loop = None
            self._state = _State.STOPPED
            self._forget_calls()

    def _forget_calls(self) -> None:
        self._live: set[Calling] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._queued: set[Calling] = set()
        self._backlog = Backlog()
        self._promised = 0  # places in the queue that were given to a waiting `submit_task`
        self._wants_room: deque[asyncio.Future[bool]] = deque()
        self._idle: asyncio.Future[None] | None = None

    async def stop(self, graceful: bool = True) -> None:
        """Accept no more calls, and return when none is left.

        Args:
            graceful: True: calls that are queued or in flight are finished first. False: they are cancelled;
                each such calling ends FAILED with `error_type` "CancelledError" and `cancelled` true.

        Raises:
            RuntimeError: a task of the executor requests a graceful stop, and would wait for itself.
        """
        self._leave_closed_loop()
        if graceful and asyncio.current_task() in self._tasks:
            raise RuntimeError("a task of the executor cannot wait for all of its tasks to end")
        if self._state is _State.NEW:
            self._state = _State.STOPPED
        if self._state is _State.STOPPED:
            return
        self._state = _State.DRAINING
        while self._wants_room:
            waiter = self._wants_room.popleft()
            if not waiter.done():
                waiter.set_result(False)
        if not graceful:
            self._backlog.cancel_all()
            for calling in list(self._live):
                calling.cancel()
        while self._live or self._backlog:
            # One future for all waiting stops: the call that ends last sets it.
            if self._idle is None or self._idle.done():
                self._idle = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._idle)
            if self._state is not _State.DRAINING:
                return  # another stop has completed, and the executor may have been started again
        self._state = _State.STOPPED

    async def __aenter__(self) -> Executor:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self.stop(graceful=kind is None)

    # -- submitting calls ------------------------------------------------------------------------------------

    async def submit_task(
        self,
        api_call_coroutine: ApiCall,
        endpoint_url: str | None = None,
        method: str | None = None,
        headers: Mapping[str, str] | None = None,
        payload: Any = None,
        num_api_tokens_needed: float = 0,
        metadata: dict[str, Any] | None = None,
    ) -> Calling:
        """Queue a call; waits while the queue is full.

        Args:
            api_call_coroutine: A function that returns a coroutine; called when the call is admitted. Its
                result is `(status, headers, body)`; any other value counts as the body of a 200.
            endpoint_url, method, headers, payload, metadata: Kept on the calling.
            num_api_tokens_needed: Tokens to reserve.

        Returns:
            The calling, queued. A returned 4xx or 5xx ends it COMPLETED (read its code); an exception ends
            it FAILED.

        Raises:
            RuntimeError: the executor is not running.
            QuotaTooSmallError: the call costs more than the whole quota of tokens.
        """
        if not callable(api_call_coroutine):
            raise TypeError("api_call_coroutine is a function that returns a coroutine, not a coroutine")
        self._check_running()
        self.limiter.check_fits(num_api_tokens_needed)
        if not self._has_room():
            await self._wait_for_room()
        calling = Calling(
            payload,
            endpoint_url=endpoint_url,
            method=method,
            headers=headers,
            num_api_tokens_needed=num_api_tokens_needed,
            metadata=metadata,
            now=asyncio.get_running_loop().time(),
        )
        self._queue(calling, pipeline(api_call_backend(api_call_coroutine), self._layers))
        return calling

    def enqueue(self, calling: Calling, service: Service) -> None:
        """Queue a calling for a service that passes this executor's limiter. Never waits.

        A calling in the queue has a task. When the queue is full, further ones wait in a backlog without a
        task.

        Raises:
            RuntimeError: the executor is not running.
        """
        self._check_running()
        if not self._has_room():
            calling.mark_queued(asyncio.get_running_loop().time())
            self._backlog.add(calling, service)
        else:
            self._queue(calling, service)

    def enter(self, calling: Calling) -> None:
        """Register a call that runs in the task of its caller.

        Raises:
            RuntimeError: the executor is not running.
        """
        if self._state is not _State.RUNNING:
            self._check_running()
        self._live.add(calling)

    def leave(self, calling: Calling) -> None:
        """The counterpart of `enter`."""
        self._live.discard(calling)
        if self._state is _State.DRAINING:
            self._report_idle()

    def dispatched(self, calling: Calling) -> None:
        """Free the calling's place in the queue; the limit layer calls this when it has left the queue."""
        if self._queued and calling in self._queued:
            self._queued.discard(calling)
            self._make_room()
        for listener in self._on_dispatched:
            listener(calling)

    def on_dispatched(self, listener: Callable[[Calling], None]) -> None:
        """Also call `listener` with each calling that leaves the queue; for executors that share it."""
        self._on_dispatched += (listener,)

    def _check_running(self) -> None:
        if self._state is not _State.RUNNING:
            raise RuntimeError(
                f"the executor is {self._state.value}; use 'async with executor' or await executor.start()"
            )
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError(
                "the executor runs in another event loop (the sync calls of a model have one of their own);"
                " make one for each loop"
            )

    def _queue(self, calling: Calling, service: Service) -> None:
        """Take a place in the queue, and create the task that waits in the queue of the limiter."""
        loop = asyncio.get_running_loop()
        if calling.queued_on is None:
            calling.mark_queued(loop.time())
        self._queued.add(calling)
        self._live.add(calling)
        task = loop.create_task(self._run(calling, service))
        calling.bind(task)
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._ended(done, calling))

    async def _run(self, calling: Calling, service: Service) -> None:
        # The calling keeps its error; code that awaits the calling reads it there.
        with suppress(Exception):
            await service(calling)

    def _ended(self, task: asyncio.Task[Any], calling: Calling) -> None:
        self._tasks.discard(task)
        calling.end_with(task)
        if task.cancelled() and task.cancelling() and not calling.cancel_requested:
            # Cancelled from outside: the loop is being shut down and will not run new tasks.
            self._backlog.cancel_all()
        self._live.discard(calling)
        if calling in self._queued:
            self._queued.discard(calling)
            self._make_room()
        if self._state is _State.DRAINING:
            self._report_idle()

    def _has_room(self) -> bool:
        return len(self._queued) + self._promised < self.queue_capacity

    async def _wait_for_room(self) -> None:
        """Wait in FIFO order. A free place is given to one waiter, so that they do not race for it."""
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._wants_room.append(waiter)
        try:
            promised = await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.result():
                self._promised -= 1
                self._make_room()
            raise
        if not promised:
            raise RuntimeError("the executor was stopped while this call waited for room in its queue")
        self._promised -= 1
        if self._state is not _State.RUNNING:
            self._make_room()  # calls in the backlog are still finished
            self._check_running()

    def _make_room(self) -> None:
        """Give free places in the queue to the backlog, then to the `submit_task` that has waited longest."""
        while self._has_room() and (waiting := self._backlog.pop()) is not None:
            self._queue(*waiting)
        while self._wants_room and self._has_room():
            waiter = self._wants_room.popleft()
            if not waiter.done():
                self._promised += 1
                waiter.set_result(True)

    def _report_idle(self) -> None:
        if not (self._live or self._backlog or self._idle is None or self._idle.done()):
            self._idle.set_result(None)

    @live_repr
    def __repr__(self) -> str:
        return f"<Executor {self._state.value} queued={len(self._queued)} {self.limiter!r}>"


def _answer_with_429(call: Service) -> Service:
    async def answered(calling: Calling) -> Response:
        try:
            return await call(calling)
        except Returned429 as pushed_back:
            return pushed_back.response

    return answered


def _quota(rate: float | None, period: float, capacity: float | None) -> Quota | None:
    return None if rate is None else Quota(rate, period, capacity)
