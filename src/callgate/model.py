"""`iModel`: one interface over every provider, tool or service of a user's own.

It makes callings, sends them through one pipeline (`pipeline.py` has the order) and hands them back.
Switching the provider means changing one string.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import UUID, uuid4

from pydantic import BaseModel

from callgate.assembly import (
    Limits,
    RateLimiter,
    make_pricer,
    make_services,
    open_cache,
    read_constructor,
    read_hedge,
    restore,
)
from callgate.backends.service import ServiceBackend
from callgate.cache.store import CacheStore
from callgate.calling import Calling
from callgate.channel import StreamChannel, read_stream
from callgate.control.hedging import HedgePolicy
from callgate.control.limiter import Limiter
from callgate.errors import CallCancelledError
from callgate.executor import Executor
from callgate.hooks import HookPhase, HookRegistry
from callgate.layers.fallback import Alternative
from callgate.making import CallingMaker, set_times
from callgate.pipeline import Service
from callgate.portal import SyncTwins
from callgate.providers.reservation import TokenAccount
from callgate.response import Response, StreamChunk
from callgate.tool_loop import ToolRun, run_tools

__all__ = ["iModel"]


class iModel(SyncTwins):
    """A service behind limits, retry, breaker, cache and hooks.

    One constructor, three shapes::

        iModel(provider="openai", model="gpt-4o-mini", limit_requests=500)   # by name
        iModel(endpoint, executor)                                           # an endpoint of one's own
        iModel(executor, {"base_url": ..., "endpoint": ..., "api_key": ..., "model_name": ...})

    Args:
        backend: An `Endpoint`, a `Tool`, or any `ServiceBackend`.
        provider: A provider's name, when no backend is given; docs/providers.md lists them.
        endpoint: The path at the provider, where it is not the dialect's own.
        executor: Shared with other models; None: one of its own, made from the limits below.
        rate_limiter: An additional limiter with `await acquire(1)`, passed by every attempt.
        hook_registry: Who watches.
        queue_capacity: How many submitted calls may wait as tasks.
        capacity_refresh_time: Seconds that `limit_requests` and `limit_tokens` refer to.
        limit_requests, limit_tokens: Quotas per `capacity_refresh_time`; None: what the provider tells.
        limit_concurrency: Calls at once; "auto" finds it (AIMD), None does not limit.
        cache: A store or the path of one; hits pay nothing, identical calls in flight share one request.
        fallbacks: Other models that answer, in this order, when this one cannot.
        hedge: The slowest share of the attempts, such as 0.05, each of which gets a second attempt beside it;
            the first answer wins. Or a `HedgePolicy`. Only for calls that may be made twice.
        prices: US dollars per million tokens, {"input": ..., "output": ...}, where the price is not known.
        name, tags: For the registry; the backend's own by default.
        settings: `api_key`, `base_url`, `timeout`, `read_timeout` (seconds of silence that end an attempt),
            `retry_config` (None: no retry), `circuit_breaker`, `headers`, `transport`, ...; everything else
            (`model`, `temperature`) is sent with every request.

    Raises:
        ConfigurationError: (a ValueError) when the provider is unknown or a setting cannot work.

    Example::

        async with iModel(provider="anthropic", model="claude-sonnet-4-5", limit_requests=50) as model:
            calling = await model.invoke(messages=[{"role": "user", "content": "Hello!"}])
            print(calling.response.text, calling.cost)
    """

    def __init__(
        self,
        backend: ServiceBackend | Executor | None = None,
        provider: str | Executor | Mapping[str, Any] | None = None,
        endpoint: str = "chat/completions",
        rate_limiter: RateLimiter | None = None,
        executor: Executor | None = None,
        hook_registry: HookRegistry | None = None,
        queue_capacity: int = 100,
        capacity_refresh_time: float = 60,
        limit_requests: float | None = None,
        limit_tokens: float | None = None,
        *,
        limit_concurrency: int | str | None = "auto",
        cache: CacheStore | str | Path | None = None,
        fallbacks: Sequence[iModel] = (),
        hedge: float | HedgePolicy | Mapping[str, Any] | None = None,
        prices: Mapping[str, float] | None = None,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        **settings: Any,
    ) -> None:
        self.id: UUID = uuid4()
        self._limits = Limits(
            queue_capacity, capacity_refresh_time, limit_requests, limit_tokens, limit_concurrency
        )
        parts = read_constructor(backend, provider, endpoint, executor, settings, self._limits)
        self.backend: ServiceBackend = parts.backend
        self._owns_backend = parts.owns_backend
        self.executor: Executor = parts.executor
        self._owns_executor = parts.owns_executor
        self.name: str = name or self.backend.name
        own_tags: Sequence[str] = getattr(self.backend, "tags", ())
        self.tags: frozenset[str] = frozenset(own_tags if tags is None else tags)
        self.hooks: HookRegistry | None = hook_registry
        self.fallbacks = tuple(fallbacks)
        self._rate_limiter = rate_limiter
        self._hedging = read_hedge(hedge)
        self._cache = open_cache(cache)
        self._owns_cache = self._cache is not None and self._cache is not cache
        self._prices = dict(prices) if prices else None
        self._maker = CallingMaker(self.backend, parts.defaults, make_pricer(self.backend, self._prices))
        self._rng = random.Random()
        self._account = TokenAccount(getattr(self.backend, "host", None))
        self._service: Service | None = None
        self._inner: Service | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    # -- calls -------------------------------------------------------------------------------------------

    async def invoke(
        self,
        calling: Calling | None = None,
        *,
        request_payload: Mapping[str, Any] | None = None,
        num_api_tokens_needed: float = 0,
        http_path: str | None = None,
        http_method: str | None = None,
        sdk_method_name: str | None = None,
        metadata: dict[str, Any] | None = None,
        timeout: float | None = None,
        poll_timeout: float | None = None,
        poll_interval: float | None = None,
        response_model: type[BaseModel] | None = None,
        **request: Any,
    ) -> Calling:
        """Make one call and return when it has ended, well or not.

        Args:
            calling: One made before by `create_calling`; everything but the timeouts is then its own.
            request_payload: The request as one mapping; keywords say the same and win over it.
            num_api_tokens_needed: Tokens to reserve, instead of an estimate.
            http_path, http_method, sdk_method_name: Instead of the endpoint's own.
            metadata: Kept on the calling.
            timeout: Seconds one attempt may take on the wire.
            poll_timeout: Seconds the whole call may take, queueing and retries included.
            poll_interval: Accepted for the documents' sake; nothing polls.
            response_model: A pydantic model the answer must satisfy; see `calling.response.parsed`.
            request: The request in the one format: `messages`, `temperature`, `tools`, ...

        Returns:
            The calling. It is not raised for a failed call: look at `calling.error`, or read
            `calling.response`, which raises it.
        """
        if calling is None:
            calling = self._maker.make(
                request,
                request_payload,
                num_api_tokens_needed,
                http_path,
                http_method,
                sdk_method_name,
                metadata,
                response_model,
            )
            if self.hooks is not None:
                await self.hooks.run(HookPhase.PreEventCreate, calling)
        set_times(calling, timeout, poll_timeout)
        await self._run(calling)
        return calling

    def submit(self, **request: Any) -> Calling:
        """Put a call in line and return at once; await the calling for its end.

        Takes the keywords of `invoke`. Must be called within a running event loop.

        Raises:
            RuntimeError: without a running loop, or when the executor is not running.
        """
        calling = self._maker.from_keywords(request)
        service = self._ready()
        if self.hooks is not None and self.hooks.has(HookPhase.PreEventCreate):
            service = self._with_creation_hooks(service)
        self.executor.enqueue(calling, service)
        return calling

    async def create_calling(self, timeout: float | None = None, **request: Any) -> Calling:
        """Make a calling now, to be invoked later: `await model.invoke(calling=calling)`.

        Takes the keywords of `invoke`; `timeout` is that of one attempt, in seconds.
        """
        calling = self._maker.from_keywords({**request, "timeout": timeout})
        if self.hooks is not None:
            await self.hooks.run(HookPhase.PreEventCreate, calling)
        return calling

    async def acompletion(
        self,
        prompt: str,
        max_tokens: int = 150,
        temperature: float = 0.7,
        num_tokens_to_consume: float = 0,
        **kwargs: Any,
    ) -> Calling:
        """A plain text completion, as the first document has it.

        Args:
            prompt: The text to go on from.
            max_tokens, temperature: As in the request.
            num_tokens_to_consume: Tokens to reserve, instead of an estimate.
            kwargs: Any keyword of `invoke`.
        """
        return await self.invoke(
            num_api_tokens_needed=num_tokens_to_consume,
            prompt=prompt,
            max_tokens=max_tokens,
            temperature=temperature,
            **kwargs,
        )

    async def invoke_stream(self, **request: Any) -> AsyncGenerator[StreamChunk, None]:
        """The chunks of one streamed answer as they come; the last is final and has the whole `.response`.

        A stream pays the limiter, runs the hooks and is counted like any call; it is retried until its first
        chunk has left. Leaving the loop early cancels the call. Takes the keywords of `invoke`.

        Raises:
            APIClientError: (or what else ended it) after what came before it has been delivered.
        """
        calling = self._maker.from_keywords(request)
        # Closed by name: leaving this generator early must not leave the inner one to the collector.
        async with aclosing(read_stream(calling, self._started)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def invoke_stream_with_channel(self, **request: Any) -> StreamChannel:
        """One streamed answer for many readers. Takes the keywords of `invoke`."""
        return StreamChannel(self._maker.from_keywords(request), self._started)

    async def run_tools(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any], max_rounds: int = 8, **request: Any
    ) -> ToolRun:
        """Call the tools the model asks for, side by side, until it answers.

        See `callgate.tool_loop.run_tools` for what is told to the model when a tool fails.
        """
        return await run_tools(self.invoke, messages, tools, max_rounds=max_rounds, **request)

    # -- the inside --------------------------------------------------------------------------------------

    async def _run(self, calling: Calling) -> None:
        """Send it through the pipeline in this task; what comes of it stands on the calling."""
        if calling.done:
            return
        service = self._service
        if service is None or self._loop is not asyncio.get_running_loop():
            service = self._ready()
        executor = self.executor
        executor.enter(calling)
        task = calling.task = asyncio.current_task(self._loop)
        try:
            await service(calling)
        except asyncio.CancelledError:
            # Cancelled through the calling, not by whoever runs this task: the task itself goes on.
            if not calling.cancel_requested or task is None or task.uncancel() > 0:
                raise
        except Exception:
            if not calling.done:
                raise
        finally:
            executor.leave(calling)

    def _started(self, calling: Calling) -> asyncio.Task[None]:
        """The task in which a stream runs; it holds no error, the calling does."""
        self._ready()
        return asyncio.get_running_loop().create_task(self._run(calling))

    def _ready(self) -> Service:
        """The pipeline, made when the first call shows which loop it runs on."""
        loop = asyncio.get_running_loop()
        if self._closed:
            raise RuntimeError(f"the model {self.name!r} is closed")
        if self._loop is not loop:
            if self._loop is not None and not self._loop.is_closed() and self._owns_executor:
                raise RuntimeError(f"the model {self.name!r} is in use on another event loop")
            self._loop = loop
            self._service, self._inner = make_services(
                self.backend,
                self.executor,
                loop.time,
                rng=self._rng,
                hooks=self.hooks,
                account=self._account,
                rate_limiter=self._rate_limiter,
                cache=self._cache,
                fallbacks=[other.as_alternative() for other in self.fallbacks],
                name=self.name,
                hedging=self._hedging,
            )
        if self._owns_executor and not self.executor.is_running:
            self.executor.open()
        assert self._service is not None
        return self._service

    def as_alternative(self) -> Alternative:
        """What another model needs to let this one answer in its place."""
        return Alternative(self.name, self._maker.turn, self._inner_service)

    async def _inner_service(self, calling: Calling) -> Response:
        """This model's answer to a calling that another model owns."""
        self._ready()
        assert self._inner is not None
        return await self._inner(calling)

    def _with_creation_hooks(self, service: Service) -> Service:
        hooks = self.hooks
        assert hooks is not None

        async def created(calling: Calling) -> Response:
            try:
                await hooks.run(HookPhase.PreEventCreate, calling)
            except Exception as error:
                calling.fail(error, asyncio.get_running_loop().time())
                raise
            return await service(calling)

        return created

    @property
    def limiter(self) -> Limiter:
        """The executor's limiter: `snapshot()` tells where it stands."""
        return self.executor.limiter

    # -- persistence and end -----------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """What this model is, ready for JSON; holds the name of the key's variable, never a key.

        Raises:
            NotImplementedError: when its backend cannot be written down (a Tool).
        """
        write = getattr(self.backend, "to_dict", None)
        if write is None:
            raise NotImplementedError(f"the backend {self.backend.name!r} cannot be written down")
        return {
            "callgate": 1,
            "name": self.name,
            "tags": sorted(self.tags),
            "backend": write(),
            **self._limits.to_dict(),
            "prices": self._prices,
            "hedge": None if self._hedging is None else asdict(self._hedging),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> iModel:
        """A model as `to_dict` wrote it, with a fresh id and full capacity.

        Raises:
            ConfigurationError: (a ValueError) when the variable of its key is not set, naming it, or when
                `data` is not what `to_dict` writes.
        """
        model = cls(**restore(data))
        model._owns_backend = True
        return model

    async def close(self) -> None:
        """Finish what is in flight and close what it owns. Closing twice changes nothing."""
        if self._closed:
            return
        self._closed = True
        if self._owns_executor:
            await self.executor.stop(graceful=True)
        await self._close_parts()

    async def _close_parts(self) -> None:
        close = getattr(self.backend, "close", None)
        if self._owns_backend and close is not None:
            await close()
        if self._owns_cache and self._cache is not None:
            await self._cache.close()

    async def __aenter__(self) -> iModel:
        if self._owns_executor:
            await self.executor.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self._owns_executor and not self._closed:
            self._closed = True
            with suppress(CallCancelledError):
                await self.executor.stop(graceful=False)
            await self._close_parts()
            return
        await self.close()

    def __repr__(self) -> str:
        return f"<iModel {self.name!r} {self.backend!r} {self.executor!r}>"
