"""The simulator as an HTTP server on 127.0.0.1."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any

from callgate.testing.simulator.http_server import Connection
from callgate.testing.simulator.options import Options
from callgate.testing.simulator.provider import SimulatedProvider
from callgate.testing.simulator.stats import Stats

__all__ = ["Simulator"]


class Simulator:
    """A simulated provider of language models on 127.0.0.1, with strict quotas and exact counts.

    Keywords are the fields of `Options`; `port=0` picks a free port. Raises TypeError for an unknown option,
    ValueError for an invalid value, OSError for a port in use.

    `async with` runs it in the current event loop. `with` runs it in a thread, for code without a loop:

    >>> import urllib.request
    >>> with Simulator(requests_per_minute=600, seed=1) as sim:
    ...     with urllib.request.urlopen(sim.base_url + "/models") as models:
    ...         models.status
    200
    """

    def __init__(self, options: Options | None = None, /, *, port: int = 0, **named: Any) -> None:
        if options is not None and named:
            raise TypeError("give the simulator's options as one Options object or as keywords, not both")
        self.options = options if options is not None else Options.of(**named)
        self._wanted_port = port
        self._server: asyncio.Server | None = None
        self._provider: SimulatedProvider | None = None
        self._opened: set[Connection] = set()
        self._thread: threading.Thread | None = None
        self._end: Callable[[], object] = _nothing

    def __repr__(self) -> str:
        if self._server is None:
            return "<Simulator, not running>"
        return f"<Simulator at {self.base_url}: {self.stats.requests} requests, {self.stats.running} running>"

    @property
    def provider(self) -> SimulatedProvider:
        """The provider behind the socket. Raises RuntimeError before the first start."""
        if self._provider is None:
            raise RuntimeError("the simulator has not been started: use `async with Simulator(...) as sim`")
        return self._provider

    @property
    def port(self) -> int:
        """The port. Raises RuntimeError while the simulator does not run."""
        if self._server is None:
            raise RuntimeError("the simulator is not running: use `async with Simulator(...) as sim`")
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """Such as `http://127.0.0.1:8000`: the base URL for Anthropic, Gemini and Bedrock clients."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """The base URL for OpenAI-compatible clients: `http://127.0.0.1:8000/v1`."""
        return self.url + "/v1"

    @property
    def stats(self) -> Stats:
        """The counters; readable after the simulator has stopped."""
        return self.provider.stats

    def reset(self) -> None:
        """Reset quotas, counts and the position in scripted answers."""
        self.provider.reset()

    async def start(self) -> None:
        """Listen. Raises OSError when the port is in use. Idempotent."""
        if self._server is not None:
            return
        loop = asyncio.get_running_loop()
        # Not loop.time(): uvloop's has a resolution of a millisecond, too coarse for a strict quota.
        clock = time.monotonic
        provider = SimulatedProvider(self.options, clock=clock, epoch=time.time() - clock())
        self._provider = provider
        self._server = await loop.create_server(
            lambda: Connection(provider, loop, self._opened), "127.0.0.1", self._wanted_port, backlog=4096
        )

    async def stop(self) -> None:
        """Stop listening and abort open connections."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for connection in list(self._opened):
            connection.abort()
        await server.wait_closed()

    async def __aenter__(self) -> Simulator:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def __enter__(self) -> Simulator:
        started: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(started,), name="callgate-simulator", daemon=True
        )
        self._thread.start()
        try:
            started.result()
        except BaseException:
            self._thread.join()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        if self._thread is not None:
            self._thread.join()

    def _run(self, started: Future[None]) -> None:
        """The thread: start, resolve `started`, serve until `_end` is called, stop."""

        async def serve() -> None:
            loop, ended = asyncio.get_running_loop(), asyncio.Event()
            try:
                await self.start()
            except OSError as error:
                started.set_exception(error)
                return
            self._end = lambda: loop.call_soon_threadsafe(ended.set)
            started.set_result(None)
            await ended.wait()
            await self.stop()

        with asyncio.Runner(loop_factory=_new_loop) as runner:
            runner.run(serve())


def _nothing() -> None:
    """Ends a simulator that has no thread."""


def _new_loop() -> asyncio.AbstractEventLoop:
    """A uvloop loop when installed: it serves about twice as many requests per second."""
    try:
        import uvloop  # absent on Windows
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
