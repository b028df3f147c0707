"""`Lifetime`: how a model opens on a loop, runs its calls through its pipeline, and closes."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self
from uuid import UUID, uuid4

from callgate.call.calling import Calling, RequestStatus
from callgate.executor.executor import Executor
from callgate.model.call_factory import CallFactory
from callgate.pipeline import Service, UserLayer
from callgate.policies.observe.hooks import HookPhase, HookRegistry
from callgate.response import Response

__all__ = ["Lifetime", "MakeOuter"]

_PENDING = RequestStatus.PENDING
MakeOuter = Callable[[Sequence[UserLayer]], Service]
"""Puts the layers of the whole call around what makes its attempts; the argument are further ones."""


class Lifetime(ABC):
    """The pipeline of a model from its first call to its end.

    Args:
        name: For messages and the registry, which also asks for the `id` that each has.
        tags: For the registry.
        executor: Where the calls are registered as alive, and submitted ones wait.
        owns_executor: Whether it is opened and stopped with this.
        maker: Makes its callings.
        hooks: Hooks to run; None for none.
    """

    def __init__(
        self,
        name: str,
        tags: frozenset[str],
        executor: Executor,
        *,
        owns_executor: bool,
        maker: CallFactory,
        hooks: HookRegistry | None,
    ) -> None:
        self.id: UUID = uuid4()
        self.name = name
        self.tags = tags
        self.executor = executor
        self.hooks = hooks
        self._owns_executor = owns_executor
        self._maker = maker
        self._service: Service | None = None
        self._make_outer: MakeOuter = _no_loop
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False  # takes no calls any more
        self._ended = False
        self._ending = asyncio.Lock()

    @abstractmethod
    def _make_service(self, clock: Callable[[], float]) -> MakeOuter:
        """Build what makes the attempts, for the loop with this clock, and return what puts the layers of the
        whole call around it, with further ones."""

    # -- one call ----------------------------------------------------------------------------------------

    async def _run(self, calling: Calling, service: Service | None = None) -> None:
        """Send it through the pipeline, or this service, in this task; what comes of it is on the calling."""
        task = calling.task
        if calling.status is not _PENDING or (task is not None and task is not asyncio.current_task()):
            await calling  # invoked or submitted already, or ended
            return
        if service is None:
            service = self._service
            if service is None or self._loop is not asyncio.get_running_loop():
                service = self._ready()
        executor = self.executor
        executor.enter(calling)
        task = calling.task = asyncio.current_task(self._loop)
        try:
            await service(calling)
        except asyncio.CancelledError:
            # Cancelled through the calling, not from outside this task: the task itself goes on.
            if task is None or task.cancelling() > calling.cancels:
                raise
        except Exception:
            if not calling.done:
                raise
        finally:
            executor.leave(calling)
            if calling.cancels and task is not None:
                # Also when it was answered with a result: what comes next in this task is not meant.
                for _ in range(calling.cancels):
                    task.uncancel()

    def _started(self, calling: Calling) -> asyncio.Task[None]:
        """The task in which a stream runs; what it ends in stands on the calling, whatever happens."""
        self._ready()
        task = asyncio.get_running_loop().create_task(self._run_announced(calling))
        calling.bind(task)
        task.add_done_callback(calling.end_with)
        return task

    async def _run_announced(self, calling: Calling) -> None:
        if self.hooks is not None:
            await self._announce(calling)
        await self._run(calling)

    async def _announce(self, calling: Calling) -> None:
        """Tell the hooks that it has been made; one that raises fails the call, and nothing is sent."""
        assert self.hooks is not None
        try:
            await self.hooks.run(HookPhase.PreEventCreate, calling)
        except BaseException as error:
            calling.fail(error, asyncio.get_running_loop().time())
            if not isinstance(error, Exception):
                raise

    def _ready(self) -> Service:
        """The pipeline, made when the first call shows which loop it runs on."""
        loop = asyncio.get_running_loop()
        if self._closed:
            raise RuntimeError(f"the model {self.name!r} is closed")
        if self._loop is not loop:
            if self._loop is not None and not self._loop.is_closed() and self._owns_executor:
                raise RuntimeError(
                    f"the model {self.name!r} is in use on another event loop (its sync calls, such as"
                    " ask_sync, have one of their own); use one kind of call, or make a second model"
                )
            self._loop = loop
            self._make_outer = self._make_service(loop.time)
            self._service = self._make_outer(())
        if self._owns_executor and not self.executor.is_running:
            self.executor.open()
        assert self._service is not None
        return self._service

    def _with_creation_hooks(self, service: Service) -> Service:
        async def created(calling: Calling) -> Response:
            await self._announce(calling)
            return calling.response if calling.done else await service(calling)

        return created

    # -- its end -------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Finish what is in flight and close what it owns. Closing twice changes nothing.

        A close that is cancelled while it waits has ended nothing; closing again goes on with it.
        """
        self._closed = True
        async with self._ending:
            if self._ended:
                return
            if self._owns_executor:
                await self.executor.stop(graceful=True)
            self._service = None  # a later call raises that the model is closed
            await self._close_parts()
            self._ended = True

    @abstractmethod
    async def _close_parts(self) -> None:
        """Close what it owns besides the executor."""

    async def __aenter__(self) -> Self:
        if self._owns_executor:
            await self.executor.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        try:
            if kind is not None and self._owns_executor:
                await self.executor.stop(graceful=False)
        finally:
            await self.close()


def _no_loop(layers: Sequence[UserLayer]) -> Service:
    raise RuntimeError("the model has not been used on a loop yet")
