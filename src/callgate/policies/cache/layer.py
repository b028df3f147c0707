"""Answers from the cache, and one request for all who ask the same at the same time.

A hit pays nothing and waits for nobody. Failures are never kept.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, TypeGuard, TypeVar
from weakref import WeakKeyDictionary

from callgate.call.calling import Calling
from callgate.errors import APIClientError, DeadlineExceededError, RefusedError
from callgate.exact_json import dumps
from callgate.headers import without_credentials
from callgate.pipeline import Layer, Service
from callgate.policies.cache.key import CacheKey, make_key
from callgate.policies.cache.store import CacheStore, SharedStore
from callgate.response import Delta, Response, ToolCallDelta

__all__ = ["Flight", "cache_layer", "is_known", "key_of"]

_T = TypeVar("_T")

_NO_FACTS: Mapping[str, Any] = {}


def key_of(calling: Calling) -> CacheKey | None:
    """What a call is remembered by: its backend's address and dialect, and its request.

    A backend may say with `cache_facts` what else its answers depend on: the path, method, query and headers
    of its own, as `make_key` takes them. One without an address is known by its kind and name.
    `metadata={"sample": 1}` asks for another answer than sample 0, and `metadata={"cache": False}` for none
    from the cache.
    """
    metadata = calling.metadata
    if metadata.get("cache") is False:
        return None
    backend, request = calling.backend, calling.payload
    if not isinstance(request, dict):
        return None
    dialect = getattr(backend, "dialect", None)
    if dialect is None:
        kind = type(backend)
        origin, said = f"{kind.__module__}.{kind.__qualname__}", str(getattr(backend, "name", ""))
    else:
        origin, said = getattr(backend, "cache_origin", None) or backend.base_url, dialect.name
    facts: Mapping[str, Any] = getattr(backend, "cache_facts", _NO_FACTS)
    path = calling.http_path or calling.sdk_method_name
    if path or calling.request_headers or calling.http_method:
        facts = _own_facts(calling, facts, path)
    return make_key(origin, said, request, sample=metadata.get("sample", 0), **facts)


def _own_facts(calling: Calling, facts: Mapping[str, Any], path: str | None) -> Mapping[str, Any]:
    """The backend's facts and the call's own, which win."""
    headers = {**facts.get("headers", {}), **without_credentials(calling.request_headers)}
    method = calling.http_method
    # A calling that has been sent before has the usual one, too.
    own = {"path": path, "headers": headers, "method": None if method == "POST" else method}
    return {**facts, **{name: value for name, value in own.items() if value}}


async def is_known(calling: Calling, store: CacheStore, flights: Mapping[bytes, Flight]) -> bool:
    """Whether the layer would answer without asking: from the store, or from a request on its way."""
    key = key_of(calling)
    if key is None:
        return False
    flight = flights.get(key.digest)
    if flight is not None and flight.loop is asyncio.get_running_loop():
        return True
    kept = store.get(key)
    return (await kept if isinstance(kept, Awaitable) else kept) is not None


class Flight:
    """One request on its way, and those who wait for the same answer.

    Exactly one call leads. When it ends without an answer or an error that holds for others too, the next in
    line leads in its place, so that nobody is cancelled, or refused, because somebody else was.
    """

    __slots__ = ("_waiters", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._waiters: deque[tuple[Any, asyncio.Future[Response | None]]] = deque()

    async def join(self, backend: Any) -> Response | None:
        """Wait in line for the answer, on behalf of a backend; None means: you lead now.

        Raises:
            APIClientError: the leader's error, when it holds for this backend too.
        """
        waiter: asyncio.Future[Response | None] = self.loop.create_future()
        self._waiters.append((backend, waiter))
        try:
            return await waiter
        except asyncio.CancelledError:
            # Cancelled in the moment in which it was made the leader: the next one has to be.
            if (
                waiter.done()
                and not waiter.cancelled()
                and waiter.exception() is None
                and waiter.result() is None
            ):
                self.pass_on()
            raise

    def pass_on(self) -> bool:
        """Make the next in line the leader; False when nobody waits."""
        while self._waiters:
            _, waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return True
        return False

    def land(self, response: Response) -> None:
        """Give everybody a copy of the answer."""
        for _, waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(_copy(response))
        self._waiters.clear()

    def crash(self, error: APIClientError, backend: Any) -> bool:
        """Give everybody who asks the same backend a copy of the error; of the others the next one leads.

        Copies, as one error raised in many tasks would mix their tracebacks. The others have keys, limits and
        connections of their own, which may have been the cause.

        Returns:
            Whether somebody leads now.
        """
        others: deque[tuple[Any, asyncio.Future[Response | None]]] = deque()
        for asked, waiter in self._waiters:
            if asked is not backend:
                others.append((asked, waiter))
            elif not waiter.done():
                shared = copy.copy(error)
                shared.__cause__ = error
                waiter.set_exception(shared)
        self._waiters = others
        return self.pass_on()


def cache_layer(
    store: CacheStore,
    make_key: Callable[[Calling], CacheKey | None] = key_of,
    flights: MutableMapping[bytes, Flight] | None = None,
    fits: Callable[[Calling, Response], bool] = lambda calling, response: True,
) -> Layer:
    """Answer from the store, or share a request with those who ask the same, or make it and keep the answer.

    A calling answered by either of the first two has `cached` set and costs nothing. When it is streamed,
    the text comes in one piece. A refusal, a cancellation and a stream that broke off concern one call only;
    any other `APIClientError` of the leader is everybody's who asks the same backend.

    Args:
        store: Where answers are kept; of a `SharedStore`, requests of other processes are waited for too.
        make_key: What a call is remembered by; None: not at all.
        flights: The requests on their way, to be shared by pipelines with one store.
        fits: Whether an answer is what was asked for. Others are kept only on the way to one that is.
    """
    shared = {} if flights is None else flights
    return lambda call: _Cached(call, store, make_key, shared, fits).call


class _Cached:
    """The layer around one service."""

    __slots__ = ("_call", "_claims", "_fits", "_flights", "_make_key", "_misfits", "_store")

    def __init__(
        self,
        call: Service,
        store: CacheStore,
        make_key: Callable[[Calling], CacheKey | None],
        flights: MutableMapping[bytes, Flight],
        fits: Callable[[Calling, Response], bool],
    ) -> None:
        self._call = call
        self._store = store
        self._claims = store if isinstance(store, SharedStore) else None
        self._make_key = make_key
        self._flights = flights
        self._fits = fits
        self._misfits: WeakKeyDictionary[Calling, list[tuple[CacheKey, Response]]] = WeakKeyDictionary()

    async def call(self, calling: Calling) -> Response:
        """Answer it without asking, if that can be."""
        key = self._make_key(calling)
        if key is None:
            return await self._call(calling)
        loop = asyncio.get_running_loop()
        flight = self._flights.get(key.digest)
        if flight is not None and flight.loop is loop:
            found = await _sharing(calling, flight.join(calling.backend))
            if found is None:
                return await self._lead(calling, key, flight, None)
        else:
            kept = self._store.get(key)
            if not isinstance(kept, Response):
                flight = self._flights[key.digest] = Flight(loop)
                return await self._lead(calling, key, flight, kept)
            found = kept
        return await _answer_with(found, calling)

    async def _lead(
        self, calling: Calling, key: CacheKey, flight: Flight, kept: Awaitable[Response | None] | None
    ) -> Response:
        response: Response | None = None
        claimed = handed_on = False
        try:
            # A store that has to be awaited is asked by the leader, for all who come meanwhile.
            response = None if kept is None else await kept
            if response is None and self._claims is not None:
                claim = self._claims.claim(key)
                claimed = claim if isinstance(claim, bool) else await _sharing(calling, claim)
                # Whoever asked before may have left the answer since we looked.
                left = self._claims.get(key)
                response = await left if isinstance(left, Awaitable) else left
            if response is not None:
                return await _answer_with(response, calling)
            calling.cached = False  # an earlier answer to the same calling may have been
            response = await self._call(calling)
            # Before the others are told, so that nobody who comes in between misses both.
            if _is_answer(response):
                await self._keep(calling, key, response)
        except BaseException as error:
            if response is None and _concerns_all(error, calling):
                handed_on = flight.crash(error, calling.backend)
            elif response is None:
                handed_on = flight.pass_on()
            raise
        finally:
            if claimed and self._claims is not None:
                self._claims.release(key)
            if response is not None:
                flight.land(response)
            if not handed_on and self._flights.get(key.digest) is flight:
                del self._flights[key.digest]
        return response

    async def _keep(self, calling: Calling, key: CacheKey, response: Response) -> None:
        """Keep it; what does not fit, only once another answer to the same calling does.

        The whole way to that one is then not paid again, and where none fitted all is asked anew.
        """
        if not self._fits(calling, response):
            self._misfits.setdefault(calling, []).append((key, response))
            return
        if self._misfits:
            for asked, misfit in self._misfits.pop(calling, ()):
                await self._store.put(asked, misfit)
        await self._store.put(key, response)


async def _sharing(calling: Calling, answer: Awaitable[_T]) -> _T:
    """Wait for what somebody else does; whoever looks at the calling meanwhile can tell."""
    calling.shares = True
    try:
        return await answer
    finally:
        calling.shares = False


async def _answer_with(response: Response, calling: Calling) -> Response:
    """Give a calling an answer that it did not pay; who streams is told each part of it in one piece."""
    calling.cached = True
    if calling.sink is not None:
        if response.reasoning:
            await calling.emit(Delta(reasoning=response.reasoning))
        if response.text:
            await calling.emit(Delta(text=response.text))
        for index, call in enumerate(response.tool_calls):
            written = call.raw_arguments or dumps(call.arguments).decode()
            await calling.emit(Delta(tool_call=ToolCallDelta(index, call.id, call.name, written)))
    return response


def _is_answer(response: Response) -> bool:
    """Whether it is no failure that came as an answer."""
    return response.status_code < 400 and response.finish_reason != "error"


def _concerns_all(error: BaseException, calling: Calling) -> TypeGuard[APIClientError]:
    """Whether whoever asks the same would meet the same, as far as can be told.

    A refusal does not: it depends on a call's own deadline and estimate. Nor does a stream that broke off: it
    may not be tried again once a piece has been delivered, while a call that nobody reads yet may.
    """
    own = RefusedError | DeadlineExceededError
    return isinstance(error, APIClientError) and not isinstance(error, own) and not calling.delivered


def _copy(response: Response) -> Response:
    """A copy that its owner may change, as one from a store is. A tool's own objects stay one."""
    own = copy.copy(response)
    own.tool_calls = copy.deepcopy(response.tool_calls)
    if response.raw is not response.data:  # the provider's JSON
        own.raw = copy.deepcopy(response.raw)
    own.metadata = dict(response.metadata)
    return own
