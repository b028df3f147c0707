"""An event loop in a background thread, for scripts and notebooks that have none."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, ParamSpec, Protocol, TypeVar, cast

__all__ = ["Portal", "SyncTwins", "stream_twin", "sync_twin", "takes_parameters_of"]

_T = TypeVar("_T")
_P = ParamSpec("_P")
_END = object()
# Two threads may make their first calls at the same moment.
_making = threading.Lock()


class Portal:
    """Runs coroutines on a loop of its own and waits for them.

    The thread is a daemon: a script that forgets to stop it still ends.

    Example::

        portal = Portal()
        calling = portal.run(model.invoke(messages=[...]))
        portal.stop()
    """

    def __init__(self, name: str = "callgate") -> None:
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    def run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """The coroutine's result; whatever it raises is raised here. Ctrl-C cancels it.

        Raises:
            RuntimeError: when called from the portal's own thread, which would wait for itself, or in a
                process that was forked after the portal was made: its thread is not there.
        """
        if os.getpid() != self._pid:
            coroutine.close()
            raise RuntimeError(
                "this model was used before the process was forked, and its thread exists only in the parent;"
                " make a model in each process"
            )
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError("a sync call from within the loop it would run on; use the async one")
        task: asyncio.Task[Any] | None = None
        interrupted = False

        async def begin() -> _T:
            nonlocal task
            task = asyncio.current_task()
            if interrupted:
                coroutine.close()
                raise asyncio.CancelledError
            return await coroutine

        def cancel() -> None:
            if task is not None:
                task.cancel()

        try:
            return asyncio.run_coroutine_threadsafe(begin(), self._loop).result()
        except BaseException:
            # Ctrl-C may come before there is a future to cancel, while the coroutine runs already.
            interrupted = True
            self._loop.call_soon_threadsafe(cancel)
            raise

    def iterate(self, items: AsyncIterator[_T]) -> Iterator[_T]:
        """The items one by one; leaving early closes the asynchronous side."""

        running: asyncio.Task[Any] | None = None

        async def following() -> Any:
            nonlocal running
            running = asyncio.current_task()
            return await anext(items, _END)

        async def closing() -> None:
            # Ctrl-C has cancelled the last one, which may not have ended yet: items cannot be closed before.
            if running is not None:
                await asyncio.wait([running])
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()

        try:
            while (item := self.run(following())) is not _END:
                yield item
        finally:
            self.run(closing())

    def stop(self) -> None:
        """End the loop and its thread. Stopping twice changes nothing."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()


class _Asynchronous(Protocol):
    """What has twins: a name, and the calls that are to be waited for."""

    name: str
    _portal: Portal | None

    def close(self) -> Coroutine[Any, Any, None]: ...


class SyncTwins:
    """The calls of a model for scripts and notebooks, run on one loop in a background thread.

    `invoke_sync`, `ask_sync` and `stream_sync` are beside the methods that they wait for.

    Example::

        model = iModel(provider="openai", model="gpt-4o-mini")
        print(model.invoke_sync(messages=[{"role": "user", "content": "Hello!"}]).response.text)
        model.close_sync()
    """

    _portal: Portal | None = None

    def close_sync(self: _Asynchronous) -> None:
        """`close` for programs that use only the sync twins; ends the background thread."""
        portal, self._portal = self._portal, None
        if portal is not None:
            try:
                portal.run(self.close())
            finally:
                portal.stop()


def sync_twin(method: Callable[_P, Coroutine[Any, Any, _T]]) -> Callable[_P, _T]:
    """A method like an asynchronous one of a model, which waits for it on the model's background loop.

    It has the same parameters, types and documentation, and calls the method of a subclass that has its own.

    Example::

        class Caller(SyncTwins):
            async def ask(self, prompt: str) -> Response: ...

            ask_sync = sync_twin(ask)
    """
    name = method.__name__

    @functools.wraps(method)
    def waited(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        model, *rest = args
        return cast("_T", _portal_of(cast("_Asynchronous", model)).run(getattr(model, name)(*rest, **kwargs)))

    waited.__name__ += "_sync"
    waited.__qualname__ += "_sync"
    return waited


def stream_twin(method: Callable[_P, AsyncIterator[_T]]) -> Callable[_P, Iterator[_T]]:
    """As `sync_twin`, of a method that returns an asynchronous iterator; it is named `stream_sync`.

    Example::

        class Caller(SyncTwins):
            async def invoke_stream(self, prompt: str) -> AsyncIterator[StreamChunk]: ...

            stream_sync = stream_twin(invoke_stream)
    """
    name = method.__name__

    @functools.wraps(method)
    def iterated(*args: _P.args, **kwargs: _P.kwargs) -> Iterator[_T]:
        model, *rest = args
        return _portal_of(cast("_Asynchronous", model)).iterate(getattr(model, name)(*rest, **kwargs))

    iterated.__name__ = "stream_sync"
    iterated.__qualname__ = iterated.__qualname__.replace(name, "stream_sync")
    return iterated


def takes_parameters_of(method: Callable[_P, Any]) -> Callable[[Callable[..., _T]], Callable[_P, _T]]:
    """Gives a method the parameters of another, for type checkers, help and completion.

    Example::

        @takes_parameters_of(ask)
        async def invoke_stream(self, prompt: Any = None, **request: Any) -> AsyncIterator[StreamChunk]: ...
    """

    def decorate(function: Callable[..., _T]) -> Callable[_P, _T]:
        returns = inspect.signature(function).return_annotation
        vars(function)["__signature__"] = inspect.signature(method).replace(return_annotation=returns)
        return cast("Callable[_P, _T]", function)

    return decorate


def _portal_of(model: _Asynchronous) -> Portal:
    if model._portal is not None:
        return model._portal
    with _making:
        if model._portal is None:
            model._portal = Portal(name=f"callgate-{model.name}")
        return model._portal
